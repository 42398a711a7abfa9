//! Counters, and the lines that a server tells of them.
//!
//! Counters only grow. What a line says of an interval is the difference of two snapshots, so
//! writing a line disturbs nobody, and what is missing in one interval stands in the next.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log_limit::LogLimit;

mod lines;

pub use lines::{Gauges, interval_lines, total_lines};

/// What one batch did, counted by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// GETs executed.
    pub gets: u64,
    /// GETs that found their key.
    pub hits: u64,
    /// PUTs executed.
    pub puts: u64,
    /// DELETEs executed.
    pub deletes: u64,
    /// Compare-and-swaps executed, matching or not.
    pub compare_and_swaps: u64,
    /// INCRs executed, the refused non-integers included.
    pub increments: u64,
    /// Operations that were not executed: a foreign key, or no room in the reply.
    pub refused: u64,
}

/// What a server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What batches did.
    pub counts: BatchCounts,
    /// Operations of retried batches, answered from completion records and not executed again.
    pub replayed: u64,
}

impl BatchCounts {
    /// Operations executed, of all kinds.
    pub fn operations(&self) -> u64 {
        self.gets + self.puts + self.deletes + self.compare_and_swaps + self.increments
    }

    /// What was added since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        Self {
            gets: self.gets - earlier.gets,
            hits: self.hits - earlier.hits,
            puts: self.puts - earlier.puts,
            deletes: self.deletes - earlier.deletes,
            compare_and_swaps: self.compare_and_swaps - earlier.compare_and_swaps,
            increments: self.increments - earlier.increments,
            refused: self.refused - earlier.refused,
        }
    }
}

impl Totals {
    /// Operations executed, of all kinds.
    pub fn operations(&self) -> u64 {
        self.counts.operations()
    }
}

/// A server's counters. Exact once the batches that add to them have ended; a snapshot that is
/// taken meanwhile may hold a batch's GETs and not yet its PUTs.
#[derive(Debug, Default)]
pub struct Statistics {
    batches: BatchCounters,
    replayed: AtomicU64,
    connections: AtomicU64,
    /// Which connections that ended in an error are told of.
    pub broken_connections: LogLimit,
}

/// What every batch adds to, in a cache line that nothing else is written to. Batches carry
/// thousands of operations where throughput matters, so one line for all threads is cheap enough.
#[derive(Debug, Default)]
#[repr(align(128))]
struct BatchCounters {
    gets: AtomicU64,
    hits: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    compare_and_swaps: AtomicU64,
    increments: AtomicU64,
    refused: AtomicU64,
}

impl Statistics {
    /// Counts a batch. To be called once per batch, not per operation.
    pub fn add_batch(&self, counts: &BatchCounts) {
        let add = |counter: &AtomicU64, count: u64| {
            // Most batches have one or two kinds of operation.
            if count != 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.batches.gets, counts.gets);
        add(&self.batches.hits, counts.hits);
        add(&self.batches.puts, counts.puts);
        add(&self.batches.deletes, counts.deletes);
        add(&self.batches.compare_and_swaps, counts.compare_and_swaps);
        add(&self.batches.increments, counts.increments);
        add(&self.batches.refused, counts.refused);
    }

    /// Counts the operations of a retried batch that was answered from its record.
    pub fn add_replayed(&self, operations: u64) {
        self.replayed.fetch_add(operations, Ordering::Relaxed);
    }

    /// Counts a connection that opened.
    pub fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that closed.
    ///
    /// # Panics
    ///
    /// When more close than have opened.
    pub fn connection_closed(&self) {
        let before = self.connections.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a connection closes after it has opened");
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Everything counted so far.
    pub fn snapshot(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            counts: BatchCounts {
                gets: read(&self.batches.gets),
                hits: read(&self.batches.hits),
                puts: read(&self.batches.puts),
                deletes: read(&self.batches.deletes),
                compare_and_swaps: read(&self.batches.compare_and_swaps),
                increments: read(&self.batches.increments),
                refused: read(&self.batches.refused),
            },
            replayed: read(&self.replayed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: BatchCounts = BatchCounts {
        gets: 10,
        hits: 9,
        puts: 20,
        deletes: 30,
        compare_and_swaps: 40,
        increments: 50,
        refused: 60,
    };

    #[test]
    fn counts_of_all_threads_arrive_once() {
        let statistics = Statistics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        statistics.add_batch(&ONE_OF_EACH);
                        statistics.add_replayed(7);
                    }
                });
            }
        });
        let totals = statistics.snapshot();
        assert_eq!((totals.counts.gets, totals.counts.hits), (40_000, 36_000));
        assert_eq!((totals.counts.puts, totals.counts.deletes), (80_000, 120_000));
        assert_eq!(totals.counts.compare_and_swaps, 160_000);
        assert_eq!((totals.counts.increments, totals.counts.refused), (200_000, 240_000));
        assert_eq!(totals.replayed, 28_000);
        // Neither hits, nor what was refused or replayed, are executed operations.
        assert_eq!(totals.operations(), 600_000);
    }

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let statistics = Statistics::default();
        statistics.connection_opened();
        statistics.connection_opened();
        statistics.connection_closed();
        assert_eq!(statistics.connections(), 1);
    }

    #[test]
    #[should_panic(expected = "a connection closes after it has opened")]
    fn a_connection_that_never_opened_does_not_close() {
        Statistics::default().connection_closed();
    }
}

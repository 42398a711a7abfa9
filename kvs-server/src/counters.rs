//! Counters of what a server did, and the lines that tell of them.
//!
//! Counters only grow. What a line says of an interval is the difference of two readings, so writing
//! a line disturbs nobody, and what is missing in one interval stands in the next.

use std::sync::atomic::{AtomicU64, Ordering};

use engine::Tally;

use crate::log_limit::LogLimit;

mod lines;

pub use lines::{Gauges, interval_lines, total_lines};

/// A server's counters. Exact once the batches that add to them have ended; a reading that is taken
/// meanwhile may hold a batch's GETs and not yet its PUTs.
#[derive(Debug, Default)]
pub struct Counters {
    batches: BatchCounters,
    connections: AtomicU64,
    panics: AtomicU64,
    /// Which connections that ended in an error are told of.
    pub broken_connections: LogLimit,
}

/// What every batch adds to, in cache lines that nothing else is written to. Batches carry thousands
/// of operations where throughput matters, so one set for all threads is cheap enough.
#[derive(Debug, Default)]
#[repr(align(128))]
struct BatchCounters([AtomicU64; Tally::FIELDS]);

impl Counters {
    /// Counts a batch. To be called once per batch, not per operation.
    pub fn add(&self, tally: &Tally) {
        for (counter, count) in self.batches.0.iter().zip(tally.to_array()) {
            // Most batches have one or two kinds of operation.
            if count != 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// What all batches did so far.
    pub fn tally(&self) -> Tally {
        Tally::from_array(self.batches.0.each_ref().map(|counter| counter.load(Ordering::Relaxed)))
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

    /// Counts a connection that a panic ended.
    pub fn connection_panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that a panic ended.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: Tally = Tally {
        gets: 10,
        hits: 9,
        puts: 20,
        deletes: 30,
        compare_and_swaps: 40,
        increments: 50,
        deferred: 60,
        replayed: 7,
    };

    #[test]
    fn counts_of_all_threads_arrive_once() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counters.add(&ONE_OF_EACH)));
            }
        });
        let tally = counters.tally();
        assert_eq!((tally.gets, tally.hits), (40_000, 36_000));
        assert_eq!((tally.puts, tally.deletes), (80_000, 120_000));
        assert_eq!(tally.compare_and_swaps, 160_000);
        assert_eq!((tally.increments, tally.deferred), (200_000, 240_000));
        assert_eq!(tally.replayed, 28_000);
        // Neither hits, nor what was deferred or replayed, are executed operations.
        assert_eq!(tally.operations(), 600_000);
    }

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let counters = Counters::default();
        counters.connection_opened();
        counters.connection_opened();
        counters.connection_closed();
        assert_eq!(counters.connections(), 1);
    }

    #[test]
    #[should_panic(expected = "a connection closes after it has opened")]
    fn a_connection_that_never_opened_does_not_close() {
        Counters::default().connection_closed();
    }
}

//! Which keys a run uses, and which of them the next operations go to.
//!
//! A key is the decimal text of its number: 0 to `keys - 1` are loaded, the ones above are
//! inserted during the run. Counters are keys of their own, `c` and a number, because an INCR
//! needs an integer where all other keys hold values that can be verified.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::permutation::{PRELOAD_ORDER, Permutation};
use super::random::Random;
use super::workload::Distribution;
use super::zipfian::{RankOrder, Sampler};

/// Most counters. Enough to spread over all servers, few enough that loading them costs little.
const COUNTERS_MAX: u64 = 100_000;

/// The keys of a run as one client sees them. Shared by its workers.
#[derive(Debug)]
pub(crate) struct Keyspace {
    keys: u64,
    counters: u64,
    /// This client's place among the clients, from 0.
    client: u64,
    clients: u64,
    distribution: Distribution,
    sampler: Sampler,
    preload_order: Permutation,
    inserts: Inserts,
}

impl Keyspace {
    /// The keys of client `client` (from 0) of `clients`, loaded with `keys` of them.
    pub(crate) fn new(
        keys: u64,
        with_counters: bool,
        distribution: Distribution,
        theta: f64,
        (client, clients): (u32, u32),
    ) -> Self {
        let sampler = match distribution {
            Distribution::Zipfian => Sampler::new(keys, theta, RankOrder::Permuted),
            Distribution::Uniform => Sampler::new(keys, 0.0, RankOrder::Identity),
            Distribution::Latest => Sampler::new(keys, theta, RankOrder::Identity),
        };
        Self {
            keys,
            counters: if with_counters { keys.min(COUNTERS_MAX) } else { 0 },
            client: u64::from(client),
            clients: u64::from(clients),
            distribution,
            sampler,
            preload_order: Permutation::new(keys, PRELOAD_ORDER),
            inserts: Inserts::default(),
        }
    }

    /// Draws the keys that the next operations read or write.
    pub(crate) fn fill(&self, random: &mut Random, keys: &mut [u64]) {
        self.sampler.fill(random, keys);
        if self.distribution == Distribution::Latest {
            let inserted = self.inserts.acknowledged.load(Ordering::Acquire);
            for key in keys {
                *key = self.by_age(*key, inserted);
            }
        }
    }

    /// The key of this age: the newest of `inserted` ones has age 0, the oldest is followed by the
    /// loaded keys from the last to the first.
    fn by_age(&self, age: u64, inserted: u64) -> u64 {
        if age < inserted {
            self.inserted(inserted - 1 - age)
        } else {
            self.keys - 1 - (age - inserted)
        }
    }

    /// This client's insert with this index. Clients take turns, so that their keys differ.
    pub(crate) fn inserted(&self, index: u64) -> u64 {
        self.keys + index * self.clients + self.client
    }

    /// The counter that stands beside a key.
    #[inline]
    pub(crate) fn counter(&self, key: u64) -> u64 {
        debug_assert!(self.counters > 0, "a mix with INCR has counters");
        key % self.counters
    }

    /// This client's share of what all clients load: positions in the preload's order.
    pub(crate) fn share(&self) -> Share {
        let part = |of: u64| {
            let cut =
                |client| (u128::from(of) * u128::from(client) / u128::from(self.clients)) as u64;
            cut(self.client)..cut(self.client + 1)
        };
        Share { keys: part(self.keys), counters: part(self.counters) }
    }

    /// The key at a position of the preload's order.
    pub(crate) fn at_position(&self, position: u64) -> u64 {
        self.preload_order.apply(position)
    }

    /// The inserts of this client.
    pub(crate) fn inserts(&self) -> &Inserts {
        &self.inserts
    }
}

/// What one client loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Positions in the preload's order.
    pub(crate) keys: Range<u64>,
    /// Numbers of counters.
    pub(crate) counters: Range<u64>,
}

/// Counts the inserts of one client. Reads of the latest keys go to acknowledged inserts only, so
/// that they find them.
#[derive(Debug, Default)]
pub(crate) struct Inserts {
    reserved: AtomicU64,
    /// All inserts below this index are acknowledged.
    acknowledged: AtomicU64,
    /// Completed ranges beyond it, by their start.
    ahead: Mutex<BTreeMap<u64, u64>>,
}

impl Inserts {
    /// Takes the indices of the next `count` inserts.
    pub(crate) fn reserve(&self, count: u64) -> Range<u64> {
        let start = self.reserved.fetch_add(count, Ordering::Relaxed);
        start..start + count
    }

    /// How many indices were taken.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Notes that the inserts of a reserved range have their replies.
    pub(crate) fn complete(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut ahead = self.ahead.lock().expect("no holder of this lock panics");
        ahead.insert(range.start, range.end);
        let mut acknowledged = self.acknowledged.load(Ordering::Relaxed);
        while let Some(end) = ahead.remove(&acknowledged) {
            acknowledged = end;
        }
        self.acknowledged.store(acknowledged, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(keys: u64, distribution: Distribution, place: (u32, u32)) -> Keyspace {
        Keyspace::new(keys, true, distribution, 0.99, place)
    }

    #[test]
    fn clients_share_the_preload_without_gap_or_overlap() {
        for clients in [1, 2, 3, 7] {
            let mut loaded = vec![0; 100];
            let mut counters = 0;
            for client in 0..clients {
                let space = keyspace(100, Distribution::Zipfian, (client, clients));
                let share = space.share();
                for position in share.keys {
                    loaded[space.at_position(position) as usize] += 1;
                }
                assert_eq!(share.counters.start, counters);
                counters = share.counters.end;
            }
            assert_eq!(loaded, [1; 100]);
            assert_eq!(counters, 100);
        }
        let many = keyspace(10_000_000, Distribution::Uniform, (0, 1));
        assert_eq!(many.share().counters, 0..COUNTERS_MAX);
    }

    #[test]
    fn drawn_keys_are_loaded_keys() {
        for distribution in [Distribution::Zipfian, Distribution::Uniform, Distribution::Latest] {
            let space = keyspace(50, distribution, (0, 1));
            let mut drawn = [u64::MAX; 10_000];
            space.fill(&mut Random::new(1, 1, 1), &mut drawn);
            assert!((0..50).all(|key| drawn.contains(&key)), "{distribution}");
            assert!(drawn.iter().all(|key| *key < 50), "{distribution}");
        }
    }

    #[test]
    fn the_latest_keys_are_the_acknowledged_inserts() {
        let space = keyspace(100, Distribution::Latest, (1, 3));
        let hottest = |space: &Keyspace| {
            let mut drawn = [0; 10_000];
            space.fill(&mut Random::new(1, 1, 1), &mut drawn);
            let mut counts = BTreeMap::new();
            for key in drawn {
                *counts.entry(key).or_insert(0) += 1;
            }
            counts.into_iter().max_by_key(|(_, count)| *count).expect("keys were drawn").0
        };
        assert_eq!(hottest(&space), 99);
        let first = space.inserts().reserve(5);
        let second = space.inserts().reserve(2);
        space.inserts().complete(second);
        assert_eq!(hottest(&space), 99, "the first range is still open");
        space.inserts().complete(first);
        assert_eq!(hottest(&space), space.inserted(6));
        assert_eq!(space.inserts().reserved(), 7);
        assert_eq!((space.by_age(6, 7), space.by_age(7, 7)), (space.inserted(0), 99));
    }

    #[test]
    fn inserts_of_several_clients_differ() {
        let mut seen = std::collections::HashSet::new();
        for client in 0..3 {
            let space = keyspace(100, Distribution::Latest, (client, 3));
            for index in 0..20 {
                let key = space.inserted(index);
                assert!(key >= 100 && seen.insert(key), "{key}");
            }
        }
    }
}

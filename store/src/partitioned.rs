//! Lock domains, each with a hash table of its own.

use std::sync::{Mutex, MutexGuard};

use model::operations::Operations;
use model::outcome::OutcomeSink;

use crate::hash::KeyHasher;
use crate::store::Store;
use crate::table::{BUCKET_AHEAD, Table};

/// A store of partitions that are locked once a run.
///
/// An operation's linearization point lies in its turn under the partition's lock. The lock is
/// held while the run is walked and its outcomes are taken, and for nothing else.
#[derive(Debug)]
pub struct PartitionedStore {
    partitions: Box<[Partition]>,
    hasher: KeyHasher,
}

/// One lock domain, on cache lines of its own: processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Partition {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    /// Runs applied so far.
    applied: u64,
}

impl PartitionedStore {
    /// An empty store. Keys are hashed under `seed`; which partition a key belongs to is the
    /// caller's decision, as long as it stays the same.
    ///
    /// # Panics
    ///
    /// When `partitions` is 0.
    pub fn new(partitions: u32, seed: u64) -> Self {
        assert!(partitions > 0, "a store has at least one partition");
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Self { partitions, hasher: KeyHasher::new(seed) }
    }
}

impl Partition {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panicked while it held the partition's lock")
    }

    /// The partition, if a hint about these operations is worth a look into it: a lock that is
    /// taken is not worth waiting for, and a run that is longer than the table looks ahead hides
    /// its cache misses itself.
    fn peek(&self, operations: Operations<'_>) -> Option<MutexGuard<'_, State>> {
        if operations.len() > BUCKET_AHEAD { None } else { self.state.try_lock().ok() }
    }
}

impl Store for PartitionedStore {
    fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    fn prefetch(&self, partition: u32, operations: Operations<'_>) {
        if let Some(state) = self.partitions[partition as usize].peek(operations) {
            state.table.prefetch(operations);
        }
    }

    fn prefetch_entries(&self, partition: u32, operations: Operations<'_>) {
        if let Some(state) = self.partitions[partition as usize].peek(operations) {
            state.table.prefetch_entries(operations);
        }
    }

    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64> {
        let mut state = self.partitions[partition as usize].lock();
        state.table.apply(operations, outcomes);
        state.applied += 1;
        Some(state.applied)
    }

    fn len(&self) -> usize {
        self.partitions.iter().map(|partition| partition.lock().table.len()).sum()
    }
}

//! `scc::HashMap` as a store.

use std::hash::{BuildHasher, Hash, Hasher};

use model::operation::Action;
use model::operations::Operations;
use model::outcome::{Outcome, OutcomeSink};
use scc::hash_map::Entry;

use crate::effect::{Effect, effect};
use crate::hash::KeyHasher;
use crate::store::Store;

/// A concurrent map that locks buckets of up to 32 entries, one operation at a time.
///
/// Reads share a bucket's lock and everything else holds it alone. There is no lock around a run,
/// so no apply sequence; the partitions only tell clients how to group operations.
pub struct SccStore {
    map: scc::HashMap<Key, Box<[u8]>, HasherFactory>,
    hasher: KeyHasher,
    partitions: u32,
}

impl SccStore {
    /// An empty store whose operations come in runs of `partitions` groups.
    ///
    /// # Panics
    ///
    /// When `partitions` is 0.
    pub fn new(partitions: u32, seed: u64) -> Self {
        assert!(partitions > 0, "a store has at least one partition");
        let hasher = KeyHasher::new(seed);
        Self { map: scc::HashMap::with_hasher(HasherFactory(hasher)), hasher, partitions }
    }

    fn read<S: OutcomeSink>(&self, query: &Query<'_>, outcomes: &mut S) {
        // Not `get_sync`, which locks the bucket exclusively.
        let read =
            self.map.read_sync(query, |_, value| outcomes.push(query.hash, Outcome::Value(value)));
        if read.is_none() {
            outcomes.push(query.hash, Outcome::Missing);
        }
    }

    fn mutate<S: OutcomeSink>(&self, query: &Query<'_>, action: Action<'_>, outcomes: &mut S) {
        let mut digits = itoa::Buffer::new();
        // The entry holds the bucket's lock until it is dropped, after the outcome is told.
        match self.map.entry_sync(Key(query.key.into())) {
            Entry::Occupied(mut entry) => match effect(action, Some(entry.get()), &mut digits) {
                Effect::Answer(outcome) => outcomes.push(query.hash, outcome),
                Effect::Write(value, outcome) => {
                    *entry.get_mut() = value.into();
                    outcomes.push(query.hash, outcome);
                }
                Effect::Remove => {
                    drop(entry.remove());
                    outcomes.push(query.hash, Outcome::Done);
                }
            },
            Entry::Vacant(entry) => match effect(action, None, &mut digits) {
                Effect::Answer(outcome) => outcomes.push(query.hash, outcome),
                Effect::Write(value, outcome) => {
                    let _held = entry.insert_entry(value.into());
                    outcomes.push(query.hash, outcome);
                }
                Effect::Remove => unreachable!("only a key that is there is removed"),
            },
        }
    }
}

impl Store for SccStore {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64> {
        assert!(partition < self.partitions, "the partition is one of the store's");
        for index in 0..operations.len() {
            let operation = operations.get(index);
            let query = Query { hash: operations.hash(index), key: operation.key };
            match operation.action {
                Action::Get => self.read(&query, outcomes),
                action => self.mutate(&query, action, outcomes),
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.map.len()
    }
}

impl std::fmt::Debug for SccStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SccStore").field("partitions", &self.partitions).finish()
    }
}

/// A stored key.
#[derive(PartialEq, Eq)]
struct Key(Box<[u8]>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A key to look up, whose hash came with the operation.
struct Query<'a> {
    hash: u64,
    key: &'a [u8],
}

impl Hash for Query<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl scc::Equivalent<Key> for Query<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.key == *key.0
    }
}

/// Makes hashers that hash the bytes of a [`Key`] and pass on the hash of a [`Query`].
struct HasherFactory(KeyHasher);

impl BuildHasher for HasherFactory {
    type Hasher = PassingHasher;

    fn build_hasher(&self) -> PassingHasher {
        PassingHasher { hasher: self.0, hash: 0 }
    }
}

/// See [`HasherFactory`].
struct PassingHasher {
    hasher: KeyHasher,
    hash: u64,
}

impl Hasher for PassingHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.hash = self.hasher.hash(bytes);
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.hash = hash;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hash_like_the_keys_they_look_for() {
        let hasher = KeyHasher::new(1);
        let factory = HasherFactory(hasher);
        let stored = |key: &[u8]| factory.hash_one(Key(key.into()));
        assert_eq!(
            stored(b"key"),
            factory.hash_one(Query { hash: hasher.hash(b"key"), key: b"key" })
        );
        assert_ne!(
            stored(b"kez"),
            factory.hash_one(Query { hash: hasher.hash(b"key"), key: b"key" })
        );
    }
}

//! The store that a flag names.

use std::fmt;
use std::str::FromStr;

use model::operations::Operations;
use model::outcome::OutcomeSink;

use crate::hash::random_seed;
use crate::mutex::MutexStore;
use crate::partitioned::PartitionedStore;
use crate::scc::SccStore;
use crate::store::Store;

/// The stores there are, by their names on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// `partitioned`: [`PartitionedStore`].
    Partitioned,
    /// `scc`: [`SccStore`].
    Scc,
    /// `mutex`: [`MutexStore`].
    Mutex,
}

impl StoreKind {
    /// All kinds, fastest first.
    pub const ALL: [Self; 3] = [Self::Partitioned, Self::Scc, Self::Mutex];

    /// The kind's name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partitioned => "partitioned",
            Self::Scc => "scc",
            Self::Mutex => "mutex",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for StoreKind {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| UnknownStore { name: text.to_owned() })
    }
}

/// A name that no store has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no store {name:?}; choose partitioned, scc or mutex")]
pub struct UnknownStore {
    name: String,
}

/// One of the stores, chosen at run time. A `match` a run, not a virtual call an operation.
#[derive(Debug)]
pub enum AnyStore {
    /// See [`StoreKind::Partitioned`].
    Partitioned(PartitionedStore),
    /// See [`StoreKind::Scc`].
    Scc(SccStore),
    /// See [`StoreKind::Mutex`].
    Mutex(MutexStore),
}

impl AnyStore {
    /// An empty store with a random seed. The mutex store has one partition, whatever is asked.
    ///
    /// # Panics
    ///
    /// When `partitions` is 0.
    pub fn new(kind: StoreKind, partitions: u32) -> Self {
        Self::with_seed(kind, partitions, random_seed())
    }

    /// Like [`new`](AnyStore::new), with the seed of the hash given: for simulations that replay.
    ///
    /// # Panics
    ///
    /// When `partitions` is 0.
    pub fn with_seed(kind: StoreKind, partitions: u32, seed: u64) -> Self {
        match kind {
            StoreKind::Partitioned => Self::Partitioned(PartitionedStore::new(partitions, seed)),
            StoreKind::Scc => Self::Scc(SccStore::new(partitions, seed)),
            StoreKind::Mutex => Self::Mutex(MutexStore::new(seed)),
        }
    }

    /// The kind of this store.
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::Partitioned(_) => StoreKind::Partitioned,
            Self::Scc(_) => StoreKind::Scc,
            Self::Mutex(_) => StoreKind::Mutex,
        }
    }
}

/// Calls a method of whichever store it is.
macro_rules! delegate {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            AnyStore::Partitioned($store) => $call,
            AnyStore::Scc($store) => $call,
            AnyStore::Mutex($store) => $call,
        }
    };
}

impl Store for AnyStore {
    fn partitions(&self) -> u32 {
        delegate!(self, store => store.partitions())
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        delegate!(self, store => store.hash(key))
    }

    #[inline]
    fn prefetch(&self, partition: u32, operations: Operations<'_>) {
        delegate!(self, store => store.prefetch(partition, operations));
    }

    #[inline]
    fn prefetch_entries(&self, partition: u32, operations: Operations<'_>) {
        delegate!(self, store => store.prefetch_entries(partition, operations));
    }

    #[inline]
    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64> {
        delegate!(self, store => store.apply(partition, operations, outcomes))
    }

    fn len(&self) -> usize {
        delegate!(self, store => store.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in StoreKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(AnyStore::new(kind, 8).kind(), kind);
        }
        assert_eq!(
            "Mutex".parse::<StoreKind>().unwrap_err().to_string(),
            "there is no store \"Mutex\"; choose partitioned, scc or mutex"
        );
    }

    #[test]
    fn seeds_make_hashes_repeat() {
        for kind in StoreKind::ALL {
            let hash = |seed| AnyStore::with_seed(kind, 4, seed).hash(b"key");
            assert_eq!(hash(7), hash(7));
            assert_ne!(hash(7), hash(8));
            assert_ne!(AnyStore::new(kind, 4).hash(b"key"), AnyStore::new(kind, 4).hash(b"key"));
        }
    }

    #[test]
    fn partitions_are_those_asked_for() {
        let partitions = |kind| AnyStore::new(kind, 6).partitions();
        assert_eq!(StoreKind::ALL.map(partitions), [6, 6, 1]);
    }
}

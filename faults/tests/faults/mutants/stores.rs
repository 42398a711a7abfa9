//! Stores that break their contract.

use std::collections::HashMap;
use std::sync::Mutex;

use model::operation::Action;
use model::operations::{OperationBuffer, Operations};
use model::outcome::{Outcome, OutcomeSink};
use store::{AnyStore, Store};

/// PUTs of one key in one batch take effect in another order than that of their stamps: the first
/// and the last of them change places.
#[derive(Debug)]
pub(super) struct EqualKeysOutOfOrder(pub(super) AnyStore);

impl Store for EqualKeysOutOfOrder {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash(key)
    }

    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64> {
        let mut order: Vec<usize> = (0..operations.len()).collect();
        if let Some((first, last)) = equal_puts(operations) {
            order.swap(first, last);
        }
        let mut reordered = OperationBuffer::default();
        for index in order {
            reordered.push(operations.get(index), operations.hash(index));
        }
        self.0.apply(partition, reordered.operations(), outcomes)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The first PUT that others of its key follow, and the last of these.
fn equal_puts(operations: Operations<'_>) -> Option<(usize, usize)> {
    let key_put = |index: usize| {
        let operation = operations.get(index);
        matches!(operation.action, Action::Put { .. }).then_some(operation.key)
    };
    (0..operations.len()).find_map(|first| {
        let key = key_put(first)?;
        let last = (first + 1..operations.len()).rfind(|last| key_put(*last) == Some(key))?;
        Some((first, last))
    })
}

/// One read in so many brings its key's copy up to date.
const ONE_IN: u64 = 8;

/// Reads are served from copies that are not kept up.
#[derive(Debug)]
pub(super) struct StaleCopy {
    store: AnyStore,
    copies: Mutex<Copies>,
}

#[derive(Debug, Default)]
struct Copies {
    reads: u64,
    /// By key; `None` where it was missing.
    values: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Copies {
    fn read(&mut self, key: &[u8], current: Outcome<&[u8]>) -> Option<Vec<u8>> {
        let current = match current {
            Outcome::Value(value) => Some(value.to_vec()),
            _ => None,
        };
        self.reads += 1;
        if self.reads.is_multiple_of(ONE_IN) {
            self.values.insert(key.to_vec(), current.clone());
        }
        self.values.get(key).cloned().unwrap_or(current)
    }
}

impl StaleCopy {
    pub(super) fn of(store: AnyStore) -> Self {
        Self { store, copies: Mutex::default() }
    }
}

impl Store for StaleCopy {
    fn partitions(&self) -> u32 {
        self.store.partitions()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.store.hash(key)
    }

    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64> {
        let mut sink = FromCopies { operations, next: 0, copies: &self.copies, outcomes };
        self.store.apply(partition, operations, &mut sink)
    }

    fn len(&self) -> usize {
        self.store.len()
    }
}

/// Passes outcomes on, those of reads from copies.
struct FromCopies<'a, S> {
    operations: Operations<'a>,
    next: usize,
    copies: &'a Mutex<Copies>,
    outcomes: &'a mut S,
}

impl<S: OutcomeSink> OutcomeSink for FromCopies<'_, S> {
    fn push(&mut self, hash: u64, outcome: Outcome<&[u8]>) {
        let operation = self.operations.get(self.next);
        self.next += 1;
        if operation.action != Action::Get {
            return self.outcomes.push(hash, outcome);
        }
        let mut copies = self.copies.lock().expect("no holder of the copies panicked");
        let copy = copies.read(operation.key, outcome);
        self.outcomes.push(hash, copy.as_deref().map_or(Outcome::Missing, Outcome::Value));
    }
}

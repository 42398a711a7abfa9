//! One standard map under one lock: the baseline that the other stores are measured against.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use model::operations::Operations;
use model::outcome::{Outcome, OutcomeSink};

use crate::effect::{Effect, effect};
use crate::hash::KeyHasher;
use crate::store::Store;

/// A `HashMap` with boxed keys and values behind a `Mutex`. One partition; one call applies at a
/// time.
#[derive(Debug)]
pub struct MutexStore {
    state: Mutex<State>,
    hasher: KeyHasher,
}

#[derive(Debug, Default)]
struct State {
    map: HashMap<Box<[u8]>, Box<[u8]>>,
    /// Runs applied so far.
    applied: u64,
}

impl MutexStore {
    /// An empty store. The map hashes keys itself; `seed` is that of [`Store::hash`].
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::default(), hasher: KeyHasher::new(seed) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panicked while it held the store's lock")
    }
}

impl Store for MutexStore {
    fn partitions(&self) -> u32 {
        1
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
        assert!(partition == 0, "the mutex store has one partition");
        let mut state = self.lock();
        for index in 0..operations.len() {
            let operation = operations.get(index);
            let mut digits = itoa::Buffer::new();
            let current = state.map.get(operation.key).map(|value| &value[..]);
            let outcome = match effect(operation.action, current, &mut digits) {
                Effect::Answer(outcome) => outcome,
                Effect::Write(value, outcome) => {
                    match state.map.get_mut(operation.key) {
                        Some(held) => *held = value.into(),
                        None => drop(state.map.insert(operation.key.into(), value.into())),
                    }
                    outcome
                }
                Effect::Remove => {
                    state.map.remove(operation.key);
                    Outcome::Done
                }
            };
            outcomes.push(operations.hash(index), outcome);
        }
        state.applied += 1;
        Some(state.applied)
    }

    fn len(&self) -> usize {
        self.lock().map.len()
    }
}

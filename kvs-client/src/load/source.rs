//! Where a worker's operations come from: a workload that draws them, or a list of keys to load
//! or delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keyspace::Keyspace;
use super::plan::{Kind, PendingSwaps, Plan, Planned};
use super::random::Random;
use super::workload::{Choice, Mix};

/// Keys that are drawn at once: a batch's own memory would leave the cache before its next use.
const KEYS_AT_ONCE: usize = 256;

/// What a worker does next.
#[derive(Debug)]
pub(crate) enum Source {
    /// Draws operations without end.
    Workload(Box<Workload>),
    /// Takes what is left of a list that all workers share.
    List(Arc<List>),
}

impl Source {
    /// Plans a batch of at most `operations_max` operations; an empty one when nothing is left.
    pub(crate) fn plan(&mut self, plan: &mut Plan, operations_max: usize, pending: &PendingSwaps) {
        plan.begin();
        match self {
            Self::Workload(workload) => workload.plan(plan, operations_max, pending),
            Self::List(list) => list.plan(plan, operations_max as u64),
        }
    }

    /// Takes note that the plan's operations have their replies.
    pub(crate) fn completed(&self, plan: &Plan) {
        if let Self::Workload(workload) = self {
            workload.keyspace.inserts().complete(plan.inserts.clone());
        }
    }
}

/// One worker's part of a workload.
#[derive(Debug)]
pub(crate) struct Workload {
    keyspace: Arc<Keyspace>,
    mix: Arc<Mix>,
    random: Random,
}

impl Workload {
    /// Draws operations of `mix` on `keyspace` from the stream `random`.
    pub(crate) fn new(keyspace: Arc<Keyspace>, mix: Arc<Mix>, random: Random) -> Self {
        Self { keyspace, mix, random }
    }

    fn plan(&mut self, plan: &mut Plan, operations_max: usize, pending: &PendingSwaps) {
        pending.plan(plan, operations_max);
        let mut left = operations_max - plan.operations.len();
        let mut inserts = 0;
        let mut keys = [0; KEYS_AT_ONCE];
        while left > 0 {
            let keys = &mut keys[..left.min(KEYS_AT_ONCE)];
            left -= keys.len();
            self.keyspace.fill(&mut self.random, keys);
            for key in keys {
                let (kind, number) = match self.mix.choose(self.random.next_u32()) {
                    Choice::Get => (Kind::Get, *key),
                    Choice::Put => (Kind::Put, *key),
                    Choice::Delete => (Kind::Delete, *key),
                    Choice::ReadModifyWrite => (Kind::Read, *key),
                    Choice::Increment => (Kind::Increment, self.keyspace.counter(*key)),
                    Choice::Insert => {
                        inserts += 1;
                        (Kind::Insert, 0)
                    }
                };
                plan.operations.push(Planned::new(kind, number));
            }
        }
        if inserts > 0 {
            // The range could be reserved only when it was known how many there are.
            plan.inserts = self.keyspace.inserts().reserve(inserts);
            let is_insert = |planned: &&mut Planned| planned.kind() == Kind::Insert;
            let places = plan.operations.iter_mut().filter(is_insert);
            for (place, index) in places.zip(plan.inserts.clone()) {
                *place = Planned::new(Kind::Insert, self.keyspace.inserted(index));
            }
        }
    }
}

/// Operations that are done once, by whichever worker comes first.
#[derive(Debug)]
pub(crate) struct List {
    keyspace: Arc<Keyspace>,
    purpose: Purpose,
    next: AtomicU64,
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Preload,
    Cleanup,
}

impl List {
    /// Writes this client's share of the keys, and 0 to its share of the counters.
    pub(crate) fn preload(keyspace: Arc<Keyspace>) -> Self {
        Self::new(keyspace, Purpose::Preload, 0)
    }

    /// Deletes this client's share of the keys and counters, and what it inserted.
    pub(crate) fn cleanup(keyspace: Arc<Keyspace>) -> Self {
        let inserted = keyspace.inserts().reserved();
        Self::new(keyspace, Purpose::Cleanup, inserted)
    }

    fn new(keyspace: Arc<Keyspace>, purpose: Purpose, inserted: u64) -> Self {
        let share = keyspace.share();
        let length = (share.keys.end - share.keys.start)
            + (share.counters.end - share.counters.start)
            + inserted;
        Self { keyspace, purpose, next: AtomicU64::new(0), length }
    }

    /// How many operations the list has.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn plan(&self, plan: &mut Plan, operations_max: u64) {
        let start = self.next.fetch_add(operations_max, Ordering::Relaxed).min(self.length);
        let end = (start + operations_max).min(self.length);
        let share = self.keyspace.share();
        let keys = share.keys.end - share.keys.start;
        let counters = share.counters.end - share.counters.start;
        plan.operations.extend((start..end).map(|index| {
            if index < keys {
                let key = self.keyspace.at_position(share.keys.start + index);
                let preload = self.purpose == Purpose::Preload;
                Planned::new(if preload { Kind::Put } else { Kind::Delete }, key)
            } else if index < keys + counters {
                let counter = share.counters.start + index - keys;
                let preload = self.purpose == Purpose::Preload;
                let kind = if preload { Kind::ResetCounter } else { Kind::DeleteCounter };
                Planned::new(kind, counter)
            } else {
                Planned::new(Kind::Delete, self.keyspace.inserted(index - keys - counters))
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::workload::Distribution;
    use super::*;

    fn keyspace(keys: u64) -> Arc<Keyspace> {
        Arc::new(Keyspace::new(keys, true, Distribution::Zipfian, 0.99, (0, 1)))
    }

    fn workload(keyspace: &Arc<Keyspace>, mix: &str) -> Source {
        let mix = Arc::new(mix.parse().expect("the mix is well formed"));
        let random = Random::new(1, 1, 1);
        Source::Workload(Box::new(Workload::new(Arc::clone(keyspace), mix, random)))
    }

    fn counts(plan: &Plan) -> HashMap<u8, usize> {
        plan.operations.iter().fold(HashMap::new(), |mut counts, planned| {
            *counts.entry(planned.kind() as u8).or_insert(0) += 1;
            counts
        })
    }

    #[test]
    fn swaps_come_first_and_the_batch_stays_full() {
        let mut pending = PendingSwaps::default();
        for key in 0..30 {
            pending.push(key, 1, None);
        }
        let mut source = workload(&keyspace(1_000), "get=50,cas=50");
        let mut plan = Plan::new();
        source.plan(&mut plan, 100, &pending);
        assert_eq!(plan.operations.len(), 100);
        assert!(plan.operations[..30].iter().all(|planned| planned.kind() == Kind::Swap));
        let counts = counts(&plan);
        assert!(counts[&(Kind::Read as u8)] > 15 && counts[&(Kind::Get as u8)] > 15);
        source.plan(&mut plan, 20, &pending);
        assert_eq!(plan.operations.len(), 20, "more swaps than room");
        assert_eq!(plan.attempts, [1; 20]);
    }

    #[test]
    fn inserts_are_numbered_and_acknowledged() {
        let keyspace = keyspace(1_000);
        let mut source = workload(&keyspace, "get=50,insert=50");
        let mut plan = Plan::new();
        source.plan(&mut plan, 100, &PendingSwaps::default());
        let inserted: Vec<u64> = plan
            .operations
            .iter()
            .filter(|planned| planned.kind() == Kind::Insert)
            .map(|planned| planned.number())
            .collect();
        let expected: Vec<u64> = (1_000..1_000 + inserted.len() as u64).collect();
        assert!(!inserted.is_empty());
        assert_eq!(inserted, expected);
        assert_eq!(keyspace.inserts().reserved(), inserted.len() as u64);
        source.completed(&plan);
        assert_eq!(keyspace.inserts().reserve(1).start, inserted.len() as u64);
    }

    #[test]
    fn a_list_is_done_once_and_the_cleanup_undoes_it() {
        let keyspace = keyspace(1_000);
        keyspace.inserts().reserve(10);
        let mut left = HashMap::new();
        let mut run = |list: List| {
            let length = list.length();
            let mut source = Source::List(Arc::new(list));
            let mut plan = Plan::new();
            let mut done = 0;
            loop {
                source.plan(&mut plan, 333, &PendingSwaps::default());
                if plan.operations.is_empty() {
                    break;
                }
                done += plan.operations.len() as u64;
                for planned in &plan.operations {
                    let counter =
                        matches!(planned.kind(), Kind::ResetCounter | Kind::DeleteCounter);
                    let delete = matches!(planned.kind(), Kind::Delete | Kind::DeleteCounter);
                    let key = (counter, planned.number());
                    let held = left.entry(key).or_insert(0);
                    *held += if delete { -1 } else { 1 };
                }
            }
            assert_eq!(done, length);
        };
        run(List::preload(Arc::clone(&keyspace)));
        run(List::cleanup(keyspace));
        assert_eq!(left.len(), 1_000 + 1_000 + 10);
        let wrong =
            left.iter().filter(|((_, number), held)| **held != -i32::from(*number >= 1_000));
        assert_eq!(wrong.count(), 0);
    }
}

//! What the store's benchmarks apply: batches as a server gets them, built beforehand.

use std::ops::Range;

use model::operation::{Action, Operation};
use model::operations::OperationBuffer;
use model::outcome::{Outcome, OutcomeSink};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use store::{PREFETCH_AHEAD, PREFETCH_ENTRIES_AHEAD, Store};

/// Bytes of each value, as the testbed's workloads write them.
pub(crate) const VALUE_BYTES: usize = 128;

/// Spreads numbers over 64 bits.
fn spread(number: u64) -> u64 {
    SplitMix64::seed_from_u64(number).next_u64()
}

/// Draws key numbers.
pub(crate) enum Distribution {
    /// Each as likely as any other, below so many.
    Uniform(u64),
    /// By the sums of the weights 1 / rank^theta.
    Zipfian(Vec<f64>),
}

impl Distribution {
    /// Zipfian over so many keys with YCSB's theta of 0.99.
    pub(crate) fn zipfian(keys: u64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=keys).map(|rank| {
            sum += (rank as f64).powf(-0.99);
            sum
        });
        Self::Zipfian(weights.collect())
    }

    fn draw(&self, random: &mut SplitMix64) -> u64 {
        match self {
            Self::Uniform(keys) => random.random_range(0..*keys),
            Self::Zipfian(sums) => {
                let all = sums.last().expect("there are keys");
                let point = random.random::<f64>() * all;
                sums.partition_point(|sum| *sum < point) as u64
            }
        }
    }
}

/// A batch: operations grouped by partition.
pub(crate) struct Batch {
    operations: OperationBuffer,
    groups: Vec<(u32, Range<usize>)>,
}

impl Batch {
    /// Groups operations on the keys with these numbers by partition.
    pub(crate) fn new(store: &impl Store, numbers: &[u64], action: Action<'_>) -> Self {
        let partitions = u64::from(store.partitions());
        let partition = |number: u64| (spread(number) % partitions) as u32;
        let mut grouped = numbers.to_vec();
        grouped.sort_by_key(|number| partition(*number));
        let mut operations = OperationBuffer::default();
        let mut groups = Vec::new();
        for run in grouped.chunk_by(|some, other| partition(*some) == partition(*other)) {
            let start = operations.operations().len();
            for number in run {
                let key = format!("{number:06}");
                let operation = Operation { key: key.as_bytes(), action };
                operations.push(operation, store.hash(key.as_bytes()));
            }
            groups.push((partition(run[0]), start..start + run.len()));
        }
        Self { operations, groups }
    }

    /// Applies the batch as a server does: group by group, and with hints about groups to come.
    pub(crate) fn apply(&self, store: &impl Store, reply: &mut Reply) {
        let all = self.operations.operations();
        let group = |index: usize| {
            let (partition, range) = self.groups.get(index)?;
            Some((*partition, all.slice(range.clone())))
        };
        for index in 0..self.groups.len() {
            if let Some((partition, operations)) = group(index + PREFETCH_AHEAD) {
                store.prefetch(partition, operations);
            }
            if let Some((partition, operations)) = group(index + PREFETCH_ENTRIES_AHEAD) {
                store.prefetch_entries(partition, operations);
            }
            let (partition, operations) = group(index).expect("the group is in the batch");
            store.apply(partition, operations, reply);
        }
    }
}

/// Copies values one behind the other, as the encoder of a reply does.
#[derive(Default)]
pub(crate) struct Reply {
    /// The values.
    pub(crate) bytes: Vec<u8>,
}

impl OutcomeSink for Reply {
    #[inline]
    fn push(&mut self, _hash: u64, outcome: Outcome<&[u8]>) {
        if let Outcome::Value(value) = outcome {
            self.bytes.extend_from_slice(value);
        }
    }
}

/// All keys once, in random order.
pub(crate) struct Fill {
    numbers: Vec<u64>,
}

impl Fill {
    /// So many keys.
    pub(crate) fn new(keys: u64) -> Self {
        let mut numbers: Vec<u64> = (0..keys).collect();
        numbers.shuffle(&mut SplitMix64::seed_from_u64(1));
        Self { numbers }
    }

    /// Batches of 10,000 operations that put each key.
    pub(crate) fn batches(&self, store: &impl Store) -> impl Iterator<Item = Batch> {
        let put = Action::Put { value: &[b'v'; VALUE_BYTES] };
        self.numbers.chunks(10_000).map(move |numbers| Batch::new(store, numbers, put))
    }
}

/// So many batches of lookups, no two alike.
pub(crate) fn lookups(
    store: &impl Store,
    distribution: &Distribution,
    batches: usize,
    operations: usize,
) -> Vec<Batch> {
    let mut random = SplitMix64::seed_from_u64(2);
    let mut numbers = vec![0; operations];
    let build = |_| {
        numbers.fill_with(|| distribution.draw(&mut random));
        Batch::new(store, &numbers, Action::Get)
    };
    (0..batches).map(build).collect()
}

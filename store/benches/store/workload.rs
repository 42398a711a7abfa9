//! What the store's benchmarks apply: batches as a server gets them, built beforehand.

use std::ops::Range;

use model::operation::{Action, Operation};
use model::operations::OperationBuffer;
use model::outcome::{Outcome, OutcomeSink};
use store::{PREFETCH_AHEAD, PREFETCH_ENTRIES_AHEAD, Store};

/// Bytes of each value, as the testbed's workloads write them.
pub(crate) const VALUE_BYTES: usize = 128;

/// Spreads numbers over 64 bits: splitmix64's finalizer (Steele et al., OOPSLA 2014).
pub(crate) fn spread(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `bound`, from random bits.
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
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

    fn draw(&self, bits: u64) -> u64 {
        match self {
            Self::Uniform(keys) => below(bits, *keys),
            Self::Zipfian(sums) => {
                let all = sums.last().expect("there are keys");
                let point = (bits >> 11) as f64 / (1u64 << 53) as f64 * all;
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
        let partition = |number: u64| below(spread(number), partitions) as u32;
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
        for index in (1..numbers.len()).rev() {
            numbers.swap(index, below(spread(index as u64), index as u64 + 1) as usize);
        }
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
    let mut state = 0;
    let mut draw = || {
        state += 1;
        distribution.draw(spread(u64::MAX / 3 + state))
    };
    let mut numbers = vec![0; operations];
    let build = |_| {
        numbers.fill_with(&mut draw);
        Batch::new(store, &numbers, Action::Get)
    };
    (0..batches).map(build).collect()
}

//! All stores against a plain map: random batches, every outcome compared, then the contents.

use std::collections::HashMap;

use model::operation::{Action, Operation};
use model::operations::OperationBuffer;
use model::outcome::Outcome;
use proptest::collection::vec;
use proptest::prelude::*;
use store::{AnyStore, Store, StoreKind};

const PARTITIONS: u32 = 3;

/// An operation that owns its bytes. Values are told by length and content rather than held, so
/// that failures print in one line.
#[derive(Clone, Copy, Debug)]
enum Step {
    Get,
    Put(Text),
    Delete,
    /// Expects the current value if the flag says so, else the text or a missing key.
    Swap(bool, Option<Text>, Text),
    Increment(i64),
}

/// A value: `bytes` times the same byte, or a number.
#[derive(Clone, Copy, Debug)]
enum Text {
    Fill { byte: u8, bytes: usize },
    Number(i64),
}

impl Text {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Fill { byte, bytes } => vec![byte; bytes],
            Self::Number(number) => number.to_string().into_bytes(),
        }
    }
}

/// Lengths on both sides of what the partitioned store keeps inline (2 KiB).
fn text() -> impl Strategy<Value = Text> {
    let bytes = prop_oneof![
        8 => 0..300_usize,
        2 => 300..2_000_usize,
        1 => 2_044..2_052_usize,
        1 => 2_052..20_000_usize,
    ];
    prop_oneof![
        4 => (any::<u8>(), bytes).prop_map(|(byte, bytes)| Text::Fill { byte, bytes }),
        1 => prop_oneof![any::<i64>(), -20..20_i64, Just(i64::MAX), Just(i64::MIN)]
            .prop_map(Text::Number),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Get),
        8 => text().prop_map(Step::Put),
        3 => Just(Step::Delete),
        4 => (any::<bool>(), proptest::option::of(text()), text())
            .prop_map(|(current, expected, new)| Step::Swap(current, expected, new)),
        4 => prop_oneof![-5..5_i64, any::<i64>()].prop_map(Step::Increment),
    ]
}

/// Keys of many lengths; few of them, or enough that the partitions' tables grow several times.
fn key(number: u32) -> Vec<u8> {
    let text = format!("{number}");
    match number % 50 {
        0 => text.repeat(1 + 900 / text.len()).into_bytes(),
        1 => format!("{text:0>16}").into_bytes(),
        2 => format!("{text:0>40}").into_bytes(),
        _ => text.into_bytes(),
    }
}

/// Which partition a key belongs to, as a server would decide it: not by the store's hash.
fn partition(key: &[u8], partitions: u32) -> u32 {
    key.iter().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
        % partitions
}

type Model = HashMap<Vec<u8>, Vec<u8>>;

/// Applies an operation to the model. Written without a look at the stores' own rules.
fn model_apply(model: &mut Model, operation: &Operation<'_>) -> Outcome<Vec<u8>> {
    let key = operation.key.to_vec();
    let current = model.get(&key).cloned();
    match operation.action {
        Action::Get => current.map_or(Outcome::Missing, Outcome::Value),
        Action::Put { value } => {
            model.insert(key, value.to_vec());
            Outcome::Done
        }
        Action::Delete => match model.remove(&key) {
            Some(_) => Outcome::Done,
            None => Outcome::Missing,
        },
        Action::CompareAndSwap { expected, value } => {
            if current.as_deref() == expected {
                model.insert(key, value.to_vec());
                Outcome::Done
            } else {
                Outcome::Mismatch(current)
            }
        }
        Action::Increment { by } => {
            let text = String::from_utf8(current.unwrap_or_else(|| b"0".to_vec()));
            // Only numbers that print as they are written count.
            let number = text.ok().and_then(|text| {
                let number = text.parse::<i64>().ok()?;
                (number.to_string() == text).then_some(number)
            });
            match number.map(|number| number.checked_add(by)) {
                None => Outcome::NotAnInteger,
                Some(None) => Outcome::Overflow,
                Some(Some(sum)) => {
                    model.insert(key, sum.to_string().into_bytes());
                    Outcome::Counter(sum)
                }
            }
        }
    }
}

/// Applies a batch to the store, partition by partition, and compares each outcome.
fn apply_and_compare(store: &AnyStore, model: &mut Model, batch: &[(u32, Step)]) {
    let partitions = store.partitions();
    let mut buffers: Vec<OperationBuffer> = Vec::new();
    buffers.resize_with(partitions as usize, OperationBuffer::default);
    let mut expected = vec![Vec::new(); partitions as usize];
    for (number, step) in batch {
        let key = key(*number);
        let (expected_text, new);
        let action = match *step {
            Step::Get => Action::Get,
            Step::Put(text) => {
                new = text.bytes();
                Action::Put { value: &new }
            }
            Step::Delete => Action::Delete,
            Step::Swap(current, text, swapped) => {
                new = swapped.bytes();
                expected_text =
                    if current { model.get(&key).cloned() } else { text.map(Text::bytes) };
                Action::CompareAndSwap { expected: expected_text.as_deref(), value: &new }
            }
            Step::Increment(by) => Action::Increment { by },
        };
        let operation = Operation { key: &key, action };
        let home = partition(&key, partitions) as usize;
        buffers[home].push(operation, store.hash(&key));
        expected[home].push(model_apply(model, &operation));
    }
    for (partition, buffer) in buffers.iter().enumerate() {
        let mut outcomes: Vec<Outcome<Vec<u8>>> = Vec::new();
        store.prefetch(partition as u32, buffer.operations());
        store.prefetch_entries(partition as u32, buffer.operations());
        store.apply(partition as u32, buffer.operations(), &mut outcomes);
        for (position, (outcome, expected)) in outcomes.iter().zip(&expected[partition]).enumerate()
        {
            let operation = buffer.operations().get(position);
            assert_eq!(outcome, expected, "{} store, {operation:?}", store.kind());
        }
        assert_eq!(outcomes.len(), buffer.operations().len());
    }
}

fn compare_contents(store: &AnyStore, model: &mut Model, keys: u32) {
    assert_eq!(store.len(), model.len());
    let all: Vec<_> = (0..keys).map(|number| (number, Step::Get)).collect();
    apply_and_compare(store, model, &all);
}

fn run(seed: u64, keys: u32, batches: &[Vec<(u32, Step)>]) {
    for kind in StoreKind::ALL {
        let store = AnyStore::with_seed(kind, PARTITIONS, seed);
        let mut model = Model::new();
        for batch in batches {
            apply_and_compare(&store, &mut model, batch);
        }
        compare_contents(&store, &mut model, keys);
    }
}

/// 256 cases, or 20,000 with `KVS_LONG_TESTS=1`.
fn config() -> ProptestConfig {
    let is_long = std::env::var_os("KVS_LONG_TESTS").is_some_and(|value| value == "1");
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if is_long { 20_000 } else { 256 })
    }
}

/// Batches over so many keys.
fn batches(keys: u32) -> impl Strategy<Value = (u32, Vec<Vec<(u32, Step)>>)> {
    (Just(keys), vec(vec((0..keys, step()), 0..120), 0..25))
}

proptest! {
    #![proptest_config(config())]

    /// Few keys make duplicates and rewrites, many make growth.
    #[test]
    fn stores_do_what_a_map_does(
        seed in any::<u64>(),
        (keys, batches) in prop_oneof![batches(8), batches(100), batches(2_000)],
    ) {
        run(seed, keys, &batches);
    }
}

/// Fills, empties by half, refills with other lengths and empties: growth through ten doublings,
/// slots and buckets used again.
#[test]
fn tables_grow_shrink_and_change_lengths() {
    let keys = 20_000;
    let put =
        |number: u32, bytes: usize| (number, Step::Put(Text::Fill { byte: number as u8, bytes }));
    let order = |number: u32| number.wrapping_mul(7_919) % keys;
    let phases: [Vec<(u32, Step)>; 5] = [
        (0..keys).map(|number| put(order(number), 20)).collect(),
        (0..keys).step_by(2).map(|number| (number, Step::Delete)).collect(),
        (0..keys).map(|number| put(order(number), number as usize % 700)).collect(),
        (0..keys).step_by(100).map(|number| put(number, 1 << 20 >> (number % 8))).collect(),
        (0..keys).map(|number| (order(number), Step::Delete)).collect(),
    ];
    for kind in StoreKind::ALL {
        let store = AnyStore::new(kind, PARTITIONS);
        let mut model = Model::new();
        for phase in &phases {
            for batch in phase.chunks(500) {
                apply_and_compare(&store, &mut model, batch);
            }
            compare_contents(&store, &mut model, keys);
        }
        assert!(store.is_empty());
    }
}

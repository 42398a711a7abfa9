//! Stores under several threads at once, and the order inside one run.

use std::thread;

use model::operation::{Action, Operation};
use model::operations::OperationBuffer;
use model::outcome::Outcome;
use store::{AnyStore, Store, StoreKind};

const THREADS: usize = 4;

fn apply(
    store: &AnyStore,
    partition: u32,
    operations: &[Operation<'_>],
) -> (Option<u64>, Vec<Outcome<Vec<u8>>>) {
    let mut buffer = OperationBuffer::default();
    for operation in operations {
        buffer.push(*operation, store.hash(operation.key));
    }
    let mut outcomes = Vec::new();
    let sequence = store.apply(partition, buffer.operations(), &mut outcomes);
    (sequence, outcomes)
}

fn get(store: &AnyStore, partition: u32, key: &[u8]) -> Outcome<Vec<u8>> {
    apply(store, partition, &[Operation { key, action: Action::Get }]).1.remove(0)
}

#[test]
fn concurrent_increments_are_all_counted() {
    const RUNS: usize = 300;
    const KEYS: [&[u8]; 5] = [b"a", b"b", b"c", b"a", b"a counter with a longer key"];
    for kind in StoreKind::ALL {
        let store = AnyStore::new(kind, 2);
        let partitions = store.partitions();
        let run = KEYS.map(|key| Operation { key, action: Action::Increment { by: 1 } });
        let work = |_| {
            let mut sequences = vec![Vec::new(); partitions as usize];
            let mut counts_of_a = vec![Vec::new(); partitions as usize];
            for turn in 0..RUNS {
                let partition = turn % partitions as usize;
                let (sequence, outcomes) = apply(&store, partition as u32, &run);
                sequences[partition].push(sequence);
                for position in [0, 3] {
                    let Outcome::Counter(count) = outcomes[position] else {
                        panic!("an increment of a counter counts, not {outcomes:?}");
                    };
                    counts_of_a[partition].push(count);
                }
            }
            (sequences, counts_of_a)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
        });
        check_sequences(&store, &results.iter().map(|result| &result.0[..]).collect::<Vec<_>>());
        // scc knows no partitions: a key is the same in both.
        let maps = if kind == StoreKind::Scc { 1 } else { partitions as usize };
        let runs = THREADS * RUNS / maps;
        for map in 0..maps {
            for (key, times) in [(KEYS[0], 2), (KEYS[1], 1), (KEYS[4], 1)] {
                let total = (runs * times).to_string().into_bytes();
                assert_eq!(get(&store, map as u32, key), Outcome::Value(total), "{kind}");
            }
            let mut counts: Vec<i64> = results
                .iter()
                .flat_map(|result| result.1.iter().skip(map).step_by(maps).flatten().copied())
                .collect();
            counts.sort_unstable();
            assert!(counts.into_iter().eq(1..=2 * runs as i64), "{kind}: each count is told once");
        }
    }
}

/// Each partition's sequences, over all threads, are 1, 2, 3, ... without a gap, and rise in each
/// thread. Stores without lock domains tell none.
fn check_sequences(store: &AnyStore, by_thread: &[&[Vec<Option<u64>>]]) {
    for partition in 0..store.partitions() as usize {
        let mut all = Vec::new();
        for sequences in by_thread {
            let told: Vec<u64> = sequences[partition].iter().copied().flatten().collect();
            assert!(told.is_sorted());
            all.extend(told);
        }
        if store.kind() == StoreKind::Scc {
            assert_eq!(all, []);
            continue;
        }
        all.sort_unstable();
        let runs: usize = by_thread.iter().map(|sequences| sequences[partition].len()).sum();
        assert!(all.into_iter().eq(1..=runs as u64), "{}", store.kind());
    }
}

#[test]
fn a_swap_that_reports_success_is_the_only_one() {
    const SWAPS: u64 = 200;
    for kind in StoreKind::ALL {
        let store = AnyStore::new(kind, 1);
        let work = || {
            let mut wins = 0;
            let mut current: Option<Vec<u8>> = None;
            while wins < SWAPS {
                let number = current.as_ref().map_or(0, |text| {
                    let text = std::str::from_utf8(text).expect("the tests write text");
                    text.trim_end().parse::<u64>().expect("the tests write numbers")
                });
                // The length changes with the number, so that the entry moves.
                let value = format!("{:<1$}", number + 1, (number % 97) as usize);
                let action = Action::CompareAndSwap {
                    expected: current.as_deref(),
                    value: value.as_bytes(),
                };
                match apply(&store, 0, &[Operation { key: b"k", action }]).1.remove(0) {
                    Outcome::Done => {
                        wins += 1;
                        current = Some(value.into_bytes());
                    }
                    Outcome::Mismatch(other) => current = other,
                    other => panic!("a swap matches or not, not {other:?}"),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(work);
            }
        });
        let Outcome::Value(value) = get(&store, 0, b"k") else {
            panic!("the key was written");
        };
        let text = String::from_utf8(value).expect("the tests write text");
        assert_eq!(text.trim_end(), (SWAPS * THREADS as u64).to_string(), "{kind}");
    }
}

#[test]
fn operations_of_a_run_that_share_a_key_keep_their_order() {
    for kind in StoreKind::ALL {
        let store = AnyStore::new(kind, 1);
        let mut operations = Vec::new();
        let mut expected = Vec::new();
        let values: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; usize::from(n) * 40]).collect();
        for (number, value) in values.iter().enumerate() {
            operations.push(Operation { key: b"k", action: Action::Put { value } });
            operations.push(Operation { key: b"k", action: Action::Get });
            operations.push(Operation { key: b"other", action: Action::Increment { by: 1 } });
            expected.push(Outcome::Done);
            expected.push(Outcome::Value(value.clone()));
            expected.push(Outcome::Counter(number as i64 + 1));
            if number % 3 == 0 {
                operations.push(Operation { key: b"k", action: Action::Delete });
                operations.push(Operation { key: b"k", action: Action::Get });
                expected.push(Outcome::Done);
                expected.push(Outcome::Missing);
            }
        }
        assert_eq!(apply(&store, 0, &operations).1, expected, "{kind}");
    }
}

#[test]
#[should_panic(expected = "one partition")]
fn the_mutex_store_has_one_partition() {
    apply(&AnyStore::new(StoreKind::Mutex, 4), 1, &[]);
}

#[test]
#[should_panic(expected = "one of the store's")]
fn partitions_beyond_the_last_are_refused_by_scc() {
    apply(&AnyStore::new(StoreKind::Scc, 4), 4, &[]);
}

#[test]
#[should_panic(expected = "out of bounds")]
fn partitions_beyond_the_last_are_refused_by_partitioned() {
    apply(&AnyStore::new(StoreKind::Partitioned, 4), 4, &[]);
}

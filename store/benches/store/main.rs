//! Lookups in a store of 10^6 keys, each with a copy of its 128-byte value: nanoseconds per
//! operation, by store, partitions, batch size and distribution of keys.
//!
//! A million operations are prepared beforehand for each case, so that neither a batch nor the
//! uniformly drawn keys are in the caches when their turn comes again. Batches of 100 operations
//! are applied both plainly and with a call of `prefetch` some groups ahead.

mod workload;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use store::{AnyStore, StoreKind};
use workload::{Distribution, Reply, fill, lookups};

const KEYS: u64 = 1_000_000;

/// Operations prepared for each case.
const OPERATIONS: usize = 1_000_000;

/// One case: a store's kind and partitions, operations in a batch, groups asked for ahead.
type Case = (StoreKind, u32, usize, usize);

const CASES: [Case; 11] = [
    (StoreKind::Partitioned, 64, 10_000, 0),
    (StoreKind::Partitioned, 16, 10_000, 0),
    (StoreKind::Partitioned, 4, 10_000, 0),
    (StoreKind::Partitioned, 1, 10_000, 0),
    (StoreKind::Partitioned, 64, 100, 0),
    (StoreKind::Partitioned, 64, 100, AHEAD),
    (StoreKind::Partitioned, 16, 100, 0),
    (StoreKind::Partitioned, 16, 100, AHEAD),
    (StoreKind::Scc, 64, 10_000, 0),
    (StoreKind::Scc, 1, 10_000, 0),
    (StoreKind::Mutex, 1, 10_000, 0),
];

/// How many groups ahead `prefetch` is called, where it is.
const AHEAD: usize = 4;

fn benchmark(criterion: &mut Criterion) {
    let distributions =
        [("zipf", Distribution::zipfian(KEYS)), ("uniform", Distribution::Uniform(KEYS))];
    let mut group = criterion.benchmark_group("lookup");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(1));
    for (kind, partitions, batch, ahead) in CASES {
        let store = AnyStore::with_seed(kind, partitions, 1);
        fill(&store, KEYS);
        for (name, distribution) in &distributions {
            let batches = lookups(&store, distribution, OPERATIONS / batch, batch);
            let mut turns = batches.iter().cycle();
            let mut reply = Reply::default();
            let id = format!("{name}/{kind}/{partitions} partitions/batch {batch}/ahead {ahead}");
            // One iteration is one operation, so that the report is in nanoseconds per operation.
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = iterations.div_ceil(batch as u64);
                    let start = Instant::now();
                    for _ in 0..rounds {
                        reply.bytes.clear();
                        turns.next().expect("there are batches").apply(&store, ahead, &mut reply);
                        black_box(&reply.bytes);
                    }
                    start.elapsed().mul_f64(iterations as f64 / (rounds * batch as u64) as f64)
                });
            });
        }
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);

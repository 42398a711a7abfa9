//! Lookups in a store of 10^6 keys, each with a copy of its 128-byte value: nanoseconds per
//! operation, by store, partitions, batch size and distribution of keys.
//!
//! A million operations are prepared beforehand for each case, so that neither a batch nor the
//! uniformly drawn keys are in the caches when their turn comes again.

mod workload;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use store::{AnyStore, StoreKind};
use workload::{Distribution, Fill, Reply, lookups};

const KEYS: u64 = 1_000_000;

/// Operations prepared for each case.
const OPERATIONS: usize = 1_000_000;

/// One case: a store's kind and partitions, and the operations in a batch.
type Case = (StoreKind, u32, usize);

const CASES: [Case; 10] = [
    (StoreKind::Partitioned, 64, 10_000),
    (StoreKind::Partitioned, 16, 10_000),
    (StoreKind::Partitioned, 4, 10_000),
    (StoreKind::Partitioned, 1, 10_000),
    (StoreKind::Partitioned, 64, 1_000),
    (StoreKind::Partitioned, 64, 100),
    (StoreKind::Partitioned, 16, 100),
    (StoreKind::Scc, 64, 10_000),
    (StoreKind::Scc, 1, 10_000),
    (StoreKind::Mutex, 1, 10_000),
];

fn benchmark(criterion: &mut Criterion) {
    let distributions =
        [("zipf", Distribution::zipfian(KEYS)), ("uniform", Distribution::Uniform(KEYS))];
    let mut group = criterion.benchmark_group("lookup");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(1));
    let fill = Fill::new(KEYS);
    for (kind, partitions, batch) in CASES {
        let store = AnyStore::with_seed(kind, partitions, 1);
        let mut reply = Reply::default();
        for batch in fill.batches(&store) {
            batch.apply(&store, &mut reply);
        }
        for (name, distribution) in &distributions {
            let batches = lookups(&store, distribution, OPERATIONS / batch, batch);
            let mut turns = batches.iter().cycle();
            let id = format!("{name}/{kind}/{partitions} partitions/batch {batch}");
            // One iteration is one operation, so that the report is in nanoseconds per operation.
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = iterations.div_ceil(batch as u64);
                    let start = Instant::now();
                    for _ in 0..rounds {
                        reply.bytes.clear();
                        turns.next().expect("there are batches").apply(&store, &mut reply);
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

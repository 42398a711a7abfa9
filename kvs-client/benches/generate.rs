//! What the load generator spends on an operation, the library's encoding and decoding aside:
//! sampling keys, choosing kinds, formatting keys, filling values; then verifying what came back.
//!
//! Each benchmark does a batch of 10,000 operations of YCSB-B; divide by that.

// Benches are compiled with `cfg(test)` but without the harness, which leaves tests half there.
#[allow(dead_code, unused_imports)]
#[path = "../src/load"]
mod load {
    pub(crate) mod control;
    pub(crate) mod keyspace;
    pub(crate) mod permutation;
    pub(crate) mod plan;
    pub(crate) mod random;
    pub(crate) mod recorder;
    pub(crate) mod source;
    pub(crate) mod value;
    pub(crate) mod workload;
    pub(crate) mod zipfian;
}

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kvs_client::{FailureClass, Outcome};

use load::control::Control;
use load::keyspace::Keyspace;
use load::plan::{Kind, PendingSwaps, Plan};
use load::random::Random;
use load::recorder::{Classified, Recorder, Reply};
use load::source::{Source, Workload};
use load::value::{ValueWriter, Verifier};
use load::workload::{Distribution, Mix};

const OPERATIONS: usize = 10_000;
const KEYS: u64 = 1_000_000;
const RUN: u64 = 77;

fn source(distribution: Distribution) -> Source {
    let keyspace = Arc::new(Keyspace::new(KEYS, false, distribution, 0.99, (0, 1)));
    let mix = Arc::new(Mix::ycsb("B").expect("workload B is known"));
    Source::Workload(Box::new(Workload::new(keyspace, mix, Random::new(1, 0, 0))))
}

fn values() -> ValueWriter {
    let size = "128".parse().expect("128 is a size");
    ValueWriter::new(RUN, 0, size, &mut Random::new(1, 0, 1))
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    for distribution in [Distribution::Zipfian, Distribution::Uniform, Distribution::Latest] {
        group.bench_function(BenchmarkId::from_parameter(distribution), |bencher| {
            let (mut source, mut plan) = (source(distribution), Plan::new());
            let pending = PendingSwaps::default();
            bencher.iter(|| source.plan(black_box(&mut plan), OPERATIONS, &pending));
        });
    }
    group.finish();
}

fn fill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fill");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    group.bench_function("keys and values", |bencher| {
        let (mut values, mut random) = (values(), Random::new(1, 0, 2));
        let mut plan = Plan::new();
        source(Distribution::Zipfian).plan(&mut plan, OPERATIONS, &PendingSwaps::default());
        bencher.iter(|| {
            let mut digits = itoa::Buffer::new();
            for (stamp, planned) in plan.operations.iter().enumerate() {
                black_box(digits.format(planned.number()).as_bytes());
                if planned.kind() == Kind::Put {
                    black_box(values.write(stamp as u64, planned.number(), &mut random));
                }
            }
        });
    });
    group.finish();
}

/// A failure, which does not occur here.
struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("never")
    }
}

impl Classified for Never {
    fn class(&self) -> FailureClass {
        FailureClass::NotApplied
    }
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    let mut plan = Plan::new();
    source(Distribution::Zipfian).plan(&mut plan, OPERATIONS, &PendingSwaps::default());
    // The values lie one after the other, as in a reply.
    let (mut values, mut random) = (values(), Random::new(1, 0, 2));
    let reply: Vec<u8> = plan
        .operations
        .iter()
        .flat_map(|planned| values.write(5, planned.number(), &mut random).to_vec())
        .collect();
    for (name, verifier) in [("on", Verifier::ThisRun(RUN)), ("off", Verifier::Off)] {
        group.bench_function(name, |bencher| {
            let mut recorder = Recorder::new(1, verifier, false);
            let control = Control::for_operations(u64::MAX);
            let mut pending = PendingSwaps::default();
            bencher.iter(|| {
                let replies = (0..OPERATIONS).map(|index| Reply {
                    outcome: Ok::<_, Never>(match plan.operations[index].kind() {
                        Kind::Get => Outcome::Value(&reply[index * 128..][..128]),
                        _ => Outcome::Done,
                    }),
                    server: 0,
                    reissued: false,
                });
                plan.invocation = Instant::now();
                recorder.batch(&plan, Instant::now(), &control, replies, &mut pending, |_, _, _| {})
            });
            assert!(recorder.faults.is_empty(), "{:?}", recorder.faults);
        });
    }
    group.finish();
}

criterion_group!(benches, plan, fill, verify);
criterion_main!(benches);

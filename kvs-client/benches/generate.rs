//! What a client spends on an operation, the sockets aside: its key and kind are drawn, it is grouped
//! by partition and encoded; its outcome is decoded and checked.
//!
//! YCSB-B, 10^6 keys, values of 128 bytes; criterion's throughput counts operations.

// Benches are compiled with `cfg(test)` but without the harness, which leaves tests half there.
#[allow(dead_code, unused_imports)]
#[path = "../src/load"]
mod load {
    pub(crate) mod batches;
    pub(crate) mod control;
    pub(crate) mod decimal;
    pub(crate) mod fill;
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

use model::outcome::{Replies, Shape};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use criterion::{
    BatchSize, Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use kvs_client::offline::{self, Encoded, Offline};
use kvs_client::{Action, Outcome};
use model::operations::Operations;
use model::slot::slot_of;
use model::slots::Partitions;
use proto::batch::{self, Placement};
use proto::reply::{ReplyBuilder, ReplyHeader};

use load::batches::Reply;
use load::control::Control;
use load::fill::fill;
use load::keyspace::Keyspace;
use load::plan::{PendingSwaps, Plan};
use load::random::Random;
use load::recorder::Recorder;
use load::source::{Source, Workload};
use load::value::{ValueWriter, Verifier};
use load::workload::{Distribution, Mix};

const BATCHES: [usize; 2] = [10_000, 1_000];
const KEYS: u64 = 1_000_000;
const RUN: u64 = 77;

fn keyspace(distribution: Distribution) -> Arc<Keyspace> {
    Arc::new(Keyspace::new(KEYS, false, distribution, 0.99, (0, 1)))
}

fn source(keyspace: &Arc<Keyspace>, worker: u32) -> Source {
    let mix = Arc::new(Mix::ycsb("B").expect("workload B is known"));
    let random = Random::new(1, 0, worker);
    Source::Workload(Box::new(Workload::new(Arc::clone(keyspace), mix, random)))
}

fn values() -> ValueWriter {
    let size = "128".parse().expect("128 is a size");
    ValueWriter::new(RUN, 0, size, &mut Random::new(1, 0, 1))
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(BATCHES[0] as u64));
    for distribution in [Distribution::Zipfian, Distribution::Uniform, Distribution::Latest] {
        group.bench_function(BenchmarkId::from_parameter(distribution), |bencher| {
            let (mut source, mut plan) = (source(&keyspace(distribution), 0), Plan::new());
            let pending = PendingSwaps::default();
            bencher.iter(|| source.plan(black_box(&mut plan), BATCHES[0], &pending));
        });
    }
    group.finish();
}

/// Workers that take turns, so that a batch's memory is as cold as in a run.
const WORKERS: usize = 64;
/// Partitions of the server: eight a thread.
const PARTITIONS: u32 = 16;
/// What a GET's outcome takes in a reply when some values stand there once.
const OUTCOME_BYTES: usize = 88;

/// A worker with its last batch.
struct Worker {
    source: Source,
    values: ValueWriter,
    random: Random,
    plan: Plan,
    encoded: Option<Encoded>,
}

impl Worker {
    fn all() -> Vec<Self> {
        let keyspace = keyspace(Distribution::Zipfian);
        let worker = |index| Self {
            source: source(&keyspace, index),
            values: values(),
            random: Random::new(1, 1, index),
            plan: Plan::new(),
            encoded: None,
        };
        (0..WORKERS as u32).map(worker).collect()
    }

    /// Draws a batch, groups and encodes it, and drops the one before it.
    fn encode(&mut self, lane: &mut Offline, operations: usize) {
        let pending = PendingSwaps::default();
        self.source.plan(&mut self.plan, operations, &pending);
        let mut batch = lane.batch(operations);
        fill(&mut batch, &self.plan, &mut self.values, &mut self.random, &pending)
            .expect("keys and values are within the limits");
        self.plan.first_stamp = batch.first_stamp();
        self.encoded = Some(lane.encode(batch));
    }
}

/// What a server that owns all slots answers to a batch: to each GET its key's value.
fn answer(body: &[u8], values: &mut ValueWriter, random: &mut Random) -> Bytes {
    let (mut groups, mut entries) = (Vec::new(), Vec::new());
    let placement = Owner(Partitions::new(PARTITIONS));
    let decoded = batch::decode(body, &placement, &mut groups, &mut entries)
        .expect("a batch of our own is well-formed");
    let mut builder = ReplyBuilder::default();
    let reply = ReplyHeader { data_id: 1, number: decoded.header.number, epoch: 1 };
    let shape = Shape {
        operations: entries.len(),
        groups: groups.len(),
        has_sequences: true,
        is_recorded: false,
        send_repeats_once: true,
    };
    builder.prepare(BytesMut::new(), reply);
    builder.begin(&shape);
    let operations = Operations::new(body, &entries);
    for (index, entry) in entries.iter().enumerate() {
        let operation = operations.get(index);
        let outcome = match operation.action {
            Action::Get => {
                let text = std::str::from_utf8(operation.key).expect("keys are decimal");
                let key = text.parse().expect("keys are decimal");
                Outcome::Value(values.write(5, key, random))
            }
            _ => Outcome::Done,
        };
        builder.outcome(entry.hash, outcome);
    }
    builder.finish().freeze()
}

struct Owner(Partitions);

impl Placement for Owner {
    fn place(&self, key: &[u8]) -> (u32, bool) {
        (self.0.of(slot_of(key)), true)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        u64::from(slot_of(key)).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ key.len() as u64
    }
}

/// One operation: drawn, grouped and encoded; and its outcome: decoded, checked and counted.
fn operation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operation");
    for operations in BATCHES {
        group.throughput(Throughput::Elements(operations as u64));
        group.bench_function(BenchmarkId::new("encode", operations), |bencher| {
            let mut lane = Offline::new(PARTITIONS, OUTCOME_BYTES);
            let mut workers = Worker::all();
            let mut turn = 0;
            bencher.iter(|| {
                workers[turn % WORKERS].encode(&mut lane, operations);
                turn += 1;
            });
        });
        group.bench_function(BenchmarkId::new("decode", operations), |bencher| {
            decode_and_verify(bencher, operations);
        });
    }
    group.finish();
}

fn decode_and_verify(bencher: &mut Bencher<'_>, operations: usize) {
    let mut lane = Offline::new(PARTITIONS, OUTCOME_BYTES);
    let mut workers = Worker::all();
    let mut recorder = Recorder::new(1, Verifier::ThisRun(RUN), false);
    let control = Control::for_operations(u64::MAX);
    let mut pending = PendingSwaps::default();
    let replies: Vec<Vec<Bytes>> = workers
        .iter_mut()
        .map(|worker| {
            worker.encode(&mut lane, operations);
            let bodies = worker.encoded.as_ref().expect("it was encoded").bodies();
            let Worker { values, random, .. } = worker;
            bodies.iter().map(|body| answer(body, values, random)).collect()
        })
        .collect();
    let mut turn = 0;
    let arrive = || {
        let worker = turn % WORKERS;
        turn += 1;
        // As the socket leaves it: copied a moment ago.
        let copies = replies[worker].iter().map(|reply| Bytes::copy_from_slice(reply)).collect();
        (worker, workers[worker].encoded.clone().expect("it was encoded"), copies)
    };
    let check = |(worker, encoded, replies): (usize, Encoded, Vec<Bytes>)| {
        let outcomes = offline::decode(encoded, replies);
        let plan = &workers[worker].plan;
        let reply = |index| Reply::of(&outcomes, plan.first_stamp, index);
        recorder.batch(plan, Instant::now(), &control, reply, &mut pending, |_, _, _| {});
        outcomes
    };
    bencher.iter_batched(arrive, check, BatchSize::PerIteration);
    assert!(recorder.faults.is_empty(), "{:?}", recorder.faults);
}

criterion_group!(benches, plan, operation);
criterion_main!(benches);

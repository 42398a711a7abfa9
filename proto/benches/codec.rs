//! What the wire costs, per operation of a large batch.
//!
//! One batch of 10,000 operations as YCSB-B has them (95% GET, 5% PUT, 128-byte values, zipfian
//! 0.99 over 10^6 keys, so 55% of its keys are distinct), in 64 groups: written, read with both
//! hashes of each key, answered, and the answer read. Criterion prints the time of the whole batch;
//! a ten-thousandth of it is the time of an operation.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::operation::{Action, Operation};
use model::outcome::{Outcome, Replies, Shape};
use model::session::SessionId;
use model::slot::slot_of;
use model::slots::{Partitions, Shard, SlotSet};
use proto::batch::{self, BatchHeader, GroupEncoder, Placement};
use proto::reply::{Reply, ReplyBuilder, ReplyHeader};
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

const OPERATIONS: usize = 10_000;
const PARTITIONS: u32 = 64;
const KEYS: usize = 1_000_000;
const VALUE_BYTES: usize = 128;
const REPLY_HEADER: ReplyHeader = ReplyHeader { data_id: 1, number: 1, epoch: 1 };
const BATCH_HEADER: BatchHeader = BatchHeader {
    session: SessionId { data_id: 1, number: 2 },
    shard: 1,
    lane: 3,
    epoch: 1,
    number: 1,
    lowest_open: 1,
    first_stamp: 1 << 40,
};

/// A shard that owns everything.
struct Sole {
    partitions: Partitions,
    slots: SlotSet,
    secrets: RapidSecrets,
}

impl Placement for Sole {
    #[inline]
    fn place(&self, key: &[u8]) -> (u32, bool) {
        let slot = slot_of(key);
        (self.partitions.of(slot), self.slots.contains(slot))
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_seeded(key, &self.secrets)
    }
}

/// One operation of the workload: its key's number decides over its key, partition and value.
struct Draw {
    key: String,
    hash: u64,
    partition: usize,
    is_put: bool,
    value: usize,
}

struct Workload {
    sole: Sole,
    draws: Vec<Draw>,
    /// The values of the distinct keys.
    values: Vec<[u8; VALUE_BYTES]>,
}

impl Workload {
    fn new() -> Self {
        let sole = Sole {
            partitions: Partitions::new(PARTITIONS),
            slots: Shard::SOLE.first_slots(),
            secrets: RapidSecrets::seed(7),
        };
        let mut sum = 0.0;
        let weights = (1..=KEYS).map(|rank| {
            sum += (rank as f64).powf(-0.99);
            sum
        });
        let sums: Vec<f64> = weights.collect();
        let mut random = SplitMix64::seed_from_u64(42);
        let mut values = Vec::new();
        let mut places = std::collections::HashMap::new();
        let mut draw = || {
            let point = random.random::<f64>() * sum;
            let rank = sums.partition_point(|sum| *sum < point) as u64;
            // Hot keys are not the lowest numbers.
            let key = (rank * 7_919 % KEYS as u64).to_string();
            let value = *places.entry(rank).or_insert_with(|| {
                let mut value = [0; VALUE_BYTES];
                random.fill(&mut value);
                values.push(value);
                values.len() - 1
            });
            Draw {
                hash: sole.hash(key.as_bytes()),
                partition: sole.place(key.as_bytes()).0 as usize,
                is_put: random.random_ratio(1, 20),
                key,
                value,
            }
        };
        let draws = (0..OPERATIONS).map(|_| draw()).collect();
        Self { sole, draws, values }
    }

    /// Writes the batch with these encoders, one per partition.
    fn encode(&self, encoders: &mut [GroupEncoder]) -> Bytes {
        for (stamp_offset, draw) in self.draws.iter().enumerate() {
            let action = if draw.is_put {
                Action::Put { value: &self.values[draw.value] }
            } else {
                Action::Get
            };
            let operation = Operation { key: draw.key.as_bytes(), action };
            encoders[draw.partition].push(stamp_offset as u64, &operation);
        }
        let groups: Vec<_> = (0..).zip(&*encoders).filter(|(_, group)| !group.is_empty()).collect();
        let body = batch::assemble(&BATCH_HEADER, &groups);
        encoders.iter_mut().for_each(GroupEncoder::clear);
        body
    }

    /// Answers the batch in `buffer`, group by group, as a server does.
    fn answer(
        &self,
        builder: &mut ReplyBuilder,
        buffer: BytesMut,
        grouped: &[&Draw],
        send_repeats_once: bool,
    ) -> BytesMut {
        let shape = Shape {
            operations: OPERATIONS,
            groups: PARTITIONS as usize,
            has_sequences: true,
            is_recorded: false,
            send_repeats_once,
        };
        builder.prepare(buffer, REPLY_HEADER);
        builder.begin(&shape);
        for draw in grouped {
            let outcome = if draw.is_put {
                Outcome::Done
            } else {
                Outcome::Value(&self.values[draw.value][..])
            };
            builder.outcome(draw.hash, outcome);
        }
        builder.finish()
    }
}

fn codec(criterion: &mut Criterion) {
    let workload = Workload::new();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(OPERATIONS as u64));

    let mut encoders: Vec<_> = (0..PARTITIONS).map(|_| GroupEncoder::default()).collect();
    group.bench_function("batch_encode", |bencher| {
        bencher.iter(|| black_box(workload.encode(&mut encoders)));
    });

    let body = workload.encode(&mut encoders);
    let (mut groups, mut entries) = (Vec::new(), Vec::new());
    group.bench_function("batch_decode", |bencher| {
        bencher.iter(|| {
            batch::decode(black_box(&body), &workload.sole, &mut groups, &mut entries)
                .expect("the batch is well-formed")
        });
    });

    let mut grouped: Vec<&Draw> = workload.draws.iter().collect();
    grouped.sort_by_key(|draw| draw.partition);
    for (name, send_repeats_once) in [("repeats_once", true), ("in_full", false)] {
        let mut builder = ReplyBuilder::default();
        let mut spare = BytesMut::new();
        group.bench_function(format!("reply_build/{name}"), |bencher| {
            bencher.iter(|| {
                let buffer = std::mem::take(&mut spare);
                spare = workload.answer(&mut builder, buffer, &grouped, send_repeats_once);
                black_box(spare.len())
            });
        });
        let frame =
            workload.answer(&mut builder, BytesMut::new(), &grouped, send_repeats_once).freeze();
        group.bench_function(format!("reply_decode/{name}"), |bencher| {
            bencher.iter(|| Reply::decode(black_box(frame.clone())).expect("it is well-formed"));
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);

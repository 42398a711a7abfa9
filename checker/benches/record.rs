//! What recording costs the worker, in nanoseconds an operation: the least of many short runs, so
//! that other work on the machine does not count.

use std::path::Path;
use std::time::Instant;

use checker::history::{
    Batch, Clock, Header, HistoryWriter, Key, Kind, Operation, Outcome, Value, Written,
};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

const BATCH: u64 = 1000;
const ROUNDS: u64 = 20_000;

fn main() {
    let writer = HistoryWriter::create(Path::new("/dev/null"), &Header::default());
    let writer = writer.expect("/dev/null can be written");
    let mut recorder = writer.recorder();
    let mut random = SplitMix64::seed_from_u64(1);
    // 95% GETs of 10^6 keys, with groups from 64 partitions.
    let operations: Vec<Operation<'_>> = (0..BATCH)
        .map(|index| {
            let random = random.next_u64();
            let is_get = random % 100 < 95;
            let id = Value::Id { client: 1, stamp: random % 300_000_000 };
            Operation {
                key: Key::Number(random % 1_000_000),
                stamp: 1_000_000_000 + index,
                kind: if is_get { Kind::Get } else { Kind::Put },
                outcome: Outcome::Ok,
                read: if is_get { id } else { Value::NotKnown },
                written: if is_get { Written::Nothing } else { Written::Own },
                by: 0,
                sequence: Some(1_000_000 + random % 64),
                boot: 1,
            }
        })
        .collect();
    let mut least = f64::MAX;
    for round in 0..ROUNDS {
        let inv_ns = round * 100_000;
        let start = Instant::now();
        let first_stamp = 1_000_000_000;
        recorder.begin(Batch { worker: 0, inv_ns, res_ns: inv_ns + 70_000, first_stamp });
        for operation in &operations {
            recorder.record(operation);
        }
        least = least.min(start.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    drop(recorder);
    let written = writer.finish(Clock::default()).expect("/dev/null can be written");
    println!(
        "record: {least:.2} ns an operation, {:.1} bytes each",
        written.bytes as f64 / written.operations as f64
    );
}

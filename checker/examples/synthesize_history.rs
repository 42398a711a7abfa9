//! Writes the history of a run that never was: workers with batches in flight on a legal store, to
//! measure the recorder and the checker.
//!
//! ```text
//! synthesize_history FILE [operations] [batch_size] [workers] [keys] [percent of GETs]
//! ```
//!
//! Keys are zipfian with theta 0.99, sampled by rejection-inversion (Hoermann and Derflinger 1996)
//! from a table of a million draws. Prints how long the recording took on the worker's side.

use std::path::Path;
use std::time::{Duration, Instant};

use checker::history::{
    Batch, Clock, Header, HistoryWriter, Key, Kind, Operation, Outcome, Value, Written,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// Groups of keys that the store would lock together.
const PARTITIONS: u64 = 64;
/// Time that an operation takes in the store, in nanoseconds.
const OPERATION_NS: u64 = 100;

/// Ranks with the probabilities of YCSB's zipfian distribution, theta 0.99, by the inverse of the
/// summed probabilities.
fn ranks(keys: usize, draws: usize, random: &mut SplitMix64) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += (rank as f64).powf(-0.99);
            sum
        })
        .collect();
    (0..draws)
        .map(|_| {
            let point = random.random::<f64>() * sum;
            sums.partition_point(|s| *s < point) as u32
        })
        .collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path =
        arguments.get(1).expect("usage: synthesize_history FILE [operations] [batch_size] ...");
    let number = |index: usize, default: u64| {
        let text = arguments.get(index);
        text.map_or(default, |text| text.parse().expect("the arguments behind FILE are numbers"))
    };
    let (operations, batch_size) = (number(2, 10_000_000), number(3, 1000));
    let (workers, keys, gets) = (number(4, 64), number(5, 1_000_000), number(6, 95));
    let header = Header { run: 1, configuration: "synthesized".into(), ..Header::default() };
    let writer = HistoryWriter::create(Path::new(path), &header).expect("the file can be written");
    let mut recorders: Vec<_> = (0..workers).map(|_| writer.recorder()).collect();
    let mut random = SplitMix64::seed_from_u64(7);
    let ranks = ranks(keys as usize, 1 << 20, &mut random);
    let mut last_writer = vec![None; keys as usize];
    let mut sequences = vec![0; PARTITIONS as usize];
    let mut batch = Vec::with_capacity(batch_size as usize);
    let (mut stamp, mut now, mut recording) = (0, 1_000_000_000, Duration::ZERO);
    let start = Instant::now();
    for number in 0..operations.div_ceil(batch_size) {
        let count = batch_size.min(operations - number * batch_size);
        batch.clear();
        let group_of = |key: u64| (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize;
        for index in 0..count {
            let key = u64::from(ranks[random.random_range(0..ranks.len())]);
            let is_get = random.random_range(0..100) < gets;
            let value = &mut last_writer[key as usize];
            let id = value.map_or(Value::Missing, |stamp| Value::Id { client: 0, stamp });
            if !is_get {
                *value = Some(stamp + index);
            }
            batch.push(Operation {
                key: Key::Number(key),
                stamp: stamp + index,
                kind: if is_get { Kind::Get } else { Kind::Put },
                outcome: Outcome::Ok,
                read: if is_get { id } else { Value::NotKnown },
                written: if is_get { Written::Nothing } else { Written::Own },
                by: 0,
                sequence: Some(sequences[group_of(key)]),
                boot: 1,
            });
        }
        sequences.iter_mut().for_each(|sequence| *sequence += 1);
        // All workers have a batch in flight; they are served in turn.
        let span = batch_size * OPERATION_NS;
        let (inv_ns, res_ns) = (now - (workers - 1) * span / 2, now + (workers + 1) * span / 2);
        now += span;
        let recorder = &mut recorders[(number % workers) as usize];
        let before = Instant::now();
        let worker = (number % workers) as u32;
        recorder.begin(Batch { worker, inv_ns, res_ns, first_stamp: stamp });
        for operation in &batch {
            recorder.record(operation);
        }
        recording += before.elapsed();
        stamp += count;
    }
    drop(recorders);
    let written = writer.finish(Clock::default()).expect("the file can be written");
    println!(
        "{} operations, {:.1} bytes each, {:.1} ns each to record, {:.1} s in all",
        written.operations,
        written.bytes as f64 / written.operations as f64,
        recording.as_nanos() as f64 / written.operations as f64,
        start.elapsed().as_secs_f64(),
    );
}

//! What the slot of a key costs, as a decoder asks for it.
//!
//! 10,000 different keys lie in one buffer with 135 bytes from one to the next, as in a batch of
//! 128-byte values. Beside it rapidhash, which knows no tags, and a CRC of bytes from a table,
//! which looks for none. Criterion prints the time of the whole batch; a ten-thousandth of it is
//! the time of a key.

use std::hint::black_box;
use std::ops::Range;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::slot::{SLOTS, slot_of};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rapidhash::v3::rapidhash_v3;

const KEYS: usize = 10_000;
const GAP_BYTES: usize = 135;

static CRC: crc::Crc<u16, crc::Table<1>> = crc::Crc::<u16, crc::Table<1>>::new(&crc::CRC_16_XMODEM);

/// A buffer and where its keys lie.
fn lay(mut key: impl FnMut(u64) -> String) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut buffer, mut places) = (Vec::new(), Vec::new());
    let mut random = SplitMix64::seed_from_u64(1);
    for _ in 0..KEYS {
        let start = buffer.len();
        buffer.extend_from_slice(key(random.next_u64()).as_bytes());
        places.push(start..buffer.len());
        buffer.resize(buffer.len() + GAP_BYTES, 0xa5);
    }
    (buffer, places)
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slot");
    group.throughput(Throughput::Elements(KEYS as u64));
    let digits = |number: u64, length: usize| format!("{:0length$}", number % 1_000_000);
    let mut cases = vec![
        ("mixed".to_owned(), lay(|number| digits(number, 6 + (number >> 40) as usize % 27))),
        ("tag".to_owned(), lay(|number| format!("{{user{}}}.following", digits(number, 6)))),
    ];
    for length in [6, 8, 16, 24, 32] {
        cases.push((length.to_string(), lay(|number| digits(number, length))));
    }
    for (name, (buffer, places)) in &cases {
        let mut measure = |what: &str, slot: &dyn Fn(&mut [u32])| {
            let mut slots = vec![0; KEYS];
            group.bench_function(BenchmarkId::new(what, name), |bencher| {
                bencher.iter(|| slot(black_box(&mut slots)));
            });
        };
        measure("ours", &|slots| each(buffer, places, slots, slot_of));
        measure("rapidhash", &|slots| {
            each(buffer, places, slots, |key| (rapidhash_v3(key) % u64::from(SLOTS)) as u32);
        });
        measure("table", &|slots| {
            each(buffer, places, slots, |key| u32::from(CRC.checksum(key)) % SLOTS);
        });
    }
    group.finish();
}

#[inline]
fn each(buffer: &[u8], places: &[Range<usize>], slots: &mut [u32], slot: impl Fn(&[u8]) -> u32) {
    for (place, out) in places.iter().zip(slots) {
        *out = slot(&buffer[place.clone()]);
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);

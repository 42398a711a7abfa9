//! Fills each store with keys of six to eight digits and 128-byte values, in random order, and
//! tells what it takes: resident memory over payload, and the median and the longest batch of
//! 10,000 PUTs. If growth pauses they are far apart, and also if other programs are busy: so a loop
//! that does nothing for as long as the batches took tells the machine's own longest pause.
//!
//!     cargo run --release -p store --example footprint [keys] [partitions]
//!
//! It runs itself once for each store, so that none inherits another's memory.

#[allow(dead_code)]
#[path = "../benches/store/workload.rs"]
mod workload;

use std::process::Command;
use std::time::{Duration, Instant};

use store::{AnyStore, Store, StoreKind};
use workload::{Fill, Reply, VALUE_BYTES};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(default, |text| text.parse().expect("the argument is a number"))
    };
    let (keys, partitions) = (number(1, 1_000_000), number(2, 64));
    if let Some(kind) = arguments.get(3) {
        return measure(kind.parse().expect("the argument is a store"), keys, partitions as u32);
    }
    for kind in StoreKind::ALL {
        Command::new(&arguments[0])
            .args([keys.to_string(), partitions.to_string(), kind.to_string()])
            .status()
            .expect("the example can run itself");
    }
}

fn measure(kind: StoreKind, keys: u64, partitions: u32) {
    let fill = Fill::new(keys);
    let before = resident_bytes();
    let store = AnyStore::new(kind, partitions);
    let mut reply = Reply::default();
    let mut times_ms = Vec::new();
    for batch in fill.batches(&store) {
        let start = Instant::now();
        batch.apply(&store, &mut reply);
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    assert_eq!(store.len() as u64, keys, "each key was put once");
    let taken = resident_bytes() - before;
    let payload = (0..keys).map(|number| format!("{number:06}").len() + VALUE_BYTES).sum::<usize>();
    times_ms.sort_by(f64::total_cmp);
    println!(
        "{kind:<12} {:>6.1} bytes a key, {:.2} times the payload; batches {:.2} ms, longest {:.2} ms, \
         the machine's own pauses up to {:.2} ms",
        taken as f64 / keys as f64,
        taken as f64 / payload as f64,
        times_ms[times_ms.len() / 2],
        times_ms[times_ms.len() - 1],
        longest_pause_ms(times_ms.iter().sum()),
    );
}

/// The longest time between two looks at the clock, of a thread that does nothing else.
fn longest_pause_ms(for_ms: f64) -> f64 {
    let end = Instant::now() + Duration::from_secs_f64(for_ms / 1e3);
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while last < end {
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
    }
    longest.as_secs_f64() * 1e3
}

/// What the process holds in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("the system is Linux");
    let pages = pages.split_whitespace().nth(1).expect("the second field is the resident pages");
    pages.parse::<usize>().expect("pages are counted") * 4096
}

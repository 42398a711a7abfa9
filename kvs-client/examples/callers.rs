//! Many callers who know nothing of batches: each awaits one GET after another, and what waits while
//! a request is on its way leaves together in the next one.
//!
//!     cargo run --release --example callers -- 127.0.0.1:8080 64 3 1000000
//!
//! The arguments are the hosts, the number of callers, seconds, and the number of keys, which are
//! `0`, `1` and so on. Prints GETs per second and their median latency in microseconds.

use std::time::{Duration, Instant};

use kvs_client::{Client, Error};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let hosts = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let callers: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let secs: f64 = arguments.next().map_or(Ok(0.5), |text| text.parse())?;
    let keys: u64 = arguments.next().map_or(Ok(1000), |text| text.parse())?;

    let client = Client::connect(&hosts).await?;
    let end = Instant::now() + Duration::from_secs_f64(secs);
    let tasks: Vec<_> =
        (0..callers).map(|caller| tokio::spawn(call(client.clone(), caller, keys, end))).collect();
    let mut latencies_ns = Vec::new();
    for task in tasks {
        latencies_ns.extend(task.await??);
    }
    latencies_ns.sort_unstable();
    let median_ns = latencies_ns.get(latencies_ns.len() / 2).copied().unwrap_or(0);
    println!("{:.0} {:.1}", latencies_ns.len() as f64 / secs, f64::from(median_ns) / 1000.0);
    client.close().await;
    Ok(())
}

/// Gets random keys until `end`. Returns how long each took, in nanoseconds.
async fn call(client: Client, caller: u64, keys: u64, end: Instant) -> Result<Vec<u32>, Error> {
    let mut latencies_ns = Vec::new();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(caller);
    loop {
        let began = Instant::now();
        if began >= end {
            return Ok(latencies_ns);
        }
        client.get(random.random_range(0..keys).to_string()).await?;
        latencies_ns.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
}

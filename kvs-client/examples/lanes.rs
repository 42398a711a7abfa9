//! A stream of batches with several in flight: `cargo run --example lanes -- 127.0.0.1:8080`, with a
//! server running.

use kvs_client::{Client, Error, Outcome};

const BATCHES: i64 = 50;
const DEPTH: usize = 8;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hosts = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    run(&hosts).await
}

/// Counts to fifty, eight batches in flight: a lane keeps the order of its operations on a key.
pub async fn run(hosts: &str) -> Result<(), Error> {
    let client = Client::connect(hosts).await?;
    client.delete("lanes:count").await?;
    let mut lane = client.lane();
    let mut sent = 0;
    let mut counted = 0;
    while counted < BATCHES {
        while sent < BATCHES && lane.in_flight() < DEPTH {
            let mut batch = lane.batch(1);
            batch.increment("lanes:count", 1)?;
            lane.submit(batch).await;
            sent += 1;
        }
        let completed = lane.next().await.expect("batches are in flight");
        counted += 1;
        assert_eq!(completed.outcomes.get(0), Ok(Outcome::Counter(counted)));
    }
    client.delete("lanes:count").await?;
    println!("lanes: all as expected");
    Ok(())
}

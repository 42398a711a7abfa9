//! Many operations at once: `cargo run --example batches -- 127.0.0.1:8080`, with a server running.

use kvs_client::{Client, Error, Outcome};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hosts = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    run(&hosts).await
}

/// Writes a thousand keys in one batch, reads them in another, and removes them.
pub async fn run(hosts: &str) -> Result<(), Error> {
    let client = Client::connect(hosts).await?;
    let keys: Vec<String> = (0..1000).map(|number| format!("batches:{number}")).collect();

    let mut writes = client.batch(keys.len());
    for key in &keys {
        writes.put(key, key.to_uppercase())?;
    }
    let outcomes = client.run(writes).await;
    for index in 0..outcomes.len() {
        assert_eq!(outcomes.get(index), Ok(Outcome::Done));
    }

    // A batch is a way to travel, not a transaction: each operation has an outcome of its own.
    let mut reads = client.batch(keys.len() + 1);
    for key in &keys {
        reads.get(key)?;
    }
    reads.get("batches:missing")?;
    let outcomes = client.run(reads).await;
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(outcomes.get(index), Ok(Outcome::Value(key.to_uppercase().as_bytes())));
    }
    assert_eq!(outcomes.get(keys.len()), Ok(Outcome::Missing));

    let mut removals = client.batch(keys.len());
    for key in &keys {
        removals.delete(key)?;
    }
    client.run(removals).await;
    println!("batches: all as expected");
    Ok(())
}

//! Single operations: `cargo run --example quickstart -- 127.0.0.1:8080`, with a server running.

use kvs_client::{Client, Error, Swap};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hosts = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    run(&hosts).await
}

/// Reads and writes a few keys, and removes them again.
pub async fn run(hosts: &str) -> Result<(), Error> {
    let client = Client::connect(hosts).await?;

    client.put("quickstart:greeting", "hello").await?;
    let greeting = client.get("quickstart:greeting").await?;
    assert_eq!(greeting.as_deref(), Some(&b"hello"[..]));

    // A CAS that does not match is an outcome, and says what is there.
    let swap = client.compare_and_swap("quickstart:greeting", Some(b"bye"), "hi").await?;
    assert_eq!(swap, Swap::Mismatch(Some("hello".into())));
    let swap = client.compare_and_swap("quickstart:greeting", Some(b"hello"), "hi").await?;
    assert_eq!(swap, Swap::Swapped);

    // Counters are decimal text; a missing one counts as 0.
    assert_eq!(client.increment("quickstart:visits", 2).await?, 2);
    assert_eq!(client.increment("quickstart:visits", -1).await?, 1);
    assert_eq!(client.increment("quickstart:greeting", 1).await, Err(Error::NotAnInteger));

    assert!(client.delete("quickstart:greeting").await?);
    assert!(client.delete("quickstart:visits").await?);
    assert!(!client.delete("quickstart:visits").await?, "it was there once");
    println!("quickstart: all as expected");
    Ok(())
}

//! One operation for a person at a shell.

use std::process::ExitCode;

use anyhow::Context;
use kvs_client::{Client, Config, Swap};

use super::cli::command::Command;
use super::progress::write_lines;

/// Does one operation and prints its outcome. Status 1 when a key is missing, a CAS did not match
/// or a server did not answer.
///
/// # Errors
///
/// Why there is no outcome.
pub(crate) async fn execute(command: Command, mut config: Config) -> anyhow::Result<ExitCode> {
    config.connections = 1;
    let client = Client::connect_with(config).await?;
    match command {
        Command::Get { key } => match client.get(&key).await? {
            Some(value) => print(&value)?,
            None => return Ok(missing(&key)),
        },
        Command::Put { key, value } => {
            client.put(key, value).await?;
            print(b"ok")?;
        }
        Command::Delete { key } => {
            if !client.delete(&key).await? {
                return Ok(missing(&key));
            }
            print(b"ok")?;
        }
        Command::Incr { key, by } => {
            let sum = client.increment(key, by).await?;
            print(sum.to_string().as_bytes())?;
        }
        Command::Cas { key, expected, value } => {
            let expected = Some(expected.as_bytes());
            match client.compare_and_swap(&key, expected, value).await? {
                Swap::Swapped => print(b"ok")?,
                Swap::Mismatch(Some(current)) => {
                    eprintln!("kvs-client: `{key}` holds another value, which is printed");
                    print(&current)?;
                    return Ok(ExitCode::FAILURE);
                }
                Swap::Mismatch(None) => return Ok(missing(&key)),
                Swap::MismatchUnknown => {
                    eprintln!("kvs-client: `{key}` holds another value; read it with get");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Command::Ping => return ping(&client).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ping(client: &Client) -> anyhow::Result<ExitCode> {
    let mut lines = String::new();
    for reply in client.ping().await? {
        let server = &reply.info;
        lines.push_str(&format!(
            "{} shard {} store {} boot {:016x} round trip {} us\n",
            reply.endpoint,
            server.place,
            server.store,
            server.data_id,
            reply.round_trip.as_micros()
        ));
    }
    write_lines(&lines).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn print(value: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(value)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")
}

fn missing(key: &str) -> ExitCode {
    eprintln!("kvs-client: there is no key `{key}`");
    ExitCode::FAILURE
}

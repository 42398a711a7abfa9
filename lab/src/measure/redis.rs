//! What a Redis server on this machine is asked beside its load, over a plain connection.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Keys that are on their way at once: their answers fit into a socket's buffer.
const LOADED_AT_ONCE: usize = 1000;

/// Asks a command, words with spaces between; the answer as it came.
///
/// # Errors
///
/// When the server can't be reached or does not answer.
pub(crate) async fn ask(port: u16, command: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // What is asked to quit ends the connection, and so the answer.
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let answered = answer.strip_suffix("+OK\r\n").filter(|text| !text.is_empty());
    Ok(answered.with_context(|| format!("redis does not answer {command}: {answer:?}"))?.to_owned())
}

/// Loads the keys that redis-benchmark asks for, 0 up to `keys`, with values of `value_bytes`.
///
/// # Errors
///
/// When the server refuses one, or holds another number of keys afterwards.
pub(crate) async fn load(port: u16, keys: u32, value_bytes: u32) -> anyhow::Result<()> {
    let value = "x".repeat(value_bytes as usize);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let all: Vec<u32> = (0..keys).collect();
    for keys in all.chunks(LOADED_AT_ONCE) {
        let set = |key| {
            format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${value_bytes}\r\n{value}\r\n")
        };
        let sets: String = keys.iter().map(set).collect();
        stream.write_all(sets.as_bytes()).await?;
        let mut answers = vec![0; "+OK\r\n".len() * keys.len()];
        stream.read_exact(&mut answers).await?;
        let refused = answers.chunks(5).find(|answer| *answer != b"+OK\r\n");
        ensure!(refused.is_none(), "redis refused keys: {}", String::from_utf8_lossy(&answers));
    }
    let held = ask(port, "DBSIZE").await?;
    ensure!(held == format!(":{keys}\r\n"), "redis holds {held:?} keys, not {keys}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is told of a server that reads a command and answers so.
    fn told(answer: &'static str) -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; "PING\r\nQUIT\r\n".len()];
                stream.read_exact(&mut asked).await.unwrap();
                assert_eq!(&asked, b"PING\r\nQUIT\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            tokio::join!(ask(port, "PING"), serve).0
        })
    }

    #[test]
    fn an_answer_is_told_whole() {
        assert_eq!(told("+PONG\r\n+OK\r\n").unwrap(), "+PONG\r\n");
        let bulk = "$10\r\nmisses:0\r\n\r\n";
        assert_eq!(told("$10\r\nmisses:0\r\n\r\n+OK\r\n").unwrap(), bulk);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in ["", "+OK\r\n", "+PONG\r\n", "$10\r\nmis"] {
            let error = told(answer).unwrap_err().to_string();
            assert!(error.contains("redis does not answer PING"), "{error}");
        }
    }
}

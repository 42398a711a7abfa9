//! What a Redis server on this machine is asked beside its load, over a plain connection.

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Keys that are on their way at once: their answers fit into a socket's buffer.
const LOADED_AT_ONCE: usize = 1000;

/// Asks a command, words with spaces between; the answer without its mark, an error's text included.
///
/// # Errors
///
/// When the server can't be reached or does not answer.
pub(crate) async fn ask(port: u16, command: &str) -> anyhow::Result<String> {
    let answer = async {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        read_answer(&mut stream).await
    };
    answer.await.with_context(|| format!("redis does not answer {command}"))
}

/// One answer: the text of a line, or of a bulk string.
async fn read_answer(stream: &mut (impl AsyncBufReadExt + Unpin)) -> anyhow::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let text = line.strip_suffix("\r\n").context("the answer is cut off")?;
    let Some(length) = text.strip_prefix('$') else {
        let plain = text.strip_prefix(['+', '-', ':']);
        return Ok(plain.with_context(|| format!("{text:?} is no answer"))?.to_owned());
    };
    let mut bulk = vec![0; length.parse::<usize>()? + "\r\n".len()];
    stream.read_exact(&mut bulk).await?;
    Ok(String::from_utf8_lossy(&bulk).trim_end().to_owned())
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
    ensure!(held == keys.to_string(), "redis holds {held} keys, not {keys}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read_answer(&mut answer.as_bytes()))
    }

    #[test]
    fn answers_are_read() {
        for (answer, text) in [
            ("+PONG\r\n", "PONG"),
            (":1000000\r\n", "1000000"),
            ("-NOAUTH Authentication required.\r\n", "NOAUTH Authentication required."),
            ("$13\r\na:1\r\nmisses:0\r\n+later\r\n", "a:1\r\nmisses:0"),
        ] {
            assert_eq!(read(answer).unwrap(), text, "{answer:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in ["", "+PONG", "PONG\r\n", "$5\r\nabc\r\n", "$-\r\n", "\r\n"] {
            assert!(read(answer).is_err(), "{answer:?}");
        }
    }
}

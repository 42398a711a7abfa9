//! Redis' protocol, RESP 2: batches into commands, replies into answers. No socket here.

use kvs_client::{FailureClass, OperationError};

use super::super::Requests;
use super::super::answers::Answer;
use super::super::driver::{Commands, Decoder, line, unexpected};
use super::super::peer::{PeerBatch, PeerFailure};
use super::COMPARE_AND_SWAP_SHA1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    Delete,
    Swap,
    Increment,
}

/// A pipeline: its commands, and what has to come back.
#[derive(Debug)]
pub(crate) struct RedisBatch {
    first_stamp: u64,
    bytes: Vec<u8>,
    kinds: Vec<Kind>,
}

/// Writes a command of these words.
pub(super) fn command(bytes: &mut Vec<u8>, words: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    bytes.push(b'*');
    bytes.extend_from_slice(digits.format(words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(b"\r\n$");
        bytes.extend_from_slice(digits.format(word.len()).as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(word);
    }
    bytes.extend_from_slice(b"\r\n");
}

impl RedisBatch {
    fn push(&mut self, kind: Kind, words: &[&[u8]]) -> Result<(), OperationError> {
        command(&mut self.bytes, words);
        self.kinds.push(kind);
        Ok(())
    }
}

impl PeerBatch for RedisBatch {
    fn new(first_stamp: u64, operations_max: usize) -> Self {
        // As long as a GET of a short key.
        let bytes = Vec::with_capacity(operations_max * 28);
        Self { first_stamp, bytes, kinds: Vec::with_capacity(operations_max) }
    }

    fn len(&self) -> usize {
        self.kinds.len()
    }
}

impl Commands for RedisBatch {
    fn finish(&mut self) -> &[u8] {
        &self.bytes
    }

    fn len(&self) -> usize {
        self.kinds.len()
    }
}

impl Requests for RedisBatch {
    fn first_stamp(&self) -> u64 {
        self.first_stamp
    }

    fn get(&mut self, key: &[u8]) -> Result<(), OperationError> {
        self.push(Kind::Get, &[b"GET", key])
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), OperationError> {
        self.push(Kind::Set, &[b"SET", key, value])
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), OperationError> {
        self.push(Kind::Delete, &[b"DEL", key])
    }

    fn compare_and_swap(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), OperationError> {
        let expects: &[u8] = if expected.is_some() { b"1" } else { b"0" };
        let script = COMPARE_AND_SWAP_SHA1.as_bytes();
        let words = [b"EVALSHA", script, b"1", key, expects, expected.unwrap_or_default(), value];
        self.push(Kind::Swap, &words)
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Result<(), OperationError> {
        let mut digits = itoa::Buffer::new();
        self.push(Kind::Increment, &[b"INCRBY", key, digits.format(by).as_bytes()])
    }
}

/// Reads the replies to a pipeline.
#[derive(Debug, Default)]
pub(crate) struct RedisDecoder {
    answers: Vec<Answer>,
    consumed: usize,
}

impl Decoder<RedisBatch> for RedisDecoder {
    fn decode(&mut self, batch: &RedisBatch, bytes: &[u8]) -> Result<bool, String> {
        while let Some(kind) = batch.kinds.get(self.answers.len()) {
            let Some((reply, end)) = parse(bytes, self.consumed)? else { return Ok(false) };
            self.answers.push(answer(*kind, &reply)?);
            self.consumed = end;
        }
        Ok(true)
    }

    fn consumed(&self) -> usize {
        self.consumed
    }

    fn finish(self) -> Vec<Answer> {
        self.answers
    }
}

/// A reply whose value lies where it arrived.
enum Parsed<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(std::ops::Range<usize>),
    Nil,
}

/// The reply at `start`, and where the next one starts; `None` when its end is not there yet.
#[inline]
fn parse(bytes: &[u8], start: usize) -> Result<Option<(Parsed<'_>, usize)>, String> {
    let Some((line, after)) = line(bytes, start)? else { return Ok(None) };
    let number = || {
        let digits = std::str::from_utf8(&line[1..]).ok();
        digits.and_then(|digits| digits.parse::<i64>().ok()).ok_or_else(|| unexpected(line))
    };
    let parsed = match line.first() {
        Some(b'+') => Parsed::Simple(&line[1..]),
        Some(b'-') => Parsed::Error(&line[1..]),
        Some(b':') => Parsed::Integer(number()?),
        Some(b'$') => match number()? {
            -1 => Parsed::Nil,
            length => {
                let length = usize::try_from(length).map_err(|_| unexpected(line))?;
                let end = after.checked_add(length).ok_or_else(|| unexpected(line))?;
                if bytes.len() < end.saturating_add(2) {
                    return Ok(None);
                }
                if bytes[end..end + 2] != *b"\r\n" {
                    return Err("a value is longer than was announced".to_owned());
                }
                return Ok(Some((Parsed::Bulk(after..end), end + 2)));
            }
        },
        _ => return Err(unexpected(line)),
    };
    Ok(Some((parsed, after)))
}

/// A reply that stands on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
}

/// The reply that the bytes start with, if it is there.
///
/// # Errors
///
/// What Redis never sends.
pub(super) fn reply(bytes: &[u8]) -> Result<Option<Reply>, String> {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    Ok(parse(bytes, 0)?.map(|(parsed, _)| match parsed {
        Parsed::Simple(line) => Reply::Simple(text(line)),
        Parsed::Error(line) => Reply::Error(text(line)),
        Parsed::Integer(number) => Reply::Integer(number),
        Parsed::Bulk(range) => Reply::Bulk(bytes[range].to_vec()),
        Parsed::Nil => Reply::Nil,
    }))
}

/// What a reply means.
#[inline]
fn answer(kind: Kind, reply: &Parsed<'_>) -> Result<Answer, String> {
    Ok(match (kind, reply) {
        (Kind::Get, Parsed::Bulk(range)) => Answer::Value(range.clone()),
        (Kind::Get, Parsed::Nil) | (Kind::Delete, Parsed::Integer(0)) => Answer::Missing,
        (Kind::Set, Parsed::Simple(b"OK"))
        | (Kind::Delete, Parsed::Integer(1))
        | (Kind::Swap, Parsed::Integer(1)) => Answer::Done,
        (Kind::Swap, Parsed::Bulk(range)) => Answer::Mismatch(Some(range.clone())),
        (Kind::Swap, Parsed::Nil) => Answer::Mismatch(None),
        (Kind::Increment, Parsed::Integer(count)) => Answer::Counter(*count),
        (Kind::Increment, Parsed::Error(b"ERR value is not an integer or out of range")) => {
            Answer::NotAnInteger
        }
        (Kind::Increment, Parsed::Error(b"ERR increment or decrement would overflow")) => {
            Answer::Overflow
        }
        // A command that Redis answers with an error has changed nothing.
        (_, Parsed::Error(line)) => Answer::Failed(PeerFailure {
            class: FailureClass::NotApplied,
            text: format!("redis: {}", String::from_utf8_lossy(line)),
        }),
        (kind, _) => return Err(format!("its answer to {kind:?} is of another kind")),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kvs_client::Outcome;

    use super::super::super::answers::PeerAnswers;
    use super::super::super::peer::Answers;
    use super::*;

    fn batch() -> RedisBatch {
        let mut batch = RedisBatch::new(1, 8);
        batch.get(b"a").unwrap();
        batch.put(b"a", b"1\r\n2").unwrap();
        batch.delete(b"a").unwrap();
        batch.compare_and_swap(b"a", None, b"x").unwrap();
        batch.increment(b"n", -2).unwrap();
        batch
    }

    /// Reads a reply that arrives byte by byte.
    fn decode(reply: &[u8]) -> Result<PeerAnswers, String> {
        let (batch, mut decoder) = (batch(), RedisDecoder::default());
        for length in 0..reply.len() {
            assert!(
                !decoder.decode(&batch, &reply[..length])?,
                "{length} bytes are no whole reply"
            );
        }
        assert!(decoder.decode(&batch, reply)?, "the reply is whole");
        assert_eq!(decoder.consumed(), reply.len());
        Ok(PeerAnswers::new(Bytes::copy_from_slice(reply), decoder.finish()))
    }

    fn outcomes(answers: &PeerAnswers) -> Vec<Result<Outcome<&[u8]>, FailureClass>> {
        (0..5).map(|index| answers.get(index).map_err(|failure| failure.class)).collect()
    }

    #[test]
    fn commands_are_arrays_of_words() {
        let mut batch = RedisBatch::new(1, 1);
        batch.put(b"key", b"").unwrap();
        assert_eq!(batch.finish(), b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$0\r\n\r\n");
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let answers = decode(b"$4\r\n\r\n$1\r\n+OK\r\n:0\r\n$1\r\ny\r\n:-2\r\n").unwrap();
        let expected = [
            Ok(Outcome::Value(&b"\r\n$1"[..])),
            Ok(Outcome::Done),
            Ok(Outcome::Missing),
            Ok(Outcome::Mismatch(Some(&b"y"[..]))),
            Ok(Outcome::Counter(-2)),
        ];
        assert_eq!(outcomes(&answers), expected);
        let answers = decode(
            b"$-1\r\n-OOM no room\r\n:1\r\n$-1\r\n-ERR increment or decrement would overflow\r\n",
        );
        let expected = [
            Ok(Outcome::Missing),
            Err(FailureClass::NotApplied),
            Ok(Outcome::Done),
            Ok(Outcome::Mismatch(None)),
            Ok(Outcome::Overflow),
        ];
        assert_eq!(outcomes(&answers.unwrap()), expected);
    }

    #[test]
    fn what_redis_never_sends_is_refused() {
        for reply in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"ERROR\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$1\r\nxyz\r\n",
            b":1\r\n",
            b"$1\r\na\r\n:1\r\n",
        ] {
            let read = RedisDecoder::default().decode(&batch(), reply);
            assert!(read.is_err(), "{:?}: {read:?}", String::from_utf8_lossy(reply));
        }
    }
}

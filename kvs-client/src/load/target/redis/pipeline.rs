//! A batch as a pipeline of Redis' commands, and what its replies mean. No socket here.

use std::sync::LazyLock;

use kvs_client::{FailureClass, OperationError, Outcome};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Script, ServerError, Value};

use super::super::super::batches::Requests;
use super::super::peer::{Answers, PeerBatch, PeerFailure};
use super::COMPARE_AND_SWAP;

/// The script that compares and swaps, with the name that Redis gives it: its SHA-1.
pub(super) static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMPARE_AND_SWAP));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    Delete,
    Swap,
    Increment,
}

/// A pipeline: its commands, and what has to come back.
pub(crate) struct RedisBatch {
    first_stamp: u64,
    pipeline: Pipeline,
    kinds: Vec<Kind>,
}

impl RedisBatch {
    fn push(&mut self, kind: Kind, command: Cmd) -> Result<(), OperationError> {
        self.pipeline.add_command(command);
        self.kinds.push(kind);
        Ok(())
    }

    /// Sends the pipeline, and waits for its replies.
    pub(super) async fn send(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Vec<Value>, RedisError> {
        if self.kinds.is_empty() {
            return Ok(Vec::new());
        }
        connection.send_packed_commands(&self.pipeline, 0, self.kinds.len()).await
    }

    /// What the replies mean.
    ///
    /// # Errors
    ///
    /// What Redis never sends.
    pub(super) fn answers(&self, replies: Vec<Value>) -> Result<RedisAnswers, String> {
        if replies.len() != self.kinds.len() {
            return Err(format!("{} replies to {} commands", replies.len(), self.kinds.len()));
        }
        let answers = self.kinds.iter().zip(replies).map(|(kind, reply)| answer(*kind, reply));
        Ok(RedisAnswers(answers.collect::<Result<_, _>>()?))
    }
}

impl PeerBatch for RedisBatch {
    fn new(first_stamp: u64, operations_max: usize) -> Self {
        let pipeline = Pipeline::with_capacity(operations_max);
        Self { first_stamp, pipeline, kinds: Vec::with_capacity(operations_max) }
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
        self.push(Kind::Get, Cmd::get(key))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), OperationError> {
        self.push(Kind::Set, Cmd::set(key, value))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), OperationError> {
        self.push(Kind::Delete, Cmd::del(key))
    }

    fn compare_and_swap(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), OperationError> {
        let expects = i64::from(expected.is_some());
        let mut command = redis::cmd("EVALSHA");
        command.arg(SCRIPT.get_hash()).arg(1).arg(key);
        command.arg(expects).arg(expected.unwrap_or_default()).arg(value);
        self.push(Kind::Swap, command)
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Result<(), OperationError> {
        self.push(Kind::Increment, Cmd::incr(key, by))
    }
}

/// Redis' answers to a batch, by operation.
#[derive(Debug)]
pub(crate) struct RedisAnswers(Vec<Result<Outcome<Vec<u8>>, PeerFailure>>);

impl Answers for RedisAnswers {
    #[inline]
    fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &PeerFailure> {
        self.0[index].as_ref().map(Outcome::as_deref)
    }
}

/// What a reply means.
fn answer(kind: Kind, reply: Value) -> Result<Result<Outcome<Vec<u8>>, PeerFailure>, String> {
    Ok(Ok(match (kind, reply) {
        (Kind::Get, Value::BulkString(value)) => Outcome::Value(value),
        (Kind::Get, Value::Nil) | (Kind::Delete, Value::Int(0)) => Outcome::Missing,
        (Kind::Set, Value::Okay) | (Kind::Delete | Kind::Swap, Value::Int(1)) => Outcome::Done,
        (Kind::Swap, Value::BulkString(held)) => Outcome::Mismatch(Some(held)),
        (Kind::Swap, Value::Nil) => Outcome::Mismatch(None),
        (Kind::Increment, Value::Int(count)) => Outcome::Counter(count),
        (kind, Value::ServerError(error)) => return Ok(refused(kind, &error)),
        (kind, other) => return Err(format!("its answer to {kind:?} is {other:?}")),
    }))
}

/// A command that Redis answers with an error has changed nothing.
fn refused(kind: Kind, error: &ServerError) -> Result<Outcome<Vec<u8>>, PeerFailure> {
    match (kind, error.details()) {
        (Kind::Increment, Some("value is not an integer or out of range")) => {
            Ok(Outcome::NotAnInteger)
        }
        (Kind::Increment, Some("increment or decrement would overflow")) => Ok(Outcome::Overflow),
        _ => Err(PeerFailure { class: FailureClass::NotApplied, text: format!("redis: {error}") }),
    }
}

#[cfg(test)]
mod tests {
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

    /// The answers to replies as they stand on the wire.
    fn answers(replies: &[&[u8]]) -> Result<RedisAnswers, String> {
        let replies = replies.iter().map(|reply| redis::parse_redis_value(reply).unwrap());
        batch().answers(replies.collect())
    }

    fn outcomes(answers: &RedisAnswers) -> Vec<Result<Outcome<&[u8]>, FailureClass>> {
        (0..5).map(|index| answers.get(index).map_err(|failure| failure.class)).collect()
    }

    #[test]
    fn commands_are_arrays_of_words() {
        let mut batch = RedisBatch::new(1, 1);
        batch.put(b"key", b"").unwrap();
        batch.increment(b"key", -2).unwrap();
        let sent = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$0\r\n\r\n\
            *3\r\n$6\r\nINCRBY\r\n$3\r\nkey\r\n$2\r\n-2\r\n";
        assert_eq!(batch.pipeline.get_packed_pipeline(), sent);
    }

    #[test]
    fn replies_become_outcomes() {
        let replies: [&[u8]; 5] =
            [b"$4\r\n\r\n$1\r\n", b"+OK\r\n", b":0\r\n", b"$1\r\ny\r\n", b":-2\r\n"];
        let expected = [
            Ok(Outcome::Value(&b"\r\n$1"[..])),
            Ok(Outcome::Done),
            Ok(Outcome::Missing),
            Ok(Outcome::Mismatch(Some(&b"y"[..]))),
            Ok(Outcome::Counter(-2)),
        ];
        assert_eq!(outcomes(&answers(&replies).unwrap()), expected);
        let replies: [&[u8]; 5] = [
            b"$-1\r\n",
            b"-OOM no room\r\n",
            b":1\r\n",
            b"$-1\r\n",
            b"-ERR increment or decrement would overflow\r\n",
        ];
        let expected = [
            Ok(Outcome::Missing),
            Err(FailureClass::NotApplied),
            Ok(Outcome::Done),
            Ok(Outcome::Mismatch(None)),
            Ok(Outcome::Overflow),
        ];
        assert_eq!(outcomes(&answers(&replies).unwrap()), expected);
    }

    #[test]
    fn what_redis_never_sends_is_refused() {
        let good: [&[u8]; 5] = [b"$-1\r\n", b"+OK\r\n", b":1\r\n", b"$-1\r\n", b":1\r\n"];
        assert!(answers(&good).is_ok());
        assert!(answers(&good[..4]).is_err(), "a reply is missing");
        for (place, reply) in
            [(0, &b":1\r\n"[..]), (1, b"$1\r\na\r\n"), (2, b":2\r\n"), (4, b"$-1\r\n")]
        {
            let mut replies = good;
            replies[place] = reply;
            assert!(answers(&replies).is_err(), "{}", String::from_utf8_lossy(reply));
        }
    }
}

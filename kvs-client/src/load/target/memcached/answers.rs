//! What memcached answers: outcomes whose values lie in the reply's bytes.

use std::ops::Range;

use bytes::Bytes;
use kvs_client::Outcome;

use super::super::peer::{Answers, PeerFailure};

/// What became of one operation. Ranges are of the reply's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// GET: the value.
    Value(Range<usize>),
    /// GET: the value with its version.
    Item { value: Range<usize>, version: u64 },
    /// There is no such key.
    Missing,
    /// It took effect.
    Done,
    /// INCR: the new count.
    Counter(i64),
    /// INCR: the value is no integer.
    NotAnInteger,
    /// INCR: the sum is too great.
    Overflow,
    /// CAS: what the key holds, in the bytes of another reply.
    Mismatch(Option<Bytes>),
    /// CAS: it did not match, and nobody said what the key holds.
    MismatchUntold,
    /// There is no outcome.
    Failed(PeerFailure),
}

/// memcached's answers to a batch.
#[derive(Debug)]
pub(crate) struct PeerAnswers {
    bytes: Bytes,
    answers: Vec<Answer>,
}

impl PeerAnswers {
    /// Answers whose values lie in `bytes`.
    pub(super) fn new(bytes: Bytes, answers: Vec<Answer>) -> Self {
        Self { bytes, answers }
    }

    /// By operation.
    pub(super) fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// A value that shares the reply's memory.
    pub(super) fn slice(&self, value: &Range<usize>) -> Bytes {
        self.bytes.slice(value.clone())
    }

    /// Puts outcomes that are known already to the places of their operations at the start.
    pub(super) fn merge(self, known: Vec<Option<Answer>>) -> Self {
        let mut answers = self.answers.into_iter();
        let is_there = "each command that was sent has its answer";
        let mut all: Vec<Answer> = known
            .into_iter()
            .map(|known| known.unwrap_or_else(|| answers.next().expect(is_there)))
            .collect();
        all.extend(answers);
        Self { bytes: self.bytes, answers: all }
    }
}

impl Answers for PeerAnswers {
    #[inline]
    fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &PeerFailure> {
        Ok(match &self.answers[index] {
            Answer::Value(range) | Answer::Item { value: range, .. } => {
                Outcome::Value(&self.bytes[range.clone()])
            }
            Answer::Missing => Outcome::Missing,
            Answer::Done => Outcome::Done,
            Answer::Counter(count) => Outcome::Counter(*count),
            Answer::NotAnInteger => Outcome::NotAnInteger,
            Answer::Overflow => Outcome::Overflow,
            Answer::Mismatch(current) => Outcome::Mismatch(current.as_deref()),
            Answer::MismatchUntold => Outcome::MismatchUntold,
            Answer::Failed(failure) => return Err(failure),
        })
    }
}

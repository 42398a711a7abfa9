//! Completion records: what an applied batch did, to answer a retry from.
//!
//! A record holds the outcomes of mutations, a byte or nine each, and never values.

use model::outcome::Outcome;

/// What an applied batch did.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    digest: u64,
    outcomes: Box<[u8]>,
    apply_sequences: Box<[u64]>,
}

impl Record {
    /// Stands for the batch's operations.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.outcomes.len() + self.apply_sequences.len() * 8
    }

    /// Most bytes that the record of a batch can take.
    pub const fn bytes_max(mutations: usize, groups: usize) -> usize {
        size_of::<Self>() + mutations * 9 + groups * 8
    }

    /// Apply sequences of the groups; none when the store counts none.
    pub fn apply_sequences(&self) -> &[u64] {
        &self.apply_sequences
    }

    /// The outcomes of the batch's mutations, in order.
    pub fn outcomes(&self) -> RecordReader<'_> {
        RecordReader { bytes: &self.outcomes }
    }
}

mod code {
    pub(super) const DONE: u8 = 0;
    pub(super) const MISSING: u8 = 1;
    pub(super) const COUNTER: u8 = 2;
    pub(super) const MISMATCH: u8 = 3;
    pub(super) const MISMATCH_MISSING: u8 = 4;
    pub(super) const NOT_AN_INTEGER: u8 = 5;
    pub(super) const OVERFLOW: u8 = 6;
}

/// Collects what a record is made of. Without capacity it takes no apply sequences: reads have no
/// record.
#[derive(Debug, Default)]
pub struct RecordWriter {
    bytes: Vec<u8>,
    apply_sequences: Vec<u64>,
}

impl RecordWriter {
    /// With room for what most batches of so many mutations need.
    pub fn with_capacity(mutations: usize, groups: usize) -> Self {
        let apply_sequences = Vec::with_capacity(groups);
        Self { bytes: Vec::with_capacity(mutations), apply_sequences }
    }

    /// The record of a batch that this digest stands for.
    pub fn finish(self, digest: u64) -> Record {
        let Self { bytes, apply_sequences } = self;
        Record { digest, outcomes: bytes.into(), apply_sequences: apply_sequences.into() }
    }

    /// Notes the apply sequence of the next group.
    pub fn push_apply_sequence(&mut self, sequence: u64) {
        if self.apply_sequences.capacity() > 0 {
            self.apply_sequences.push(sequence);
        }
    }

    /// Notes a mutation's outcome.
    pub fn push(&mut self, outcome: &Outcome<&[u8]>) {
        let code = match outcome {
            Outcome::Done => code::DONE,
            Outcome::Missing => code::MISSING,
            Outcome::Counter(count) => {
                self.bytes.push(code::COUNTER);
                return self.bytes.extend_from_slice(&count.to_le_bytes());
            }
            Outcome::Mismatch(None) => code::MISMATCH_MISSING,
            Outcome::Mismatch(Some(_)) | Outcome::MismatchUntold => code::MISMATCH,
            Outcome::NotAnInteger => code::NOT_AN_INTEGER,
            Outcome::Overflow => code::OVERFLOW,
            Outcome::Value(_) => unreachable!("only GETs have values"),
        };
        self.bytes.push(code);
    }
}

/// Reads a record's outcomes one by one.
#[derive(Debug)]
pub struct RecordReader<'a> {
    bytes: &'a [u8],
}

impl RecordReader<'_> {
    /// The next mutation's outcome.
    ///
    /// # Panics
    ///
    /// When the record holds fewer: it is read for another batch than it was written for.
    pub fn next_outcome(&mut self) -> Outcome<&'static [u8]> {
        let (&code, rest) = self.bytes.split_first().expect("a record holds every mutation");
        self.bytes = rest;
        match code {
            code::DONE => Outcome::Done,
            code::MISSING => Outcome::Missing,
            code::COUNTER => {
                let (count, rest) = self.bytes.split_first_chunk().expect("a counter has 8 bytes");
                self.bytes = rest;
                Outcome::Counter(i64::from_le_bytes(*count))
            }
            code::MISMATCH => Outcome::MismatchUntold,
            code::MISMATCH_MISSING => Outcome::Mismatch(None),
            code::NOT_AN_INTEGER => Outcome::NotAnInteger,
            code::OVERFLOW => Outcome::Overflow,
            other => unreachable!("no outcome is written as {other}"),
        }
    }
}

#[cfg(test)]
mod tests;

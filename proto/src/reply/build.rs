//! From outcomes to a reply's bytes.

use bytes::{BufMut, BytesMut};
use model::limits::VALUE_BYTES_MAX;
use model::outcome::{Outcome, Replies, Shape};

use super::code;
use super::header::{BODY, FLAG_RECORDED, FLAG_SEQUENCES, HEADER_BYTES, ReplyHeader, put_header};
use super::repeats::RepeatTable;
use crate::limits::{BATCH_OPERATIONS_MAX, REPLY_BYTES_MAX};
use crate::varint;

/// Most bytes that an outcome without a value takes.
const FIXED_BYTES_MAX: usize = 16;

/// Shortest value that is worth a reference, which takes four bytes at most; such a value takes
/// five in full.
const REPEATED_BYTES_MIN: usize = 3;

/// Builds a reply while a store applies the batch. Its memory is used again.
#[derive(Debug, Default)]
pub struct ReplyBuilder {
    header: Option<ReplyHeader>,
    bytes: BytesMut,
    /// Operations whose outcomes are still to come.
    remaining: usize,
    /// Operations whose outcomes were pushed.
    pushed: usize,
    /// Groups that the reply has room for the apply sequences of.
    sequences: usize,
    send_repeats_once: bool,
    repeats: RepeatTable,
}

impl ReplyBuilder {
    /// Makes ready for a reply that begins like this, in `buffer`, whose memory is used again.
    pub fn prepare(&mut self, buffer: BytesMut, header: ReplyHeader) {
        self.bytes = buffer;
        self.header = Some(header);
    }

    /// The finished reply: room for the frame header, then the body.
    ///
    /// # Panics
    ///
    /// When outcomes are missing.
    pub fn finish(&mut self) -> BytesMut {
        assert_eq!(self.remaining, 0, "every operation has an outcome");
        std::mem::take(&mut self.bytes)
    }

    /// Whether a value of this length fits beside the fixed parts of what is still to come.
    #[inline]
    fn has_room(&self, value_bytes: usize) -> bool {
        self.bytes.len() - BODY + value_bytes + (self.remaining + 1) * FIXED_BYTES_MAX
            <= REPLY_BYTES_MAX
    }

    #[inline]
    fn put_value(&mut self, code: u8, value: &[u8]) {
        self.bytes.reserve(value.len() + FIXED_BYTES_MAX);
        put_number(&mut self.bytes, code, value.len() as u32);
        self.bytes.put_slice(value);
    }

    #[inline]
    fn push_value(&mut self, hash: u64, value: &[u8]) {
        if !self.send_repeats_once || value.len() < REPEATED_BYTES_MIN {
            return self.put_value(code::VALUE, value);
        }
        if let Some(earlier) = self.repeats.find(hash, value, &self.bytes) {
            return put_number(&mut self.bytes, code::REPEAT, (self.pushed - earlier) as u32);
        }
        self.put_value(code::VALUE, value);
        self.repeats.insert(hash, self.pushed, self.bytes.len() - value.len(), value.len());
    }

    #[inline]
    fn put_outcome(&mut self, hash: u64, outcome: Outcome<&[u8]>) {
        let code = match outcome {
            Outcome::Value(value) => return self.push_value(hash, value),
            Outcome::Mismatch(Some(value)) => return self.put_value(code::MISMATCH, value),
            Outcome::Counter(count) => {
                self.bytes.put_u8(code::COUNTER);
                return self.bytes.put_i64_le(count);
            }
            Outcome::Missing => code::MISSING,
            Outcome::Done => code::DONE,
            Outcome::Mismatch(None) => code::MISMATCH_MISSING,
            Outcome::MismatchUntold => code::MISMATCH_UNTOLD,
            Outcome::NotAnInteger => code::NOT_AN_INTEGER,
            Outcome::Overflow => code::OVERFLOW,
        };
        self.bytes.put_u8(code);
    }
}

impl Replies for ReplyBuilder {
    /// # Panics
    ///
    /// When it is not prepared.
    fn begin(&mut self, shape: &Shape) {
        assert!(shape.operations <= BATCH_OPERATIONS_MAX && shape.groups <= shape.operations);
        let header = self.header.take().expect("a reply is prepared before it begins");
        let buffer = &mut self.bytes;
        buffer.clear();
        self.sequences = if shape.has_sequences { shape.groups } else { 0 };
        let sequences_bytes = self.sequences * 8;
        buffer.reserve(BODY + HEADER_BYTES + sequences_bytes + shape.operations * FIXED_BYTES_MAX);
        let flags = if shape.has_sequences { FLAG_SEQUENCES } else { 0 }
            | if shape.is_recorded { FLAG_RECORDED } else { 0 };
        put_header(buffer, &header, 0, flags, shape.operations as u32, shape.groups as u32);
        buffer.put_bytes(0, sequences_bytes);
        self.remaining = shape.operations;
        self.pushed = 0;
        self.send_repeats_once = shape.send_repeats_once;
        if self.send_repeats_once {
            self.repeats.begin(shape.operations);
        }
    }

    #[inline]
    fn place(&self, hash: u64) -> *const u8 {
        self.repeats.place(hash)
    }

    /// Where a value does not fit, a read is answered *deferred*, and a CAS that did not match
    /// without the value.
    ///
    /// # Panics
    ///
    /// When there are more outcomes than the reply was begun for.
    #[inline]
    fn outcome(&mut self, hash: u64, outcome: Outcome<&[u8]>) -> bool {
        self.remaining = self.remaining.checked_sub(1).expect("one outcome an operation");
        let fits = match outcome {
            Outcome::Value(value) | Outcome::Mismatch(Some(value)) => self.has_room(value.len()),
            _ => true,
        };
        if fits {
            self.put_outcome(hash, outcome);
        } else {
            let is_read = matches!(outcome, Outcome::Value(_));
            self.bytes.put_u8(if is_read { code::DEFERRED } else { code::MISMATCH_UNTOLD });
        }
        self.pushed += 1;
        fits
    }

    fn not_kept(&mut self) {
        self.remaining = self.remaining.checked_sub(1).expect("one outcome an operation");
        self.bytes.put_u8(code::DEFERRED);
        self.pushed += 1;
    }

    fn apply_sequence(&mut self, group: usize, sequence: u64) {
        assert!(group < self.sequences, "the reply has room for the group's apply sequence");
        let at = BODY + HEADER_BYTES + group * 8;
        self.bytes[at..at + 8].copy_from_slice(&sequence.to_le_bytes());
    }
}

// Lengths and distances are written as one word with their code.
const _: () = assert!(VALUE_BYTES_MAX < 1 << 24 && BATCH_OPERATIONS_MAX < 1 << 24);

#[inline]
fn put_number(bytes: &mut BytesMut, code: u8, number: u32) {
    let (word, length) = varint::word(number);
    let head = u64::from(code) | u64::from(word) << 8;
    bytes.put_slice(&head.to_le_bytes()[..length + 1]);
}

#[cfg(test)]
mod tests;

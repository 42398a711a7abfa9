//! A server's answer to a batch.
//!
//! Body of a batch reply, little-endian:
//!
//! 1. `u64` boot id of the server
//! 2. `u64` sequence number that is answered; the expected one when the batch is out of turn
//! 3. `u32` epoch of the server's shard map
//! 4. `u8` status: 0 applied, else a [`Refusal`]'s code
//! 5. `u8` flags: bit 0, apply sequences follow; bit 1, answered from a completion record (0 when
//!    refused)
//! 6. `u16` zero
//! 7. `u32` number of operations (0 when refused)
//! 8. `u32` number of groups (0 when refused)
//! 9. with flag bit 0, for each group: `u64` apply sequence
//! 10. for each operation: `u8` outcome code, then
//!     - value, mismatch with a value: varint length, the value
//!     - repeat: varint distance, at least 1, back to the operation of this reply whose full value
//!       is the same; never to another repeat
//!     - counter: `i64`
//!     - all others: nothing
//! 11. when refused, instead of 9 and 10: UTF-8 text, at most 1,024 bytes
//!
//! In memory a reply's bytes begin with room for the frame header, so that the codec sends the
//! buffer as it is.

use bytes::{BufMut, Bytes, BytesMut};

use crate::batch::{u32_at, u64_at};
use crate::codec::FRAME_HEADER_BYTES;
use crate::limits::{
    BATCH_GROUPS_MAX, BATCH_OPERATIONS_MAX, DETAIL_BYTES_MAX, REPLY_BYTES_MAX, VALUE_BYTES_MAX,
    bounded_detail,
};
use crate::operation::{Outcome, OutcomeSink};
use crate::repeats::RepeatTable;
use crate::varint;

/// Bytes of the body before the apply sequences.
pub const HEADER_BYTES: usize = 32;
/// Where the body begins in a reply's buffer.
const BODY: usize = FRAME_HEADER_BYTES;
/// Most bytes that an outcome without a value takes.
const FIXED_BYTES_MAX: usize = 16;

/// Shortest value that is worth a reference, which takes four bytes at most; such a value takes
/// five in full.
const REPEATED_BYTES_MIN: usize = 3;

const FLAG_SEQUENCES: u8 = 1;
const FLAG_RECORDED: u8 = 2;

mod code {
    pub(super) const VALUE: u8 = 0;
    pub(super) const REPEAT: u8 = 1;
    pub(super) const MISSING: u8 = 2;
    pub(super) const DONE: u8 = 3;
    pub(super) const COUNTER: u8 = 4;
    pub(super) const MISMATCH: u8 = 5;
    pub(super) const MISMATCH_MISSING: u8 = 6;
    pub(super) const MISMATCH_NOT_RECORDED: u8 = 7;
    pub(super) const NOT_AN_INTEGER: u8 = 8;
    pub(super) const OVERFLOW: u8 = 9;
    pub(super) const WRONG_SHARD: u8 = 10;
    pub(super) const DEFERRED: u8 = 11;
    pub(super) const NOT_RECORDED: u8 = 12;
}

/// Why a batch was refused as a whole. Nothing of it was executed, and it consumed no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The bytes are not a batch, or break a limit.
    Malformed = 1,
    /// The epoch is not the server's: fetch the shard map again.
    StaleEpoch = 2,
    /// The session is of another boot of the server.
    WrongBoot = 3,
    /// The session is not known, or its lease has ended.
    SessionExpired = 4,
    /// The sequence number is above the next one; the reply names the expected.
    OutOfTurn = 5,
    /// The number was used by a batch with other bytes.
    DifferentBytes = 6,
    /// The number is below the lowest open one, so its record is gone.
    RecordGone = 7,
    /// A bound on sessions, lanes or records is reached: try again later.
    Throttled = 8,
    /// The lane was closed.
    LaneClosed = 9,
    /// The server is ending and takes no more batches.
    Stopping = 10,
}

impl Refusal {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Malformed,
            2 => Self::StaleEpoch,
            3 => Self::WrongBoot,
            4 => Self::SessionExpired,
            5 => Self::OutOfTurn,
            6 => Self::DifferentBytes,
            7 => Self::RecordGone,
            8 => Self::Throttled,
            9 => Self::LaneClosed,
            10 => Self::Stopping,
            _ => return None,
        })
    }
}

/// What every reply says of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The server's boot id.
    pub boot_id: u64,
    /// The sequence number that is answered, or the expected one.
    pub sequence: u64,
    /// Epoch of the server's shard map.
    pub epoch: u32,
}

/// Makes a refusal's bytes.
pub fn refuse(header: &ReplyHeader, refusal: Refusal, detail: &str) -> BytesMut {
    let detail = bounded_detail(detail);
    let mut bytes = BytesMut::with_capacity(BODY + HEADER_BYTES + detail.len());
    put_header(&mut bytes, header, refusal as u8, 0, 0, 0);
    bytes.put_slice(detail.as_bytes());
    bytes
}

fn put_header(
    bytes: &mut BytesMut,
    header: &ReplyHeader,
    status: u8,
    flags: u8,
    operations: u32,
    groups: u32,
) {
    bytes.put_bytes(0, BODY);
    bytes.put_u64_le(header.boot_id);
    bytes.put_u64_le(header.sequence);
    bytes.put_u32_le(header.epoch);
    bytes.put_u8(status);
    bytes.put_u8(flags);
    bytes.put_u16_le(0);
    bytes.put_u32_le(operations);
    bytes.put_u32_le(groups);
}

/// What a reply is about to hold.
#[derive(Clone, Copy, Debug)]
pub struct ReplyShape {
    /// Number of operations.
    pub operations: usize,
    /// Number of groups.
    pub groups: usize,
    /// Whether the store counts apply sequences.
    pub has_sequences: bool,
    /// Whether the outcomes come from a completion record.
    pub is_recorded: bool,
    /// Whether a value that stands in the reply already is sent as a reference to it.
    pub send_repeats_once: bool,
}

/// Builds a reply while a store applies the batch. Reusable, one per connection.
#[derive(Debug, Default)]
pub struct ReplyBuilder {
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
    /// Starts a reply in `buffer`, whose memory is used again.
    pub fn begin(&mut self, mut buffer: BytesMut, header: &ReplyHeader, shape: &ReplyShape) {
        assert!(shape.operations <= BATCH_OPERATIONS_MAX && shape.groups <= shape.operations);
        buffer.clear();
        self.sequences = if shape.has_sequences { shape.groups } else { 0 };
        let sequences_bytes = self.sequences * 8;
        buffer.reserve(BODY + HEADER_BYTES + sequences_bytes + shape.operations * FIXED_BYTES_MAX);
        let flags = if shape.has_sequences { FLAG_SEQUENCES } else { 0 }
            | if shape.is_recorded { FLAG_RECORDED } else { 0 };
        put_header(&mut buffer, header, 0, flags, shape.operations as u32, shape.groups as u32);
        buffer.put_bytes(0, sequences_bytes);
        self.bytes = buffer;
        self.remaining = shape.operations;
        self.pushed = 0;
        self.send_repeats_once = shape.send_repeats_once;
        if self.send_repeats_once {
            self.repeats.begin(shape.operations);
        }
    }

    /// Sets the apply sequence of a group.
    ///
    /// # Panics
    ///
    /// When the reply was begun without room for it.
    pub fn set_apply_sequence(&mut self, group: usize, sequence: u64) {
        assert!(group < self.sequences, "the reply has room for the group's apply sequence");
        let at = BODY + HEADER_BYTES + group * 8;
        self.bytes[at..at + 8].copy_from_slice(&sequence.to_le_bytes());
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
        let mut head = [code, 0, 0, 0];
        let length = value.len();
        let head_bytes = if length < 0x80 {
            head[1] = length as u8;
            2
        } else if length < 0x4000 {
            head[1] = length as u8 | 0x80;
            head[2] = (length >> 7) as u8;
            3
        } else {
            head[1] = length as u8 | 0x80;
            head[2] = (length >> 7) as u8 | 0x80;
            head[3] = (length >> 14) as u8;
            4
        };
        self.bytes.put_slice(&head[..head_bytes]);
        self.bytes.put_slice(value);
    }

    #[inline]
    fn push_value(&mut self, hash: u64, value: &[u8]) {
        if !self.send_repeats_once || value.len() < REPEATED_BYTES_MIN {
            return self.put_value(code::VALUE, value);
        }
        if let Some(earlier) = self.repeats.find(hash, value, &self.bytes) {
            return put_number(&mut self.bytes, code::REPEAT, (self.pushed - earlier) as u64);
        }
        self.put_value(code::VALUE, value);
        self.repeats.insert(hash, self.pushed, self.bytes.len() - value.len(), value.len());
    }

    /// Takes the next operation's outcome. `false` when its value does not fit, so that the
    /// operation, which changed nothing, is answered `deferred` as if it had not been executed.
    ///
    /// # Panics
    ///
    /// When there are more outcomes than the reply was begun for.
    #[inline]
    pub fn push_outcome(&mut self, hash: u64, outcome: Outcome<&[u8]>) -> bool {
        self.remaining = self.remaining.checked_sub(1).expect("one outcome an operation");
        let fits = match outcome {
            Outcome::Value(value) | Outcome::Mismatch(Some(value)) => self.has_room(value.len()),
            _ => true,
        };
        if fits {
            self.put_outcome(hash, outcome);
        } else {
            self.bytes.put_u8(code::DEFERRED);
        }
        self.pushed += 1;
        fits
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
            Outcome::MismatchNotRecorded => code::MISMATCH_NOT_RECORDED,
            Outcome::NotAnInteger => code::NOT_AN_INTEGER,
            Outcome::Overflow => code::OVERFLOW,
            Outcome::WrongShard => code::WRONG_SHARD,
            Outcome::Deferred => code::DEFERRED,
            Outcome::NotRecorded => code::NOT_RECORDED,
        };
        self.bytes.put_u8(code);
    }
}

// Values are at most 1 MiB long, so their lengths take three bytes of varint.
const _: () = assert!(VALUE_BYTES_MAX < 1 << 21);

#[inline]
fn put_number(bytes: &mut BytesMut, code: u8, mut number: u64) {
    bytes.put_u8(code);
    while number >= 0x80 {
        bytes.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.put_u8(number as u8);
}

impl OutcomeSink for ReplyBuilder {
    #[inline]
    fn place(&self, hash: u64) -> *const u8 {
        self.repeats.place(hash)
    }

    #[inline]
    fn push(&mut self, hash: u64, outcome: Outcome<&[u8]>) {
        self.push_outcome(hash, outcome);
    }
}

/// Why a reply's bytes are not a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The body ends too early.
    #[error("the reply is cut off in {part}")]
    CutOff {
        /// What was being read.
        part: &'static str,
    },
    /// Bytes follow the last outcome.
    #[error("{bytes} bytes follow the last outcome")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A status or outcome code that this version does not know.
    #[error("unknown {what} {code}")]
    UnknownCode {
        /// Status or outcome.
        what: &'static str,
        /// The code.
        code: u8,
    },
    /// A count is over its bound.
    #[error("the reply counts {got} {what}")]
    Count {
        /// Bytes, operations or groups.
        what: &'static str,
        /// The count.
        got: u32,
    },
    /// A reference that does not name an earlier full value.
    #[error("outcome {index} refers to no earlier full value")]
    Reference {
        /// Position of the outcome, from 0.
        index: usize,
    },
    /// A number or text is malformed.
    #[error("malformed {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
}

/// Where an outcome's value lies in the frame, and its code, in one word.
#[derive(Clone, Copy, Debug)]
struct OutcomeEntry(u64);

impl OutcomeEntry {
    #[inline]
    fn new(code: u8, offset: usize, length: usize) -> Self {
        Self((offset as u64) << 32 | (length as u64) << 8 | u64::from(code))
    }

    #[inline]
    fn code(self) -> u8 {
        self.0 as u8
    }

    #[inline]
    fn value(self, frame: &[u8]) -> &[u8] {
        &frame[(self.0 >> 32) as usize..][..(self.0 >> 8) as usize & 0xff_ffff]
    }

    /// The same bytes as the outcome of a repeat.
    #[inline]
    fn repeated(self) -> Self {
        Self(self.0 & !0xff | u64::from(code::REPEAT))
    }
}

// Offsets have 32 bits, lengths 24.
const _: () = assert!(REPLY_BYTES_MAX + BODY < 1 << 32 && VALUE_BYTES_MAX < 1 << 24);

/// A decoded reply. Values share the frame's bytes; repeats are resolved, not expanded.
#[derive(Debug)]
pub struct Reply {
    frame: Bytes,
    header: ReplyHeader,
    refusal: Option<Refusal>,
    flags: u8,
    groups: u32,
    has_refusals: bool,
    outcomes: Vec<OutcomeEntry>,
}

impl Reply {
    /// Decodes and checks a reply's frame (room for the frame header, then the body).
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the bytes.
    pub fn decode(frame: Bytes) -> Result<Self, ReplyError> {
        let body = frame.get(BODY..).unwrap_or_default();
        if body.len() < HEADER_BYTES {
            return Err(ReplyError::CutOff { part: "the header" });
        }
        if body.len() > REPLY_BYTES_MAX {
            let got = u32::try_from(body.len()).unwrap_or(u32::MAX);
            return Err(ReplyError::Count { what: "bytes", got });
        }
        let header = ReplyHeader {
            boot_id: u64_at(body, 0),
            sequence: u64_at(body, 8),
            epoch: u32_at(body, 16),
        };
        let (status, flags) = (body[20], body[21]);
        let (operations, groups) = (u32_at(body, 24), u32_at(body, 28));
        if flags & !(FLAG_SEQUENCES | FLAG_RECORDED) != 0 || body[22] != 0 || body[23] != 0 {
            return Err(ReplyError::Malformed { what: "flags" });
        }
        if operations as usize > BATCH_OPERATIONS_MAX {
            return Err(ReplyError::Count { what: "operations", got: operations });
        }
        if groups > operations || groups as usize > BATCH_GROUPS_MAX {
            return Err(ReplyError::Count { what: "groups", got: groups });
        }
        let refusal = match status {
            0 => None,
            code => Some(
                Refusal::from_code(code).ok_or(ReplyError::UnknownCode { what: "status", code })?,
            ),
        };
        let outcomes = match refusal {
            None => decode_outcomes(body, operations as usize, groups as usize, flags)?,
            Some(_) => {
                let detail = &body[HEADER_BYTES..];
                if operations != 0
                    || flags != 0
                    || detail.len() > DETAIL_BYTES_MAX
                    || std::str::from_utf8(detail).is_err()
                {
                    return Err(ReplyError::Malformed { what: "refusal" });
                }
                Vec::new()
            }
        };
        let has_refusals = outcomes.iter().any(|entry| entry.code() >= code::WRONG_SHARD);
        Ok(Self { frame, header, refusal, flags, groups, has_refusals, outcomes })
    }

    /// What the reply says of its server.
    pub fn header(&self) -> &ReplyHeader {
        &self.header
    }

    /// Why the batch was refused, and the server's words; `None` when it was applied.
    pub fn refusal(&self) -> Option<(Refusal, &str)> {
        let detail = || std::str::from_utf8(&self.frame[BODY + HEADER_BYTES..]);
        self.refusal.map(|refusal| (refusal, detail().expect("the text was checked")))
    }

    /// Whether the outcomes come from a completion record: the batch had been applied before.
    pub fn is_recorded(&self) -> bool {
        self.flags & FLAG_RECORDED != 0
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups as usize
    }

    /// The apply sequence of a group; `None` when the store counts none.
    pub fn apply_sequence(&self, group: usize) -> Option<u64> {
        assert!(group < self.groups(), "the group is one of the reply's");
        (self.flags & FLAG_SEQUENCES != 0)
            .then(|| u64_at(&self.frame, BODY + HEADER_BYTES + group * 8))
    }

    /// How many outcomes there are.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether an operation was refused: foreign, deferred or not recorded.
    pub fn has_refusals(&self) -> bool {
        self.has_refusals
    }

    /// Whether there is no outcome.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The outcome of operation `index`, in the order of the request.
    #[inline]
    pub fn outcome(&self, index: usize) -> Outcome<&[u8]> {
        let entry = self.outcomes[index];
        let value = || entry.value(&self.frame);
        // Most outcomes are values: no jump table for them.
        if entry.code() <= code::REPEAT {
            return Outcome::Value(value());
        }
        match entry.code() {
            code::MISSING => Outcome::Missing,
            code::DONE => Outcome::Done,
            code::COUNTER => Outcome::Counter(i64::from_le_bytes(
                value().try_into().expect("a counter has eight bytes"),
            )),
            code::MISMATCH => Outcome::Mismatch(Some(value())),
            code::MISMATCH_MISSING => Outcome::Mismatch(None),
            code::MISMATCH_NOT_RECORDED => Outcome::MismatchNotRecorded,
            code::NOT_AN_INTEGER => Outcome::NotAnInteger,
            code::OVERFLOW => Outcome::Overflow,
            code::WRONG_SHARD => Outcome::WrongShard,
            code::DEFERRED => Outcome::Deferred,
            code::NOT_RECORDED => Outcome::NotRecorded,
            other => unreachable!("code {other} was checked"),
        }
    }

    /// The outcome of operation `index` with a value that shares this reply's memory.
    pub fn shared_outcome(&self, index: usize) -> Outcome<Bytes> {
        self.outcome(index).map(|value| self.frame.slice_ref(value))
    }
}

fn decode_outcomes(
    body: &[u8],
    operations: usize,
    groups: usize,
    flags: u8,
) -> Result<Vec<OutcomeEntry>, ReplyError> {
    let sequences = if flags & FLAG_SEQUENCES != 0 { groups * 8 } else { 0 };
    let mut position = HEADER_BYTES + sequences;
    // One byte an outcome is the least, so a count that lies allocates nothing.
    if body.len() < position + operations {
        return Err(ReplyError::CutOff { part: "the outcomes" });
    }
    let mut outcomes: Vec<OutcomeEntry> = Vec::with_capacity(operations);
    let mut values = ValueHeads::default();
    for index in 0..operations {
        let code = *body.get(position).ok_or(ReplyError::CutOff { part: "the outcomes" })?;
        position += 1;
        let length = match code {
            code::REPEAT => {
                let distance = varint::read(body, &mut position)
                    .ok_or(ReplyError::Malformed { what: "reference" })?;
                outcomes.push(resolve(&outcomes, distance, index)?);
                continue;
            }
            code::VALUE | code::MISMATCH => values.read(body, &mut position)?,
            code::COUNTER => size_of::<i64>(),
            code::MISSING | code::DONE | code::MISMATCH_MISSING..=code::NOT_RECORDED => 0,
            code => return Err(ReplyError::UnknownCode { what: "outcome", code }),
        };
        if length > body.len() - position {
            let is_value = matches!(code, code::VALUE | code::MISMATCH);
            let part = if is_value { "a value" } else { "an outcome" };
            return Err(ReplyError::CutOff { part });
        }
        outcomes.push(OutcomeEntry::new(code, BODY + position, length));
        position += length;
    }
    if position != body.len() {
        return Err(ReplyError::TrailingBytes { bytes: body.len() - position });
    }
    Ok(outcomes)
}

/// Reads values' lengths, guessing that each is the one before.
///
/// Where the next outcome begins depends on the length of this one; a guess that is nearly always
/// right lets the processor go on there before it has read the length.
#[derive(Debug, Default)]
struct ValueHeads {
    /// The two bytes of the length before, if it took two.
    bytes: Option<[u8; 2]>,
    length: usize,
}

impl ValueHeads {
    #[inline]
    fn read(&mut self, body: &[u8], position: &mut usize) -> Result<usize, ReplyError> {
        let head = body[*position..].first_chunk::<2>().copied();
        if head.is_some() && head == self.bytes {
            *position += 2;
            return Ok(self.length);
        }
        let start = *position;
        let length = varint::read(body, position)
            .filter(|length| *length <= VALUE_BYTES_MAX as u64)
            .ok_or(ReplyError::Malformed { what: "value length" })?;
        self.length = length as usize;
        self.bytes = head.filter(|_| *position - start == 2);
        Ok(self.length)
    }
}

/// The entry of a repeat: the bytes of the full value that it names, under its own code, so that
/// no later repeat can name this one.
fn resolve(
    outcomes: &[OutcomeEntry],
    distance: u64,
    index: usize,
) -> Result<OutcomeEntry, ReplyError> {
    let target = usize::try_from(distance).ok().and_then(|back| index.checked_sub(back));
    match target.and_then(|target| outcomes.get(target)) {
        Some(entry) if entry.code() == code::VALUE => Ok(entry.repeated()),
        _ => Err(ReplyError::Reference { index }),
    }
}

#[cfg(test)]
mod tests;

//! From a reply's bytes to outcomes.

use bytes::Bytes;
use model::limits::VALUE_BYTES_MAX;
use model::outcome::Outcome;
use model::refusal::Refusal;

use super::code;
use super::header::{BODY, FLAG_RECORDED, FLAG_SEQUENCES, HEADER_BYTES, ReplyHeader};
use crate::bytes_at::{u32_at, u64_at};
use crate::limits::{BATCH_GROUPS_MAX, BATCH_OPERATIONS_MAX, DETAIL_BYTES_MAX, REPLY_BYTES_MAX};
use crate::varint;

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
    has_deferred: bool,
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
            data_id: u64_at(body, 0),
            number: u64_at(body, 8),
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
        let has_deferred = outcomes.iter().any(|entry| entry.code() == code::DEFERRED);
        Ok(Self { frame, header, refusal, flags, groups, has_deferred, outcomes })
    }

    /// What the reply says of its shard.
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

    /// Whether a read was deferred.
    pub fn has_deferred(&self) -> bool {
        self.has_deferred
    }

    /// Whether there is no outcome.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The outcome of operation `index`, in the order of the request; `None` for a read that was
    /// deferred.
    #[inline]
    pub fn outcome(&self, index: usize) -> Option<Outcome<&[u8]>> {
        let entry = self.outcomes[index];
        let value = || entry.value(&self.frame);
        // Most outcomes are values: no jump table for them.
        if entry.code() <= code::REPEAT {
            return Some(Outcome::Value(value()));
        }
        Some(match entry.code() {
            code::MISSING => Outcome::Missing,
            code::DONE => Outcome::Done,
            code::COUNTER => Outcome::Counter(i64::from_le_bytes(
                value().try_into().expect("a counter has eight bytes"),
            )),
            code::MISMATCH => Outcome::Mismatch(Some(value())),
            code::MISMATCH_MISSING => Outcome::Mismatch(None),
            code::MISMATCH_UNTOLD => Outcome::MismatchUntold,
            code::NOT_AN_INTEGER => Outcome::NotAnInteger,
            code::OVERFLOW => Outcome::Overflow,
            code::DEFERRED => return None,
            other => unreachable!("code {other} was checked"),
        })
    }

    /// The same with a value that shares this reply's memory.
    pub fn shared_outcome(&self, index: usize) -> Option<Outcome<Bytes>> {
        Some(self.outcome(index)?.map(|value| self.frame.slice_ref(value)))
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
            code::MISSING | code::DONE | code::MISMATCH_MISSING..=code::DEFERRED => 0,
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

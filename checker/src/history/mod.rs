//! Histories: what was asked, when, and what came of it.
//!
//! A client writes one binary file with a [`HistoryWriter`]; [`HistoryFile`] reads it back.
//! [`json`] reads the histories of other tools. All numbers are little-endian, `varint` is the form
//! of `history/varint.rs`, and `folded` a varint of a signed number folded as it says there.
//!
//! # The file
//!
//! Header:
//!
//! 1. 8 bytes: `KVSHIST2`
//! 2. u64: the run's id; all files of one check have the same
//! 3. u32: the client's number in the run; no two files of one check have the same
//! 4. i64: nanoseconds to add to this file's times to bring them to the run's clock
//! 5. u64: how wrong that may be, in nanoseconds
//! 6. u32: length of the configuration, at most 65,536 bytes
//! 7. the configuration: UTF-8 text for people
//! 8. u64: rapidhash v3 of everything before
//!
//! Then blocks, each readable without the others:
//!
//! 1. u32: length of the body, 1 to 1 MiB
//! 2. u32: operations in the body
//! 3. u64: rapidhash v3 of the two numbers above and the body
//! 4. body: the records below
//!
//! and the end, which only a writer that finished leaves:
//!
//! 1. u32: 0
//! 2. u32: 0
//! 3. u64: operations in the file
//! 4. i64, u64: as 4 and 5 of the header, from probes at the run's end; these are the ones used
//! 5. u64: rapidhash v3 of the end's numbers above
//!
//! # The records
//!
//! Each starts with a u16 tag. Bits 0-2 are the kind: 0 GET, 1 PUT, 2 DELETE, 3 CAS, 4 INCR, 5
//! columns, 6 a boot id, 7 a batch.
//!
//! A *boot id* (no other bit set) names a server's life; the block counts them from 0:
//!
//! 1. u64: the boot id
//!
//! A *batch* (no other bit set) holds for the operations up to the next one. Differences are to the
//! block's batch before, at first to 0:
//!
//! 1. folded: difference of the invocation time, in nanoseconds
//! 2. varint: nanoseconds from invocation to response
//! 3. folded: difference of the first stamp
//! 4. varint: the worker
//!
//! An *operation*: bits 3-4 are the outcome (0 ok, 1 fail, 2 unknown), 5-6 the key's form (0 bytes,
//! 1 number, 2 counter), 7-9 the value read (0 not known, 1 missing, 2 present without an id, 3 id,
//! 4 number, 5 foreign), 10-11 the value written (0 none, 1 the operation's own id, 2 another id,
//! 3 number). Bit 12 says that an apply sequence follows, bit 13 a boot index. Then
//!
//! 1. varint: the stamp less the batch's first, modulo 2^64
//! 2. the key: a varint for a number and a counter, else its length as a varint and its bytes. A
//!    number is a key of decimal digits without leading zeros, a counter one of `c` and such digits
//! 3. the value read: for an id, varint client and varint stamp; for a number, folded
//! 4. the value written, likewise
//! 5. INCR: what it adds, folded
//! 6. with bit 12: the apply sequence, folded difference to the batch's one before, at first to 0
//! 7. with bit 13: varint, the boot's index; without it, 0
//!
//! *Columns* (no other bit set) hold operations of the batch that need no more than a few fields:
//! executed ones on keys that are numbers. Their stamps are consecutive:
//!
//! 1. varint: how many operations, 1 to 4,096
//! 2. varint: stamp of the first less the batch's first, modulo 2^64
//! 3. varint: number of places, at most 8,192
//! 4. for each place: varint, twice the boot's index, plus 1 if an apply sequence follows; that,
//!    folded difference to the one of the places before, at first to 0
//! 5. four u8: the widths in bytes of the columns below, 1-2, 1-8, 0-5 and 0-2
//! 6. a column, one little-endian number an operation: bits 0-2 the form, above them the place. Forms:
//!    0 told by another record or none, 1 GET of an id, 2 GET of a missing key, 3 PUT that wrote its
//!    own id, 4 DELETE of a key that was there, 5 DELETE of a missing key, 6 CAS that replaced an id
//!    by its own, 7 CAS that found another id
//! 7. a column: the keys' numbers
//! 8. a column: the stamps of the ids that were read, or 0
//! 9. a column: their clients, or 0
//!
//! An operation of a zipfian run over 10^6 keys takes 8 or 9 bytes in columns, 12 to 15 in a record
//! of its own.
//!
//! *Fail* is for operations that had no effect and will have none: those that were refused or never
//! sent, and INCRs that found no integer or left its range. It says nothing of what the operation
//! saw, so such an INCR is not checked against the value that it found; to drop a pure observation
//! can hide a fault, and never makes a false alarm.
//!
//! # A writer that was killed
//!
//! Its file lacks the end, and the last batches, which may have taken effect. Recording what will
//! be sent before it is sent would not help unless each batch waited for the disk, so the file is
//! refused, and with `-allow_truncated` it is read up to its last whole block. A key whose history
//! is then linearizable is so: what was lost may never have been executed. Otherwise each id of
//! that client that was read and not recorded counts as a write with unknown outcome that may take
//! effect at any time, and reads of a missing key as unknown, because a lost DELETE may explain
//! them. Neither can cause a false alarm. A counter that fails is undecided.

mod columns;
mod encoding;
pub mod json;
mod reader;
mod sink;
pub(crate) mod varint;
mod writer;

pub use columns::{PLACES_MAX, Place, Told};
pub(crate) use encoding::{Decoder, Encoder, Record};
pub use reader::{Clock, Header, HistoryFile, Unreadable};
pub use writer::{BatchRecorder, HistoryTotals, HistoryWriter, WriteError};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Reads the value.
    Get = 0,
    /// Writes a value, whatever was there.
    Put = 1,
    /// Writes the tombstone: the key is missing afterwards.
    Delete = 2,
    /// Writes a value if the one it expects is there.
    CompareAndSwap = 3,
    /// Adds to the integer that the key holds; a missing key counts as 0.
    Increment = 4,
}

/// What is known of an operation's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// It took effect between its invocation and its response.
    Ok = 0,
    /// It provably changed nothing: it was not executed, or is an INCR that found no integer or left
    /// its range.
    Fail = 1,
    /// It may have taken effect, or may still.
    Unknown = 2,
}

/// A value as a history names it: by the operation that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Not known, or none.
    NotKnown,
    /// The key was missing.
    Missing,
    /// There was a value, which does not tell its id.
    Present,
    /// The value that this operation wrote.
    Id {
        /// The writer's client.
        client: u32,
        /// The writer's stamp.
        stamp: u64,
    },
    /// An integer: what a counter holds.
    Number(i64),
    /// A value that no operation of this run can have written.
    Foreign,
}

/// What an operation wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing, or, of an INCR, a number that is not known.
    Nothing,
    /// A value (a DELETE: a tombstone) whose id is the operation's own client and stamp.
    Own,
    /// A value with another id.
    Id {
        /// The id's client.
        client: u32,
        /// The id's stamp.
        stamp: u64,
    },
    /// An integer: the result of an INCR, or a PUT that sets a counter.
    Number(i64),
}

/// A key in its one form: a key of decimal digits is always a `Number`, never `Bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key<'a> {
    /// The number's decimal digits.
    Number(u64),
    /// `c` and the number's decimal digits.
    Counter(u64),
    /// Any other key, 1 to [`KEY_BYTES_MAX`] bytes.
    Bytes(&'a [u8]),
}

impl<'a> Key<'a> {
    /// The form of a key given as bytes.
    pub fn parse(bytes: &'a [u8]) -> Self {
        if let Some(number) = decimal(bytes) {
            return Self::Number(number);
        }
        match bytes.strip_prefix(b"c").and_then(decimal) {
            Some(number) => Self::Counter(number),
            None => Self::Bytes(bytes),
        }
    }

    /// The key's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Counter(number) => format!("c{number}").into_bytes(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

/// The number that `bytes` are the shortest decimal form of.
fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.len() > 20 || (bytes.len() > 1 && bytes[0] == b'0') {
        return None;
    }
    let mut digits = bytes.iter();
    let first = digits.next().filter(|digit| digit.is_ascii_digit())?;
    digits.try_fold(u64::from(first - b'0'), |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// What operations of one batch share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The worker, counted from 0 in its client.
    pub worker: u32,
    /// When the first of them was invoked, in nanoseconds, at most `i64::MAX`.
    pub inv_ns: u64,
    /// When the last of them had its response, not before `inv_ns`. Unknown operations have none,
    /// whatever stands here.
    pub res_ns: u64,
    /// The stamp that the operations' stamps are counted from.
    pub first_stamp: u64,
}

/// One operation of a batch, as it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Its key.
    pub key: Key<'a>,
    /// Its stamp: ascending in its worker, and its own in its client.
    pub stamp: u64,
    /// What it does.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// What it saw. Of a GET, the value; of a CAS, the expected value when it matched or when the
    /// outcome is unknown, else the current one; of a DELETE, `Missing` when there was nothing to
    /// delete and `Present` when there was; of an INCR and a PUT, `NotKnown`.
    pub read: Value,
    /// What it wrote: of a PUT, a DELETE and a CAS that matched, or may have, `Own`; of an INCR its
    /// result; of a PUT that sets a counter, the number; else `Nothing`.
    pub written: Written,
    /// What an INCR adds, 0 for the others.
    pub by: i64,
    /// The apply sequence that the server's reply gave for the operation's group. Operations of one
    /// group are in the order of their stamps, so (sequence, stamp) orders all operations on a key.
    pub sequence: Option<u64>,
    /// Boot id of the server that executed it, or that its session belongs to.
    pub boot: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_form() {
        assert_eq!(Key::parse(b"0"), Key::Number(0));
        assert_eq!(Key::parse(b"18446744073709551615"), Key::Number(u64::MAX));
        assert_eq!(Key::parse(b"c70"), Key::Counter(70));
        for bytes in [&b"00"[..], b"07", b"18446744073709551616", b"c", b"c07", b"7a", b"", b"-1"] {
            assert_eq!(Key::parse(bytes), Key::Bytes(bytes));
        }
        for text in ["0", "12", "c0", "k1"] {
            assert_eq!(Key::parse(text.as_bytes()).to_bytes(), text.as_bytes());
        }
    }
}

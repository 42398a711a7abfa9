//! Keys, values, operations and their outcomes: what the service hands to a store and gets back.
//!
//! A batch's operations are not decoded into a vector of enums. The frame stays where it is, and a
//! table of 24-byte [`OperationEntry`]s says where each key and argument lies; [`Operations`] joins
//! the two and yields an [`Operation`] by index, in registers. A parser of another protocol fills
//! an [`OperationBuffer`] and gets the same [`Operations`].

use std::ops::Deref;

use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::varint;

/// What an operation does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read the value.
    Get,
    /// Write the value, whatever was there.
    Put {
        /// The value written, at most [`VALUE_BYTES_MAX`] bytes.
        value: &'a [u8],
    },
    /// Remove the key.
    Delete,
    /// Write `value` if the current value equals `expected`.
    CompareAndSwap {
        /// The value that must be there; `None` when the key must be missing.
        expected: Option<&'a [u8]>,
        /// The value written on a match.
        value: &'a [u8],
    },
    /// Add `by` to the decimal integer that the key holds; a missing key counts as 0.
    Increment {
        /// The summand, negative to count down.
        by: i64,
    },
    /// The key belongs to another shard: a store answers [`Outcome::WrongShard`] and does nothing.
    Foreign,
}

/// One operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The key, 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// What to do to it.
    pub action: Action<'a>,
}

impl Operation<'_> {
    /// The kind of this operation.
    pub fn kind(&self) -> OperationKind {
        match self.action {
            Action::Get => OperationKind::Get,
            Action::Put { .. } => OperationKind::Put,
            Action::Delete => OperationKind::Delete,
            Action::CompareAndSwap { .. } => OperationKind::CompareAndSwap,
            Action::Increment { .. } => OperationKind::Increment,
            Action::Foreign => OperationKind::Foreign,
        }
    }

    /// Checks key and values against the limits.
    ///
    /// # Errors
    ///
    /// The first bound that is passed.
    #[inline]
    pub fn check(&self) -> Result<(), OperationError> {
        if self.key.is_empty() {
            return Err(OperationError::KeyEmpty);
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(OperationError::KeyTooLong { bytes: self.key.len() });
        }
        let longest = match self.action {
            Action::Put { value } => value.len(),
            Action::CompareAndSwap { expected, value } => {
                value.len().max(expected.map_or(0, <[u8]>::len))
            }
            _ => 0,
        };
        if longest > VALUE_BYTES_MAX {
            return Err(OperationError::ValueTooLong { bytes: longest });
        }
        Ok(())
    }
}

/// Why an operation can't be sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// Keys have at least one byte.
    #[error("the key is empty; keys have 1 to {KEY_BYTES_MAX} bytes")]
    KeyEmpty,
    /// Keys have at most [`KEY_BYTES_MAX`] bytes.
    #[error("the key has {bytes} bytes; keys have 1 to {KEY_BYTES_MAX} bytes")]
    KeyTooLong {
        /// Length of the key, in bytes.
        bytes: usize,
    },
    /// Values have at most [`VALUE_BYTES_MAX`] bytes.
    #[error("the value has {bytes} bytes; values have at most {VALUE_BYTES_MAX} bytes")]
    ValueTooLong {
        /// Length of the value, in bytes.
        bytes: usize,
    },
}

/// An operation's kind, and its code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OperationKind {
    /// See [`Action::Get`].
    Get = 0,
    /// See [`Action::Put`].
    Put = 1,
    /// See [`Action::Delete`].
    Delete = 2,
    /// See [`Action::CompareAndSwap`].
    CompareAndSwap = 3,
    /// See [`Action::Increment`].
    Increment = 4,
    /// See [`Action::Foreign`]; never on the wire.
    Foreign = 5,
}

impl OperationKind {
    /// The kind with this wire code.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Get,
            1 => Self::Put,
            2 => Self::Delete,
            3 => Self::CompareAndSwap,
            4 => Self::Increment,
            _ => return None,
        })
    }

    /// Whether such an operation may change its key.
    pub fn is_mutation(self) -> bool {
        !matches!(self, Self::Get | Self::Foreign)
    }
}

/// What became of one operation. `V` is how the value is held: a slice or shared bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<V> {
    /// GET: the key's value.
    Value(V),
    /// GET or DELETE: there was no such key.
    Missing,
    /// PUT, DELETE or CAS took effect.
    Done,
    /// INCR took effect, and this is the new count.
    Counter(i64),
    /// CAS: the current value is another one, or the key is missing.
    Mismatch(Option<V>),
    /// CAS: it did not match, and a retry lost the reply that held the current value.
    MismatchNotRecorded,
    /// INCR: the value is not a decimal 64-bit integer. Nothing changed.
    NotAnInteger,
    /// INCR: the sum leaves the 64-bit range. Nothing changed.
    Overflow,
    /// Refused: another server owns the key.
    WrongShard,
    /// Refused: the value does not fit into this reply. Not executed; send it again.
    Deferred,
    /// A retried GET whose first result is not kept. Send it again.
    NotRecorded,
}

impl<V> Outcome<V> {
    /// Whether the server refused to execute the operation.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::WrongShard | Self::Deferred | Self::NotRecorded)
    }

    /// The same outcome with the value borrowed.
    #[inline]
    pub fn as_deref(&self) -> Outcome<&V::Target>
    where
        V: Deref,
    {
        match self {
            Self::Value(value) => Outcome::Value(value),
            Self::Missing => Outcome::Missing,
            Self::Done => Outcome::Done,
            Self::Counter(count) => Outcome::Counter(*count),
            Self::Mismatch(current) => Outcome::Mismatch(current.as_deref()),
            Self::MismatchNotRecorded => Outcome::MismatchNotRecorded,
            Self::NotAnInteger => Outcome::NotAnInteger,
            Self::Overflow => Outcome::Overflow,
            Self::WrongShard => Outcome::WrongShard,
            Self::Deferred => Outcome::Deferred,
            Self::NotRecorded => Outcome::NotRecorded,
        }
    }

    /// The same outcome with the value held another way.
    pub fn map<W>(self, hold: impl FnOnce(V) -> W) -> Outcome<W> {
        match self {
            Self::Value(value) => Outcome::Value(hold(value)),
            Self::Missing => Outcome::Missing,
            Self::Done => Outcome::Done,
            Self::Counter(count) => Outcome::Counter(count),
            Self::Mismatch(current) => Outcome::Mismatch(current.map(hold)),
            Self::MismatchNotRecorded => Outcome::MismatchNotRecorded,
            Self::NotAnInteger => Outcome::NotAnInteger,
            Self::Overflow => Outcome::Overflow,
            Self::WrongShard => Outcome::WrongShard,
            Self::Deferred => Outcome::Deferred,
            Self::NotRecorded => Outcome::NotRecorded,
        }
    }
}

/// Takes the outcomes of a group, one call an operation, in the group's order.
pub trait OutcomeSink {
    /// Where the sink will look first when the outcome for this hash comes: an address that a
    /// store, which knows what comes next, asks the processor for. Nothing is read through it.
    #[inline]
    fn place(&self, _hash: u64) -> *const u8 {
        std::ptr::null()
    }

    /// Takes the next operation's outcome. `hash` is the one of its key.
    fn push(&mut self, hash: u64, outcome: Outcome<&[u8]>);
}

impl OutcomeSink for Vec<Outcome<Vec<u8>>> {
    fn push(&mut self, _hash: u64, outcome: Outcome<&[u8]>) {
        Vec::push(self, outcome.map(<[u8]>::to_vec));
    }
}

/// Where one operation's parts lie in its frame. 24 bytes.
#[derive(Clone, Copy, Debug)]
pub struct OperationEntry {
    /// The store's hash of the key.
    pub hash: u64,
    /// Where the key starts.
    pub key_offset: u32,
    /// Where the argument starts: the value of a PUT, the encoded argument of CAS and INCR.
    pub argument_offset: u32,
    /// Length of the argument, in bytes.
    pub argument_bytes: u32,
    /// Length of the key, in bytes.
    pub key_bytes: u16,
    /// What to do.
    pub kind: OperationKind,
}

const _: () = assert!(size_of::<OperationEntry>() == 24);

/// A run of operations in a frame, to be applied in this order.
#[derive(Clone, Copy, Debug)]
pub struct Operations<'a> {
    frame: &'a [u8],
    entries: &'a [OperationEntry],
}

impl<'a> Operations<'a> {
    /// Joins a frame with the entries that were validated against it.
    pub fn new(frame: &'a [u8], entries: &'a [OperationEntry]) -> Self {
        Self { frame, entries }
    }

    /// How many operations there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The hash of operation `index`'s key, as its store defines it.
    #[inline]
    pub fn hash(&self, index: usize) -> u64 {
        self.entries[index].hash
    }

    /// Operation `index`.
    ///
    /// # Panics
    ///
    /// When `index` is out of range, or the entries do not belong to the frame.
    #[inline]
    pub fn get(&self, index: usize) -> Operation<'a> {
        let entry = &self.entries[index];
        let key = &self.frame[entry.key_offset as usize..][..entry.key_bytes as usize];
        let action = match entry.kind {
            OperationKind::Get => Action::Get,
            OperationKind::Put => Action::Put { value: self.argument(entry) },
            _ => self.rare_action(entry),
        };
        Operation { key, action }
    }

    /// The operations in `range`.
    #[inline]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Self { frame: self.frame, entries: &self.entries[range] }
    }

    #[inline]
    fn argument(&self, entry: &OperationEntry) -> &'a [u8] {
        &self.frame[entry.argument_offset as usize..][..entry.argument_bytes as usize]
    }

    #[cold]
    fn rare_action(&self, entry: &OperationEntry) -> Action<'a> {
        let argument = self.argument(entry);
        match entry.kind {
            OperationKind::Get => Action::Get,
            OperationKind::Put => Action::Put { value: argument },
            OperationKind::Delete => Action::Delete,
            OperationKind::CompareAndSwap => {
                let (expected, value) =
                    split_compare_and_swap(argument).expect("the argument was validated");
                Action::CompareAndSwap { expected, value }
            }
            OperationKind::Increment => Action::Increment {
                by: i64::from_le_bytes(argument.try_into().expect("the argument was validated")),
            },
            OperationKind::Foreign => Action::Foreign,
        }
    }
}

/// Splits the encoded argument of a CAS:
///
/// 1. varint: 0 when the key must be missing, else the expected value's length plus one
/// 2. the expected value
/// 3. the new value, to the end of the argument
pub(crate) fn split_compare_and_swap(argument: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let mut position = 0;
    let length = varint::read(argument, &mut position)?;
    let rest = &argument[position..];
    match length.checked_sub(1) {
        None => Some((None, rest)),
        Some(length) => {
            let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
            let (expected, value) = rest.split_at(length);
            Some((Some(expected), value))
        }
    }
}

/// Writes an operation's argument in the form that [`Operations::get`] reads.
pub(crate) fn write_argument(action: &Action<'_>, out: &mut Vec<u8>) {
    match *action {
        Action::Get | Action::Delete | Action::Foreign => {}
        Action::Put { value } => out.extend_from_slice(value),
        Action::CompareAndSwap { expected, value } => {
            match expected {
                None => varint::write(out, 0),
                Some(expected) => {
                    varint::write(out, expected.len() as u64 + 1);
                    out.extend_from_slice(expected);
                }
            }
            out.extend_from_slice(value);
        }
        Action::Increment { by } => out.extend_from_slice(&by.to_le_bytes()),
    }
}

/// Operations that own their bytes: what a parser of another protocol, or a test, fills.
#[derive(Debug, Default)]
pub struct OperationBuffer {
    bytes: Vec<u8>,
    entries: Vec<OperationEntry>,
}

impl OperationBuffer {
    /// Appends an operation. `hash` is the store's hash of its key.
    ///
    /// # Panics
    ///
    /// When the operation breaks a limit (see [`Operation::check`]), or 4 GiB are passed.
    pub fn push(&mut self, operation: Operation<'_>, hash: u64) {
        operation.check().expect("the caller checks operations");
        let key_offset = self.bytes.len();
        self.bytes.extend_from_slice(operation.key);
        let argument_offset = self.bytes.len();
        write_argument(&operation.action, &mut self.bytes);
        let offset = |at: usize| u32::try_from(at).expect("a buffer holds less than 4 GiB");
        self.entries.push(OperationEntry {
            hash,
            key_offset: offset(key_offset),
            argument_offset: offset(argument_offset),
            argument_bytes: offset(self.bytes.len() - argument_offset),
            key_bytes: operation.key.len() as u16,
            kind: operation.kind(),
        });
    }

    /// The operations so far.
    pub fn operations(&self) -> Operations<'_> {
        Operations::new(&self.bytes, &self.entries)
    }

    /// Forgets the operations and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_yields_what_was_pushed() {
        let operations = [
            Operation { key: b"a", action: Action::Get },
            Operation { key: b"b", action: Action::Put { value: b"value" } },
            Operation { key: b"b", action: Action::Put { value: b"" } },
            Operation { key: b"c", action: Action::Delete },
            Operation {
                key: b"d",
                action: Action::CompareAndSwap { expected: None, value: b"new" },
            },
            Operation {
                key: b"d",
                action: Action::CompareAndSwap { expected: Some(b""), value: b"" },
            },
            Operation {
                key: b"d",
                action: Action::CompareAndSwap { expected: Some(b"old"), value: b"new" },
            },
            Operation { key: b"e", action: Action::Increment { by: i64::MIN } },
            Operation { key: b"f", action: Action::Foreign },
        ];
        let mut buffer = OperationBuffer::default();
        for (index, operation) in operations.iter().enumerate() {
            buffer.push(*operation, index as u64);
        }
        let read = buffer.operations();
        assert_eq!(read.len(), operations.len());
        for (index, operation) in operations.iter().enumerate() {
            assert_eq!(read.get(index), *operation);
            assert_eq!(read.hash(index), index as u64);
        }
        assert_eq!(read.slice(1..3).get(1), operations[2]);
    }

    #[test]
    fn lying_lengths_in_a_cas_are_refused() {
        assert_eq!(split_compare_and_swap(&[0, 7]), Some((None, &[7][..])));
        assert_eq!(split_compare_and_swap(&[2, 7]), Some((Some(&[7][..]), &[][..])));
        assert_eq!(split_compare_and_swap(&[3, 7]), None);
        assert_eq!(split_compare_and_swap(&[]), None);
    }

    #[test]
    fn limits_are_checked() {
        let get = |key| Operation { key, action: Action::Get };
        assert_eq!(get(&[0; KEY_BYTES_MAX]).check(), Ok(()));
        assert_eq!(get(&[]).check(), Err(OperationError::KeyEmpty));
        assert!(matches!(
            get(&[0; KEY_BYTES_MAX + 1]).check(),
            Err(OperationError::KeyTooLong { .. })
        ));
        let value = vec![0; VALUE_BYTES_MAX + 1];
        let put = Operation { key: b"k", action: Action::Put { value: &value } };
        assert!(matches!(put.check(), Err(OperationError::ValueTooLong { .. })));
        let fits = Operation { key: b"k", action: Action::Put { value: &value[1..] } };
        assert_eq!(fits.check(), Ok(()));
    }
}

//! Runs of operations that lie in one buffer.
//!
//! A batch's operations are not decoded into a vector of enums. The frame stays where it is, and a
//! table of 24-byte [`OperationEntry`]s says where each key and argument lies; [`Operations`] joins
//! the two and yields an [`Operation`] by index, in registers. A parser of another protocol fills
//! an [`OperationBuffer`] and gets the same [`Operations`].

use crate::argument::{split_compare_and_swap, write_argument};
use crate::operation::{Action, Operation, OperationKind};

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
        }
    }
}

/// Operations of one partition, in their batch's order of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The shard's lock domain.
    pub partition: u32,
    /// How many operations.
    pub operations: u32,
}

/// A batch's groups, each with its partition: `entries` are those of all groups, one after another.
pub fn runs<'a>(
    frame: &'a [u8],
    groups: &'a [Group],
    entries: &'a [OperationEntry],
) -> impl Iterator<Item = (u32, Operations<'a>)> {
    groups.iter().scan(0, move |first, group| {
        let range = *first..*first + group.operations as usize;
        *first = range.end;
        Some((group.partition, Operations::new(frame, &entries[range])))
    })
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
}

//! From a batch's bytes to checked operations.

use model::limits::{KEY_BYTES_MAX, PARTITIONS_MAX, VALUE_BYTES_MAX};
use model::operation::OperationKind;
use model::operations::{Group, OperationEntry};
use model::split_compare_and_swap;

use super::header::{BatchHeader, COUNTS, GROUP_BYTES, HEADER_BYTES, RESERVED, read_header};
use crate::bytes_at::u32_at;
use crate::limits::{BATCH_GROUPS_MAX, BATCH_OPERATIONS_MAX, REQUEST_BYTES_MAX};
use crate::varint;

/// Why a batch's bytes are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body ends inside the named part.
    #[error("the batch is cut off in {part} at byte {offset}")]
    CutOff {
        /// What was being read.
        part: &'static str,
        /// Where, in bytes from the start of the body.
        offset: usize,
    },
    /// Bytes follow the last operation.
    #[error("{bytes} bytes follow the last operation")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A number in the header is out of its bounds.
    #[error("{what} is {got}; it must be {bounds}")]
    OutOfBounds {
        /// Which number.
        what: &'static str,
        /// What stood there.
        got: u64,
        /// What may stand there.
        bounds: &'static str,
    },
    /// The groups' counts do not add up to the number of operations.
    #[error("the groups hold {groups} operations, the header says {header}")]
    CountsLie {
        /// Sum over the groups.
        groups: u64,
        /// What the header says.
        header: u32,
    },
    /// An operation code that this version does not know.
    #[error("operation {index} has the unknown code {code}")]
    UnknownOperation {
        /// Position in the batch, from 0.
        index: usize,
        /// The code.
        code: u8,
    },
    /// A key's or value's length is out of its bounds.
    #[error("operation {index}: {what} of {bytes} bytes; allowed are {bounds}")]
    Length {
        /// Position in the batch, from 0.
        index: usize,
        /// A key or a value.
        what: &'static str,
        /// Its length, in bytes.
        bytes: u64,
        /// What is allowed.
        bounds: &'static str,
    },
    /// A number in an operation is malformed, or a stamp passes 64 bits.
    #[error("operation {index}: malformed {what}")]
    Malformed {
        /// Position in the batch, from 0.
        index: usize,
        /// Which part.
        what: &'static str,
    },
    /// An operation stands in the group of another partition.
    #[error("operation {index} is in the group of partition {group}, its key in {partition}")]
    WrongGroup {
        /// Position in the batch, from 0.
        index: usize,
        /// The group's partition.
        group: u32,
        /// The key's partition.
        partition: u32,
    },
}

/// Where a key belongs, as the first pass over a batch asks for each key.
pub trait Placement {
    /// The partition of a key, and whether the shard owns it.
    fn place(&self, key: &[u8]) -> (u32, bool);
    /// The store's hash of a key.
    fn hash(&self, key: &[u8]) -> u64;
}

/// What a batch is, beside its groups and operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What stands before the operations.
    pub header: BatchHeader,
    /// How many operations mutate.
    pub mutations: usize,
    /// Whether all keys are the shard's.
    pub is_owned: bool,
}

/// Decodes and checks a whole body; fills `groups` and, one an operation, `entries`.
///
/// # Errors
///
/// Whatever is wrong with the bytes; both vectors then hold nothing of use.
pub fn decode(
    body: &[u8],
    placement: &impl Placement,
    groups: &mut Vec<Group>,
    entries: &mut Vec<OperationEntry>,
) -> Result<Decoded, BatchError> {
    if body.len() > REQUEST_BYTES_MAX {
        return Err(BatchError::OutOfBounds {
            what: "the length of the batch",
            got: body.len() as u64,
            bounds: "at most 4 MiB",
        });
    }
    let cut_off = BatchError::CutOff { part: "the header", offset: body.len() };
    let header = read_header(body).ok_or(cut_off)?;
    read_groups(body, groups)?;
    entries.clear();
    let (mut mutations, mut is_owned) = (0, true);
    let mut position = HEADER_BYTES + groups.len() * GROUP_BYTES;
    for group in groups.iter() {
        let mut stamp = header.first_stamp;
        for _ in 0..group.operations {
            let index = entries.len();
            let (mut entry, difference) = read_operation(body, &mut position, index)?;
            stamp = stamp
                .checked_add(difference)
                .ok_or(BatchError::Malformed { index, what: "stamp" })?;
            let key = &body[entry.key_offset as usize..][..entry.key_bytes as usize];
            let (partition, owned) = placement.place(key);
            if partition != group.partition {
                let group = group.partition;
                return Err(BatchError::WrongGroup { index, group, partition });
            }
            is_owned &= owned;
            mutations += usize::from(entry.kind.is_mutation());
            entry.hash = placement.hash(key);
            entries.push(entry);
        }
    }
    if position != body.len() {
        return Err(BatchError::TrailingBytes { bytes: body.len() - position });
    }
    check_numbers(&header, mutations > 0)?;
    Ok(Decoded { header, mutations, is_owned })
}

fn check_numbers(header: &BatchHeader, mutates: bool) -> Result<(), BatchError> {
    if mutates && header.number == 0 {
        let (what, bounds) = ("the number of a batch that mutates", "at least 1");
        return Err(BatchError::OutOfBounds { what, got: 0, bounds });
    }
    let highest = header.number.saturating_add(u64::from(!mutates));
    if header.lowest_open == 0 || header.lowest_open > highest {
        return Err(BatchError::OutOfBounds {
            what: "the lowest open number",
            got: header.lowest_open,
            bounds: "from 1 to the batch's number, or to the one after that which reads follow",
        });
    }
    Ok(())
}

/// Shortest operation on the wire: kind, stamp difference, key length, one byte of key.
const OPERATION_BYTES_MIN: usize = 4;

fn read_groups(body: &[u8], groups: &mut Vec<Group>) -> Result<(), BatchError> {
    groups.clear();
    if u32_at(body, RESERVED) != 0 {
        let got = u32_at(body, RESERVED).into();
        return Err(BatchError::OutOfBounds { what: "a reserved number", got, bounds: "0" });
    }
    let operations = u32_at(body, COUNTS);
    let count = u32_at(body, COUNTS + 4);
    if operations == 0 || operations as usize > BATCH_OPERATIONS_MAX {
        return Err(BatchError::OutOfBounds {
            what: "the number of operations",
            got: operations.into(),
            bounds: "1 to 65,536",
        });
    }
    if count == 0 || count as usize > BATCH_GROUPS_MAX || count > operations {
        return Err(BatchError::OutOfBounds {
            what: "the number of groups",
            got: count.into(),
            bounds: "from 1 to the number of operations",
        });
    }
    let least =
        HEADER_BYTES + count as usize * GROUP_BYTES + operations as usize * OPERATION_BYTES_MIN;
    if body.len() < least {
        return Err(BatchError::CutOff { part: "the operations", offset: body.len() });
    }
    let mut sum = 0;
    for index in 0..count as usize {
        let at = HEADER_BYTES + index * GROUP_BYTES;
        let group = Group { partition: u32_at(body, at), operations: u32_at(body, at + 4) };
        let previous = groups.last().map_or(0, |group: &Group| group.partition);
        if group.partition < previous || group.partition >= PARTITIONS_MAX {
            return Err(BatchError::OutOfBounds {
                what: "a group's partition",
                got: group.partition.into(),
                bounds: "below 4,096 and not below the one before",
            });
        }
        if group.operations == 0 {
            return Err(BatchError::OutOfBounds {
                what: "a group's number of operations",
                got: 0,
                bounds: "at least 1",
            });
        }
        sum += u64::from(group.operations);
        groups.push(group);
    }
    if sum != u64::from(operations) {
        return Err(BatchError::CountsLie { groups: sum, header: operations });
    }
    Ok(())
}

/// Reads one operation but for its hash; returns it with its stamp difference.
#[inline]
fn read_operation(
    body: &[u8],
    position: &mut usize,
    index: usize,
) -> Result<(OperationEntry, u64), BatchError> {
    let cut_off = |part, offset| BatchError::CutOff { part, offset };
    let code = *body.get(*position).ok_or_else(|| cut_off("an operation", *position))?;
    *position += 1;
    let kind =
        OperationKind::from_code(code).ok_or(BatchError::UnknownOperation { index, code })?;
    let difference = varint::read(body, position)
        .ok_or(BatchError::Malformed { index, what: "stamp difference" })?;
    let key_bytes =
        varint::read(body, position).ok_or(BatchError::Malformed { index, what: "key length" })?;
    if key_bytes == 0 || key_bytes > KEY_BYTES_MAX as u64 {
        let bounds = "1 to 1,024 bytes";
        return Err(BatchError::Length { index, what: "a key", bytes: key_bytes, bounds });
    }
    let key_offset = *position;
    *position += key_bytes as usize;
    if *position > body.len() {
        return Err(cut_off("a key", key_offset));
    }
    let mut entry = OperationEntry {
        hash: 0,
        key_offset: key_offset as u32,
        argument_offset: *position as u32,
        argument_bytes: 0,
        key_bytes: key_bytes as u16,
        kind,
    };
    if kind != OperationKind::Get && kind != OperationKind::Delete {
        read_argument(body, position, index, &mut entry)?;
    }
    Ok((entry, difference))
}

fn read_argument(
    body: &[u8],
    position: &mut usize,
    index: usize,
    entry: &mut OperationEntry,
) -> Result<(), BatchError> {
    let length = match entry.kind {
        OperationKind::Increment => size_of::<i64>() as u64,
        _ => varint::read(body, position)
            .ok_or(BatchError::Malformed { index, what: "value length" })?,
    };
    let too_long =
        |bytes| BatchError::Length { index, what: "a value", bytes, bounds: "at most 1 MiB" };
    if length > (body.len() - *position) as u64 {
        // A length over the limit is named as such, even where the body ends before it.
        return Err(match entry.kind {
            OperationKind::Put if length > VALUE_BYTES_MAX as u64 => too_long(length),
            _ => BatchError::CutOff { part: "a value", offset: *position },
        });
    }
    entry.argument_offset = *position as u32;
    entry.argument_bytes = length as u32;
    *position += length as usize;
    let argument = &body[entry.argument_offset as usize..*position];
    let longest = match entry.kind {
        OperationKind::Put => argument.len(),
        OperationKind::CompareAndSwap => {
            let (expected, value) = split_compare_and_swap(argument)
                .ok_or(BatchError::Malformed { index, what: "argument of a CAS" })?;
            value.len().max(expected.map_or(0, <[u8]>::len))
        }
        _ => 0,
    };
    if longest > VALUE_BYTES_MAX {
        return Err(too_long(longest as u64));
    }
    Ok(())
}

//! A batch of operations on its way to a server.
//!
//! Body of a batch request, little-endian:
//!
//! 1. `u64` boot id of the session
//! 2. `u64` number of the session
//! 3. `u32` lane
//! 4. `u32` epoch of the shard map that the client routed by
//! 5. `u64` sequence number of the batch in its lane, from 1
//! 6. `u64` lowest open number: the client holds replies to all lower ones
//! 7. `u64` first stamp
//! 8. `u32` number of operations
//! 9. `u32` number of groups
//! 10. for each group: `u32` partition, `u32` number of operations (at least 1); partitions do not
//!     descend
//! 11. the operations, group by group, each:
//!     1. `u8` kind
//!     2. varint: stamp difference, to the first stamp for the first operation of a group, else to
//!        the operation before it. It is unsigned, so disorder in a group can't be expressed
//!     3. varint: length of the key; the key
//!     4. PUT: varint length of the value; the value. CAS: varint length of the argument; the
//!        argument (varint expected length plus one, or 0 when the key must be missing; the
//!        expected value; the new value). INCR: `i64` summand. GET and DELETE: nothing
//!
//! Nothing follows the last operation.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::limits::{
    BATCH_GROUPS_MAX, BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, PARTITIONS_MAX, REQUEST_BYTES_MAX,
    VALUE_BYTES_MAX,
};
use crate::operation::{
    Operation, OperationEntry, OperationKind, split_compare_and_swap, write_argument,
};
use crate::varint;

/// Bytes of the body before the groups.
pub const HEADER_BYTES: usize = 56;
/// Bytes of the body for each group.
pub const GROUP_BYTES: usize = 8;

/// A session, as the server that issued it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// The server's boot id: a restarted server executes no batch of an old session.
    pub boot_id: u64,
    /// The session's number, random, unique in this boot.
    pub number: u64,
}

/// What stands before the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The session whose lanes number the batch.
    pub session: SessionId,
    /// The ordered stream that the batch belongs to.
    pub lane: u32,
    /// Epoch of the shard map that the client routed by.
    pub epoch: u32,
    /// Number in the lane, from 1, without gaps.
    pub sequence: u64,
    /// The client holds the replies to all lower numbers; their records can go.
    pub lowest_open: u64,
    /// Stamp that the groups' first differences count from.
    pub first_stamp: u64,
}

/// Operations of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The server's lock domain.
    pub partition: u32,
    /// How many operations.
    pub operations: u32,
}

/// Encodes the operations of one group, in stamp order.
#[derive(Debug, Default)]
pub struct GroupEncoder {
    bytes: Vec<u8>,
    operations: u32,
    last_offset: u64,
}

impl GroupEncoder {
    /// Appends an operation whose stamp is the batch's first stamp plus `stamp_offset`.
    ///
    /// # Panics
    ///
    /// When stamps descend. Limits are the caller's to check ([`Operation::check`]).
    #[inline]
    pub fn push(&mut self, stamp_offset: u64, operation: &Operation<'_>) {
        assert!(stamp_offset >= self.last_offset, "stamps ascend in a group");
        let difference = stamp_offset - self.last_offset;
        self.last_offset = stamp_offset;
        let (kind, key) = (operation.kind() as u8, operation.key);
        if difference < 1 << 14 && key.len() < 0x80 {
            self.push_short_head(kind, difference as u32, key.len() as u32);
        } else {
            self.bytes.push(kind);
            varint::write(&mut self.bytes, difference);
            varint::write(&mut self.bytes, key.len() as u64);
        }
        push_key(&mut self.bytes, key);
        match operation.kind() {
            OperationKind::Get | OperationKind::Delete => {}
            OperationKind::Put | OperationKind::CompareAndSwap => self.push_argument(operation),
            OperationKind::Increment => write_argument(&operation.action, &mut self.bytes),
            OperationKind::Foreign => unreachable!("clients do not send foreign operations"),
        }
        self.operations += 1;
    }

    /// Kind, a stamp difference of at most two bytes and a key length of one, as one word.
    #[inline]
    fn push_short_head(&mut self, kind: u8, difference: u32, key_bytes: u32) {
        let is_long = difference >= 0x80;
        let varint =
            if is_long { difference & 0x7f | 0x80 | difference >> 7 << 8 } else { difference };
        let length_shift = if is_long { 24 } else { 16 };
        let word = u32::from(kind) | varint << 8 | key_bytes << length_shift;
        let end = self.bytes.len() + length_shift as usize / 8 + 1;
        self.bytes.extend_from_slice(&word.to_le_bytes());
        self.bytes.truncate(end);
    }

    fn push_argument(&mut self, operation: &Operation<'_>) {
        use crate::operation::Action;
        let length = match operation.action {
            Action::Put { value } => value.len(),
            Action::CompareAndSwap { expected: None, value } => 1 + value.len(),
            Action::CompareAndSwap { expected: Some(expected), value } => {
                varint::length(expected.len() as u64 + 1) + expected.len() + value.len()
            }
            _ => unreachable!("only PUT and CAS have such an argument"),
        };
        varint::write(&mut self.bytes, length as u64);
        let start = self.bytes.len();
        write_argument(&operation.action, &mut self.bytes);
        debug_assert_eq!(self.bytes.len() - start, length);
    }

    /// How many operations the group holds.
    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// How many bytes they take on the wire.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the group holds no operation.
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Forgets the operations and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.operations = 0;
        self.last_offset = 0;
    }
}

/// Appends a key; a short one in two pieces of fixed length that may overlap, which takes no call.
#[inline]
fn push_key(out: &mut Vec<u8>, key: &[u8]) {
    let end = out.len() + key.len();
    if key.len() > 16 {
        out.extend_from_slice(key);
    } else if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        out.extend_from_slice(first);
        out.truncate(end - 8);
        out.extend_from_slice(last);
    } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        out.extend_from_slice(first);
        out.truncate(end - 4);
        out.extend_from_slice(last);
    } else {
        for byte in key {
            out.push(*byte);
        }
    }
}

/// Joins groups into the body of a batch request.
///
/// # Panics
///
/// When there is no group, a group is empty, partitions descend, or a limit of the frame is passed.
pub fn assemble(header: &BatchHeader, groups: &[(u32, &GroupEncoder)]) -> Bytes {
    assemble_in(BytesMut::new(), header, groups).freeze()
}

/// The same in the memory of `body`, which is empty.
///
/// # Panics
///
/// As [`assemble`].
pub fn assemble_in(
    mut body: BytesMut,
    header: &BatchHeader,
    groups: &[(u32, &GroupEncoder)],
) -> BytesMut {
    let operations: usize = groups.iter().map(|(_, group)| group.operations as usize).sum();
    let encoded: usize = groups.iter().map(|(_, group)| group.bytes.len()).sum();
    let total = HEADER_BYTES + groups.len() * GROUP_BYTES + encoded;
    assert!(!groups.is_empty(), "a batch has a group");
    assert!(total <= REQUEST_BYTES_MAX, "a batch of {total} bytes fits into a frame");
    assert!(operations <= BATCH_OPERATIONS_MAX, "a batch's operations are bounded");
    assert!(body.is_empty(), "a body begins in an empty buffer");
    body.reserve(total);
    put_header(&mut body, header);
    body.put_u32_le(operations as u32);
    body.put_u32_le(groups.len() as u32);
    for pair in groups.windows(2) {
        assert!(pair[0].0 <= pair[1].0, "partitions do not descend");
    }
    for (partition, group) in groups {
        assert!(!group.is_empty(), "a group has an operation");
        body.put_u32_le(*partition);
        body.put_u32_le(group.operations);
    }
    for (_, group) in groups {
        body.put_slice(&group.bytes);
    }
    body
}

/// The same body under another number: what a refused batch is sent again as.
///
/// # Panics
///
/// When `body` is shorter than a header.
pub fn with_header(body: &[u8], header: &BatchHeader) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len());
    put_header(&mut out, header);
    out.put_slice(&body[out.len()..]);
    out.freeze()
}

fn put_header(out: &mut BytesMut, header: &BatchHeader) {
    out.put_u64_le(header.session.boot_id);
    out.put_u64_le(header.session.number);
    out.put_u32_le(header.lane);
    out.put_u32_le(header.epoch);
    out.put_u64_le(header.sequence);
    out.put_u64_le(header.lowest_open);
    out.put_u64_le(header.first_stamp);
}

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

/// Reads a body's header.
///
/// # Errors
///
/// When the body is shorter than the header, or a number in it is out of bounds.
pub fn read_header(body: &[u8]) -> Result<BatchHeader, BatchError> {
    if body.len() < HEADER_BYTES {
        return Err(BatchError::CutOff { part: "the header", offset: body.len() });
    }
    let header = BatchHeader {
        session: SessionId { boot_id: u64_at(body, 0), number: u64_at(body, 8) },
        lane: u32_at(body, 16),
        epoch: u32_at(body, 20),
        sequence: u64_at(body, 24),
        lowest_open: u64_at(body, 32),
        first_stamp: u64_at(body, 40),
    };
    if header.sequence == 0 || header.lowest_open == 0 || header.lowest_open > header.sequence {
        return Err(BatchError::OutOfBounds {
            what: "the lowest open number",
            got: header.lowest_open,
            bounds: "from 1 to the sequence number",
        });
    }
    Ok(header)
}

/// Where a key belongs, as the first pass over a batch asks for each key.
pub trait Placement {
    /// The partition of a key; `None` when another server owns it.
    fn partition_of(&self, key: &[u8]) -> Option<u32>;
    /// The store's hash of a key.
    fn hash(&self, key: &[u8]) -> u64;
}

/// Decodes and checks a whole body; fills `groups` and, one an operation, `entries`.
///
/// Operations on keys that another server owns become [`OperationKind::Foreign`].
///
/// # Errors
///
/// Whatever is wrong with the bytes; both vectors then hold nothing of use.
pub fn decode(
    body: &[u8],
    placement: &impl Placement,
    groups: &mut Vec<Group>,
    entries: &mut Vec<OperationEntry>,
) -> Result<BatchHeader, BatchError> {
    if body.len() > REQUEST_BYTES_MAX {
        return Err(BatchError::OutOfBounds {
            what: "the length of the batch",
            got: body.len() as u64,
            bounds: "at most 4 MiB",
        });
    }
    let header = read_header(body)?;
    read_groups(body, groups)?;
    entries.clear();
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
            match placement.partition_of(key) {
                Some(partition) if partition == group.partition => {}
                Some(partition) => {
                    let group = group.partition;
                    return Err(BatchError::WrongGroup { index, group, partition });
                }
                None => entry.kind = OperationKind::Foreign,
            }
            entry.hash = placement.hash(key);
            entries.push(entry);
        }
    }
    if position != body.len() {
        return Err(BatchError::TrailingBytes { bytes: body.len() - position });
    }
    Ok(header)
}

/// Shortest operation on the wire: kind, stamp difference, key length, one byte of key.
const OPERATION_BYTES_MIN: usize = 4;

fn read_groups(body: &[u8], groups: &mut Vec<Group>) -> Result<(), BatchError> {
    groups.clear();
    let operations = u32_at(body, 48);
    let count = u32_at(body, 52);
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
        if group.partition < previous || group.partition as usize >= PARTITIONS_MAX {
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

#[inline]
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;

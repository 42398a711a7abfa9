//! From operations to a batch's bytes.

use bytes::{BufMut, Bytes, BytesMut};
use model::operation::{Operation, OperationKind};
use model::{argument_bytes, write_argument};

use super::header::{BatchHeader, GROUP_BYTES, HEADER_BYTES, put_header};
use crate::limits::{BATCH_OPERATIONS_MAX, REQUEST_BYTES_MAX};
use crate::varint;

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
        if !self.push_short(kind, difference, key) {
            self.bytes.push(kind);
            varint::write(&mut self.bytes, difference);
            varint::write(&mut self.bytes, key.len() as u64);
            push_key(&mut self.bytes, key);
        }
        match operation.kind() {
            OperationKind::Get | OperationKind::Delete => {}
            OperationKind::Put | OperationKind::CompareAndSwap => self.push_argument(operation),
            OperationKind::Increment => write_argument(&operation.action, &mut self.bytes),
        }
        self.operations += 1;
    }

    /// Appends kind, stamp difference and key as one word, if they are short: a difference of at most
    /// two bytes, and a key of 4 to 8.
    #[inline]
    fn push_short(&mut self, kind: u8, difference: u64, key: &[u8]) -> bool {
        let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) else { return false };
        if key.len() > 8 || difference >= 1 << 14 {
            return false;
        }
        // They overlap, and are equal where they do.
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        let key_word = u64::from(first) | u64::from(last) << (8 * (key.len() - 4));
        let (varint, varint_bytes) = varint::word(difference as u32);
        let head = u32::from(kind) | varint << 8 | (key.len() as u32) << (8 + 8 * varint_bytes);
        let head_bytes = varint_bytes + 2;
        let word = u128::from(head) | u128::from(key_word) << (8 * head_bytes);
        let end = self.bytes.len() + head_bytes + key.len();
        self.bytes.extend_from_slice(&word.to_le_bytes());
        self.bytes.truncate(end);
        true
    }

    fn push_argument(&mut self, operation: &Operation<'_>) {
        varint::write(&mut self.bytes, argument_bytes(&operation.action) as u64);
        write_argument(&operation.action, &mut self.bytes);
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

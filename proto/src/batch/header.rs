//! What stands before a batch's operations.

use bytes::{BufMut, Bytes, BytesMut};
use model::session::SessionId;

use crate::bytes_at::{u32_at, u64_at};

/// Bytes of the body before the groups.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the body for each group.
pub const GROUP_BYTES: usize = 8;
/// Where the reserved zero stands.
pub(super) const RESERVED: usize = 28;
/// Where the numbers of operations and of groups stand.
pub(super) const COUNTS: usize = 56;

/// What stands before the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The session whose lanes number the batch.
    pub session: SessionId,
    /// The shard that it is for, from 1.
    pub shard: u32,
    /// The ordered stream that the batch belongs to.
    pub lane: u32,
    /// Epoch of the map of slots that the client routed by.
    pub epoch: u32,
    /// With mutations, its number in the lane, from 1, without gaps; without, the number that it is
    /// to run after.
    pub number: u64,
    /// The client holds the replies to all lower numbers; their records can go.
    pub lowest_open: u64,
    /// Stamp that the groups' first differences count from.
    pub first_stamp: u64,
}

/// The same body under another header: what a refused batch is sent again as.
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

pub(super) fn put_header(out: &mut BytesMut, header: &BatchHeader) {
    out.put_u64_le(header.session.data_id);
    out.put_u64_le(header.session.number);
    out.put_u32_le(header.shard);
    out.put_u32_le(header.lane);
    out.put_u32_le(header.epoch);
    out.put_u32_le(0);
    out.put_u64_le(header.number);
    out.put_u64_le(header.lowest_open);
    out.put_u64_le(header.first_stamp);
}

/// Reads a body's header, which need not be a whole batch's; `None` when it is too short.
pub fn read_header(body: &[u8]) -> Option<BatchHeader> {
    if body.len() < HEADER_BYTES {
        return None;
    }
    Some(BatchHeader {
        session: SessionId { data_id: u64_at(body, 0), number: u64_at(body, 8) },
        shard: u32_at(body, 16),
        lane: u32_at(body, 20),
        epoch: u32_at(body, 24),
        number: u64_at(body, 32),
        lowest_open: u64_at(body, 40),
        first_stamp: u64_at(body, 48),
    })
}

/// The part of a body that a retry does not change: how many operations, and all of them.
///
/// # Panics
///
/// When `body` is shorter than a header.
pub fn operation_bytes(body: &[u8]) -> &[u8] {
    &body[COUNTS..]
}

//! What every reply begins with, and replies that are nothing more.

use bytes::{BufMut, BytesMut};
use model::refusal::Refusal;

use crate::frame::FRAME_HEADER_BYTES;
use crate::limits::bounded_detail;

/// Bytes of the body before the apply sequences.
pub const HEADER_BYTES: usize = 32;
/// Where the body begins in a reply's buffer.
pub(super) const BODY: usize = FRAME_HEADER_BYTES;

pub(super) const FLAG_SEQUENCES: u8 = 1;
pub(super) const FLAG_RECORDED: u8 = 2;

/// What every reply says of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Identity of the shard's data.
    pub data_id: u64,
    /// The number that is answered, or the next one.
    pub number: u64,
    /// Epoch of the shard's map of slots.
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

pub(super) fn put_header(
    bytes: &mut BytesMut,
    header: &ReplyHeader,
    status: u8,
    flags: u8,
    operations: u32,
    groups: u32,
) {
    bytes.put_bytes(0, BODY);
    bytes.put_u64_le(header.data_id);
    bytes.put_u64_le(header.number);
    bytes.put_u32_le(header.epoch);
    bytes.put_u8(status);
    bytes.put_u8(flags);
    bytes.put_u16_le(0);
    bytes.put_u32_le(operations);
    bytes.put_u32_le(groups);
}

//! Frames: a length, a version, a kind, a request id and a body.
//!
//! A frame, little-endian:
//!
//! 1. `u32` length of what follows this field, in bytes
//! 2. `u8` version of the protocol
//! 3. `u8` [`kind`]
//! 4. `u16` zero
//! 5. `u64` request id
//! 6. the body: see [`batch`](crate::batch) and [`reply`](crate::reply) for batches; `postcard` for
//!    control calls; nothing for a cancellation; UTF-8 text of at most 1,024 bytes for an error,
//!    which with the greatest request id speaks of the whole connection
//!
//! Nothing is allocated for a length before it has been checked, and a frame's memory grows no
//! faster than its bytes arrive.

use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};

use crate::buffers::{BufferPool, SHARED_BYTES_MIN};
use crate::limits::{CONTROL_BYTES_MAX, DETAIL_BYTES_MAX, FRAME_BYTES_MAX};

/// A span of versions that a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSpan {
    /// The lowest.
    pub least: u8,
    /// The highest.
    pub most: u8,
}

/// The versions that this program speaks. Hellos travel in the lowest.
pub const VERSIONS: VersionSpan = VersionSpan { least: 2, most: 2 };

impl VersionSpan {
    /// The highest version that both sides speak.
    pub fn common(self, other: Self) -> Option<u8> {
        let most = self.most.min(other.most);
        (most >= self.least.max(other.least)).then_some(most)
    }

    fn contains(self, version: u8) -> bool {
        (self.least..=self.most).contains(&version)
    }
}

impl fmt::Display for VersionSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.least, self.most)
    }
}

/// Bytes before the body, the length field included.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;
/// Where the version stands.
pub(crate) const VERSION_AT: usize = 4;
/// Request id of an error that speaks of the whole connection.
pub const CONNECTION_ERROR_ID: u64 = u64::MAX;
/// Memory that a decoder sets aside for a frame before any of its bytes have arrived.
const UNTRUSTED_BYTES: usize = 64 << 10;
/// First bytes of a frame that are read before it is known whether it gets a buffer of its own: few,
/// because they are copied there, and enough for many small frames.
const HEAD_BYTES: usize = 4 << 10;

// The fourth byte of a connection tells this protocol from those that begin with text.
const _: () = assert!(FRAME_HEADER_BYTES + FRAME_BYTES_MAX < 1 << 24);

/// Why a stream of frames can't go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer left in the middle of a frame.
    #[error("the connection ended {got} bytes into a frame")]
    CutOff {
        /// Bytes of the frame that had arrived.
        got: usize,
    },
    /// The bytes are not of this protocol, or of another version of it.
    #[error(
        "the peer sent protocol version {got}, this side speaks versions {VERSIONS}; is it a kvs \
         program of the same version?"
    )]
    Version {
        /// What stood in the version's place.
        got: u8,
    },
    /// The length field is out of bounds.
    #[error("a frame of {bytes} bytes is announced; {least} to {most} are allowed")]
    Length {
        /// The length announced, in bytes.
        bytes: u64,
        /// Least length of this kind of frame.
        least: usize,
        /// Greatest length of this kind of frame.
        most: usize,
    },
    /// A kind that this side does not take.
    #[error("a frame of the unexpected kind {kind}")]
    Kind {
        /// The kind's code.
        kind: u8,
    },
    /// The reserved bytes are not zero.
    #[error("the reserved bytes of a frame are not zero")]
    Reserved,
    /// The body of a control message or error can't be read.
    #[error("a control message can't be decoded: {0}")]
    Control(String),
    /// The peer said why it ends the connection.
    #[error("the server ended the connection: {0}")]
    Peer(String),
}

/// Kinds of frames.
pub mod kind {
    /// A batch, from a client.
    pub const BATCH_REQUEST: u8 = 1;
    /// A control call, from a client.
    pub const CONTROL_REQUEST: u8 = 2;
    /// A client waits for an answer no longer.
    pub const CANCEL: u8 = 3;
    /// The answer to a batch.
    pub const BATCH_REPLY: u8 = 4;
    /// The answer to a control call.
    pub const CONTROL_REPLY: u8 = 5;
    /// Something is wrong with a request or a connection.
    pub const ERROR: u8 = 6;
}

/// Greatest body of each kind, in bytes.
fn body_bytes_max(kind: u8) -> usize {
    match kind {
        kind::BATCH_REQUEST | kind::BATCH_REPLY => FRAME_BYTES_MAX,
        kind::CANCEL => 0,
        kind::ERROR => DETAIL_BYTES_MAX,
        _ => CONTROL_BYTES_MAX,
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u8,
    pub(crate) id: u64,
    body_bytes: usize,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// Kinds that this side takes.
    kinds: &'static [u8],
    /// The header of the frame whose body is arriving.
    header: Option<FrameHeader>,
    /// Memory that is set aside at once: what the peer has filled before.
    trusted_bytes: usize,
    /// Where large frames get buffers of their own from.
    pool: Option<BufferPool>,
    /// Whether the frame that is arriving has one.
    is_pooled: bool,
    /// The version that the peer spoke last.
    peer_version: u8,
}

impl FrameReader {
    pub(crate) fn new(kinds: &'static [u8], pool: Option<BufferPool>) -> Self {
        Self {
            kinds,
            header: None,
            trusted_bytes: UNTRUSTED_BYTES,
            pool,
            is_pooled: false,
            peer_version: VERSIONS.least,
        }
    }

    fn check_header(&mut self, source: &[u8]) -> Result<FrameHeader, FrameError> {
        let announced = u32::from_le_bytes(source[..4].try_into().expect("four bytes"));
        let (version, kind) = (source[VERSION_AT], source[5]);
        if !VERSIONS.contains(version) {
            self.peer_version = version;
            return Err(FrameError::Version { got: version });
        }
        if !self.kinds.contains(&kind) {
            return Err(FrameError::Kind { kind });
        }
        if source[6] != 0 || source[7] != 0 {
            return Err(FrameError::Reserved);
        }
        let least = FRAME_HEADER_BYTES - LENGTH_BYTES;
        let most = least + body_bytes_max(kind);
        if !(least..=most).contains(&(announced as usize)) {
            return Err(FrameError::Length { bytes: announced.into(), least, most });
        }
        let id = u64::from_le_bytes(source[8..16].try_into().expect("eight bytes"));
        Ok(FrameHeader { kind, id, body_bytes: announced as usize - least })
    }

    /// The next whole frame, its header's bytes included; `None` until more has arrived.
    pub(crate) fn next(
        &mut self,
        source: &mut BytesMut,
    ) -> Result<Option<(FrameHeader, BytesMut)>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None if source.len() < FRAME_HEADER_BYTES => return Ok(None),
            None => {
                let header = self.check_header(source)?;
                *self.header.insert(header)
            }
        };
        let total = FRAME_HEADER_BYTES + header.body_bytes;
        if source.len() < total {
            self.make_room(source, total);
            return Ok(None);
        }
        self.header = None;
        self.trusted_bytes = self.trusted_bytes.max(total);
        if !std::mem::take(&mut self.is_pooled) {
            return Ok(Some((header, source.split_to(total))));
        }
        // The frame leaves with its whole buffer, so that this can be used again.
        let rest = &source[total..];
        let mut next = BytesMut::with_capacity(HEAD_BYTES.max(rest.len()));
        next.extend_from_slice(rest);
        source.truncate(total);
        Ok(Some((header, std::mem::replace(source, next))))
    }

    /// Makes room for what is missing of a frame of `total` bytes.
    fn make_room(&mut self, source: &mut BytesMut, total: usize) {
        let missing = total - source.len();
        match &self.pool {
            Some(pool)
                if total >= SHARED_BYTES_MIN
                    && self.trusted_bytes > UNTRUSTED_BYTES
                    && missing <= self.trusted_bytes
                    && source.capacity() < total =>
            {
                let mut buffer = pool.take_room(total);
                buffer.extend_from_slice(source);
                *source = buffer;
                self.is_pooled = true;
            }
            _ => source.reserve(missing.min(self.trusted_bytes.max(source.len()))),
        }
    }

    /// The version of an error that this peer can read: its own, where that came before ours.
    pub(crate) fn error_version(&self) -> u8 {
        if self.peer_version == 1 { 1 } else { VERSIONS.least }
    }

    pub(crate) fn end(&self, source: &BytesMut) -> Result<(), FrameError> {
        match source.len() {
            0 => Ok(()),
            got => Err(FrameError::CutOff { got }),
        }
    }
}

pub(crate) fn put_frame_header(out: &mut [u8], kind: u8, id: u64, body_bytes: usize) {
    assert!(body_bytes <= body_bytes_max(kind), "a frame's body is within its bound");
    let length = (FRAME_HEADER_BYTES - LENGTH_BYTES + body_bytes) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[VERSION_AT] = VERSIONS.least;
    out[5] = kind;
    out[6..8].fill(0);
    out[8..16].copy_from_slice(&id.to_le_bytes());
}

pub(crate) fn put_frame(out: &mut BytesMut, kind: u8, id: u64, body: &[u8]) {
    let mut header = [0; FRAME_HEADER_BYTES];
    put_frame_header(&mut header, kind, id, body.len());
    out.reserve(FRAME_HEADER_BYTES + body.len());
    out.put_slice(&header);
    out.put_slice(body);
}

#[cfg(test)]
mod tests;

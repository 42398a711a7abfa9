//! Frames under tarpc's transport: a length, a kind, a request id and a body.
//!
//! A frame, little-endian:
//!
//! 1. `u32` length of what follows this field, in bytes
//! 2. `u8` version of the protocol, 1
//! 3. `u8` kind: 1 batch request, 2 control request, 3 cancel, 4 batch reply, 5 control reply,
//!    6 error
//! 4. `u16` zero
//! 5. `u64` request id
//! 6. the body: see [`batch`](crate::batch) and [`reply`](crate::reply) for kinds 1 and 4;
//!    `postcard` for 2 and 5; nothing for 3; UTF-8 text of at most 1,024 bytes for 6, which with
//!    the greatest request id speaks of the whole connection
//!
//! Deadlines and trace contexts stay off the wire: a server sets its handlers' deadlines itself.
//! Nothing is allocated for a length before it has been checked, and a frame's memory grows no
//! faster than its bytes arrive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tarpc::{ClientMessage, ServerError};
use tokio_util::codec::{Decoder, Encoder};

pub use crate::buffers::BufferPool;
use crate::buffers::SHARED_BYTES_MIN;
use crate::control::{ControlRequest, ControlResponse};
use crate::limits::{CONTROL_BYTES_MAX, DETAIL_BYTES_MAX, FRAME_BYTES_MAX, bounded_detail};

/// Version of the protocol.
pub const VERSION: u8 = 1;
/// Bytes before the body, the length field included.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;
/// Request id of an error that speaks of the whole connection.
pub const CONNECTION_ERROR_ID: u64 = u64::MAX;
/// How long a handler may take. Batches never wait, so this only bounds what tarpc keeps.
pub const HANDLER_DEADLINE: Duration = Duration::from_secs(60);
/// Memory that a decoder sets aside for a frame before any of its bytes have arrived.
const UNTRUSTED_BYTES: usize = 64 << 10;
/// First bytes of a frame that are read before it is known whether it gets a buffer of its own: few,
/// because they are copied there, and enough for many small frames.
const HEAD_BYTES: usize = 4 << 10;

/// What clients send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The body of a batch.
    Batch(Bytes),
    /// A control call.
    Control(ControlRequest),
}

impl tarpc::RequestName for Request {
    fn name(&self) -> &'static str {
        match self {
            Self::Batch(_) => "batch",
            Self::Control(_) => "control",
        }
    }
}

/// What servers answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Response {
    /// Room for the frame header, then the body of a batch reply.
    Batch(BytesMut),
    /// The answer to a control call.
    Control(ControlResponse),
}

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
        "the peer sent protocol version {got}, expected {VERSION}; is it a kvs program of the same \
         version?"
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

/// Bytes that crossed a client's connections, framing included.
#[derive(Debug, Default)]
pub struct WireBytes {
    sent: AtomicU64,
    received: AtomicU64,
}

impl WireBytes {
    /// Bytes sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

mod kind {
    pub(super) const BATCH_REQUEST: u8 = 1;
    pub(super) const CONTROL_REQUEST: u8 = 2;
    pub(super) const CANCEL: u8 = 3;
    pub(super) const BATCH_REPLY: u8 = 4;
    pub(super) const CONTROL_REPLY: u8 = 5;
    pub(super) const ERROR: u8 = 6;
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
struct FrameHeader {
    kind: u8,
    id: u64,
    body_bytes: usize,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
struct FrameReader {
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
}

impl FrameReader {
    fn new(kinds: &'static [u8], pool: Option<BufferPool>) -> Self {
        Self { kinds, header: None, trusted_bytes: UNTRUSTED_BYTES, pool, is_pooled: false }
    }

    fn check_header(&self, source: &[u8]) -> Result<FrameHeader, FrameError> {
        let announced = u32::from_le_bytes(source[..4].try_into().expect("four bytes"));
        let (version, kind) = (source[4], source[5]);
        if version != VERSION {
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
    fn next(
        &mut self,
        source: &mut BytesMut,
    ) -> Result<Option<(FrameHeader, BytesMut)>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None if source.len() < FRAME_HEADER_BYTES => return Ok(None),
            None => *self.header.insert(self.check_header(source)?),
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

    fn end(&self, source: &BytesMut) -> Result<(), FrameError> {
        match source.len() {
            0 => Ok(()),
            got => Err(FrameError::CutOff { got }),
        }
    }
}

fn put_frame_header(out: &mut [u8], kind: u8, id: u64, body_bytes: usize) {
    assert!(body_bytes <= body_bytes_max(kind), "a frame's body is within its bound");
    let length = (FRAME_HEADER_BYTES - LENGTH_BYTES + body_bytes) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4] = VERSION;
    out[5] = kind;
    out[6..8].fill(0);
    out[8..16].copy_from_slice(&id.to_le_bytes());
}

fn put_frame(out: &mut BytesMut, kind: u8, id: u64, body: &[u8]) {
    let mut header = [0; FRAME_HEADER_BYTES];
    put_frame_header(&mut header, kind, id, body.len());
    out.reserve(FRAME_HEADER_BYTES + body.len());
    out.put_slice(&header);
    out.put_slice(body);
}

fn put_control<T: serde::Serialize>(
    out: &mut BytesMut,
    kind: u8,
    id: u64,
    message: &T,
) -> Result<(), FrameError> {
    let body =
        postcard::to_stdvec(message).map_err(|error| FrameError::Control(error.to_string()))?;
    if body.len() > CONTROL_BYTES_MAX {
        let bytes = body.len() as u64;
        return Err(FrameError::Length { bytes, least: 0, most: CONTROL_BYTES_MAX });
    }
    put_frame(out, kind, id, &body);
    Ok(())
}

fn read_control<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::Control(format!("{} bytes follow it", rest.len()))),
        Err(error) => Err(FrameError::Control(error.to_string())),
    }
}

fn read_text(body: &[u8]) -> Result<String, FrameError> {
    std::str::from_utf8(body)
        .map(str::to_owned)
        .map_err(|_| FrameError::Control("an error's text is not UTF-8".to_owned()))
}

/// The client's side: encodes requests, decodes responses.
#[derive(Debug)]
pub struct ClientCodec {
    reader: FrameReader,
    wire: Arc<WireBytes>,
}

impl ClientCodec {
    /// A codec for one connection; its bytes are added to `wire`.
    pub fn new(wire: Arc<WireBytes>) -> Self {
        Self::with_buffers(wire, BufferPool::default())
    }

    /// The same with large replies in buffers of `pool`; [`BufferPool::share`] brings them back.
    pub fn with_buffers(wire: Arc<WireBytes>, pool: BufferPool) -> Self {
        const KINDS: &[u8] = &[kind::BATCH_REPLY, kind::CONTROL_REPLY, kind::ERROR];
        Self { reader: FrameReader::new(KINDS, Some(pool)), wire }
    }
}

impl Encoder<ClientMessage<Request>> for ClientCodec {
    type Error = FrameError;

    fn encode(
        &mut self,
        message: ClientMessage<Request>,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let before = out.len();
        match message {
            ClientMessage::Request(request) => match request.message {
                Request::Batch(body) => put_frame(out, kind::BATCH_REQUEST, request.id, &body),
                Request::Control(control) => {
                    put_control(out, kind::CONTROL_REQUEST, request.id, &control)?;
                }
            },
            ClientMessage::Cancel { request_id, .. } => {
                put_frame(out, kind::CANCEL, request_id, &[]);
            }
            other => unreachable!("tarpc sends requests and cancellations, not {other:?}"),
        }
        self.wire.sent.fetch_add((out.len() - before) as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Decoder for ClientCodec {
    type Item = tarpc::Response<Response>;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        let Some((header, mut frame)) = self.reader.next(source)? else {
            return Ok(None);
        };
        self.wire.received.fetch_add(frame.len() as u64, Ordering::Relaxed);
        let message = match header.kind {
            kind::BATCH_REPLY => Ok(Response::Batch(frame)),
            kind::CONTROL_REPLY => {
                frame.advance(FRAME_HEADER_BYTES);
                Ok(Response::Control(read_control(&frame)?))
            }
            _ => {
                let detail = read_text(&frame[FRAME_HEADER_BYTES..])?;
                if header.id == CONNECTION_ERROR_ID {
                    return Err(FrameError::Peer(detail));
                }
                Err(ServerError::new(io::ErrorKind::Other, detail))
            }
        };
        Ok(Some(tarpc::Response { request_id: header.id, message }))
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        match self.decode(source)? {
            Some(response) => Ok(Some(response)),
            None => self.reader.end(source).map(|()| None),
        }
    }
}

/// The server's side: decodes requests, encodes responses.
#[derive(Debug)]
pub struct ServerCodec {
    reader: FrameReader,
    pool: BufferPool,
    context: tarpc::context::Context,
}

impl ServerCodec {
    /// A codec for one connection. Sent buffers go to `pool`.
    pub fn new(pool: BufferPool) -> Self {
        const KINDS: &[u8] = &[kind::BATCH_REQUEST, kind::CONTROL_REQUEST, kind::CANCEL];
        Self { reader: FrameReader::new(KINDS, None), pool, context: tarpc::context::current() }
    }
}

impl Decoder for ServerCodec {
    type Item = ClientMessage<Request>;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        let Some((header, mut frame)) = self.reader.next(source)? else {
            return Ok(None);
        };
        frame.advance(FRAME_HEADER_BYTES);
        let message = match header.kind {
            kind::CANCEL => {
                let trace_context = self.context.trace_context;
                return Ok(Some(ClientMessage::Cancel { trace_context, request_id: header.id }));
            }
            kind::BATCH_REQUEST => Request::Batch(frame.freeze()),
            _ => Request::Control(read_control(&frame)?),
        };
        self.context.deadline = Instant::now() + HANDLER_DEADLINE;
        Ok(Some(ClientMessage::Request(tarpc::Request {
            context: self.context,
            id: header.id,
            message,
        })))
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        match self.decode(source)? {
            Some(request) => Ok(Some(request)),
            None => self.reader.end(source).map(|()| None),
        }
    }
}

impl Encoder<tarpc::Response<Response>> for ServerCodec {
    type Error = FrameError;

    fn encode(
        &mut self,
        response: tarpc::Response<Response>,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let id = response.request_id;
        match response.message {
            Ok(Response::Batch(mut frame)) => {
                let body_bytes = frame.len() - FRAME_HEADER_BYTES;
                put_frame_header(
                    &mut frame[..FRAME_HEADER_BYTES],
                    kind::BATCH_REPLY,
                    id,
                    body_bytes,
                );
                if out.is_empty() {
                    // The reply becomes the socket's buffer: no copy.
                    self.pool.give_back(std::mem::replace(out, frame));
                } else {
                    out.extend_from_slice(&frame);
                    self.pool.give_back(frame);
                }
                Ok(())
            }
            Ok(Response::Control(control)) => put_control(out, kind::CONTROL_REPLY, id, &control),
            Err(ServerError { detail, .. }) => {
                put_frame(out, kind::ERROR, id, bounded_detail(&detail).as_bytes());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Frames as messages, under tarpc's transport.
//!
//! Deadlines and trace contexts stay off the wire: a server sets its handlers' deadlines itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tarpc::{ClientMessage, ServerError};
use tokio_util::codec::{Decoder, Encoder};

use crate::buffers::BufferPool;
use crate::control::{ControlRequest, ControlResponse};
use crate::frame::{
    CONNECTION_ERROR_ID, FRAME_HEADER_BYTES, FrameError, FrameReader, VERSION_AT, kind, put_frame,
    put_frame_header,
};
use crate::limits::{CONTROL_BYTES_MAX, bounded_detail};

/// How long a handler may take. It only bounds what tarpc keeps: who waits for an order answers
/// when that does.
const HANDLER_DEADLINE: Duration = Duration::from_secs(3600);

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
                let start = out.len();
                put_frame(out, kind::ERROR, id, bounded_detail(&detail).as_bytes());
                out[start + VERSION_AT] = self.reader.error_version();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;

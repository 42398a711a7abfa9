//! One peer: decode, serve, answer, within limits.
//!
//! One task owns the connection and hands its requests over in turn, so a lane's batches are applied
//! in the order in which they were sent. Answers leave in the same order, however late an order gives
//! one. They are flushed when nothing further is at hand, and a peer that does not read its replies
//! is not read from either: that is the backpressure.

use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt};
use model::refusal::Refusal;
use proto::codec::{Request, Response, ServerCodec};
use proto::control::ControlResponse;
use proto::frame::{CONNECTION_ERROR_ID, FrameError};
use proto::limits::FRAME_BYTES_MAX;
use tarpc::ChannelError;
use tarpc::ServerError;
use tarpc::server::{BaseChannel, TrackedRequest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::fatal::panic_text;
use crate::order::Order;
use crate::service::{Reply, Service};

/// First size of a connection's read buffer. Larger frames grow it as their bytes arrive.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// Replies that wait for the socket before no further request is taken.
const WRITE_BUFFER_BYTES: usize = 64 << 10;
/// Operations that a connection may have applied in a row before the others on its thread get their
/// turn: about a quarter of a millisecond.
const TURN_OPERATIONS_MAX: usize = 4096;
/// Most answers that a connection waits for before no further request is taken, and most bytes of
/// their requests and replies: an order that syncs a disk is kept busy, and a peer holds no more
/// than a few frames of the greatest length.
pub const WAITING_MAX: usize = 1024;
/// See [`WAITING_MAX`].
pub const WAITING_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

type Transport<T> = Framed<T, ServerCodec>;
type Channel<T> = BaseChannel<Request, Response, Transport<T>>;
type Ended = Result<(), ChannelError<FrameError>>;

/// Serves a peer until it leaves, breaks the protocol, or `stop` is cancelled; then what was taken
/// is answered, and what still comes is refused. A panic in here ends this connection alone, unless
/// it is fatal; then nobody is answered any more, and who asks is let go.
pub async fn serve<T, O>(stream: T, peer: String, service: Arc<Service<O>>, stop: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
    O: Order,
{
    let _counted = Counted::begin(service.counters());
    let mut connection = Connection::new(stream, Arc::clone(&service));
    let served = AssertUnwindSafe(connection.run(&stop)).catch_unwind();
    let error = match served.await {
        Ok(Ok(())) => return tracing::debug!(%peer, "connection closed"),
        Ok(Err(error)) => explain(&error),
        Err(panic) => {
            service.counters().connection_panicked();
            format!("a fault of this server: {}", panic_text(&*panic))
        }
    };
    if let Some(suppressed) = service.counters().broken_connections.pass(Instant::now()) {
        tracing::warn!(%peer, %error, suppressed, "connection ended");
    }
}

/// An error with its causes, in one line.
fn explain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Counts a connection while it is served, however that ends: its task may also be dropped.
struct Counted<'a>(&'a Counters);

impl<'a> Counted<'a> {
    fn begin(counters: &'a Counters) -> Self {
        counters.connection_opened();
        Self(counters)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

/// An answer that is yet to be sent.
struct Waiting {
    request_id: u64,
    /// Bytes of its request.
    bytes: usize,
    answer: BoxFuture<'static, Response>,
    /// Whether its reply counts as soon as it is made.
    is_late: bool,
}

/// What a connection does next.
enum Next {
    /// It takes a request.
    Request(TrackedRequest<Request>),
    /// It sends the first of the answers that it waits for.
    Answer(Response),
    /// The peer has left.
    End,
}

struct Connection<T, O> {
    channel: Pin<Box<Channel<T>>>,
    service: Arc<Service<O>>,
    /// Operations applied since the other connections had their turn.
    turn_operations: usize,
    /// Answers that come later, in the order of their requests.
    waiting: VecDeque<Waiting>,
    /// Bytes of the requests that wait, and of their replies as far as these were made.
    waiting_bytes: Arc<AtomicUsize>,
}

impl<T, O> Connection<T, O>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
    O: Order,
{
    fn new(stream: T, service: Arc<Service<O>>) -> Self {
        let codec = ServerCodec::new(service.buffers().clone());
        let mut framed = Framed::with_capacity(stream, codec, READ_BUFFER_BYTES);
        framed.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        let channel = Box::pin(BaseChannel::with_defaults(framed));
        let (waiting, waiting_bytes) = (VecDeque::new(), Arc::default());
        Self { channel, service, turn_operations: 0, waiting, waiting_bytes }
    }

    async fn run(&mut self, stop: &CancellationToken) -> Ended {
        loop {
            if self.turn_operations >= TURN_OPERATIONS_MAX {
                self.turn_operations = 0;
                tokio::task::yield_now().await;
                if stop.is_cancelled() {
                    return self.leave().await;
                }
            }
            if self.service.fatal().is_declared() {
                return Ok(());
            }
            let next = match self.next().now_or_never() {
                Some(next) => next,
                None => {
                    self.channel.flush().await?;
                    let (fatal, waits) = (self.service.fatal().clone(), !self.waiting.is_empty());
                    tokio::select! {
                        biased;
                        next = self.next() => next,
                        () = stop.cancelled() => return self.leave().await,
                        // Those who answer late may never do.
                        _ = fatal.happens(), if waits => return Ok(()),
                    }
                }
            };
            match next {
                Ok(Next::Request(request)) => self.take(request).await?,
                Ok(Next::Answer(answer)) => self.send_first(answer).await?,
                Ok(Next::End) => return self.answer_all().await,
                Err(error) => {
                    self.answer_all().await?;
                    self.say_why(&error).await;
                    return Err(error);
                }
            }
        }
    }

    /// What can be done next; answers go first. Nothing is lost when this is dropped.
    async fn next(&mut self) -> Result<Next, ChannelError<FrameError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, ChannelError<FrameError>>> {
        if let Some(first) = self.waiting.front_mut()
            && let Poll::Ready(answer) = first.answer.poll_unpin(cx)
        {
            return Poll::Ready(Ok(Next::Answer(answer)));
        }
        let has_room = self.waiting.len() < WAITING_MAX
            && self.waiting_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX;
        if !has_room {
            return Poll::Pending;
        }
        self.channel.poll_next_unpin(cx).map(|request| match request {
            None => Ok(Next::End),
            Some(request) => request.map(Next::Request),
        })
    }

    async fn take(&mut self, tracked: TrackedRequest<Request>) -> Ended {
        let request_id = tracked.request.id;
        // Between taking the request and holding its reply there is no `.await`.
        let (reply, bytes) = match tracked.request.message {
            Request::Batch(body) => {
                let bytes = body.len();
                let (reply, operations) = self.service.batch(body, Some(&self.waiting_bytes));
                self.turn_operations += operations.max(1);
                (reply, bytes)
            }
            Request::Control(control) => {
                self.turn_operations += 1;
                (self.service.control(control), 0)
            }
        };
        match reply {
            Reply::Now(response) if self.waiting.is_empty() => {
                return self.send(request_id, response).await;
            }
            Reply::Now(response) => {
                let bytes = bytes + reply_bytes(&response);
                let answer = futures::future::ready(response).boxed();
                self.waiting.push_back(Waiting { request_id, bytes, answer, is_late: false });
            }
            Reply::Later(answer) => {
                self.waiting.push_back(Waiting { request_id, bytes, answer, is_late: true });
            }
        }
        let bytes = self.waiting.back().expect("one was pushed").bytes;
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    async fn send(&mut self, request_id: u64, response: Response) -> Ended {
        self.channel.feed(tarpc::Response { request_id, message: Ok(response) }).await
    }

    /// Sends the answer that was waited for longest.
    async fn send_first(&mut self, response: Response) -> Ended {
        let first = self.waiting.pop_front().expect("an answer was waited for");
        let bytes = first.bytes + if first.is_late { reply_bytes(&response) } else { 0 };
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.send(first.request_id, response).await
    }

    /// Sends all answers that are waited for.
    async fn answer_all(&mut self) -> Ended {
        while let Some(first) = self.waiting.front_mut() {
            let answer = (&mut first.answer).await;
            self.send_first(answer).await?;
        }
        self.channel.flush().await
    }

    /// Ends the connection: what was taken is answered, what comes is refused, until the peer has
    /// gone or pauses. What is not answered was not executed.
    async fn leave(&mut self) -> Ended {
        self.answer_all().await?;
        let refused = timeout(REFUSE_TIMEOUT, async {
            while let Ok(Some(tracked)) = timeout(PAUSE, self.channel.next()).await {
                let tracked = tracked?;
                let response = match &tracked.request.message {
                    Request::Batch(body) => self.service.refuse(body, Refusal::Stopping),
                    Request::Control(_) => {
                        let detail = Refusal::Stopping.explain().to_owned();
                        Response::Control(ControlResponse::Refused(detail))
                    }
                };
                self.send(tracked.request.id, response).await?;
                self.channel.flush().await?;
            }
            Ok(())
        });
        refused.await.unwrap_or(Ok(()))?;
        let transport = self.channel.as_mut().get_pin_ref().get_mut();
        transport.close().await.map_err(|error| ChannelError::Close(Arc::new(error)))?;
        drain(transport.get_mut(), usize::MAX, LINGER).await;
        Ok(())
    }

    /// Tells a peer that broke the protocol why its connection ends, as far as it still listens.
    async fn say_why(&mut self, error: &ChannelError<FrameError>) {
        let ChannelError::Read(frame_error) = error else { return };
        if matches!(**frame_error, FrameError::Io(_)) {
            return;
        }
        let detail = frame_error.to_string();
        let message = Err(ServerError::new(std::io::ErrorKind::InvalidData, detail));
        let goodbye = tarpc::Response { request_id: CONNECTION_ERROR_ID, message };
        let transport = self.channel.as_mut().get_pin_ref().get_mut();
        let said = async {
            transport.send(goodbye).await?;
            transport.close().await?;
            drain(transport.get_mut(), GOODBYE_BYTES_MAX, GOODBYE_TIMEOUT).await;
            Ok(())
        };
        let _: Result<Result<(), FrameError>, _> = timeout(GOODBYE_TIMEOUT, said).await;
    }
}

/// How long a peer has to be silent before a connection of a stopping server is closed: a client that
/// works on sends its next batches within it, and learns that they are refused.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a stopping server refuses the batches of a peer that never pauses.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection that ends in error waits for the peer to take the reason.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// What such a peer may send meanwhile before it is cut off: the rest of a largest frame, and one
/// more.
const GOODBYE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// How long a peer that was told all has to be silent before its connection is given up.
const LINGER: Duration = Duration::from_secs(1);

/// Reads what a peer still sends, until it closes or is silent for so long: were the connection
/// closed with bytes unread, the system would reset it, and the peer could lose replies that are on
/// their way.
async fn drain(stream: &mut (impl AsyncRead + Unpin), mut bytes_max: usize, silence: Duration) {
    let mut unread = [0; 4096];
    // An error is a peer that is gone.
    while let Ok(Ok(bytes @ 1..)) = timeout(silence, stream.read(&mut unread)).await
        && bytes < bytes_max
    {
        bytes_max -= bytes;
    }
}

/// What a response holds, in bytes, if it is one that may be large.
fn reply_bytes(response: &Response) -> usize {
    match response {
        Response::Batch(reply) => reply.len(),
        Response::Control(_) => 0,
    }
}

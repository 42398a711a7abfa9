//! One peer: decode, serve, answer, within limits.
//!
//! One task owns the connection and takes its requests in turn, so a lane's batches are applied in
//! the order in which they were sent. Replies are flushed when no further request is at hand, and a
//! peer that does not read its replies is not read from either: that is the backpressure.

use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, SinkExt, StreamExt};
use proto::codec::{CONNECTION_ERROR_ID, FrameError, Request, Response, ServerCodec};
use proto::limits::FRAME_BYTES_MAX;
use tarpc::ChannelError;
use tarpc::ServerError;
use tarpc::server::{BaseChannel, TrackedRequest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::statistics::Statistics;

/// First size of a connection's read buffer. Larger frames grow it as their bytes arrive.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// Replies that wait for the socket before no further request is taken.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Operations that a connection may have applied in a row before the others on its thread get their
/// turn: about a quarter of a millisecond.
const TURN_OPERATIONS_MAX: usize = 4096;

type Transport<T> = Framed<T, ServerCodec>;
type Channel<T> = BaseChannel<Request, Response, Transport<T>>;

/// Serves a peer until it leaves, breaks the protocol, or `stop` is cancelled; then what has
/// arrived is answered first.
pub async fn serve<T>(stream: T, peer: String, service: Arc<Service>, stop: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let _counted = Counted::begin(service.statistics());
    match Connection::new(stream, &service).run(&stop).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(error) => {
            if let Some(unsaid) = service.statistics().broken_connections.pass(Instant::now()) {
                let error = explain(&error);
                tracing::warn!(%peer, %error, unsaid, "connection ended");
            }
        }
    }
}

/// An error with its causes, in one line.
fn explain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Counts a connection while it is served, however that ends: its task may also be dropped.
struct Counted<'a>(&'a Statistics);

impl<'a> Counted<'a> {
    fn begin(statistics: &'a Statistics) -> Self {
        statistics.connection_opened();
        Self(statistics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

struct Connection<'a, T> {
    channel: Pin<Box<Channel<T>>>,
    service: &'a Service,
    /// Operations applied since the other connections had their turn.
    turn_operations: usize,
}

impl<'a, T> Connection<'a, T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    fn new(stream: T, service: &'a Service) -> Self {
        let codec = ServerCodec::new(service.buffers().clone());
        let mut framed = Framed::with_capacity(stream, codec, READ_BUFFER_BYTES);
        framed.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        let channel = Box::pin(BaseChannel::with_defaults(framed));
        Self { channel, service, turn_operations: 0 }
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), ChannelError<FrameError>> {
        loop {
            if self.turn_operations >= TURN_OPERATIONS_MAX {
                self.turn_operations = 0;
                tokio::task::yield_now().await;
            }
            let request = match self.channel.next().now_or_never() {
                Some(request) => request,
                None => {
                    self.channel.flush().await?;
                    let mut next = pin!(self.channel.next());
                    tokio::select! {
                        biased;
                        request = &mut next => request,
                        () = stop.cancelled() => return self.channel.close().await,
                    }
                }
            };
            match request {
                None => return self.channel.flush().await,
                Some(Ok(request)) => self.answer(request).await?,
                Some(Err(error)) => {
                    self.say_why(&error).await;
                    return Err(error);
                }
            }
        }
    }

    async fn answer(
        &mut self,
        tracked: TrackedRequest<Request>,
    ) -> Result<(), ChannelError<FrameError>> {
        let request_id = tracked.request.id;
        // Between taking the request and holding its reply there is no `.await`.
        let response = match tracked.request.message {
            Request::Batch(body) => {
                #[cfg(feature = "mutants")]
                if crate::service::mutants::is_cancelled(self.service, request_id, &body) {
                    return Ok(());
                }
                let (reply, operations) = self.service.batch(&body);
                self.turn_operations += operations;
                Response::Batch(reply)
            }
            Request::Control(control) => Response::Control(self.service.control(control)),
        };
        self.channel.feed(tarpc::Response { request_id, message: Ok(response) }).await
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
            drain(transport.get_mut()).await;
            Ok(())
        };
        let _: Result<Result<(), FrameError>, _> =
            tokio::time::timeout(GOODBYE_TIMEOUT, said).await;
    }
}

/// How long a connection that ends in error waits for the peer to take the reason.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// What such a peer may send meanwhile before it is cut off: the rest of a largest frame, and one
/// more.
const GOODBYE_BYTES_MAX: u64 = 2 * FRAME_BYTES_MAX as u64;

/// Reads what a peer still sends, until it closes: were the connection closed with bytes unread, the
/// system would reset it, and the peer could lose the reason that is on its way.
async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    // An error is a peer that is gone.
    let _ = tokio::io::copy(&mut stream.take(GOODBYE_BYTES_MAX), &mut tokio::io::sink()).await;
}

//! What the peers have in common: one server, a few connections that all workers share, batches
//! that are pipelined, and replies in the order of the requests.
//!
//! Worker `i` sends on connection `i` modulo their number, so that its operations arrive in the
//! order in which it sent them. A connection that is lost is not made anew: what was on its way is
//! unknown, its workers end, and so the run does.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use kvs_client::{FailureClass, Outcome, ServerInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::batches::{Classified, Replies, Requests};
use super::{Stream, Target};

/// A connection to a peer, shared by workers.
pub(crate) trait Link: Clone + Send + Sync + 'static {
    /// A batch in the peer's words.
    type Batch: PeerBatch;
    /// The peer's answers to a batch.
    type Answers: Answers;

    /// Sends a batch and gathers its answers. Batches are sent in the order in which the futures
    /// are polled first.
    fn call(
        &self,
        batch: Self::Batch,
    ) -> impl Future<Output = Result<Self::Answers, PeerFailure>> + Send + 'static;

    /// Whether the connection is gone.
    fn is_lost(&self) -> bool;
}

/// A batch that is being written down for a peer.
pub(crate) trait PeerBatch: Requests {
    /// An empty batch.
    fn new(first_stamp: u64, operations_max: usize) -> Self;

    /// How many operations it has.
    fn len(&self) -> usize;
}

/// What a peer answered to a batch, by operation.
pub(crate) trait Answers: Send + 'static {
    /// The outcome of an operation.
    fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &PeerFailure>;
}

/// Why an operation on a peer has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct PeerFailure {
    /// Whether it may have taken effect.
    pub(crate) class: FailureClass,
    /// The peer's words, or what happened to the connection.
    pub(crate) text: String,
}

impl Classified for PeerFailure {
    fn class(&self) -> FailureClass {
        self.class
    }
}

/// A peer with the connections to it.
#[derive(Clone, Debug)]
pub(crate) struct Peer<L> {
    links: Arc<[L]>,
    server: Arc<ServerInfo>,
    wire: Arc<WireBytes>,
    stamps: Arc<AtomicU64>,
}

impl<L: Link> Peer<L> {
    /// A peer that is reached over `links`, whose bytes are counted in `wire`.
    pub(crate) fn new(links: Vec<L>, server: ServerInfo, wire: Arc<WireBytes>) -> Self {
        assert!(!links.is_empty(), "a peer is reached over at least one connection");
        let stamps = Arc::new(AtomicU64::new(1));
        Self { links: links.into(), server: Arc::new(server), wire, stamps }
    }
}

impl<L: Link> Target for Peer<L> {
    type Stream = PeerStream<L>;

    fn stream(&self, worker: usize) -> PeerStream<L> {
        PeerStream {
            link: self.links[worker % self.links.len()].clone(),
            boot_id: self.server.data_id,
            stamps: Arc::clone(&self.stamps),
            in_flight: VecDeque::new(),
        }
    }

    fn servers(&self) -> Vec<ServerInfo> {
        vec![ServerInfo::clone(&self.server)]
    }

    fn wire_bytes(&self) -> (u64, u64) {
        (self.wire.sent.load(Ordering::Relaxed), self.wire.received.load(Ordering::Relaxed))
    }

    async fn barrier(&self, _: u64, _: &str, _: u32, _: u32) -> anyhow::Result<()> {
        anyhow::bail!("clients can't wait for each other at a peer: leave out -client_count")
    }

    async fn close(self) {}
}

/// A worker's batches on their way to a peer, oldest first.
pub(crate) struct PeerStream<L: Link> {
    link: L,
    boot_id: u64,
    stamps: Arc<AtomicU64>,
    in_flight: VecDeque<InFlight<L::Answers>>,
}

struct InFlight<A> {
    first_stamp: u64,
    length: usize,
    state: State<A>,
}

enum State<A> {
    Called(Pin<Box<dyn Future<Output = Result<A, PeerFailure>> + Send>>),
    Answered(Result<A, PeerFailure>),
}

impl<A> InFlight<A> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Called(call) = &mut self.state {
            match call.as_mut().poll(cx) {
                Poll::Ready(answers) => self.state = State::Answered(answers),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

impl<L: Link> Stream for PeerStream<L> {
    type Batch = L::Batch;
    type Outcomes = PeerReplies<L::Answers>;

    fn batch(&mut self, operations_max: usize) -> L::Batch {
        let first_stamp = self.stamps.fetch_add(operations_max as u64, Ordering::Relaxed);
        L::Batch::new(first_stamp, operations_max)
    }

    async fn submit(&mut self, batch: L::Batch) {
        let (first_stamp, length) = (batch.first_stamp(), batch.len());
        let state = State::Called(Box::pin(self.link.call(batch)));
        self.in_flight.push_back(InFlight { first_stamp, length, state });
        // The first poll sends it.
        poll_fn(|cx| {
            let last = self.in_flight.back_mut().expect("it was pushed a moment ago");
            Poll::Ready(last.poll(cx).is_ready())
        })
        .await;
    }

    async fn next(&mut self) -> Option<PeerReplies<L::Answers>> {
        let first = self.in_flight.front_mut()?;
        poll_fn(|cx| first.poll(cx)).await;
        let InFlight { first_stamp, length, state } = self.in_flight.pop_front()?;
        let State::Answered(answers) = state else { unreachable!("it was polled to its end") };
        Some(PeerReplies { first_stamp, length, boot_id: self.boot_id, answers })
    }

    async fn abandon(&mut self) -> Vec<PeerReplies<L::Answers>> {
        let boot_id = self.boot_id;
        let end = |InFlight { first_stamp, length, state }| {
            let answers = match state {
                State::Answered(answers) => answers,
                State::Called(_) => Err(PeerFailure {
                    class: FailureClass::Unknown,
                    text: "the run was ended while the reply was missing".to_owned(),
                }),
            };
            PeerReplies { first_stamp, length, boot_id, answers }
        };
        self.in_flight.drain(..).map(end).collect()
    }

    fn is_lost(&self) -> bool {
        self.link.is_lost()
    }

    fn boot_id(&self, _key: &[u8]) -> u64 {
        self.boot_id
    }
}

/// The outcomes of a batch that a peer answered, or lost.
pub(crate) struct PeerReplies<A> {
    first_stamp: u64,
    length: usize,
    boot_id: u64,
    answers: Result<A, PeerFailure>,
}

impl<A: Answers> Replies for PeerReplies<A> {
    type Failure = PeerFailure;

    fn len(&self) -> usize {
        self.length
    }

    #[inline]
    fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &PeerFailure> {
        self.answers.as_ref()?.get(index)
    }

    fn server(&self, _index: usize) -> usize {
        0
    }

    fn stamp(&self, index: usize) -> u64 {
        self.first_stamp + index as u64
    }

    fn place(&self, _index: usize) -> (u64, Option<u64>) {
        (self.boot_id, None)
    }
}

/// What went over all connections to a peer.
#[derive(Debug, Default)]
pub(crate) struct WireBytes {
    sent: AtomicU64,
    received: AtomicU64,
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Counted {
    stream: TcpStream,
    wire: Arc<WireBytes>,
}

impl Counted {
    /// Connects to a peer.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) async fn connect(host: &str, port: u16, wire: &Arc<WireBytes>) -> io::Result<Self> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, wire: Arc::clone(wire) })
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.wire.received.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.wire.sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

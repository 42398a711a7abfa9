//! One connection to a peer: commands out, replies in, both in the order of the batches.
//!
//! A task owns the socket. It gathers what the workers send into as few writes as it can, writes and
//! reads at the same time, and hands each batch its answers when the last of them is there.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kvs_client::FailureClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::answers::{Answer, PeerAnswers};
use super::peer::{Counted, Link, PeerBatch, PeerFailure};

/// Batches that may wait for their turn on one connection.
const QUEUE_MAX: usize = 4096;

/// Bytes of commands that a connection takes over before they are on their way.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Free room for each read, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Longest line of a reply that is no value, in bytes: keys and errors are shorter.
pub(super) const LINE_BYTES_MAX: usize = 2048;

/// A peer's words.
pub(crate) trait Protocol: Clone + Copy + Debug + Send + Sync + 'static {
    /// The peer's name.
    const NAME: &'static str;
    /// A batch that is being written down.
    type Batch: PeerBatch;
    /// What is sent of it in one go.
    type Commands: Commands;
    /// Reads the replies.
    type Decoder: Decoder<Self::Commands>;

    /// Sends a batch, in as many goes as it takes.
    fn call(
        link: DrivenLink<Self>,
        batch: Self::Batch,
    ) -> impl Future<Output = Result<PeerAnswers, PeerFailure>> + Send + 'static;
}

/// Commands as they are sent.
pub(crate) trait Commands: Debug + Send + Sync + 'static {
    /// The bytes to send, with every command at its end.
    fn finish(&mut self) -> &[u8];

    /// How many operations have to be answered.
    fn len(&self) -> usize;
}

/// Reads the replies to some commands, as their bytes arrive.
pub(crate) trait Decoder<C>: Default + Send {
    /// Reads on in `bytes`, which start where they did in the call before. `true` when all
    /// operations are answered.
    ///
    /// # Errors
    ///
    /// What the peer never sends.
    fn decode(&mut self, commands: &C, bytes: &[u8]) -> Result<bool, String>;

    /// Bytes that are done with.
    fn consumed(&self) -> usize;

    /// The answers, when all are there.
    fn finish(self) -> Vec<Answer>;
}

/// Commands on their way, and where their answers go.
struct Call<C> {
    commands: C,
    answer: oneshot::Sender<PeerAnswers>,
}

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct DrivenLink<P: Protocol> {
    calls: mpsc::Sender<Call<P::Commands>>,
    lost: Arc<AtomicBool>,
    endpoint: Arc<str>,
    timeout: Duration,
}

impl<P: Protocol> Clone for DrivenLink<P> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
            lost: Arc::clone(&self.lost),
            endpoint: Arc::clone(&self.endpoint),
            timeout: self.timeout,
        }
    }
}

impl<P: Protocol> DrivenLink<P> {
    /// Drives a connection on which nothing is open.
    pub(super) fn start(stream: Counted, endpoint: &Arc<str>, timeout: Duration) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        tokio::spawn(Driver::<P>::new(stream).run(queue, Arc::clone(&lost)));
        Self { calls, lost, endpoint: Arc::clone(endpoint), timeout }
    }

    /// Sends commands and waits for their answers.
    pub(super) async fn exchange(
        &self,
        mut commands: P::Commands,
    ) -> Result<PeerAnswers, PeerFailure> {
        if commands.len() == 0 {
            return Ok(PeerAnswers::new(Bytes::new(), Vec::new()));
        }
        commands.finish();
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            self.calls.send(Call { commands, answer }).await.ok()?;
            answered.await.ok()
        };
        if let Ok(Some(answers)) = tokio::time::timeout(self.timeout, exchange).await {
            return Ok(answers);
        }
        self.lost.store(true, Ordering::Relaxed);
        let text = format!("{} at {}: the reply was lost", P::NAME, self.endpoint);
        Err(PeerFailure { class: FailureClass::Unknown, text })
    }
}

impl<P: Protocol> Link for DrivenLink<P> {
    type Batch = P::Batch;
    type Answers = PeerAnswers;

    fn call(
        &self,
        batch: P::Batch,
    ) -> impl Future<Output = Result<PeerAnswers, PeerFailure>> + Send + 'static {
        P::call(self.clone(), batch)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Owns a connection's socket.
struct Driver<P: Protocol> {
    reader: ReadHalf<Counted>,
    writer: WriteHalf<Counted>,
    outgoing: BytesMut,
    incoming: BytesMut,
    open: VecDeque<Call<P::Commands>>,
    decoder: P::Decoder,
}

impl<P: Protocol> Driver<P> {
    fn new(stream: Counted) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            outgoing: BytesMut::new(),
            incoming: BytesMut::new(),
            open: VecDeque::new(),
            decoder: P::Decoder::default(),
        }
    }

    /// Runs until the links are gone or the connection is lost. Whoever waits then learns it,
    /// because the other end of its channel is gone.
    async fn run(mut self, mut queue: mpsc::Receiver<Call<P::Commands>>, lost: Arc<AtomicBool>) {
        if let Err(error) = self.drive(&mut queue).await {
            tracing::warn!("{}: the connection is lost: {error}", P::NAME);
            lost.store(true, Ordering::Relaxed);
        }
    }

    async fn drive(&mut self, queue: &mut mpsc::Receiver<Call<P::Commands>>) -> io::Result<()> {
        loop {
            if self.incoming.capacity() - self.incoming.len() < READ_BYTES / 4 {
                let room = self.incoming.len().max(READ_BYTES);
                self.incoming.reserve(room);
            }
            tokio::select! {
                call = queue.recv(), if self.outgoing.len() < WRITE_BYTES_MAX => {
                    let Some(call) = call else { return Ok(()) };
                    self.take(call);
                    while self.outgoing.len() < WRITE_BYTES_MAX {
                        let Ok(call) = queue.try_recv() else { break };
                        self.take(call);
                    }
                }
                written = self.writer.write(&self.outgoing), if !self.outgoing.is_empty() => {
                    self.outgoing.advance(written?);
                }
                read = self.reader.read_buf(&mut self.incoming) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.answer()?;
                }
            }
        }
    }

    fn take(&mut self, mut call: Call<P::Commands>) {
        self.outgoing.extend_from_slice(call.commands.finish());
        self.open.push_back(call);
    }

    /// Gives all answers that are whole to those who wait for them.
    fn answer(&mut self) -> io::Result<()> {
        let wrong = |wrong| io::Error::new(io::ErrorKind::InvalidData, wrong);
        while let Some(call) = self.open.front() {
            if !self.decoder.decode(&call.commands, &self.incoming).map_err(wrong)? {
                return Ok(());
            }
            let decoder = std::mem::take(&mut self.decoder);
            let bytes = self.incoming.split_to(decoder.consumed()).freeze();
            let call = self.open.pop_front().expect("it was there a moment ago");
            // Nobody waits any more when the run was abandoned.
            let _ = call.answer.send(PeerAnswers::new(bytes, decoder.finish()));
        }
        if self.incoming.is_empty() {
            return Ok(());
        }
        Err(wrong("it sent more than was asked for".to_owned()))
    }
}

/// The line from `start` without its end, and where the next one starts; `None` when its end is
/// not there yet.
///
/// # Errors
///
/// When it is longer than [`LINE_BYTES_MAX`].
#[inline]
pub(super) fn line(bytes: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = &bytes[start..];
    let head = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match head.iter().position(|byte| *byte == b'\n') {
        Some(newline) => {
            let line = &head[..newline];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), start + newline + 1)))
        }
        None if head.len() == LINE_BYTES_MAX => Err("a line does not end".to_owned()),
        None => Ok(None),
    }
}

/// What is wrong when a peer sends this.
pub(super) fn unexpected(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(&line[..line.len().min(60)]);
    format!("it sent `{}`", line.escape_debug())
}

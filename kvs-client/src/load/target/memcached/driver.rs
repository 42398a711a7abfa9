//! One connection to memcached: commands out, replies in, both in the order of the batches.
//!
//! A task owns the socket. It gathers what the workers send into as few writes as it can, writes and
//! reads at the same time, and hands each batch its answers when the last of them is there.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kvs_client::FailureClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::super::peer::{Counted, Link, PeerFailure};
use super::answers::PeerAnswers;
use super::protocol::{MemcachedBatch, MemcachedCommands, MemcachedDecoder};

/// Batches that may wait for their turn on one connection.
const QUEUE_MAX: usize = 4096;

/// Bytes of commands that a connection takes over before they are on their way.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Free room for each read, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Commands on their way, and where their answers go.
#[derive(Debug)]
struct Call {
    commands: MemcachedCommands,
    answer: oneshot::Sender<PeerAnswers>,
}

/// A connection to memcached.
#[derive(Clone, Debug)]
pub(crate) struct MemcachedLink {
    calls: mpsc::Sender<Call>,
    lost: Arc<AtomicBool>,
    endpoint: Arc<str>,
    timeout: Duration,
}

impl MemcachedLink {
    /// Drives a connection on which nothing is open.
    pub(super) fn start(stream: Counted, endpoint: &Arc<str>, timeout: Duration) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        tokio::spawn(Driver::new(stream).run(queue, Arc::clone(&lost)));
        Self { calls, lost, endpoint: Arc::clone(endpoint), timeout }
    }

    /// Sends commands and waits for their answers.
    pub(super) async fn exchange(
        &self,
        mut commands: MemcachedCommands,
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
        let text = format!("memcached at {}: the reply was lost", self.endpoint);
        Err(PeerFailure { class: FailureClass::Unknown, text })
    }
}

impl Link for MemcachedLink {
    type Batch = MemcachedBatch;
    type Answers = PeerAnswers;

    fn call(
        &self,
        batch: MemcachedBatch,
    ) -> impl Future<Output = Result<PeerAnswers, PeerFailure>> + Send + 'static {
        let link = self.clone();
        async move {
            if batch.swaps.is_empty() {
                return link.exchange(batch.into_commands()).await;
            }
            let items = link.exchange(batch.versions()).await?;
            let (commands, known) = batch.with_versions(&items);
            Ok(link.exchange(commands).await?.merge(known))
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Owns a connection's socket.
struct Driver {
    reader: ReadHalf<Counted>,
    writer: WriteHalf<Counted>,
    outgoing: BytesMut,
    incoming: BytesMut,
    open: VecDeque<Call>,
    decoder: MemcachedDecoder,
}

impl Driver {
    fn new(stream: Counted) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            outgoing: BytesMut::new(),
            incoming: BytesMut::new(),
            open: VecDeque::new(),
            decoder: MemcachedDecoder::default(),
        }
    }

    /// Runs until the links are gone or the connection is lost. Whoever waits then learns it,
    /// because the other end of its channel is gone.
    async fn run(mut self, mut queue: mpsc::Receiver<Call>, lost: Arc<AtomicBool>) {
        if let Err(error) = self.drive(&mut queue).await {
            tracing::warn!("memcached: the connection is lost: {error}");
            lost.store(true, Ordering::Relaxed);
        }
    }

    async fn drive(&mut self, queue: &mut mpsc::Receiver<Call>) -> io::Result<()> {
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

    fn take(&mut self, mut call: Call) {
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

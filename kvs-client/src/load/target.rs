//! What a run drives: our servers through the client library's public API, or a peer.
//!
//! A [`Target`] hands each worker a [`Stream`]: batches go in, and their outcomes come out in the
//! same order. Workers, recorder, checks and results are the same for all targets, and are compiled
//! for each of them, so that none pays for the others.

pub(crate) mod address;
#[cfg(feature = "peers")]
pub(crate) mod memcached;
#[cfg(feature = "peers")]
mod peer;
#[cfg(feature = "peers")]
pub(crate) mod redis;

use std::future::Future;
use std::time::Duration;

use kvs_client::{Batch, Client, Lane, Outcomes, ServerInfo};

use super::batches::{Replies, Requests};

/// How long our servers have to take leave of the client.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A store that a run drives, with the connections to it.
pub(crate) trait Target: Clone + Send + 'static {
    /// One worker's way to it.
    type Stream: Stream;

    /// The stream of worker number `worker`.
    fn stream(&self, worker: usize) -> Self::Stream;

    /// Its plain API, for single operations that batch by themselves; `None` when it has none.
    fn plain(&self) -> Option<Client> {
        None
    }

    /// Its servers, as they were when the run connected.
    fn servers(&self) -> Vec<ServerInfo>;

    /// Bytes sent and received so far.
    fn wire_bytes(&self) -> (u64, u64);

    /// Waits until all clients of the run have come to the barrier of this name.
    ///
    /// # Errors
    ///
    /// Who is missing, or why nobody can tell.
    fn barrier(
        &self,
        run: u64,
        name: &str,
        participants: u32,
        participant: u32,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Ends the connections.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// One worker's ordered stream of batches.
pub(crate) trait Stream: Send + 'static {
    /// A batch that is being filled.
    type Batch: Requests;
    /// What became of a batch.
    type Outcomes: Replies;

    /// An empty batch with room and stamps for this many operations.
    fn batch(&mut self, operations_max: usize) -> Self::Batch;

    /// Sends a batch when there is room for it, and does not wait for its replies.
    fn submit(&mut self, batch: Self::Batch) -> impl Future<Output = ()> + Send;

    /// The outcomes of the oldest batch in flight; `None` when nothing is in flight.
    fn next(&mut self) -> impl Future<Output = Option<Self::Outcomes>> + Send;

    /// Ends all batches in flight without waiting for them: their outcomes, oldest first, those
    /// included that are unknown now.
    fn abandon(&mut self) -> impl Future<Output = Vec<Self::Outcomes>> + Send;

    /// Whether nothing more can be sent, because its connection is gone for good.
    fn is_lost(&self) -> bool {
        false
    }

    /// The life of the server that an operation in flight on this key belongs to.
    fn boot_id(&self, key: &[u8]) -> u64;
}

impl Target for Client {
    type Stream = Lane;

    fn stream(&self, _worker: usize) -> Lane {
        self.lane()
    }

    fn plain(&self) -> Option<Client> {
        Some(self.clone())
    }

    fn servers(&self) -> Vec<ServerInfo> {
        Client::servers(self)
    }

    fn wire_bytes(&self) -> (u64, u64) {
        Client::wire_bytes(self)
    }

    async fn barrier(
        &self,
        run: u64,
        name: &str,
        participants: u32,
        participant: u32,
    ) -> anyhow::Result<()> {
        Ok(Client::barrier(self, run, name, participants, participant).await?)
    }

    /// Tells the servers to forget the client. It is a courtesy: they would by themselves.
    async fn close(self) {
        // An error is a server that is gone, and has forgotten everything.
        let _ = tokio::time::timeout(CLOSE_MAX, Client::close(self)).await;
    }
}

impl Stream for Lane {
    type Batch = Batch;
    type Outcomes = Outcomes;

    fn batch(&mut self, operations_max: usize) -> Batch {
        Lane::batch(self, operations_max)
    }

    async fn submit(&mut self, batch: Batch) {
        Lane::submit(self, batch).await;
    }

    async fn next(&mut self) -> Option<Outcomes> {
        Lane::next(self).await.map(|completed| completed.outcomes)
    }

    async fn abandon(&mut self) -> Vec<Outcomes> {
        let completed = Lane::abandon(self).await;
        completed.into_iter().map(|completed| completed.outcomes).collect()
    }

    fn boot_id(&self, key: &[u8]) -> u64 {
        Lane::data_id(self, key)
    }
}

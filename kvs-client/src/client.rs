//! The public API: connect, then single operations, batches, or lanes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use model::operation::{Action, Operation};
use model::outcome::Outcome;
use proto::buffers::BufferPool;
use proto::codec::WireBytes;
use proto::control::{ControlRequest, ControlResponse};

use crate::batcher::Batch;
use crate::config::Config;
use crate::connection::Link;
use crate::error::Error;
use crate::lane::Lane;
use crate::outcomes::Outcomes;
use crate::plain::Plain;
use crate::shared::Shared;

/// How long a barrier waits for the last participant.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(600);
/// Pause between two questions to a barrier: its error in releasing the participants.
const BARRIER_PAUSE: Duration = Duration::from_millis(5);

/// A client of all servers of a store. Cheap to clone; clones share connections.
///
/// It lives on the tokio runtime that it was connected on.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    plain: Plain,
}

/// What a server said of itself when it was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Where it listens.
    pub endpoint: String,
    /// Its place, as in `2/4`.
    pub place: String,
    /// Identity of its data; in memory, of its life.
    pub data_id: u64,
    /// The store behind it.
    pub store: String,
    /// Its lock domains.
    pub partitions: u32,
    /// Threads that serve.
    pub threads: u32,
    /// Free memory of its host, in bytes; 0 when unknown.
    pub memory_free_bytes: u64,
    /// All memory of its host, in bytes; 0 when unknown.
    pub memory_total_bytes: u64,
    /// Name of its host, so that memory is counted once per host.
    pub host: String,
    /// Keys that it held.
    pub keys: u64,
    /// Version of its program.
    pub version: String,
}

/// A server's answer to a ping.
#[derive(Clone, Debug)]
pub struct PingReply {
    /// Who answered.
    pub endpoint: String,
    /// How long it took.
    pub round_trip: Duration,
    /// What it said of itself when it was connected.
    pub info: ServerInfo,
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The key holds the new value.
    Swapped,
    /// The key holds another value than expected (here it is), or is missing (`None`).
    Mismatch(Option<Bytes>),
    /// It did not match, and the reply that held the current value was lost.
    MismatchUnknown,
}

impl Client {
    /// Connects to the servers in a comma-separated list, in the order of their places.
    ///
    /// # Errors
    ///
    /// When the list can't be read, a server can't be reached, or their places contradict it.
    pub async fn connect(hosts: &str) -> Result<Self, Error> {
        Self::connect_with(Config::new(hosts)?).await
    }

    /// Connects with other settings than the defaults.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect), and when a setting is out of its range.
    pub async fn connect_with(config: Config) -> Result<Self, Error> {
        config.check()?;
        let wire = Arc::new(WireBytes::default());
        let replies = BufferPool::default();
        let opened = config.hosts.iter().map(|endpoint| {
            Link::open(endpoint.clone(), &config, Arc::clone(&wire), replies.clone())
        });
        let links = try_join_all(opened).await?;
        let shared = Arc::new(Shared::new(links, &config, wire)?);
        let plain = Plain::start(&shared);
        Ok(Self { shared, plain })
    }

    /// What the servers said of themselves, in the order of their places.
    pub fn servers(&self) -> Vec<ServerInfo> {
        self.shared.links.iter().map(|link| info(link)).collect()
    }

    /// How many connections stand, over all servers.
    pub fn connections(&self) -> usize {
        self.shared.links.iter().map(|link| link.connections()).sum()
    }

    /// Bytes sent and received since the client was connected, framing included.
    pub fn wire_bytes(&self) -> (u64, u64) {
        (self.shared.wire.sent(), self.shared.wire.received())
    }

    /// Reads a key. The value shares the memory of the reply that it came in.
    ///
    /// # Errors
    ///
    /// When the operation has no outcome; see [`Error::class`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        match self.call(key.as_ref(), Action::Get).await? {
            Outcome::Value(value) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// Writes a key.
    ///
    /// # Errors
    ///
    /// When the operation has no outcome; see [`Error::class`].
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.call(key.as_ref(), Action::Put { value: value.as_ref() }).await.map(drop)
    }

    /// Removes a key; `true` when it was there.
    ///
    /// # Errors
    ///
    /// When the operation has no outcome; see [`Error::class`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.call(key.as_ref(), Action::Delete).await? == Outcome::Done)
    }

    /// Writes `value` if the key holds `expected`, or, with `None`, if there is no such key.
    ///
    /// # Errors
    ///
    /// When the operation has no outcome; see [`Error::class`].
    pub async fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Swap, Error> {
        let action = Action::CompareAndSwap { expected, value: value.as_ref() };
        match self.call(key.as_ref(), action).await? {
            Outcome::Done => Ok(Swap::Swapped),
            Outcome::Mismatch(current) => Ok(Swap::Mismatch(current)),
            _ => Ok(Swap::MismatchUnknown),
        }
    }

    /// Adds to a counter, from 0 if there is no such key, and returns the sum. The value is decimal
    /// text.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnInteger`], [`Error::Overflow`], or when the operation has no outcome.
    pub async fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, Error> {
        match self.call(key.as_ref(), Action::Increment { by }).await? {
            Outcome::Counter(count) => Ok(count),
            Outcome::Overflow => Err(Error::Overflow),
            _ => Err(Error::NotAnInteger),
        }
    }

    /// The server that owns a key: its place in the list of hosts, from 0.
    pub fn server_of(&self, key: impl AsRef<[u8]>) -> usize {
        self.shared.server_of(key.as_ref())
    }

    async fn call(&self, key: &[u8], action: Action<'_>) -> Result<Outcome<Bytes>, Error> {
        let operation = Operation { key, action };
        operation.check()?;
        self.plain.call(self.server_of(key), &operation).await
    }

    /// An empty batch with room for `operations_max` operations, whose stamps are reserved by one
    /// step of the process's counter.
    pub fn batch(&self, operations_max: usize) -> Batch {
        self.shared.batch(operations_max)
    }

    /// Sends a batch and waits for its outcomes. Its operations are not ordered with those of other
    /// calls that are on their way; for a stream of batches in order take a [`lane`](Self::lane).
    pub async fn run(&self, batch: Batch) -> Outcomes {
        let mut lane = self.lane();
        lane.submit(batch).await;
        lane.next().await.expect("a batch is in flight").outcomes
    }

    /// An ordered stream of batches, several of which may be in flight.
    pub fn lane(&self) -> Lane {
        Lane::new(Arc::clone(&self.shared))
    }

    /// Asks every server whether it is there.
    ///
    /// # Errors
    ///
    /// Names the first that does not answer.
    pub async fn ping(&self) -> Result<Vec<PingReply>, Error> {
        try_join_all(self.shared.links.iter().map(|link| async move {
            let connected = link.any_connection().await?;
            let start = Instant::now();
            link.control(&connected.channel, ControlRequest::Ping).await?;
            let info = info(link);
            Ok(PingReply { endpoint: info.endpoint.clone(), round_trip: start.elapsed(), info })
        }))
        .await
    }

    /// Waits until all participants of a run have arrived at the named barrier; the first server
    /// counts them. `participant` counts from 0.
    ///
    /// # Errors
    ///
    /// [`Error::Barrier`] when the others do not come within ten minutes.
    pub async fn barrier(
        &self,
        run_id: u64,
        name: &str,
        participants: u32,
        participant: u32,
    ) -> Result<(), Error> {
        let link = &self.shared.links[0];
        let start = Instant::now();
        loop {
            let connected = link.any_connection().await?;
            let name = name.to_owned();
            let request = ControlRequest::Barrier { run_id, name, participant, participants };
            let arrived = match link.control(&connected.channel, request).await? {
                ControlResponse::Barrier { arrived } => arrived,
                other => {
                    let detail = format!("an unexpected answer at a barrier: {other:?}");
                    return Err(Error::Control { endpoint: link.endpoint.to_string(), detail });
                }
            };
            if arrived >= participants {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited > BARRIER_TIMEOUT {
                let request_name = "start".to_owned();
                return Err(Error::Barrier { name: request_name, arrived, participants, waited });
            }
            tokio::time::sleep(BARRIER_PAUSE).await;
        }
    }

    /// Ends the client's sessions, so that the servers forget its lanes and records at once instead
    /// of after the lease. Batches in flight must have completed.
    pub async fn close(self) {
        for link in &self.shared.links {
            let Ok(connected) = link.any_connection().await else { continue };
            let session = connected.life.session;
            let request = ControlRequest::CloseSession { session };
            if let Err(error) = link.control(&connected.channel, request).await {
                tracing::debug!(%error, "a session was left to its lease");
            }
        }
    }
}

fn info(link: &Link) -> ServerInfo {
    let hello = &link.life().hello;
    ServerInfo {
        endpoint: link.endpoint.to_string(),
        place: hello.shard.to_string(),
        data_id: hello.data_id,
        store: hello.store.clone(),
        partitions: hello.partitions,
        threads: hello.threads,
        memory_free_bytes: hello.memory_free_bytes,
        memory_total_bytes: hello.memory_total_bytes,
        host: hello.host.clone(),
        keys: hello.keys,
        version: hello.program.clone(),
    }
}

//! One server as a client sees it: a small pool of tarpc channels, the session, and the bytes in
//! flight.
//!
//! The pool's size has nothing to do with the number of lanes; each lane is pinned to one of the
//! connections. A broken connection is made anew once for all lanes on it. After each connect the
//! server is asked who it is: new data means that it restarted, and a new *life* begins.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use model::limits::PARTITIONS_MAX;
use model::session::{SessionId, SessionOptions};
use model::slots::SlotSet;
use proto::buffers::BufferPool;
use proto::codec::{ClientCodec, Request, Response, WireBytes};
use proto::control::{ControlRequest, ControlResponse, Hello};
use proto::frame::VERSIONS;
use tarpc::client::RpcError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::codec::Framed;

use crate::config::{Config, Connector, Endpoint, Stream};
use crate::error::Error;

/// A tarpc channel to one server.
pub(crate) type Channel = tarpc::client::Channel<Request, Response>;

/// First size of a connection's read buffer; larger frames grow it as their bytes arrive.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Requests that wait for the socket before the dispatch task takes no more.
const WRITE_BUFFER_BYTES: usize = 64 << 10;
/// Requests that a connection's dispatch task holds. The bytes in flight bound what they hold, so
/// this only has to be above the number of lanes times their batches in flight.
const REQUESTS_MAX: usize = 65_536;
/// Bytes that one permit of the bytes in flight stands for.
const PERMIT_BYTES: usize = 1024;

/// One life of a server: from its start to its end.
#[derive(Debug)]
pub(crate) struct Life {
    /// What the server said of itself.
    pub(crate) hello: Hello,
    /// Our session.
    pub(crate) session: SessionId,
}

/// Where a lane stands in its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneNumber {
    pub(crate) session: SessionId,
    pub(crate) lane: u32,
    /// The number of the next batch that mutates.
    pub(crate) next: u64,
}

/// A connection that works.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    pub(crate) channel: Channel,
    /// Counts the connects of this place in the pool.
    pub(crate) generation: u64,
    /// The server's life that it leads to.
    pub(crate) life: Arc<Life>,
}

pub(crate) type Connecting = Shared<BoxFuture<'static, Result<Connected, Error>>>;

#[derive(Debug, Default)]
struct PoolMember {
    generation: u64,
    connected: Option<Connected>,
    connecting: Option<Connecting>,
}

/// One server.
pub(crate) struct Link {
    pub(crate) endpoint: Endpoint,
    connector: Arc<dyn Connector>,
    timeout: Duration,
    options: SessionOptions,
    wire: Arc<WireBytes>,
    /// Buffers that replies arrive in.
    pub(crate) replies: BufferPool,
    pool: Vec<Mutex<PoolMember>>,
    life: Mutex<Option<Arc<Life>>>,
    /// Held while a session is opened, so that the pool opens one and not many.
    opening: tokio::sync::Mutex<()>,
    in_flight: Arc<Semaphore>,
    in_flight_permits: usize,
    next_lane: AtomicU32,
    idle_lanes: Mutex<Vec<LaneNumber>>,
    next_place: AtomicU32,
    /// A moving average: what a GET's outcome takes in a reply.
    outcome_bytes: AtomicU32,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panicked")
}

impl Link {
    /// Connects to a server and opens a session there.
    ///
    /// # Errors
    ///
    /// When the server can't be reached or refuses.
    pub(crate) async fn open(
        endpoint: Endpoint,
        config: &Config,
        wire: Arc<WireBytes>,
        replies: BufferPool,
    ) -> Result<Arc<Self>, Error> {
        let permits = config.inflight_bytes_max / PERMIT_BYTES;
        let link = Arc::new(Self {
            endpoint,
            connector: Arc::clone(&config.connector),
            timeout: config.timeout,
            options: SessionOptions { send_repeats_once: config.repeats },
            wire,
            replies,
            pool: (0..config.connections).map(|_| Mutex::default()).collect(),
            life: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            in_flight: Arc::new(Semaphore::new(permits)),
            in_flight_permits: permits,
            next_lane: AtomicU32::new(1),
            idle_lanes: Mutex::default(),
            next_place: AtomicU32::new(0),
            outcome_bytes: AtomicU32::new(64),
        });
        link.connect(0, 0).await?;
        Ok(link)
    }

    /// The server's life that was last seen.
    pub(crate) fn life(&self) -> Arc<Life> {
        lock(&self.life).clone().expect("a link is connected before it is handed out")
    }

    /// A server lane that was left clean by an earlier owner, or a new one.
    pub(crate) fn take_lane(&self) -> LaneNumber {
        let life = self.life();
        let mut idle = lock(&self.idle_lanes);
        while let Some(lane) = idle.pop() {
            if lane.session == life.session {
                return lane;
            }
        }
        LaneNumber { session: life.session, lane: self.new_lane(), next: 1 }
    }

    /// Gives back a lane without open batches, for the next who wants one.
    pub(crate) fn give_lane(&self, lane: LaneNumber) {
        lock(&self.idle_lanes).push(lane);
    }

    /// A lane number that this link has not used.
    pub(crate) fn new_lane(&self) -> u32 {
        self.next_lane.fetch_add(1, Ordering::Relaxed)
    }

    /// The place in the pool for the next lane.
    pub(crate) fn pin_place(&self) -> usize {
        self.next_place.fetch_add(1, Ordering::Relaxed) as usize % self.pool.len()
    }

    /// How many connections stand.
    pub(crate) fn connections(&self) -> usize {
        self.pool.iter().filter(|place| lock(place).connected.is_some()).count()
    }

    /// Waits for room for a batch of this many bytes, there and back.
    pub(crate) async fn reserve(self: Arc<Self>, bytes: usize) -> OwnedSemaphorePermit {
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, self.in_flight_permits);
        let permits = u32::try_from(permits).expect("the bytes in flight are bounded");
        let room = Arc::clone(&self.in_flight).acquire_many_owned(permits).await;
        room.expect("the semaphore is never closed")
    }

    /// What the outcome of a GET is expected to take in a reply, in bytes.
    pub(crate) fn outcome_bytes(&self) -> usize {
        self.outcome_bytes.load(Ordering::Relaxed) as usize
    }

    /// Learns from a reply what outcomes take.
    pub(crate) fn learn_outcome_bytes(&self, reply_bytes: usize, outcomes: usize) {
        let seen = (reply_bytes / outcomes.max(1)) as u32;
        let old = self.outcome_bytes.load(Ordering::Relaxed);
        // Up at once, down slowly: to expect too little costs deferred operations.
        let new = if seen > old { seen } else { old - (old - seen) / 8 };
        self.outcome_bytes.store(new, Ordering::Relaxed);
    }

    /// A connection for this place in the pool, newer than `stale` (0 for any). All who ask at the
    /// same time share one attempt.
    pub(crate) fn connect(self: &Arc<Self>, place: usize, stale: u64) -> Connecting {
        let mut pool_place = lock(&self.pool[place]);
        if let Some(connected) = &pool_place.connected
            && connected.generation > stale
        {
            // The session may have been renewed since.
            let life = lock(&self.life)
                .clone()
                .filter(|life| life.hello.data_id == connected.life.hello.data_id);
            let life = life.unwrap_or_else(|| Arc::clone(&connected.life));
            let connected = Connected { life, ..connected.clone() };
            return futures::future::ready(Ok(connected)).boxed().shared();
        }
        if let Some(connecting) = &pool_place.connecting
            && connecting.peek().is_none()
        {
            return connecting.clone();
        }
        pool_place.connected = None;
        pool_place.generation += 1;
        let generation = pool_place.generation;
        let link = Arc::clone(self);
        let attempt = async move {
            let connected = link.attempt(generation).await?;
            lock(&link.pool[place]).connected = Some(connected.clone());
            Ok(connected)
        };
        let connecting = drive(attempt);
        pool_place.connecting = Some(connecting.clone());
        connecting
    }

    async fn attempt(&self, generation: u64) -> Result<Connected, Error> {
        let channel = self.dial().await?;
        let hello = self.hello(&channel, None).await?;
        let known = lock(&self.life).clone();
        let life = match known {
            Some(life) if life.hello.data_id == hello.data_id => life,
            _ => self.begin_life(&channel, &hello, None).await?,
        };
        Ok(Connected { channel, generation, life })
    }

    /// Opens a session, unless a colleague has just done so; `expired` names the one that is not
    /// good any more.
    async fn begin_life(
        &self,
        channel: &Channel,
        hello: &Hello,
        expired: Option<SessionId>,
    ) -> Result<Arc<Life>, Error> {
        let _opening = self.opening.lock().await;
        let known = lock(&self.life).clone();
        if let Some(life) = &known {
            if life.hello.data_id == hello.data_id && Some(life.session) != expired {
                return Ok(Arc::clone(life));
            }
            let before = &life.hello;
            if (before.shard, before.partitions) != (hello.shard, hello.partitions) {
                return Err(Error::Placement(format!(
                    "{} came back as shard {} with {} partitions, it was shard {} with {}; start \
                     it with the same flags, or connect again",
                    self.endpoint, hello.shard, hello.partitions, before.shard, before.partitions
                )));
            }
        }
        let hello = self.hello(channel, Some(self.options)).await?;
        let session = hello.session.ok_or_else(|| Error::Control {
            endpoint: self.endpoint.to_string(),
            detail: "the server opened no session".to_owned(),
        })?;
        let life = Arc::new(Life { hello, session });
        *lock(&self.life) = Some(Arc::clone(&life));
        Ok(life)
    }

    /// A life with a fresh session, after the server called `expired` expired.
    pub(crate) fn renew(self: &Arc<Self>, connected: Connected, expired: SessionId) -> Connecting {
        let link = Arc::clone(self);
        let renewal = async move {
            let hello = connected.life.hello.clone();
            let life = link.begin_life(&connected.channel, &hello, Some(expired)).await?;
            Ok(Connected { life, ..connected })
        };
        drive(renewal)
    }

    async fn dial(&self) -> Result<Channel, Error> {
        let refused =
            |reason: String| Error::Connect { endpoint: self.endpoint.to_string(), reason };
        let within = self.timeout;
        let stream = tokio::time::timeout(within, self.connector.connect(&self.endpoint))
            .await
            .map_err(|_| refused(format!("no answer within {within:?}")))?
            .map_err(|error| refused(error.to_string()))?;
        Ok(self.open_channel(stream))
    }

    fn open_channel(&self, stream: Box<dyn Stream>) -> Channel {
        let codec = ClientCodec::with_buffers(Arc::clone(&self.wire), self.replies.clone());
        let mut framed = Framed::with_capacity(stream, codec, READ_BUFFER_BYTES);
        framed.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        let mut config = tarpc::client::Config::default();
        config.max_in_flight_requests = REQUESTS_MAX;
        config.pending_request_buffer = REQUESTS_MAX;
        let client = tarpc::client::new(config, framed);
        let endpoint = self.endpoint.clone();
        tokio::spawn(client.dispatch.map(move |result| {
            if let Err(error) = result {
                tracing::debug!(%endpoint, %error, "connection ended");
            }
        }));
        client.client
    }

    /// A batch or control call, bounded in time.
    pub(crate) fn call(
        &self,
        channel: &Channel,
        request: Request,
    ) -> BoxFuture<'static, Result<Response, RpcError>> {
        let mut context = tarpc::context::current();
        context.deadline = Instant::now() + self.timeout;
        let channel = channel.clone();
        async move { channel.call(context, request).await }.boxed()
    }

    /// A control call's answer.
    ///
    /// # Errors
    ///
    /// When the connection fails, or the server refuses.
    pub(crate) async fn control(
        &self,
        channel: &Channel,
        request: ControlRequest,
    ) -> Result<ControlResponse, Error> {
        let endpoint = || self.endpoint.to_string();
        match self.call(channel, Request::Control(request)).await {
            Ok(Response::Control(ControlResponse::Refused(detail))) => {
                Err(Error::Control { endpoint: endpoint(), detail })
            }
            Ok(Response::Control(response)) => Ok(response),
            Ok(Response::Batch(_)) => {
                Err(Error::Control { endpoint: endpoint(), detail: "a wrong reply".to_owned() })
            }
            Err(error) => Err(Error::Connect { endpoint: endpoint(), reason: explain(&error) }),
        }
    }

    async fn hello(
        &self,
        channel: &Channel,
        open_session: Option<SessionOptions>,
    ) -> Result<Hello, Error> {
        match self
            .control(channel, ControlRequest::Hello { versions: VERSIONS, open_session })
            .await?
        {
            ControlResponse::Hello(hello) => {
                let is_sound = (1..=PARTITIONS_MAX).contains(&hello.partitions)
                    && SlotSet::from_ranges(&hello.slots).is_some();
                if is_sound {
                    return Ok(*hello);
                }
                let detail = "its partitions or slots are out of bounds".to_owned();
                Err(Error::Control { endpoint: self.endpoint.to_string(), detail })
            }
            other => Err(Error::Control {
                endpoint: self.endpoint.to_string(),
                detail: format!("an unexpected answer to a hello: {other:?}"),
            }),
        }
    }

    /// What the server says of itself now; what it said last where it does not answer.
    pub(crate) async fn ask_hello(self: &Arc<Self>) -> Hello {
        let asked = async {
            let connected = self.any_connection().await?;
            self.hello(&connected.channel, None).await
        };
        asked.await.unwrap_or_else(|_| self.life().hello.clone())
    }

    /// A working connection for a control call.
    pub(crate) async fn any_connection(self: &Arc<Self>) -> Result<Connected, Error> {
        self.connect(0, 0).await
    }
}

/// Runs an attempt in a task of its own. Others wait for it, or for the session that it opens, so it
/// must go on when the lane that began it is left alone or dropped.
fn drive(attempt: impl Future<Output = Result<Connected, Error>> + Send + 'static) -> Connecting {
    let task = tokio::spawn(attempt);
    // A task is cut short only by the end of its runtime.
    async move { task.await.unwrap_or(Err(Error::Closed)) }.boxed().shared()
}

/// An error of the RPC layer with its causes, in one line.
pub(crate) fn explain(error: &RpcError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

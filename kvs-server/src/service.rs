//! The native front end: batches and control calls of peers in, replies out.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use engine::{Change, Engine, Ownership, Refused};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};
use proto::batch;
use proto::buffers::BufferPool;
use proto::codec::Response;
use proto::control::{ControlRequest, ControlResponse, Hello};
use proto::frame::{VERSIONS, VersionSpan};
use proto::reply::{ReplyHeader, refuse};
use store::{AnyStore, Store};
use tokio::sync::oneshot;

use crate::barriers::Barriers;
use crate::config::ShardConfig;
use crate::counters::Counters;
use crate::environment::Environment;
use crate::errand::Errand;
use crate::exchange::Exchange;
use crate::fatal::Fatal;
use crate::order::memory::{LEASE, Memory, RECORD_BYTES_TOTAL};
use crate::order::{Answer, Order};

/// Most exchanges whose memory is kept for the next batches: more than any host has cores.
const EXCHANGES_KEPT_MAX: usize = 256;

/// One shard behind the native protocol.
pub struct Service<O = Memory> {
    config: ShardConfig,
    order: O,
    counters: Arc<Counters>,
    barriers: Barriers,
    /// For the next batches; the one used last goes first.
    #[expect(clippy::vec_box, reason = "requests travel in boxes, which are used again")]
    exchanges: Mutex<Vec<Box<Exchange>>>,
    buffers: BufferPool,
    environment: Arc<dyn Environment>,
    fatal: Fatal,
}

/// The answer to a peer.
pub enum Reply {
    /// It may leave at once.
    Now(Response),
    /// It may leave when it comes.
    Later(BoxFuture<'static, Response>),
}

impl Reply {
    /// The answer, which an order gave at once.
    ///
    /// # Panics
    ///
    /// When it comes later.
    pub fn now(self) -> Response {
        match self {
            Self::Now(response) => response,
            Self::Later(_) => panic!("the order answers later"),
        }
    }
}

impl Service {
    /// An empty shard in memory.
    pub fn new(
        config: ShardConfig,
        environment: Arc<dyn Environment>,
        counters: Arc<Counters>,
    ) -> Self {
        Self::in_memory(config, environment, counters, RECORD_BYTES_TOTAL)
    }

    /// The same with another bound on the bytes of completion records over all sessions.
    pub fn in_memory(
        config: ShardConfig,
        environment: Arc<dyn Environment>,
        counters: Arc<Counters>,
        record_bytes_max: usize,
    ) -> Self {
        let seed = environment.random_u64();
        let store = AnyStore::with_seed(config.store_kind, config.partitions, seed);
        Self::with_order(config, environment, counters, store, |engine, environment, fatal| {
            Memory::new(engine, environment, fatal, record_bytes_max)
        })
    }
}

impl<O: Order> Service<O> {
    /// An empty shard over this store, in an order that `make` makes.
    pub fn with_order(
        config: ShardConfig,
        environment: Arc<dyn Environment>,
        counters: Arc<Counters>,
        store: O::Store,
        make: impl FnOnce(Engine<O::Store>, Arc<dyn Environment>, Fatal) -> O,
    ) -> Self {
        let fatal = Fatal::default();
        let ownership = Ownership { epoch: 1, slots: config.shard.first_slots() };
        let engine = Engine::new(environment.random_u64(), store, ownership);
        let order = make(engine, Arc::clone(&environment), fatal.clone());
        Self {
            config,
            order,
            counters,
            barriers: Barriers::default(),
            exchanges: Mutex::default(),
            buffers: BufferPool::default(),
            environment,
            fatal,
        }
    }

    /// What decides when commands are applied.
    pub fn order(&self) -> &O {
        &self.order
    }

    /// The shard, to look at.
    pub fn engine(&self) -> &Engine<O::Store> {
        self.order.engine()
    }

    /// How many keys the shard holds.
    pub fn keys(&self) -> usize {
        self.engine().store().len()
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What it cannot go on after.
    pub fn fatal(&self) -> &Fatal {
        &self.fatal
    }

    /// The buffers that replies are built in, to be given back when they were sent.
    pub fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// Takes a batch; returns its reply, and how many operations it has. The bytes of a reply that
    /// comes later are added to `held_bytes` as soon as it is made.
    pub fn batch(
        self: &Arc<Self>,
        body: Bytes,
        held_bytes: Option<&Arc<AtomicUsize>>,
    ) -> (Reply, usize) {
        let exchange = self.exchanges.lock().expect("no holder of the exchanges panicked").pop();
        let mut exchange = exchange.unwrap_or_default();
        let (shard, buffer) = (self.config.shard.index(), self.buffers.take());
        let begun = exchange.begin(self.engine(), shard, body, buffer, held_bytes.cloned());
        let operations = exchange.operations();
        let reply = match begun {
            Err(refused) => {
                self.put_back(exchange);
                Reply::Now(Response::Batch(refused))
            }
            Ok(()) => match self.order.submit(exchange) {
                Answer::Now(exchange) => {
                    exchange.uncount_reply();
                    Reply::Now(self.finish(exchange))
                }
                Answer::Later(later) => self.later(later, Self::finish),
            },
        };
        (reply, operations)
    }

    /// An answer that is made of a request when that comes back.
    fn later<R: Send + 'static>(
        self: &Arc<Self>,
        request: oneshot::Receiver<R>,
        finish: impl FnOnce(&Self, R) -> Response + Send + 'static,
    ) -> Reply {
        let service = Arc::clone(self);
        let answer = async move {
            match request.await {
                Ok(request) => finish(&service, request),
                Err(_) => {
                    service.fatal.declare("the order of commands has ended");
                    std::future::pending().await
                }
            }
        };
        Reply::Later(answer.boxed())
    }

    fn finish(&self, mut exchange: Box<Exchange>) -> Response {
        let (reply, tally) = exchange.finish();
        self.counters.add(&tally);
        self.put_back(exchange);
        Response::Batch(reply)
    }

    fn put_back(&self, exchange: Box<Exchange>) {
        let mut exchanges = self.exchanges.lock().expect("no holder of the exchanges panicked");
        if exchanges.len() < EXCHANGES_KEPT_MAX {
            exchanges.push(exchange);
        }
    }

    /// The reply to a batch that is not taken.
    pub fn refuse(&self, body: &[u8], refusal: Refusal) -> Response {
        let number = batch::read_header(body).map_or(0, |header| header.number);
        let header = ReplyHeader { data_id: self.engine().data_id(), number, epoch: self.epoch() };
        Response::Batch(refuse(&header, refusal, refusal.explain()))
    }

    fn epoch(&self) -> u32 {
        self.engine().ownership().epoch
    }

    /// Takes a control call.
    pub fn control(self: &Arc<Self>, request: ControlRequest) -> Reply {
        let closed =
            |_: &Self, result: Result<(), Refused>| answer(result, ControlResponse::Closed);
        let response = match request {
            ControlRequest::Ping => ControlResponse::Pong { data_id: self.engine().data_id() },
            ControlRequest::Hello { versions, open_session } => {
                return self.greet(versions, open_session);
            }
            ControlRequest::Barrier { run_id, name, participant, participants } => {
                self.barriers.arrive(run_id, name, participant, participants)
            }
            ControlRequest::CloseLane { session, lane } => {
                return self.send(Change::CloseLane(session, lane), closed);
            }
            ControlRequest::CloseSession { session } => {
                return self.send(Change::CloseSession(session), closed);
            }
        };
        Reply::Now(Response::Control(response))
    }

    /// Hands a change to the order, and answers with what comes of it.
    pub fn send(
        self: &Arc<Self>,
        change: Change<'static>,
        answer: impl FnOnce(&Self, Result<(), Refused>) -> ControlResponse + Send + 'static,
    ) -> Reply {
        let answer =
            move |service: &Self, errand: Errand| Response::Control(answer(service, errand.result));
        match self.order.submit(Errand::new(change)) {
            Answer::Now(errand) => Reply::Now(answer(self, errand)),
            Answer::Later(later) => self.later(later, answer),
        }
    }

    fn greet(
        self: &Arc<Self>,
        versions: VersionSpan,
        open_session: Option<SessionOptions>,
    ) -> Reply {
        let Some(version) = VERSIONS.common(versions) else {
            let detail = format!(
                "no common version of the protocol: this server speaks versions {VERSIONS}, the \
                 client {versions}; use programs of the same version"
            );
            return Reply::Now(Response::Control(ControlResponse::Refused(detail)));
        };
        let Some(options) = open_session else {
            let hello = ControlResponse::Hello(Box::new(self.hello(version, None)));
            return Reply::Now(Response::Control(hello));
        };
        let number = self.environment.random_u64();
        self.send(Change::OpenSession { number, options }, move |service, result| {
            let session = SessionId { data_id: service.engine().data_id(), number };
            answer(result, ControlResponse::Hello(Box::new(service.hello(version, Some(session)))))
        })
    }

    fn hello(&self, version: u8, session: Option<SessionId>) -> Hello {
        let memory = resources::Memory::look();
        let ownership = self.engine().ownership();
        Hello {
            version,
            data_id: self.engine().data_id(),
            session,
            session_lease_ms: LEASE.as_millis() as u64,
            shard: self.config.shard,
            epoch: ownership.epoch,
            slots: ownership.slots.ranges(),
            partitions: self.engine().partitions().count(),
            store: self.config.store_kind.to_string(),
            keys: self.keys() as u64,
            memory_free_bytes: memory.map_or(0, |memory| memory.free_bytes),
            memory_total_bytes: memory.map_or(0, |memory| memory.total_bytes),
            host: resources::host_name().unwrap_or_default(),
            threads: self.config.threads,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl<O> std::fmt::Debug for Service<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

fn answer(result: Result<(), Refused>, done: ControlResponse) -> ControlResponse {
    match result {
        Ok(()) => done,
        Err(refused) => ControlResponse::Refused(refused.detail.into_owned()),
    }
}

#[cfg(test)]
mod tests;

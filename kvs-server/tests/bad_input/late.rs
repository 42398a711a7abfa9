//! Answers that come late, as from an order that syncs a disk: they leave in turn, and peers hold
//! bounded memory meanwhile.
//!
//! Everything runs on one thread, over pipes, and under a clock that stands still while anybody has
//! work to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::Engine;
use kvs_server::connection::{self, WAITING_BYTES_MAX, WAITING_MAX};
use kvs_server::environment::SeededEnvironment;
use kvs_server::order::memory::{Memory, RECORD_BYTES_TOTAL};
use kvs_server::order::{Answer, Order, Request};
use kvs_server::service::Service;
use model::limits::VALUE_BYTES_MAX;
use model::operation::Operation;
use model::outcome::Outcome;
use proto::control::ControlRequest;
use proto::frame::{VERSIONS, kind};
use proto::limits::REPLY_BYTES_MAX;
use store::AnyStore;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Lane, get, increment, put};
use crate::harness::{Peer, config, control_frame, frame, patiently};

/// Lets an answer leave.
type Release = Box<dyn FnOnce() + Send>;

/// Applies commands as they arrive, and keeps the answers until the test lets them go.
pub(crate) struct Held {
    memory: Memory,
    holds: AtomicBool,
    answers: Mutex<VecDeque<Release>>,
}

impl Order for Held {
    type Store = AnyStore;

    fn engine(&self) -> &Engine<AnyStore> {
        self.memory.engine()
    }

    fn submit<R: Request>(&self, request: R) -> Answer<R> {
        match self.memory.submit(request) {
            Answer::Now(request) if self.holds.load(Ordering::Relaxed) => {
                let (answer, later) = oneshot::channel();
                // Nobody listens where the connection has ended.
                let release = Box::new(move || drop(answer.send(request)));
                self.answers.lock().unwrap().push_back(release);
                Answer::Later(later)
            }
            answer => answer,
        }
    }
}

/// A peer of a server whose answers are held.
pub(crate) struct Waiter {
    pub(crate) service: Arc<Service<Held>>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) peer: Peer<DuplexStream>,
    pub(crate) lane: Lane,
}

impl Waiter {
    /// One with a session, whose further requests are answered late.
    pub(crate) async fn start() -> Self {
        let make = |engine, environment, fatal| Held {
            memory: Memory::new(engine, environment, fatal, RECORD_BYTES_TOTAL),
            holds: AtomicBool::new(false),
            answers: Mutex::default(),
        };
        let (environment, config) = (Arc::new(SeededEnvironment::new(7)), config("1/1"));
        let store = AnyStore::with_seed(config.store_kind, config.partitions, 1);
        let service = Service::with_order(config, environment, Arc::default(), store, make);
        let service = Arc::new(service);
        let (far, near) = tokio::io::duplex(8 << 20);
        let stop = CancellationToken::new();
        let serve = connection::serve(near, "test".to_owned(), Arc::clone(&service), stop.clone());
        let serving = tokio::spawn(serve);
        let mut peer = Peer::over(far);
        let (session, hello) = peer.open_session().await;
        service.order().holds.store(true, Ordering::Relaxed);
        Self { service, stop, serving, peer, lane: Lane::new(session, &hello) }
    }

    /// Sends a batch under this request id.
    pub(crate) async fn send(&mut self, id: u64, operations: &[Operation<'_>]) {
        let body = self.lane.body(operations);
        self.peer.send(&frame(kind::BATCH_REQUEST, id, &body)).await;
        let mutates = operations.iter().any(|operation| operation.kind().is_mutation());
        self.lane.header.number += u64::from(mutates);
    }

    /// How many answers are held.
    pub(crate) fn held(&self) -> usize {
        self.service.order().answers.lock().unwrap().len()
    }

    /// Lets one of the answers go, by its place among those that are held.
    pub(crate) fn release(&self, index: usize) {
        let release = self.service.order().answers.lock().unwrap().remove(index);
        release.expect("so many answers are held")();
    }

    pub(crate) fn release_all(&self) {
        (0..self.held()).for_each(|_| self.release(0));
    }

    /// The answers are a batch's, to these requests in turn.
    pub(crate) async fn are_answered(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            assert_eq!(self.peer.answer_to(id).await.batch_reply().refusal(), None);
        }
    }

    /// Closes the connection, which ends its task.
    pub(crate) async fn finish(self) {
        drop(self.peer);
        patiently("the connection ends", self.serving).await.expect("it does not panic");
        assert_eq!(self.service.counters().panics(), 0);
        assert_eq!(self.service.counters().connections(), 0);
    }
}

/// Waits until nobody has anything left to do: only then does the clock move.
pub(crate) async fn all_is_quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn answers_leave_in_turn_however_late_they_come() {
    let mut waiter = Waiter::start().await;
    for id in 1..=3 {
        waiter.send(id, &[increment(b"n")]).await;
    }
    waiter.peer.send(&control_frame(4, ControlRequest::Ping)).await;
    waiter.send(5, &[get(b"n")]).await;
    all_is_quiet().await;
    assert_eq!(waiter.held(), 4, "a ping has nothing to wait for but its turn");
    let applied = waiter.service.counters().tally().operations();
    assert_eq!(applied, 0, "what is not answered is not counted");
    for index in [3, 2, 1] {
        waiter.release(index);
        all_is_quiet().await;
    }
    waiter.release(0);
    for (count, id) in (1..).zip(1..=3) {
        let reply = waiter.peer.answer_to(id).await.batch_reply();
        assert_eq!(reply.outcome(0), Some(Outcome::Counter(count)));
    }
    waiter.peer.answer_to(4).await.control_response();
    let reply = waiter.peer.answer_to(5).await.batch_reply();
    assert_eq!(reply.outcome(0), Some(Outcome::Value(&b"3"[..])));
    assert_eq!(waiter.service.counters().tally().operations(), 4);
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_bounded_by_number() {
    let mut waiter = Waiter::start().await;
    let all = WAITING_MAX as u64 + 100;
    // Twice, so that what was answered has made room.
    for round in 0..2 {
        let ids = round * all..(round + 1) * all;
        for id in ids.clone() {
            waiter.send(id, &[get(b"none")]).await;
        }
        all_is_quiet().await;
        assert_eq!(waiter.held(), WAITING_MAX, "the others are not read");
        waiter.release(0);
        waiter.are_answered([ids.start]).await;
        all_is_quiet().await;
        assert_eq!(waiter.held(), WAITING_MAX, "one more was read");
        while waiter.held() > 0 {
            waiter.release_all();
            all_is_quiet().await;
        }
        waiter.are_answered(ids.skip(1)).await;
    }
    waiter.finish().await;
}

/// What needs no order is answered in its turn, and so it waits as well.
#[tokio::test(start_paused = true)]
async fn control_calls_that_wait_are_bounded_by_number() {
    let mut waiter = Waiter::start().await;
    waiter.send(0, &[get(b"none")]).await;
    for id in 1..WAITING_MAX as u64 {
        waiter.peer.send(&control_frame(id, ControlRequest::Ping)).await;
    }
    // Would this be taken, it would be held.
    waiter.send(u64::MAX - 1, &[get(b"none")]).await;
    all_is_quiet().await;
    assert_eq!(waiter.held(), 1);
    waiter.release(0);
    waiter.are_answered([0]).await;
    for id in 1..WAITING_MAX as u64 {
        waiter.peer.answer_to(id).await.control_response();
    }
    all_is_quiet().await;
    waiter.release_all();
    waiter.are_answered([u64::MAX - 1]).await;
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn replies_that_wait_are_bounded_by_bytes() {
    const LEAST_HELD: u64 = (WAITING_BYTES_MAX / REPLY_BYTES_MAX) as u64;
    let mut waiter = Waiter::start().await;
    let keys: Vec<Vec<u8>> = (0..4).map(|number| format!("large{number}").into_bytes()).collect();
    for (number, key) in (0..).zip(&keys) {
        let value = vec![number; VALUE_BYTES_MAX - 100];
        waiter.send(number.into(), &[put(key, &value)]).await;
        all_is_quiet().await;
        waiter.release_all();
        waiter.are_answered([number.into()]).await;
    }
    let gets: Vec<_> = keys.iter().map(|key| get(key)).collect();
    for round in 1..=3 {
        let ids = 100 * round..100 * round + 20;
        for id in ids.clone() {
            waiter.send(id, &gets).await;
        }
        all_is_quiet().await;
        // The last one that is taken may pass the bound.
        let held = waiter.held() as u64;
        assert!((LEAST_HELD..=LEAST_HELD + 1).contains(&held), "{held} replies of 4 MiB are held");
        for id in ids {
            waiter.release(0);
            waiter.are_answered([id]).await;
            all_is_quiet().await;
            assert!(waiter.held() as u64 <= LEAST_HELD + 1);
        }
    }
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_bounded_by_bytes() {
    let mut waiter = Waiter::start().await;
    let value = vec![0; VALUE_BYTES_MAX];
    let fit = WAITING_BYTES_MAX / VALUE_BYTES_MAX;
    for id in 0..fit as u64 + 4 {
        waiter.send(id, &[put(b"k", &value)]).await;
    }
    all_is_quiet().await;
    assert_eq!(waiter.held(), fit, "the others are not read");
    waiter.release_all();
    all_is_quiet().await;
    waiter.release_all();
    waiter.are_answered(0..fit as u64 + 4).await;
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ends_is_answered_all_that_it_asked() {
    let mut waiter = Waiter::start().await;
    for id in 1..=3 {
        waiter.send(id, &[increment(b"n")]).await;
    }
    waiter.peer.end().await;
    all_is_quiet().await;
    assert!(!waiter.serving.is_finished());
    waiter.release_all();
    waiter.are_answered(1..=3).await;
    assert!(waiter.peer.receive().await.is_none(), "then the connection ends");
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_garbage_comes_is_answered_before_the_reason() {
    let mut waiter = Waiter::start().await;
    waiter.send(1, &[increment(b"n")]).await;
    waiter.peer.send(&[0xee; 16]).await;
    all_is_quiet().await;
    waiter.release_all();
    waiter.are_answered([1]).await;
    let words = format!("protocol version 238, this side speaks versions {VERSIONS}");
    waiter.peer.is_told_and_closed(&words).await;
    waiter.finish().await;
}

/// Who cancels waits for no answer; the effects are there, and the others get theirs.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_cancelled_does_not_leave() {
    let mut waiter = Waiter::start().await;
    for id in 1..=3 {
        waiter.send(id, &[increment(b"n")]).await;
    }
    waiter.peer.send(&frame(kind::CANCEL, 2, &[])).await;
    all_is_quiet().await;
    waiter.release_all();
    waiter.are_answered([1, 3]).await;
    waiter.send(2, &[increment(b"n")]).await;
    all_is_quiet().await;
    waiter.release_all();
    let reply = waiter.peer.answer_to(2).await.batch_reply();
    assert_eq!(reply.outcome(0), Some(Outcome::Counter(4)));
    waiter.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_never_answers_is_fatal() {
    let mut waiter = Waiter::start().await;
    waiter.send(1, &[increment(b"n")]).await;
    waiter.peer.send(&control_frame(2, ControlRequest::Ping)).await;
    all_is_quiet().await;
    assert!(!waiter.service.fatal().is_declared());
    waiter.service.order().answers.lock().unwrap().clear();
    assert!(waiter.peer.receive().await.is_none(), "nobody is answered any more");
    assert!(waiter.service.fatal().is_declared());
    waiter.finish().await;
}

/// A peer that leaves takes its answers with it, and nothing else.
#[tokio::test(start_paused = true)]
async fn answers_to_a_peer_that_left_are_dropped() {
    let mut waiter = Waiter::start().await;
    waiter.send(1, &[increment(b"n")]).await;
    all_is_quiet().await;
    let service = Arc::clone(&waiter.service);
    waiter.serving.abort();
    assert!(waiter.serving.await.unwrap_err().is_cancelled());
    let release = service.order().answers.lock().unwrap().pop_front();
    release.expect("an answer is held")();
    assert!(!service.fatal().is_declared());
    assert_eq!((service.keys(), service.counters().connections()), (1, 0));
}

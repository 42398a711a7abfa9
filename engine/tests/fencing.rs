//! Once the end of a session or lane has been told, nothing is applied for it.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;

use engine::{Change, Engine};
use model::operations::Operations;
use model::outcome::{Outcome, OutcomeSink};
use model::refusal::Refusal;
use store::{AnyStore, Store};
use support::{
    Ask, Layout, Request, UNJUDGED, ask, change, get, open, partitioned, session, shard,
    shard_with_session,
};

const ROUNDS: u32 = 40;
/// Batches of each thread before the end is asked for, and refusals that it sees after.
const WARM_UP: u64 = 20;
const REFUSALS: u64 = 20;
/// Batches after which a thread gives up waiting for the end.
const TRIES_MAX: u64 = 1_000_000;
const GET: (&str, Ask) = ("count", Ask::Get);

/// Counts, after other keys of other partitions, so that a batch is often under way.
fn batch(lane: u32, number: u64) -> Request {
    let others = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|key| (key, Ask::Add(1)));
    let mut operations = others.to_vec();
    operations.push(("count", Ask::Add(1)));
    Request::new(lane, number, &operations)
}

fn count<S: Store>(engine: &Engine<S>) -> u64 {
    match get(engine, "count") {
        Outcome::Value(value) => String::from_utf8(value).unwrap().parse().unwrap(),
        Outcome::Missing => 0,
        other => panic!("a GET does not answer {other:?}"),
    }
}

/// A thread's requests: asked one after another until enough were refused.
struct Hammer<'a> {
    engine: &'a Engine<AnyStore>,
    is_closed: &'a AtomicBool,
    warm: &'a Barrier,
    refusal: Refusal,
}

impl Hammer<'_> {
    /// Asks until the end is seen, and returns how many batches with mutations were applied.
    fn run(&self, mut request: impl FnMut(u64) -> Request) -> u64 {
        let (mut applied, mut refusals) = (0, 0);
        for tries in 0..TRIES_MAX {
            if tries == WARM_UP {
                assert_eq!(refusals, 0, "before its end it takes every batch");
                self.warm.wait();
            }
            let was_closed = self.is_closed.load(Ordering::Acquire);
            let request = request(tries);
            match ask(self.engine, &request) {
                Ok(answer) => {
                    assert!(!was_closed, "applied after the end was told to another");
                    assert_eq!(refusals, 0, "applied after the end was told to this thread");
                    let is_applied = request.mutations() > 0 && !answer.is_recorded;
                    applied += u64::from(is_applied);
                }
                Err(refused) => {
                    assert_eq!(refused.refusal, self.refusal);
                    refusals += 1;
                }
            }
            if refusals == REFUSALS {
                return applied;
            }
        }
        panic!("the end never came");
    }
}

/// Several threads make requests of `request(thread, try)`; then `end` is applied. Returns the
/// shard, in which no more was applied than was told before.
fn end_among_threads(
    end: &Change<'static>,
    refusal: Refusal,
    request: impl Fn(u32, u64) -> Request + Sync,
) -> Engine<AnyStore> {
    const THREADS: u32 = 3;
    let engine = shard_with_session();
    let (is_closed, warm) = (AtomicBool::new(false), Barrier::new(THREADS as usize + 1));
    let hammer = &Hammer { engine: &engine, is_closed: &is_closed, warm: &warm, refusal };
    let (at_the_end, applied) = thread::scope(|scope| {
        let request = &request;
        let threads = (0..THREADS)
            .map(|thread| scope.spawn(move || hammer.run(|tries| request(thread, tries))));
        let threads: Vec<_> = threads.collect();
        warm.wait();
        change(&engine, end.clone()).unwrap();
        let at_the_end = count(&engine);
        is_closed.store(true, Ordering::Release);
        let applied = threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>();
        (at_the_end, applied)
    });
    assert_eq!(count(&engine), at_the_end, "nothing was applied after the end was told");
    assert_eq!(applied, at_the_end, "each batch that was told took effect once");
    assert!(applied > 0);
    assert_eq!(engine.sessions().record_bytes(), 0);
    engine
}

#[test]
fn nothing_is_applied_for_a_session_after_its_end() {
    for _ in 0..ROUNDS {
        // In turn: the thread's own lane, reads in it, and a lane that is not known yet.
        let request = |thread: u32, tries: u64| {
            let number = tries / 3 + 1;
            match tries % 3 {
                0 => batch(thread, number),
                1 => Request::new(thread, number, &[GET]),
                _ => batch(1_000 * (number as u32) + thread, 1),
            }
        };
        let end = Change::CloseSession(session(1));
        let engine = end_among_threads(&end, Refusal::SessionExpired, request);
        assert_eq!(engine.sessions().count(), 0);
    }
}

#[test]
fn nothing_is_applied_for_a_lane_after_its_end() {
    for _ in 0..ROUNDS {
        // All threads count the numbers of one lane up, so most batches are retries of others'.
        let request = |_: u32, tries: u64| batch(7, tries + 1);
        let end = Change::CloseLane(session(1), 7);
        let engine = end_among_threads(&end, Refusal::LaneClosed, request);
        assert!(ask(&engine, &batch(8, 1)).is_ok(), "other lanes go on");
    }
}

/// A session that was looked up before its end takes no reservations after.
#[test]
fn a_session_that_was_looked_up_before_is_known_to_have_ended() {
    let engine = shard_with_session();
    let found = engine.sessions().find(session(1)).unwrap();
    let request = batch(1, 1);
    let layout = Layout::new(&engine, &request);
    let origin = request.origin.unwrap();
    let reserve =
        || engine.reserve(&layout.batch(UNJUDGED), &origin, &found, usize::MAX, usize::MAX);
    assert!(reserve().is_ok());
    change(&engine, Change::CloseSession(session(1))).unwrap();
    assert_eq!(reserve().unwrap_err().refusal, Refusal::SessionExpired);
}

/// A store that holds up its next run until it is told to go on.
struct Gated {
    inner: AnyStore,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Gated {
    /// Holds up the next run: what tells that it has come, and what lets it go.
    fn shut(&self) -> (Receiver<()>, Sender<()>) {
        let (come, has_come) = channel();
        let (go, may_go) = channel();
        *self.gate.lock().unwrap() = Some((come, may_go));
        (has_come, go)
    }
}

impl Store for Gated {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.inner.hash(key)
    }

    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64> {
        let gate = self.gate.lock().unwrap().take();
        if let Some((come, may_go)) = gate {
            come.send(()).unwrap();
            may_go.recv().unwrap();
        }
        self.inner.apply(partition, operations, outcomes)
    }

    fn len(&self) -> usize {
        self.inner.len()
    }
}

/// While a batch is inside the store, two ask for the end, and others send the lane's next batch and
/// a retry. Whoever is told of the end finds in the counter what stays there for good.
fn end_with_a_batch_inside(end: &Change<'static>, refusal: Refusal) {
    let engine = &shard(Gated { inner: partitioned(1), gate: Mutex::default() });
    change(engine, open(1)).unwrap();
    ask(engine, &batch(1, 1)).unwrap();
    let (has_come, go) = engine.store().shut();
    let (told, ends) = channel();
    let (early, late) = thread::scope(|scope| {
        let inside = scope.spawn(|| ask(engine, &batch(1, 2)));
        has_come.recv().unwrap();
        for asker in ["the first", "the second"] {
            let told = told.clone();
            scope.spawn(move || {
                change(engine, end.clone()).unwrap();
                told.send((asker, count(engine))).unwrap();
            });
        }
        for (asker, number) in [("the next", 3), ("a retry", 1)] {
            let told = told.clone();
            scope.spawn(move || match ask(engine, &batch(1, number)) {
                Err(refused) if refused.refusal == refusal => {
                    told.send((asker, count(engine))).unwrap();
                }
                answer => assert!(answer.is_ok(), "{answer:?}"),
            });
        }
        drop(told);
        let early = (0..20_000).find_map(|_| {
            thread::yield_now();
            ends.try_recv().ok()
        });
        go.send(()).unwrap();
        assert!(inside.join().unwrap().is_ok(), "it began before the end");
        (early, ends.iter().collect::<HashMap<_, _>>())
    });
    assert_eq!(early, None, "the end waits for the batch");
    let last = count(engine);
    assert!(last >= 2);
    assert!(late.values().all(|count| *count == last), "{late:?}, but {last} stays");
    assert!(late.contains_key("the first") && late.contains_key("the second"));
    for number in 2..5 {
        assert_eq!(ask(engine, &batch(1, number)).unwrap_err().refusal, refusal);
    }
    assert_eq!(count(engine), last);
}

#[test]
fn the_end_of_a_session_waits_for_the_batch_inside() {
    end_with_a_batch_inside(&Change::CloseSession(session(1)), Refusal::SessionExpired);
}

#[test]
fn the_end_of_a_lane_waits_for_the_batch_inside() {
    end_with_a_batch_inside(&Change::CloseLane(session(1), 1), Refusal::LaneClosed);
}

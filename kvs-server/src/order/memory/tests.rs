use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use engine::record::Record;
use engine::{Batch, LANES_MAX, Nobody, Origin, Ownership};
use model::operation::OperationKind;
use model::operations::{Group, OperationEntry, Operations};
use model::outcome::OutcomeSink;
use model::session::SessionOptions;
use model::slot::slot_of;
use model::slots::{Shard, SlotSet};
use store::StoreKind;

use super::*;
use crate::environment::SeededEnvironment;
use crate::errand::Errand;

/// Identity of the data of every shard here.
const DATA_ID: u64 = 9;
const MILLISECOND: Duration = Duration::from_millis(1);
const NO_BOUND: usize = usize::MAX;

struct Bench<S = AnyStore> {
    order: Memory<S>,
    environment: Arc<SeededEnvironment>,
    fatal: Fatal,
    opened: u64,
}

impl Bench {
    fn new(record_bytes_max: usize) -> Self {
        Self::over(AnyStore::with_seed(StoreKind::Partitioned, 4, 1), record_bytes_max)
    }
}

impl<S: Store> Bench<S> {
    fn over(store: S, record_bytes_max: usize) -> Self {
        let environment = Arc::new(SeededEnvironment::new(1));
        let fatal = Fatal::default();
        let ownership = Ownership { epoch: 1, slots: Shard::SOLE.first_slots() };
        let engine = Engine::new(DATA_ID, store, ownership);
        let order =
            Memory::new(engine, environment.clone() as Arc<_>, fatal.clone(), record_bytes_max);
        Self { order, environment, fatal, opened: 0 }
    }

    fn ask<R: Request>(&self, request: R) -> R {
        match self.order.submit(request) {
            Answer::Now(request) => request,
            Answer::Later(_) => panic!("memory answers at once"),
        }
    }

    fn change(&self, change: Change<'static>) -> Result<(), Refused> {
        self.ask(Errand::new(change)).result
    }

    fn open(&mut self) -> Result<SessionId, Refused> {
        self.opened += 1;
        let number = self.opened;
        let options = SessionOptions { send_repeats_once: true };
        self.change(Change::OpenSession { number, options })?;
        Ok(SessionId { data_id: DATA_ID, number })
    }

    fn close_lane(&self, session: SessionId, lane: u32) -> Result<(), Refusal> {
        self.change(Change::CloseLane(session, lane)).map_err(|refused| refused.refusal)
    }

    /// Applies increments of the shard's counter.
    fn write(&self, write: &Write) -> Result<Tally, Refused> {
        self.ask(Ask::increments(self, write)).result
    }

    /// Reads the shard's counter in lane 1, which has applied this number.
    fn read(&self, session: SessionId, after: u64) -> Result<Tally, Refused> {
        self.ask(Ask::read(self, session, after)).result
    }

    /// Whether the session is still there, which uses it.
    fn lives(&self, session: SessionId) -> Result<(), Refusal> {
        self.read(session, 0).map(drop).map_err(|refused| refused.refusal)
    }

    fn record_bytes(&self) -> usize {
        self.order.engine().sessions().record_bytes()
    }

    fn sessions(&self) -> usize {
        self.order.engine().sessions().count()
    }
}

/// A batch of increments, with the most that its record may take.
#[derive(Clone, Copy, Debug)]
struct Write {
    session: SessionId,
    lane: u32,
    number: u64,
    lowest_open: u64,
    epoch: u32,
    increments: usize,
    /// More mutations than there are, for records that are larger than the test has patience for.
    mutations: usize,
    groups: usize,
}

impl Write {
    fn new(session: SessionId, number: u64) -> Self {
        let (lane, lowest_open, epoch) = (1, 1, 1);
        let (increments, mutations, groups) = (1, 1, 1);
        Self { session, lane, number, lowest_open, epoch, increments, mutations, groups }
    }

    /// One whose record takes so many bytes, or a little less.
    fn of_bytes(self, bytes: usize) -> Self {
        let increments = (bytes - Record::bytes_max(0, 1)) / 9;
        Self { increments, mutations: increments, ..self }
    }

    /// The most that its record can take, and what it takes in truth.
    fn bytes(&self) -> usize {
        Record::bytes_max(self.mutations, self.groups)
    }
}

/// A batch on its way, with what came of it.
struct Ask {
    origin: Origin,
    epoch: u32,
    mutations: usize,
    groups: Vec<Group>,
    entries: Vec<OperationEntry>,
    nobody: Nobody,
    result: Result<Tally, Refused>,
}

/// The counter's name, and one.
const FRAME: &[u8] = b"n\x01\0\0\0\0\0\0\0";

impl Ask {
    fn new<S: Store>(bench: &Bench<S>, session: SessionId, kind: OperationKind) -> Self {
        let engine = bench.order.engine();
        let entry = OperationEntry {
            hash: engine.store().hash(&FRAME[..1]),
            key_offset: 0,
            argument_offset: 1,
            argument_bytes: if kind == OperationKind::Get { 0 } else { 8 },
            key_bytes: 1,
            kind,
        };
        let group = Group { partition: engine.partitions().of(slot_of(b"n")), operations: 1 };
        Self {
            origin: Origin { session, lane: 1, number: 0, lowest_open: 1, digest: 0 },
            epoch: 1,
            mutations: 0,
            groups: vec![group],
            entries: vec![entry],
            nobody: Nobody,
            result: Ok(Tally::default()),
        }
    }

    fn read<S: Store>(bench: &Bench<S>, session: SessionId, after: u64) -> Self {
        let mut read = Self::new(bench, session, OperationKind::Get);
        read.origin.number = after;
        read
    }

    fn increments<S: Store>(bench: &Bench<S>, write: &Write) -> Self {
        let Write { session, lane, number, lowest_open, epoch, increments, mutations, groups } =
            *write;
        let one = Self::new(bench, session, OperationKind::Increment);
        let mut groups = vec![one.groups[0]; groups];
        groups[0].operations = (increments + 1 - groups.len()) as u32;
        Self {
            origin: Origin { session, lane, number, lowest_open, digest: increments as u64 },
            epoch,
            mutations,
            groups,
            entries: vec![one.entries[0]; increments],
            ..one
        }
    }
}

impl Request for Ask {
    type Replies = Nobody;

    fn parts(&mut self) -> (Change<'_>, &mut Nobody) {
        let batch = Batch {
            origin: Some(self.origin),
            epoch: Some(self.epoch),
            judged: (0, false),
            mutations: self.mutations,
            frame: FRAME,
            groups: &self.groups,
            entries: &self.entries,
        };
        (Change::Batch(batch), &mut self.nobody)
    }

    fn end(&mut self, result: Result<Tally, Refused>) {
        self.result = result;
    }
}

fn applied(result: &Result<Tally, Refused>) -> u64 {
    result.as_ref().map_or(0, |tally| tally.increments)
}

fn is_throttled(result: Result<Tally, Refused>, words: &str) {
    let refused = result.unwrap_err();
    assert_eq!(refused.refusal, Refusal::Throttled);
    assert!(refused.detail.contains(words), "`{}` says `{words}`", refused.detail);
}

#[test]
fn a_retry_is_answered_from_its_record() {
    let mut bench = Bench::new(NO_BOUND);
    let session = bench.open().unwrap();
    let write = Write::new(session, 1);
    assert_eq!(applied(&bench.write(&write)), 1);
    let again = bench.write(&write).unwrap();
    assert_eq!((again.increments, again.replayed), (0, 1));
    let other = bench.write(&Write { increments: 2, mutations: 2, ..write }).unwrap_err();
    assert_eq!(other.refusal, Refusal::DifferentBytes);
    assert_eq!(applied(&bench.write(&Write::new(session, 2))), 1);
    assert_eq!(bench.read(session, 2).unwrap().hits, 1);
}

#[test]
fn sessions_expire_and_are_not_made_anew() {
    let mut bench = Bench::new(NO_BOUND);
    let (used, other) = (bench.open().unwrap(), bench.open().unwrap());
    assert_ne!(used, other);
    bench.environment.advance(LEASE);
    assert_eq!(bench.lives(used), Ok(()), "used within its lease");
    bench.environment.advance(MILLISECOND);
    assert_eq!(bench.lives(used), Ok(()), "its lease began again");
    assert_eq!(bench.lives(other), Err(Refusal::SessionExpired));
    assert_eq!(bench.sessions(), 1, "it has ended for good");
    assert_eq!(bench.lives(other), Err(Refusal::SessionExpired));
    bench.environment.advance(LEASE * 2);
    assert_eq!(bench.lives(used), Err(Refusal::SessionExpired));
    assert_eq!(bench.sessions(), 0);
    let elsewhere = SessionId { data_id: 8, ..used };
    assert_eq!(bench.lives(elsewhere), Err(Refusal::OtherData));
}

/// A lease begins anew with whatever is asked, also where that is refused; but for the end.
#[test]
fn all_that_is_asked_of_a_session_uses_it() {
    let uses: [fn(&Bench, SessionId); 5] = [
        |bench, session| assert!(bench.read(session, 0).is_ok()),
        |bench, session| assert!(bench.read(session, 7).is_err()),
        |bench, session| assert!(bench.write(&Write::new(session, 1)).is_ok()),
        |bench, session| assert!(bench.write(&Write::new(session, 7)).is_err()),
        |bench, session| bench.close_lane(session, 2).unwrap(),
    ];
    for (index, using) in uses.iter().enumerate() {
        let mut bench = Bench::new(NO_BOUND);
        let session = bench.open().unwrap();
        bench.environment.advance(LEASE);
        using(&bench, session);
        bench.environment.advance(LEASE);
        assert!(bench.close_lane(session, 1).is_ok(), "use {index}");
        bench.environment.advance(LEASE + MILLISECOND);
        let refused = bench.close_lane(session, 1);
        assert_eq!(refused, Err(Refusal::SessionExpired), "use {index}");
        assert_eq!(bench.sessions(), 0);
    }
}

#[test]
fn an_expired_session_takes_nothing_more_and_its_records_go() {
    let mut bench = Bench::new(NO_BOUND);
    let session = bench.open().unwrap();
    bench.write(&Write::new(session, 1)).unwrap();
    assert_eq!(bench.record_bytes(), Write::new(session, 1).bytes());
    bench.environment.advance(LEASE + MILLISECOND);
    for number in [1, 2] {
        let refused = bench.write(&Write::new(session, number)).unwrap_err();
        assert_eq!(refused.refusal, Refusal::SessionExpired, "a retry finds no record either");
    }
    assert_eq!((bench.record_bytes(), bench.sessions()), (0, 0));
    let session = bench.open().unwrap();
    let seen = bench.write(&Write::new(session, 1)).unwrap();
    assert_eq!(seen.increments, 1);
}

#[test]
fn sessions_are_bounded_and_those_that_ended_make_room() {
    let mut bench = Bench::new(NO_BOUND);
    let sessions: Vec<SessionId> = (0..SESSIONS_MAX).map(|_| bench.open().unwrap()).collect();
    let refused = bench.open().unwrap_err();
    assert_eq!(refused.refusal, Refusal::Throttled);
    bench.change(Change::CloseSession(sessions[0])).unwrap();
    let late = bench.open().expect("one was closed");
    assert!(bench.open().is_err());
    // All but one are idle for longer than a lease.
    bench.environment.advance(LEASE);
    assert!(bench.open().is_err(), "their leases have not ended");
    bench.lives(late).unwrap();
    bench.environment.advance(MILLISECOND);
    let new = bench.open().expect("their leases have ended");
    assert_eq!(bench.sessions(), 2);
    assert_eq!(bench.lives(sessions[1]), Err(Refusal::SessionExpired));
    assert_eq!((bench.lives(late), bench.lives(new)), (Ok(()), Ok(())));
}

#[test]
fn lanes_are_bounded_and_reads_need_none() {
    let mut bench = Bench::new(NO_BOUND);
    let session = bench.open().unwrap();
    bench.read(session, 0).expect("in a lane that is not there");
    let lane = |lane: u32| Write { lane, ..Write::new(session, 1) };
    let early = bench.write(&Write { number: 2, ..lane(1) }).unwrap_err();
    assert_eq!((early.refusal, early.next), (Refusal::OutOfTurn, Some(1)));
    // Neither of them has made lane 1, so that so many others fit.
    bench.write(&lane(2)).unwrap();
    for number in 3..LANES_MAX as u32 + 2 {
        bench.close_lane(session, number).unwrap();
    }
    bench.write(&Write { number: 2, ..lane(2) }).expect("a known lane is no new one");
    bench.close_lane(session, 3).expect("nor is this one");
    assert_eq!(bench.write(&lane(1)).unwrap_err().refusal, Refusal::Throttled);
    assert_eq!(bench.close_lane(session, 1), Err(Refusal::Throttled));
    bench.read(session, 0).expect("reads need no lane");
    let early = bench.read(session, 1).unwrap_err();
    assert_eq!((early.refusal, early.next), (Refusal::OutOfTurn, Some(1)));
    // Another session has its own.
    let other = bench.open().unwrap();
    bench.write(&Write::new(other, 1)).unwrap();
}

#[test]
fn a_closed_lane_takes_nothing_more_and_frees_its_records() {
    let mut bench = Bench::new(NO_BOUND);
    let session = bench.open().unwrap();
    bench.write(&Write::new(session, 1)).unwrap();
    bench.close_lane(session, 1).unwrap();
    assert_eq!(bench.record_bytes(), 0, "the records' bytes came back");
    for number in [1, 2] {
        let refused = bench.write(&Write::new(session, number)).unwrap_err();
        assert_eq!(refused.refusal, Refusal::LaneClosed);
        assert_eq!(bench.read(session, number - 1).unwrap_err().refusal, Refusal::LaneClosed);
    }
    assert_eq!(bench.record_bytes(), 0);
    let other = Write { lane: 2, ..Write::new(session, 1) };
    assert_eq!(applied(&bench.write(&other)), 1, "another lane goes on");
}

#[test]
fn records_of_a_session_are_bounded() {
    let mut bench = Bench::new(NO_BOUND);
    let (first, second) = (bench.open().unwrap(), bench.open().unwrap());
    // Exactly what a session may have.
    let groups = 9;
    let mutations = (RECORD_BYTES_MAX - Record::bytes_max(0, groups)) / 9;
    let full = Write { increments: groups, mutations, groups, ..Write::new(first, 1) };
    assert_eq!(full.bytes(), RECORD_BYTES_MAX);
    let more = Write { mutations: mutations + 1, ..full };
    is_throttled(bench.write(&more), "the session's completion records take 67108864 bytes");
    assert_eq!(bench.record_bytes(), 0, "what was refused took nothing");
    assert_eq!(applied(&bench.write(&full)), 9, "and nothing was executed of it");
    let kept = bench.record_bytes();
    assert_eq!(kept, Record::bytes_max(groups, groups), "what it did not need came back");

    // The next one has no room beside the first, in any lane, until that may go.
    let next = Write { number: 2, ..full };
    for lane in [1, 2] {
        let number = u64::from(3 - lane);
        is_throttled(bench.write(&Write { lane, number, ..full }), "name a higher lowest open");
    }
    let again = bench.write(&full).unwrap();
    assert_eq!(again.replayed, 9, "a retry needs no room");
    assert_eq!(applied(&bench.write(&Write { session: second, ..full })), 9);
    assert_eq!(applied(&bench.write(&Write { lowest_open: 2, ..next })), 9);
    assert_eq!(bench.record_bytes(), 2 * kept);
    let gone = bench.write(&full).unwrap_err();
    assert_eq!(gone.refusal, Refusal::RecordGone);
}

#[test]
fn records_of_all_sessions_are_bounded() {
    let mut bench = Bench::new(1000);
    let (first, second) = (bench.open().unwrap(), bench.open().unwrap());
    let large = Write::new(first, 1).of_bytes(900);
    let words = "-record_bytes_max (1000 bytes)";
    is_throttled(bench.write(&large.of_bytes(1010)), words);
    assert_eq!(bench.record_bytes(), 0, "what was refused took nothing");
    assert_eq!(applied(&bench.write(&large)), large.increments as u64);
    assert_eq!(bench.record_bytes(), large.bytes());
    let small = Write::new(second, 1).of_bytes(1000 - large.bytes());
    let too_large = Write { increments: 9, mutations: 9, ..small };
    is_throttled(bench.write(&too_large), words);
    bench.read(second, 0).expect("reads need no room");
    assert_eq!(applied(&bench.write(&small)), small.increments as u64);
    assert_eq!(bench.write(&large).unwrap().replayed, large.increments as u64);
    is_throttled(bench.write(&Write::new(second, 2)), words);
    // Its own old record makes room for the next one of its lane.
    let next = Write { number: 2, lowest_open: 2, ..large };
    assert_eq!(applied(&bench.write(&next)), large.increments as u64);
    assert!(bench.record_bytes() <= 1000);
    bench.change(Change::CloseSession(first)).unwrap();
    assert_eq!(bench.record_bytes(), small.bytes(), "a session's records go with it");
    assert_eq!(applied(&bench.write(&Write::new(second, 2))), 1);
}

/// Nobody asks for an expired session any more, so its records go when their room is wanted.
#[test]
fn records_of_idle_sessions_make_room() {
    let mut bench = Bench::new(1000);
    let old = bench.open().unwrap();
    bench.write(&Write::new(old, 1).of_bytes(900)).unwrap();
    bench.environment.advance(LEASE);
    let new = bench.open().unwrap();
    let write = Write::new(new, 1).of_bytes(200);
    is_throttled(bench.write(&write), "-record_bytes_max");
    assert_eq!(bench.sessions(), 2, "its lease has not ended");
    bench.environment.advance(MILLISECOND);
    assert_eq!(applied(&bench.write(&write)), write.increments as u64);
    assert_eq!((bench.record_bytes(), bench.sessions()), (write.bytes(), 1));
    assert_eq!(bench.lives(old), Err(Refusal::SessionExpired));
}

/// Where there is room, nobody who comes late is sent away for the sake of it.
#[test]
fn idle_sessions_stay_while_nobody_wants_their_room() {
    let mut bench = Bench::new(1000);
    let (idle, busy) = (bench.open().unwrap(), bench.open().unwrap());
    bench.environment.advance(LEASE);
    bench.lives(busy).unwrap();
    bench.environment.advance(MILLISECOND);
    bench.write(&Write::new(busy, 1)).unwrap();
    assert_eq!(bench.sessions(), 2);
    is_throttled(bench.write(&Write::new(busy, 2).of_bytes(1100)), "-record_bytes_max");
    assert_eq!(bench.sessions(), 1, "it made room, though not enough");
    assert_eq!(bench.lives(idle), Err(Refusal::SessionExpired));
}

#[test]
fn what_is_refused_reserves_nothing() {
    let mut bench = Bench::new(NO_BOUND);
    let session = bench.open().unwrap();
    let write = Write::new(session, 1);
    let refused = |write: &Write| bench.write(write).unwrap_err().refusal;
    assert_eq!(refused(&Write { number: 2, ..write }), Refusal::OutOfTurn);
    assert_eq!(refused(&Write { epoch: 2, ..write }), Refusal::StaleEpoch);
    let slots = SlotSet::empty();
    bench.change(Change::Own(Ownership { epoch: 2, slots })).unwrap();
    assert_eq!(refused(&Write { epoch: 2, ..write }), Refusal::NotOwned);
    assert_eq!((bench.record_bytes(), bench.order.engine().store().len()), (0, 0));
    let slots = Shard::SOLE.first_slots();
    bench.change(Change::Own(Ownership { epoch: 3, slots })).unwrap();
    assert_eq!(applied(&bench.write(&Write { epoch: 3, ..write })), 1);
    assert_eq!(bench.record_bytes(), write.bytes());
}

/// A store that panics in the middle of a batch.
struct Torn(AnyStore);

impl Store for Torn {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash(key)
    }

    fn apply<O: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut O,
    ) -> Option<u64> {
        let sequence = self.0.apply(partition, operations, outcomes);
        assert!(operations.is_empty(), "the store has broken");
        sequence
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[test]
fn a_panic_while_a_command_is_applied_is_fatal() {
    let mut bench = Bench::over(Torn(AnyStore::with_seed(StoreKind::Mutex, 1, 1)), NO_BOUND);
    let session = bench.open().unwrap();
    bench.write(&Write::new(session, 2)).unwrap_err();
    assert!(!bench.fatal.is_declared(), "a refusal is not");
    let write = AssertUnwindSafe(|| bench.write(&Write::new(session, 1)));
    assert!(catch_unwind(write).is_err());
    assert!(bench.fatal.is_declared());
}

/// A lane whose client says that it holds the replies puts each record in the place of the one
/// before. Nobody slips into that place meanwhile: the bound would be passed for good, and the lane
/// never go on.
#[test]
fn a_full_server_s_lanes_go_on_whoever_else_wants_room() {
    const ROUNDS: u64 = 100;
    let mut bench = Bench::new(500_000 + 1_000);
    let (keeper, other) = (bench.open().unwrap(), bench.open().unwrap());
    let large = Write::new(keeper, 1).of_bytes(500_000);
    bench.write(&large).unwrap();
    let has_ended = AtomicBool::new(false);
    let bench = &bench;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let small = Write::new(other, 1).of_bytes(2_000);
            while !has_ended.load(Ordering::Relaxed) {
                is_throttled(bench.write(&small), "-record_bytes_max");
            }
        });
        scope.spawn(|| {
            let _end = EndWhenDropped(&has_ended);
            for number in 2..ROUNDS {
                let next = Write { number, lowest_open: number, ..large };
                // What others ask for counts for a moment, also where they do not get it.
                let goes_on = (0..10_000).any(|_| bench.write(&next).is_ok());
                assert!(goes_on, "batch {number}: {} bytes of records", bench.record_bytes());
            }
        });
    });
    assert_eq!(bench.record_bytes(), large.bytes());
}

/// Tells the other thread, also where this one fails.
struct EndWhenDropped<'a>(&'a AtomicBool);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

//! Shards that apply the same commands give equal answers and hold equal contents, whatever else is
//! different about them: the seed of their hashes, the thread, the room in their answers, what was
//! reserved and judged before, and when sessions were touched.

#[path = "determinism/steps.rs"]
mod steps;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use engine::{Batch, Change, Command, Engine, Nobody, Ownership, Tally};
use model::operation::{Action, Operation};
use model::operations::{OperationBuffer, Operations};
use model::outcome::{Outcome, OutcomeSink};
use model::slot::slot_of;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use steps::{KEYS, LANES, Logged, SESSIONS, Step, Turn, What, steps};
use store::{AnyStore, Store};
use support::{
    Answer, Applied, Ask, EPOCH, Layout, PARTITIONS, Request, Told, UNJUDGED, apply_batch, ask,
    open, own, partitioned, session, shard,
};

/// What may be different about shards.
#[derive(Clone, Copy, Debug)]
struct Host {
    /// Room for each value in its answers.
    value_bytes_max: usize,
    /// Whether keys are judged and room is reserved before.
    is_prepared: bool,
    /// When it touches its sessions last.
    touched_ms: Option<u64>,
    has_own_thread: bool,
}

const HOSTS: [Host; 3] = [
    Host {
        value_bytes_max: usize::MAX,
        is_prepared: false,
        touched_ms: None,
        has_own_thread: false,
    },
    Host { value_bytes_max: 64, is_prepared: true, touched_ms: Some(7), has_own_thread: false },
    Host {
        value_bytes_max: 0,
        is_prepared: true,
        touched_ms: Some(u64::MAX),
        has_own_thread: true,
    },
];

impl Host {
    fn apply<S: Store>(&self, engine: &Engine<S>, command: &Logged) -> Answer {
        let Logged { position, now_ms, ref what } = *command;
        let request = match what {
            What::Batch(request) => request,
            What::Other(change) => {
                let command = Command { position, now_ms, change: change.clone() };
                let tally = engine.apply(&command, None, &mut Nobody)?;
                return Ok(Applied { tally, ..Applied::default() });
            }
        };
        let layout = Layout::new(engine, request);
        let mut batch = layout.batch(UNJUDGED);
        let mut room = None;
        if self.is_prepared {
            batch.judged = judge(engine, &batch);
            if let Some((origin, Ok(session))) =
                batch.origin.map(|origin| (origin, engine.sessions().find(origin.session)))
            {
                let reserved = engine.reserve(&batch, &origin, &session, usize::MAX, usize::MAX);
                room = reserved.unwrap_or_default();
            }
        }
        apply_batch(engine, (position, now_ms), &batch, room, self.value_bytes_max)
    }

    fn run<S: Store>(&self, store: S, commands: &[Logged]) -> Witness {
        let engine = shard(store);
        let apply = |command| {
            let sessions = SESSIONS.iter().filter_map(|n| engine.sessions().find(session(*n)).ok());
            if let Some(now_ms) = self.touched_ms {
                sessions.for_each(|session| session.touch(now_ms));
            }
            self.apply(&engine, command)
        };
        let answers = commands.iter().map(apply).collect();
        Witness { answers, contents: Contents::of(&engine) }
    }
}

/// The commands of these steps.
fn commands(steps: &[(i64, Step)]) -> Vec<Logged> {
    steps::commands(steps, |engine, command| HOSTS[0].apply(engine, command))
}

fn judge<S: Store>(engine: &Engine<S>, batch: &Batch<'_>) -> (u32, bool) {
    let ownership = engine.ownership();
    (ownership.epoch, ownership.owns(Operations::new(batch.frame, batch.entries)))
}

/// All that is seen of a shard from outside.
#[derive(Debug)]
struct Witness {
    answers: Vec<Answer>,
    contents: Contents,
}

#[derive(Debug, PartialEq)]
struct Contents {
    ownership: Ownership,
    clock_ms: u64,
    sessions: usize,
    record_bytes: usize,
    keys: usize,
    /// Each key's value, and how many runs its partition has applied.
    values: Vec<(Outcome<Vec<u8>>, Option<u64>)>,
    /// What each lane says to a number that is too high, and to all that it has passed.
    lanes: Vec<Vec<Answer>>,
}

impl Contents {
    fn of<S: Store>(engine: &Engine<S>) -> Self {
        let store = engine.store();
        let value = |key: &str| {
            let (mut buffer, mut outcomes) = (OperationBuffer::default(), Vec::new());
            let key = key.as_bytes();
            buffer.push(Operation { key, action: Action::Get }, store.hash(key));
            let partition = engine.partitions().of(slot_of(key));
            let sequence = store.apply(partition, buffer.operations(), &mut outcomes);
            (outcomes.remove(0), sequence)
        };
        let lanes = SESSIONS.iter().flat_map(|id| (0..LANES).map(move |lane| (*id, lane)));
        Self {
            ownership: engine.ownership().clone(),
            clock_ms: engine.clock_ms(),
            sessions: engine.sessions().count(),
            record_bytes: engine.sessions().record_bytes(),
            keys: store.len(),
            values: KEYS.map(value).to_vec(),
            lanes: lanes.map(|(id, lane)| probe(engine, id, lane)).collect(),
        }
    }
}

/// Asks a lane with operations that no step has, so that none of them takes effect.
fn probe<S: Store>(engine: &Engine<S>, id: u64, lane: u32) -> Vec<Answer> {
    let ask = |number| {
        let mut request = Request::new(lane, number, &[("probe", Ask::Delete)]);
        request.origin.as_mut().expect("it is numbered").session = session(id);
        ask(engine, &request)
    };
    let too_high = ask(u64::MAX);
    let next = too_high.as_ref().err().and_then(|refused| refused.next).unwrap_or(1);
    std::iter::once(too_high).chain((1..next).map(ask)).collect()
}

/// What the answer would have been with so much room for each value.
fn in_room(answer: &Answer, value_bytes_max: usize) -> Answer {
    let mut answer = answer.clone()?;
    for told in &mut answer.told {
        match told {
            Told::Outcome(Outcome::Value(value)) if value.len() > value_bytes_max => {
                *told = Told::NoRoom;
                let Tally { gets, hits, deferred, .. } = &mut answer.tally;
                (*gets, *hits, *deferred) = (*gets - 1, *hits - 1, *deferred + 1);
            }
            Told::Outcome(Outcome::Mismatch(Some(value))) if value.len() > value_bytes_max => {
                *told = Told::Outcome(Outcome::MismatchUntold);
            }
            _ => {}
        }
    }
    Ok(answer)
}

fn compare(roomy: &Witness, other: &Witness, value_bytes_max: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(roomy.answers.len(), other.answers.len());
    for (position, (roomy, other)) in (1..).zip(roomy.answers.iter().zip(&other.answers)) {
        prop_assert_eq!(&in_room(roomy, value_bytes_max), other, "command {}", position);
    }
    prop_assert_eq!(&roomy.contents, &other.contents);
    Ok(())
}

/// Lets every host apply the commands, over a store of its own seed, and compares what they show.
fn check<S: Store>(
    steps: &[(i64, Step)],
    seeds: [u64; HOSTS.len()],
    store: impl Fn(u64) -> S,
) -> Result<(), TestCaseError> {
    let commands = &commands(steps);
    let [roomy, others @ ..] = [0, 1, 2].map(|index| {
        let (host, store) = (&HOSTS[index], store(seeds[index]));
        if !host.has_own_thread {
            return host.run(store, commands);
        }
        thread::scope(|scope| scope.spawn(|| host.run(store, commands)).join().unwrap())
    });
    let mut pairs = others.iter().zip(&HOSTS[1..]);
    pairs.try_for_each(|(other, host)| compare(&roomy, other, host.value_bytes_max))
}

/// 128 cases, 5,000 with `KVS_LONG_TESTS=1`.
fn config() -> ProptestConfig {
    let is_long = std::env::var("KVS_LONG_TESTS").is_ok_and(|value| value == "1");
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if is_long { 5_000 } else { 128 })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn equal_commands_make_equal_shards(steps in steps(), seeds in any::<[u64; HOSTS.len()]>()) {
        check(&steps, seeds, partitioned)?;
    }
}

/// A runner whose cases are the same each time.
fn runner() -> TestRunner {
    let config = ProptestConfig { max_shrink_iters: 0, ..config() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// The name of a value's variant: what its debug text begins with.
fn name(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").split('(').next().unwrap_or_default().to_owned()
}

#[test]
fn steps_reach_every_answer() {
    let (mut runner, mut seen) = (runner(), BTreeSet::new());
    for _ in 0..128 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        for answer in HOSTS[1].run(partitioned(1), &commands(&steps)).answers {
            match answer {
                Err(refused) => _ = seen.insert(name(&refused.refusal)),
                Ok(answer) => {
                    seen.extend(answer.told.iter().map(name));
                    seen.extend(answer.outcomes().iter().map(name));
                }
            }
        }
    }
    let outcomes = "Value Missing Done Counter Mismatch MismatchUntold NotAnInteger Overflow";
    let refusals = "StaleEpoch OtherData SessionExpired OutOfTurn DifferentBytes RecordGone \
                    Throttled LaneClosed Passed NotOwned";
    let expected = [outcomes, refusals, "Outcome NoRoom NotKept"].map(str::split_whitespace);
    let expected: BTreeSet<_> = expected.into_iter().flatten().map(str::to_owned).collect();
    assert_eq!(seen, expected);
}

/// Each part of the contents is looked at: one more command makes a difference.
#[test]
fn one_more_command_is_noticed() {
    let put = |key| What::Batch(Request::unnumbered(&[(key, Ask::Put(b"new".to_vec()))]));
    let steps = [
        Step::Open(1),
        Step::Batch {
            session: 1,
            lane: 0,
            turn: Turn::Next,
            open: 0,
            epoch: None,
            operations: vec![("a", Ask::Add(1))],
        },
    ];
    let commands = commands(&steps.map(|step| (0, step)));
    let last = commands.last().unwrap();
    let witness = |commands: &[Logged]| HOSTS[0].run(partitioned(1), commands);
    let before = witness(&commands);
    let with = |now_ms, what| {
        let more = Logged { position: 3, now_ms, what };
        witness(&[&commands[..], &[more]].concat()).contents
    };
    let stale = || What::Other(Change::Own(own(EPOCH, &[])));
    assert_eq!(with(0, stale()), before.contents, "which does nothing");
    for (now_ms, what) in [
        (u64::MAX, stale()),
        (0, What::Other(Change::Own(own(EPOCH + 1, &KEYS)))),
        (0, What::Other(open(2))),
        (0, What::Other(Change::CloseSession(session(1)))),
        (0, What::Other(Change::CloseLane(session(1), 0))),
        (0, What::Other(Change::CloseLane(session(1), 1))),
        (0, What::Batch(Request::new(1, 1, &[("b", Ask::Delete)]))),
        (0, put("a")),
        (0, put("b")),
        (0, put("unheard of")),
    ] {
        assert_ne!(with(now_ms, what.clone()), before.contents, "{what:?}");
    }
    assert!(matches!(last.what, What::Batch(_)));
    assert!(compare(&before, &witness(&commands), usize::MAX).is_ok());
    assert!(compare(&before, &witness(&commands[..1]), usize::MAX).is_err());
}

/// A store that does more than it is asked for some keys, depending on the seed of its hash.
struct Faulty {
    inner: AnyStore,
    fault: Fault,
    /// Runs that it was asked for, by partition.
    runs: [AtomicU64; PARTITIONS as usize],
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Applies the run before it is applied.
    RunsTwice,
    /// Writes a key that nobody reads.
    WritesMore,
}

impl Store for Faulty {
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
        let mut more = OperationBuffer::default();
        let write = Operation { key: b"more", action: Action::Put { value: b"" } };
        more.push(write, self.inner.hash(b"more"));
        let more = match self.fault {
            Fault::RunsTwice => operations,
            Fault::WritesMore => more.operations(),
            Fault::None => Operations::new(&[], &[]),
        };
        if !operations.is_empty() && operations.hash(0).is_multiple_of(2) {
            self.inner.apply(partition, more, &mut Vec::new());
        }
        self.inner.apply(partition, operations, outcomes);
        Some(1 + self.runs[partition as usize].fetch_add(1, Ordering::Relaxed))
    }

    fn len(&self) -> usize {
        self.inner.len()
    }
}

#[test]
fn stores_that_depend_on_their_seeds_are_noticed() {
    let run = |fault| {
        let store = |seed| Faulty { inner: partitioned(seed), fault, runs: Default::default() };
        runner().run(&steps(), |steps| check(&steps, [1, 2, 3], store))
    };
    assert!(run(Fault::None).is_ok());
    for fault in [Fault::RunsTwice, Fault::WritesMore] {
        let noticed = run(fault);
        assert!(matches!(noticed, Err(TestError::Fail(..))), "{fault:?}: {noticed:?}");
    }
}

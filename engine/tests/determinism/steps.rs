//! Random commands that follow on each other: what is drawn are steps such as "the next batch of this
//! lane" or "the one before, again", and a first shard turns them into commands.

use std::collections::HashMap;

use engine::{Change, Engine, Origin};
use model::session::SessionId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use store::AnyStore;

use crate::support::{Answer, Ask, DATA, Request, open, own, partitioned, session, shard};

pub(crate) const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
pub(crate) const SESSIONS: [u64; 2] = [1, 2];
/// Stands for a session of other data.
const ELSEWHERE: u64 = 0;
pub(crate) const LANES: u32 = 3;

pub(crate) type Asked = (&'static str, Ask);

/// What is made a command when it is known what was applied before.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Batch {
        session: u64,
        lane: u32,
        turn: Turn,
        /// How far the lowest open number lies below the batch's own.
        open: u64,
        epoch: Option<i64>,
        operations: Vec<Asked>,
    },
    Unnumbered {
        epoch: Option<i64>,
        operations: Vec<Asked>,
    },
    Open(u64),
    Close(u64),
    CloseLane(u64, u32),
    /// The shard's slots become those of these keys, at an epoch so far from its own.
    Own {
        epoch: i64,
        keys: Vec<&'static str>,
    },
}

/// Which number a batch takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Next,
    /// So far from the next one.
    Off(i64),
    /// That of the batch so far back, with the same operations or others.
    Again {
        back: usize,
        is_same: bool,
    },
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![6 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        4 => number.prop_map(|number| number.to_string().into_bytes()),
        2 => select(vec!["", "x", "007"]).prop_map(|text| text.as_bytes().to_vec()),
        1 => (any::<u8>(), 60..70_usize).prop_map(|(byte, bytes)| vec![byte; bytes]),
        1 => (any::<u8>(), 2_040..5_000_usize).prop_map(|(byte, bytes)| vec![byte; bytes]),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let ask = prop_oneof![
        4 => Just(Ask::Get),
        4 => value().prop_map(Ask::Put),
        2 => Just(Ask::Delete),
        3 => (proptest::option::of(value()), value()).prop_map(|(old, new)| Ask::Swap(old, new)),
        4 => prop_oneof![-3..4_i64, any::<i64>()].prop_map(Ask::Add),
    ];
    (select(&KEYS[..]), ask)
}

fn operations() -> impl Strategy<Value = Vec<Asked>> {
    let reads = select(&KEYS[..]).prop_map(|key| (key, Ask::Get));
    prop_oneof![4 => vec(asked(), 1..8), 1 => vec(reads, 1..4)]
}

fn step() -> impl Strategy<Value = Step> {
    let session = || prop_oneof![8 => Just(1), 4 => Just(2_u64), 1 => Just(ELSEWHERE)];
    let epoch =
        || prop_oneof![6 => Just(None), 6 => Just(Some(0)), 1 => (-1..2_i64).prop_map(Some)];
    let turn = prop_oneof![
        8 => Just(Turn::Next),
        1 => (-3..4_i64).prop_map(Turn::Off),
        3 => (0..4_usize, proptest::bool::weighted(0.8))
            .prop_map(|(back, is_same)| Turn::Again { back, is_same }),
    ];
    let batch = (session(), 0..LANES, turn, 0..4_u64, epoch(), operations()).prop_map(
        |(session, lane, turn, open, epoch, operations)| Step::Batch {
            session,
            lane,
            turn,
            open,
            epoch,
            operations,
        },
    );
    let unnumbered = (epoch(), operations())
        .prop_map(|(epoch, operations)| Step::Unnumbered { epoch, operations });
    let keys = prop_oneof![Just(KEYS.to_vec()), subsequence(&KEYS[..], 0..KEYS.len())];
    prop_oneof![
        40 => batch,
        6 => unnumbered,
        3 => select(&SESSIONS[..]).prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        1 => (session(), 0..LANES).prop_map(|(session, lane)| Step::CloseLane(session, lane)),
        4 => (-1..3_i64, keys).prop_map(|(epoch, keys)| Step::Own { epoch, keys }),
    ]
}

/// Steps, each with how far its time lies from an even course.
pub(crate) fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let begin = vec![(0, Step::Open(1)), (0, Step::Open(2))];
    vec((-50..50_i64, step()), 0..60).prop_map(move |steps| [begin.clone(), steps].concat())
}

/// A command that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) position: u64,
    pub(crate) now_ms: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Batch(Request),
    Other(Change<'static>),
}

/// The batches that the lanes of a shard have applied.
#[derive(Default)]
struct History(HashMap<(SessionId, u32), Vec<Request>>);

impl History {
    fn resolve(&self, step: &Step, epoch_now: u32) -> What {
        let id = |number| match number {
            ELSEWHERE => SessionId { data_id: DATA + 1, number: 1 },
            number => session(number),
        };
        let near = |epoch: i64| (i64::from(epoch_now) + epoch) as u32;
        What::Other(match step {
            Step::Batch { session, lane, turn, open, epoch, operations } => {
                let applied = self.0.get(&(id(*session), *lane)).map_or(&[][..], Vec::as_slice);
                let mutates = operations.iter().any(|(_, ask)| !matches!(ask, Ask::Get));
                let next = applied.len() as u64 + u64::from(mutates);
                let (number, operations) = match *turn {
                    Turn::Off(by) => (next.saturating_add_signed(by), operations),
                    Turn::Again { back, is_same } if back < applied.len() => {
                        let index = applied.len() - 1 - back;
                        let same = &applied[index].operations;
                        (index as u64 + 1, if is_same { same } else { operations })
                    }
                    Turn::Next | Turn::Again { .. } => (next, operations),
                };
                let mut request = Request::new(*lane, number, operations);
                let origin = request.origin.as_mut().expect("it is numbered");
                let lowest_open = number.saturating_sub(*open);
                *origin = Origin { session: id(*session), lowest_open, ..*origin };
                return What::Batch(Request { epoch: epoch.map(near), ..request });
            }
            Step::Unnumbered { epoch, operations } => {
                let request = Request::unnumbered(operations);
                return What::Batch(Request { epoch: epoch.map(near), ..request });
            }
            Step::Open(number) => open(*number),
            Step::Close(session) => Change::CloseSession(id(*session)),
            Step::CloseLane(session, lane) => Change::CloseLane(id(*session), *lane),
            Step::Own { epoch, keys } => Change::Own(own(near(*epoch), keys)),
        })
    }

    fn note(&mut self, what: &What, answer: &Answer) {
        match (what, answer) {
            (What::Batch(request), Ok(answer))
                if !answer.is_recorded && request.mutations() > 0 =>
            {
                if let Some(origin) = request.origin {
                    let lane = self.0.entry((origin.session, origin.lane)).or_default();
                    lane.push(request.clone());
                }
            }
            (What::Other(Change::CloseSession(id)), _) => self.0.retain(|(of, _), _| of != id),
            _ => {}
        }
    }
}

/// Commands in which the steps mean what they say, by a shard that applies them first.
pub(crate) fn commands(
    steps: &[(i64, Step)],
    apply: impl Fn(&Engine<AnyStore>, &Logged) -> Answer,
) -> Vec<Logged> {
    let (engine, mut history) = (shard(partitioned(0)), History::default());
    let command = |((jitter_ms, step), position): (&(i64, Step), u64)| {
        let epoch = engine.ownership().epoch;
        let what = history.resolve(step, epoch);
        let now_ms = (1_000 + 10 * position).saturating_add_signed(*jitter_ms);
        let command = Logged { position, now_ms, what };
        history.note(&command.what, &apply(&engine, &command));
        command
    };
    steps.iter().zip(1..).map(command).collect()
}

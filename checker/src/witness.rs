//! The witness replay: proves a history right from the order that the servers report.
//!
//! Sorted by (apply sequence, stamp), the operations of a key are replayed. When each has exactly
//! the outcome that the state predicts, none responds before an earlier one was invoked, and each
//! worker's stamps ascend, the order is legal and keeps real time and program order, which is the
//! definition of what is to be shown: whatever the servers meant by their numbers. A wrong number
//! can only cost the proof; then the sweep decides.
//!
//! Unknown mutations carry no sequence. One whose effect was seen is placed just before the first
//! operation that saw it, and must fit; one whose effect was never seen is left out.

use rapidhash::RapidHashMap;

use crate::event::{Event, NO_SEQUENCE, Rules, State, UNORDERED};
use crate::history::{Kind, Value};
use crate::order;

/// What a replay showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The history is linearizable, in program order.
    Holds,
    /// Some completed operation carries no apply sequence.
    NoWitness,
    /// The servers' order is not a legal one.
    Mismatch,
}

/// The last stamp of each worker on the key that is replayed; kept from key to key.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    round: u64,
    last: Vec<(u64, u64)>,
}

impl Stamps {
    fn begin(&mut self) {
        self.round += 1;
    }

    /// Notes a worker's next stamp; returns whether it is above the ones before.
    #[inline]
    fn ascend(&mut self, worker: u32, stamp: u64) -> bool {
        if worker >= UNORDERED {
            return true;
        }
        let worker = worker as usize;
        if worker >= self.last.len() {
            self.last.resize(worker + 1, (0, 0));
        }
        let (round, last) = &mut self.last[worker];
        let ascends = *round != self.round || *last < stamp;
        (*round, *last) = (self.round, stamp);
        ascends
    }
}

/// Replays a key's events, which are sorted by (sequence, stamp), so that those without a sequence
/// come last.
pub(crate) fn replay(events: &[Event], stamps: &mut Stamps, rules: &Rules) -> Replay {
    let witnessed = events.partition_point(|event| event.sequence != NO_SEQUENCE);
    let (witnessed, others) = events.split_at(witnessed);
    if others.iter().any(|event| !event.is_unknown() && !event.is_idle()) {
        return Replay::NoWitness;
    }
    // Unknown operations may stay unplaced; that two have one stamp would then go unnoticed.
    if !others.is_empty() && order::program(events, rules).is_err() {
        return Replay::Mismatch;
    }
    stamps.begin();
    let mut unseen = Unseen::new(others);
    let mut walk = Walk { state: State::INITIAL, inv_max: i64::MIN, stamps, rules };
    for event in witnessed {
        if event.is_idle() {
            continue;
        }
        if walk.state.after(event).is_none() {
            while let Some(unknown) = unseen.towards(walk.state, event) {
                if !walk.step(unknown) {
                    return Replay::Mismatch;
                }
                if walk.state.after(event).is_some() {
                    break;
                }
            }
        }
        if !walk.step(event) {
            return Replay::Mismatch;
        }
    }
    Replay::Holds
}

struct Walk<'a> {
    state: State,
    inv_max: i64,
    stamps: &'a mut Stamps,
    rules: &'a Rules,
}

impl Walk<'_> {
    #[inline]
    fn step(&mut self, event: &Event) -> bool {
        let Some(after) = self.state.after(event) else {
            return !self.rules.replay_outcomes;
        };
        self.state = after;
        self.inv_max = self.inv_max.max(event.inv);
        let ascends = self.stamps.ascend(event.worker, event.stamp);
        (event.res >= self.inv_max || !self.rules.replay_times)
            && (ascends || !self.rules.replay_stamps)
    }
}

/// Unknown mutations that have not been placed.
struct Unseen<'a> {
    writers: RapidHashMap<Value, &'a Event>,
    /// By invocation, latest first.
    increments: Vec<&'a Event>,
    /// By invocation, latest first.
    deletes: Vec<&'a Event>,
}

impl<'a> Unseen<'a> {
    fn new(events: &'a [Event]) -> Self {
        let mut unseen =
            Self { writers: RapidHashMap::default(), increments: Vec::new(), deletes: Vec::new() };
        for event in events.iter().filter(|event| !event.is_idle()) {
            match event.kind {
                Kind::Increment => unseen.increments.push(event),
                Kind::Delete if event.written == Value::NotKnown => unseen.deletes.push(event),
                _ => {
                    if event.kind == Kind::Delete {
                        unseen.deletes.push(event);
                    }
                    unseen.writers.insert(event.written, event);
                }
            }
        }
        for list in [&mut unseen.increments, &mut unseen.deletes] {
            list.sort_unstable_by_key(|event| std::cmp::Reverse((event.inv, event.stamp)));
        }
        unseen
    }

    /// The mutation to place next so that `event` may fit.
    #[cold]
    fn towards(&mut self, state: State, event: &Event) -> Option<&'a Event> {
        if event.kind == Kind::Increment || matches!(event.read, Value::Number(_)) {
            return self.increment(state, event);
        }
        match event.read {
            Value::Missing => {
                let delete = self.deletes.pop()?;
                self.writers.remove(&delete.written);
                Some(delete)
            }
            wanted => self.writer(state, wanted),
        }
    }

    /// The unknown writer of `wanted`, or the first of the chain of them that leads there.
    fn writer(&mut self, state: State, mut wanted: Value) -> Option<&'a Event> {
        for _ in 0..=self.writers.len() {
            let writer = *self.writers.get(&wanted)?;
            if state.after(writer).is_some() {
                self.deletes.retain(|delete| delete.written != wanted);
                return self.writers.remove(&wanted);
            }
            wanted = writer.read;
        }
        None
    }

    fn increment(&mut self, state: State, event: &Event) -> Option<&'a Event> {
        let wanted = match (event.kind, event.written, event.read) {
            (Kind::Increment, Value::Number(result), _) => result.checked_sub(event.by)?,
            (_, _, Value::Number(number)) => number,
            _ => return None,
        };
        let now = state.number()?;
        let next = self.increments.last()?;
        // Another sign would lead away; a stranger mixture is left to the search.
        let towards = wanted.checked_sub(now)?.signum() == next.by.signum() && wanted != now;
        if towards { self.increments.pop() } else { None }
    }
}

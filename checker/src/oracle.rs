//! Random small histories, and brute force to compare with: every order of every subset of the
//! unknown operations, with a meaning of the operations of its own.

use std::time::Duration;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use crate::event::{Event, NEVER, NO_SEQUENCE, Rules, UNORDERED};
use crate::history::{Kind, Outcome, Value};
use crate::object::{Decision, How, Swept, decide_alone, sweep};
use crate::search::{Found, Limit, search};
use crate::witness::{Replay, Stamps, replay};

/// Random numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

pub(crate) const HOW: How = How {
    use_witness: true,
    limit: Limit { time: Duration::from_secs(600), states: usize::MAX },
    rules: Rules::ALL,
};

pub(crate) fn id(stamp: u64) -> Value {
    Value::Id { client: 0, stamp }
}

/// A GET that read nothing known, to be changed.
pub(crate) fn event(kind: Kind, inv: i64, res: i64) -> Event {
    Event {
        inv,
        res,
        read: Value::NotKnown,
        written: Value::NotKnown,
        by: 0,
        stamp: 0,
        sequence: NO_SEQUENCE,
        worker: UNORDERED,
        key: 0,
        boot: 0,
        kind,
        outcome: if res == NEVER { Outcome::Unknown } else { Outcome::Ok },
    }
}

/// What brute force makes of a key: its number or id, and the tombstone's id when it is gone.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Gone(Option<u64>),
    Id(u64),
    Number(i64),
}

fn apply(cell: Cell, event: &Event) -> Option<Cell> {
    let stamp = |value: Value| match value {
        Value::Id { stamp, .. } => Some(stamp),
        _ => None,
    };
    let sees = match event.read {
        Value::NotKnown => true,
        Value::Missing => matches!(cell, Cell::Gone(_)),
        Value::Present => !matches!(cell, Cell::Gone(_)),
        Value::Id { stamp, .. } => cell == Cell::Id(stamp) || cell == Cell::Gone(Some(stamp)),
        Value::Number(number) => cell == Cell::Number(number),
        Value::Foreign => false,
    };
    let write = match event.written {
        Value::Number(number) => Cell::Number(number),
        written => Cell::Id(stamp(written).unwrap_or(u64::MAX)),
    };
    match event.kind {
        Kind::Increment => {
            let sum = match cell {
                Cell::Gone(_) => event.by,
                Cell::Number(number) => number + event.by,
                Cell::Id(_) => return None,
            };
            let fits = event.written == Value::NotKnown || event.written == Value::Number(sum);
            fits.then_some(Cell::Number(sum))
        }
        _ if !sees => None,
        Kind::Get => Some(cell),
        Kind::Put => Some(write),
        Kind::Delete if event.read == Value::Missing && event.written == Value::NotKnown => {
            Some(cell)
        }
        Kind::Delete => Some(Cell::Gone(stamp(event.written))),
        Kind::CompareAndSwap if event.written == Value::NotKnown => Some(cell),
        Kind::CompareAndSwap => Some(write),
    }
}

/// Whether some order explains the events, which are of keys 0 and 1.
pub(crate) fn is_linearizable(events: &[Event]) -> bool {
    let events: Vec<Event> = events.iter().copied().filter(|event| !event.is_idle()).collect();
    for (index, a) in events.iter().enumerate().filter(|(_, a)| a.is_ordered()) {
        let is_twin = |b: &Event| (a.key, a.worker, a.stamp) == (b.key, b.worker, b.stamp);
        if events[..index].iter().any(is_twin) {
            return false;
        }
    }
    extend(&events, &mut vec![false; events.len()], [Cell::Gone(None); 2])
}

fn extend(events: &[Event], done: &mut [bool], cells: [Cell; 2]) -> bool {
    let left =
        |done: &[bool], index: usize| !done[index] && events[index].outcome != Outcome::Unknown;
    if (0..events.len()).all(|index| !left(done, index)) {
        return true;
    }
    for next in 0..events.len() {
        let event = events[next];
        let precedes = |index: usize| {
            let other = events[index];
            let in_program = (other.key, other.worker) == (event.key, event.worker)
                && event.is_ordered()
                && index != next;
            (left(done, index) && other.res < event.inv)
                || (in_program && left(done, index) && other.stamp <= event.stamp)
                || (in_program && done[index] && other.stamp >= event.stamp)
        };
        if done[next] || (0..events.len()).any(precedes) {
            continue;
        }
        let key = event.key as usize;
        if let Some(after) = apply(cells[key], &event) {
            done[next] = true;
            let mut both = cells;
            both[key] = after;
            if extend(events, done, both) {
                return true;
            }
            done[next] = false;
        }
    }
    false
}

/// Which operations a random history has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mixture {
    Register,
    Deletes,
    Counter,
    /// Counters half of whose INCRs have no answer.
    LostCounts,
    Anything,
}

/// A legal history: operations that take effect one after the other, with intervals around.
pub(crate) fn legal(random: &mut Random, mixture: Mixture, count: usize) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut cell = Cell::Gone(None);
    let spread = 1 + random.below(12) as i64;
    let by = 1 + random.below(3) as i64;
    let start = if random.one_in(2) { random.below(3) as i64 } else { -1 };
    for index in 0..count {
        let point = 3 * index as i64;
        let (before, after) = (random.below(spread as u64), random.below(spread as u64));
        let kind = kind(random, mixture, index == 0 && start >= 0);
        let mut event = event(kind, point - before as i64, point + after as i64);
        event.sequence = index as u64;
        event.written = match (kind, mixture) {
            (Kind::Get | Kind::Increment, _) => Value::NotKnown,
            (Kind::Put, Mixture::Counter | Mixture::LostCounts) => Value::Number(start.max(0)),
            (Kind::Put, Mixture::Anything) if random.one_in(3) => Value::Number(by),
            (Kind::Delete, _) if random.one_in(2) => Value::NotKnown,
            _ => id(100 + index as u64),
        };
        event.by = match (kind, mixture) {
            (Kind::Increment, Mixture::Anything) => random.below(5) as i64 - 2,
            (Kind::Increment, _) => by,
            _ => 0,
        };
        event.read = shown(random, cell, kind);
        if kind == Kind::CompareAndSwap && random.one_in(4) {
            event.written = Value::NotKnown;
        }
        let is_lost = match mixture {
            Mixture::LostCounts => kind == Kind::Increment && random.one_in(2),
            _ => random.one_in(6),
        };
        if is_lost {
            (event.outcome, event.res, event.sequence) = (Outcome::Unknown, NEVER, NO_SEQUENCE);
            if matches!(kind, Kind::Get | Kind::Delete) {
                event.read = Value::NotKnown;
            }
            if random.one_in(2) {
                events.push(event);
                continue;
            }
        }
        match apply(cell, &event) {
            Some(after) => cell = after,
            // An INCR of a value that is no number.
            None => continue,
        }
        if let (Kind::Increment, Cell::Number(number), Outcome::Ok) = (kind, cell, event.outcome) {
            event.written = Value::Number(number);
        }
        events.push(event);
    }
    add_workers(random, &mut events);
    events
}

fn kind(random: &mut Random, mixture: Mixture, is_start: bool) -> Kind {
    let kinds: &[Kind] = match mixture {
        Mixture::Register => &[Kind::Get, Kind::Get, Kind::Put, Kind::CompareAndSwap],
        Mixture::Deletes => &[Kind::Get, Kind::Get, Kind::Put, Kind::Delete, Kind::CompareAndSwap],
        Mixture::Counter | Mixture::LostCounts if is_start => &[Kind::Put],
        Mixture::Counter | Mixture::LostCounts => &[Kind::Get, Kind::Increment, Kind::Increment],
        Mixture::Anything => {
            &[Kind::Get, Kind::Put, Kind::Delete, Kind::CompareAndSwap, Kind::Increment]
        }
    };
    kinds[random.below(kinds.len() as u64) as usize]
}

/// What an operation reports of what it saw.
fn shown(random: &mut Random, cell: Cell, kind: Kind) -> Value {
    let all = match cell {
        Cell::Gone(Some(stamp)) if stamp != u64::MAX && random.one_in(3) => id(stamp),
        Cell::Gone(_) => Value::Missing,
        Cell::Id(stamp) => id(stamp),
        Cell::Number(number) => Value::Number(number),
    };
    match kind {
        Kind::Put | Kind::Increment => Value::NotKnown,
        Kind::Delete if random.one_in(2) => Value::NotKnown,
        Kind::Delete if matches!(cell, Cell::Gone(_)) => Value::Missing,
        Kind::Delete => Value::Present,
        Kind::Get if random.one_in(12) && !matches!(cell, Cell::Gone(_)) => Value::Present,
        _ => all,
    }
}

/// Deals the operations to workers, in the order of the servers, or nearly so.
fn add_workers(random: &mut Random, events: &mut [Event]) {
    let workers = random.below(4) as u32;
    if workers == 0 {
        return;
    }
    for (index, event) in events.iter_mut().enumerate() {
        event.worker = random.below(u64::from(workers)) as u32;
        event.stamp = 100 + index as u64;
    }
}

/// Changes something, so that the history may be wrong.
pub(crate) fn spoil(random: &mut Random, events: &mut [Event]) {
    if events.is_empty() {
        return;
    }
    for _ in 0..1 + random.below(4) {
        let (a, b) = (random.below(events.len() as u64), random.below(events.len() as u64));
        let (a, b) = (a as usize, b as usize);
        let other = events[b];
        match random.below(8) {
            0 => events[a].read = other.read,
            1 if !matches!(events[a].kind, Kind::Put | Kind::Increment) => {
                events[a].read = other.written;
            }
            2 => events[a].stamp = other.stamp.wrapping_add(random.below(3)).wrapping_sub(1),
            3 => events[a].sequence = other.sequence,
            4 | 5 if events[a].res != NEVER => {
                let shift = random.below(30) as i64 - 15;
                events[a].inv += shift;
                events[a].res += shift;
            }
            6 if events[a].res != NEVER => {
                let length = events[a].res - events[a].inv;
                events[a].inv += random.below(1 + length as u64) as i64;
            }
            _ => {
                events[a].outcome = if random.one_in(3) { Outcome::Fail } else { events[a].outcome }
            }
        }
        if events[a].kind == Kind::Put || events[a].kind == Kind::Increment {
            events[a].read = Value::NotKnown;
        }
        if events[a].is_unknown() && matches!(events[a].kind, Kind::Get | Kind::Delete) {
            events[a].read = Value::NotKnown;
        }
    }
}

/// Compares all checks with brute force; returns whether the history is linearizable and whether
/// the sweep could tell.
fn compare(events: &mut [Event], stamps: &mut Stamps) -> (bool, bool) {
    events.sort_unstable_by_key(|event| (event.sequence, event.stamp));
    let truth = is_linearizable(events);
    let swept = sweep(events, &HOW);
    match &swept {
        Ok(Swept::Legal | Swept::Searched(Found::Order)) => {
            assert!(truth, "the sweep passes {events:#?}");
        }
        Ok(Swept::Searched(found)) => {
            assert_eq!(*found, Found::NoOrder);
            assert!(!truth, "the sweep finds no order of {events:#?}");
        }
        Err(contradiction) => assert!(!truth, "the sweep finds {contradiction:?} in {events:#?}"),
        Ok(Swept::Open) => {}
    }
    let found = search(events, HOW.limit);
    assert_eq!(found, if truth { Found::Order } else { Found::NoOrder }, "{events:#?}");
    let decision = decide_alone(events, &HOW);
    assert_eq!(!matches!(decision, Decision::Violation(_)), truth, "{events:#?}");
    if replay(events, stamps, &Rules::ALL) == Replay::Holds {
        assert!(truth, "the replay passes {events:#?}");
    }
    (truth, swept != Ok(Swept::Open))
}

fn compare_many(mixture: Mixture, seed: u64) {
    let is_long = std::env::var_os("KVS_LONG_TESTS").is_some();
    let count = if is_long { 1_000_000 } else { 10_000 };
    let (mut legal_count, mut swept_count) = (0, 0);
    let mut stamps = Stamps::default();
    for round in 0..count {
        let mut random = Random::new(seed ^ round);
        let length = 2 + random.below(6) as usize;
        let mut events = legal(&mut random, mixture, length);
        if !random.one_in(4) {
            spoil(&mut random, &mut events);
        }
        let (is_legal, is_swept) = compare(&mut events, &mut stamps);
        legal_count += u64::from(is_legal);
        swept_count += u64::from(is_swept);
    }
    println!("{mixture:?}: {legal_count} of {count} legal, {swept_count} decided by the sweep");
    assert!(legal_count > count / 4 && legal_count < count * 9 / 10, "both kinds occur");
    let least = match mixture {
        Mixture::Register => count * 9 / 10,
        Mixture::Counter | Mixture::LostCounts => count / 2,
        Mixture::Deletes => count * 3 / 4,
        Mixture::Anything => 0,
    };
    assert!(swept_count >= least, "the sweep decides what it is for");
}

#[test]
fn registers_agree_with_brute_force() {
    compare_many(Mixture::Register, 1 << 32);
}

#[test]
fn registers_with_deletes_agree_with_brute_force() {
    compare_many(Mixture::Deletes, 2 << 32);
}

#[test]
fn counters_agree_with_brute_force() {
    compare_many(Mixture::Counter, 3 << 32);
}

#[test]
fn counters_with_many_unknown_increments_agree_with_brute_force() {
    compare_many(Mixture::LostCounts, 6 << 32);
}

#[test]
fn mixtures_agree_with_brute_force() {
    compare_many(Mixture::Anything, 4 << 32);
}

#[test]
fn two_keys_are_linearizable_when_each_of_them_is() {
    let (mut both_legal, count) = (0, 3000);
    for round in 0..count {
        let mut random = Random::new(5 << 32 ^ round);
        let mixtures = [Mixture::Register, Mixture::Deletes, Mixture::Counter, Mixture::Anything];
        let mut all: Vec<Event> = Vec::new();
        let mut each_is_legal = true;
        for key in 0..2 {
            let mixture = mixtures[random.below(4) as usize];
            let length = 2 + random.below(3) as usize;
            let mut events = legal(&mut random, mixture, length);
            if random.one_in(2) {
                spoil(&mut random, &mut events);
            }
            each_is_legal &= !matches!(decide_alone(&events, &HOW), Decision::Violation(_));
            all.extend(events.into_iter().map(|event| Event { key, ..event }));
        }
        assert_eq!(is_linearizable(&all), each_is_legal, "{all:#?}");
        both_legal += u64::from(each_is_legal);
    }
    assert!((count / 4..count * 9 / 10).contains(&both_legal), "both kinds occur: {both_legal}");
}

#[test]
fn brute_force_knows_right_from_wrong() {
    let put = |stamp, inv, res| Event { written: id(stamp), ..event(Kind::Put, inv, res) };
    let get = |stamp, inv, res| Event { read: id(stamp), ..event(Kind::Get, inv, res) };
    assert!(is_linearizable(&[put(1, 0, 1), put(2, 2, 3), get(2, 4, 5)]));
    assert!(!is_linearizable(&[put(1, 0, 1), put(2, 2, 3), get(1, 4, 5)]));
    assert!(is_linearizable(&[put(1, 0, 1), put(2, 2, 4), get(1, 4, 5)]));
    assert!(is_linearizable(&[put(1, 0, NEVER), get(1, 4, 5)]));
    assert!(!is_linearizable(&[put(1, 5, NEVER), get(1, 3, 4)]));
}

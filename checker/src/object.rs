//! Decides one object: a key in one server's life.

use std::time::Duration;

use rapidhash::RapidHashSet;

use crate::event::{Contradiction, Event, Rule, Rules};
use crate::history::{Kind, Value};
use crate::search::{Found, search};
use crate::witness::{Replay, Stamps, replay};
use crate::{order, resolve, zones};

/// Which check decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Linearizable, by the servers' order.
    Witness,
    /// Linearizable, by the sweep.
    Sweep,
    /// Linearizable, by the search.
    Search,
    /// Nobody knows.
    Undecided,
    /// Not linearizable.
    Violation(Contradiction),
}

/// How to decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Whether the servers' order is tried first.
    pub(crate) use_witness: bool,
    /// Limit of the search.
    pub(crate) search_limit: Duration,
    pub(crate) rules: Rules,
}

/// Decides an object whose events are sorted by (sequence, stamp); says too whether the servers'
/// order was there and not legal.
pub(crate) fn decide(events: &[Event], how: &How, stamps: &mut Stamps) -> (Decision, bool) {
    let mut is_mismatch = false;
    if how.use_witness {
        match replay(events, stamps, &how.rules) {
            Replay::Holds => return (Decision::Witness, false),
            Replay::NoWitness => {}
            Replay::Mismatch => is_mismatch = true,
        }
    }
    (decide_alone(events, how), is_mismatch)
}

/// Decides an object from its history alone.
pub(crate) fn decide_alone(events: &[Event], how: &How) -> Decision {
    match sweep(events, &how.rules) {
        Ok(Some(())) => Decision::Sweep,
        Ok(None) => match search(events, how.search_limit) {
            Found::Order => Decision::Search,
            Found::Nothing => Decision::Undecided,
            Found::NoOrder => {
                let active = events.iter().enumerate().filter(|(_, event)| !event.is_idle());
                let events = active.map(|(index, _)| index as u32);
                Decision::Violation(Contradiction::new(Rule::NoOrder, events))
            }
        },
        Err(contradiction) => Decision::Violation(contradiction),
    }
}

/// The sweep, with everything before and after it; `None` when it can't tell.
pub(crate) fn sweep(events: &[Event], rules: &Rules) -> Result<Option<()>, Contradiction> {
    let program = order::program(events, rules)?;
    let Some(mut resolved) = resolve::resolve(events, rules)? else { return Ok(None) };
    let mut swept = zones::sweep(events, &resolved.roles, rules)?;
    if !resolved.misses.is_empty() {
        if !resolved.guessed {
            // Without the misses, nothing is a guess yet.
            order::check(events, &program, &resolved.roles, &swept, rules)?;
        }
        resolve::assign_misses(events, &mut resolved, &swept);
        match zones::sweep(events, &resolved.roles, rules) {
            Ok(zones) => swept = zones,
            Err(_) => return Ok(None),
        }
    }
    match order::check(events, &program, &resolved.roles, &swept, rules) {
        Ok(()) if resolved.says_more => Ok(None),
        Ok(()) => Ok(Some(())),
        Err(_) if resolved.guessed => Ok(None),
        Err(contradiction) => Err(contradiction),
    }
}

/// Decides an object of which operations of the clients for which `is_lost` holds are missing. See
/// the module `history` for why this can't cause a false alarm.
pub(crate) fn decide_with_losses(
    events: &[Event],
    how: &How,
    is_lost: impl Fn(u32) -> bool,
) -> Decision {
    let counts = |e: &Event| e.kind == Kind::Increment || matches!(e.read, Value::Number(_));
    if events.iter().any(counts) {
        return Decision::Undecided;
    }
    let mut widened: Vec<Event> = events.to_vec();
    for event in &mut widened {
        if event.read == Value::Missing {
            event.read = Value::NotKnown;
        }
    }
    let written: RapidHashSet<Value> = events.iter().map(|event| event.written).collect();
    let mut lost: Vec<Value> = (events.iter().map(|event| event.read))
        .filter(|read| matches!(read, Value::Id { client, .. } if is_lost(*client)))
        .filter(|read| !written.contains(read))
        .collect();
    lost.sort_unstable();
    lost.dedup();
    for (index, written) in lost.into_iter().enumerate() {
        widened.push(Event {
            inv: i64::MIN,
            res: crate::event::NEVER,
            read: Value::NotKnown,
            written,
            by: 0,
            stamp: index as u64,
            sequence: crate::event::NO_SEQUENCE,
            worker: crate::event::UNORDERED,
            kind: Kind::Put,
            outcome: crate::history::Outcome::Unknown,
            ..events[0]
        });
    }
    decide_alone(&widened, how)
}

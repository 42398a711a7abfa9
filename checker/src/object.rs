//! Decides one object: a key in one server's life.

use rapidhash::RapidHashSet;

use crate::event::{Contradiction, Event, Rule, Rules};
use crate::history::{Kind, Value};
use crate::search::{Found, Limit, search};
use crate::witness::{Replay, Stamps, replay};
use crate::{counter, order, presence, resolve, zones};

/// Which check decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Linearizable, by the servers' order.
    Witness,
    /// Linearizable, by the sweep.
    Sweep,
    /// Linearizable, by the search.
    Search,
    /// Nobody knows, for this reason.
    Undecided(Bound),
    /// Not linearizable.
    Violation(Contradiction),
}

/// What kept an object from being decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The search's time.
    Time,
    /// The states that the search may remember.
    States,
    /// Operations that a file which is cut off has lost.
    Losses,
}

/// How to decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Whether the servers' order is tried first.
    pub(crate) use_witness: bool,
    /// Limit of a search.
    pub(crate) limit: Limit,
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
    let found = match sweep(events, how) {
        Ok(Swept::Legal) => return Decision::Sweep,
        Err(contradiction) => return Decision::Violation(contradiction),
        Ok(Swept::Searched(found)) => found,
        Ok(Swept::Open) => search(events, how.limit),
    };
    match found {
        Found::Order => Decision::Search,
        Found::Time => Decision::Undecided(Bound::Time),
        Found::States => Decision::Undecided(Bound::States),
        Found::NoOrder => {
            let active = events.iter().enumerate().filter(|(_, event)| !event.is_idle());
            let events = active.map(|(index, _)| index as u32);
            Decision::Violation(Contradiction::new(Rule::NoOrder, events))
        }
    }
}

/// What the sweep can say of a history in which it finds no contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// It is linearizable.
    Legal,
    /// It is when the key can be missing where it has to be: what the search for that found.
    Searched(Found),
    /// Nothing: a mixture that the sweep has no form for.
    Open,
}

/// The sweep, with everything before and after it.
///
/// # Errors
///
/// The contradiction.
pub(crate) fn sweep(events: &[Event], how: &How) -> Result<Swept, Contradiction> {
    let rules = &how.rules;
    let program = order::program(events, rules)?;
    let resolved = if counter::is_counter(events) {
        let Some(resolved) = counter::resolve(events, rules)? else { return Ok(Swept::Open) };
        resolved
    } else {
        resolve::resolve(events, rules)?
    };
    let zones = zones::sweep(events, &resolved.roles, rules)?;
    // Without the misses, which have no roles yet: they can only add contradictions.
    order::check(events, &program, &resolved.roles, &zones, rules)?;
    if resolved.is_vague {
        return Ok(Swept::Open);
    }
    if resolved.misses.is_empty() && !resolved.removes {
        return Ok(Swept::Legal);
    }
    let found = presence::decide(events, &resolved, rules, how.limit)?;
    Ok(found.map_or(Swept::Open, Swept::Searched))
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
        return Decision::Undecided(Bound::Losses);
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

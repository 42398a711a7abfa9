//! Gives each read of a register its writer, so that the sweep can start.
//!
//! Step 0 of the sweep: reads whose result nobody knows are dropped; so is an unknown write, unless
//! a *completed* operation needs its id, transitively: a completed operation read it, or it is the
//! source of an unknown read-modify-write that is itself needed. (That some operation observed it
//! is not enough: brute force refutes that rule.) A read of an id that nobody wrote is a violation.
//!
//! A GET that misses cannot always name the tombstone that it saw. Without a DELETE on the key it
//! saw the initial state; otherwise it is left over for [`assign_misses`], which guesses. A guess
//! that passes the sweep is a proof, and one that does not says nothing.

use rapidhash::RapidHashMap;

use crate::counter;
use crate::event::{Contradiction, Event, NEVER, Rule, Rules};
use crate::history::{Kind, Value};
use crate::zones::{INITIAL, Role, Zones};

/// A miss tries this many of the tombstones before its end.
const TOMBSTONES_TRIED_MAX: usize = 64;

/// What is known of who read from whom.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// One per event.
    pub(crate) roles: Vec<Role>,
    /// Events that saw the key missing, where it is open which tombstone that was. They have no
    /// source yet.
    pub(crate) misses: Vec<u32>,
    /// Whether some role is a guess that program order may refute although another would do.
    pub(crate) guessed: bool,
    /// Whether some operation says more than its role: the sweep's word is then not enough.
    pub(crate) says_more: bool,
}

/// Finds each event's role; `None` when this mixture of operations has no such form.
///
/// # Errors
///
/// A contradiction that shows on the way.
pub(crate) fn resolve(events: &[Event], rules: &Rules) -> Result<Option<Resolved>, Contradiction> {
    let is_number = |value| matches!(value, Value::Number(_));
    let counts = |event: &Event| {
        event.kind == Kind::Increment || is_number(event.read) || is_number(event.written)
    };
    if events.iter().any(|event| !event.is_idle() && counts(event)) {
        return counter::resolve(events, rules);
    }
    let writers = writers(events, rules)?;
    let deletes = events.iter().any(|event| event.kind == Kind::Delete && event.is_mutation());
    let mut resolved = Resolved { roles: vec![Role::DROPPED; events.len()], ..Resolved::default() };
    let mut needed: Vec<u32> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let keep = !event.is_unknown() || !rules.drop_unneeded;
        if keep && !event.is_idle() {
            resolved.roles[index].writes = event.is_mutation();
            needed.push(index as u32);
        }
    }
    while let Some(index) = needed.pop() {
        let event = &events[index as usize];
        let source = match event.read {
            Value::NotKnown => continue,
            Value::Present => {
                resolved.says_more = true;
                continue;
            }
            Value::Missing if deletes => {
                resolved.misses.push(index);
                continue;
            }
            Value::Missing => INITIAL,
            read => match writers.get(&read) {
                Some(writer) => *writer,
                None if rules.phantom => {
                    return Err(Contradiction::new(Rule::Phantom, phantom(events, index, read)));
                }
                None => continue,
            },
        };
        resolved.roles[index as usize].source = source;
        if source == INITIAL || resolved.roles[source as usize].writes {
            continue;
        }
        resolved.roles[source as usize].writes = true;
        if rules.keep_transitively {
            needed.push(source);
        }
    }
    Ok(Some(resolved))
}

/// Who wrote each id.
fn writers(events: &[Event], rules: &Rules) -> Result<RapidHashMap<Value, u32>, Contradiction> {
    let mutations = || {
        let all = events.iter().enumerate();
        all.filter(|(_, e)| !e.is_idle() && e.is_mutation() && e.written != Value::NotKnown)
    };
    let mut writers = RapidHashMap::default();
    writers.reserve(mutations().count());
    for (index, event) in mutations() {
        let other = writers.insert(event.written, index as u32);
        if let Some(other) = other.filter(|_| rules.own_ids) {
            return Err(Contradiction::new(Rule::SameId, [other, index as u32]));
        }
    }
    Ok(writers)
}

/// The read of an id that nobody wrote, and the failed operation that would have written it.
#[cold]
fn phantom(events: &[Event], index: u32, read: Value) -> Vec<u32> {
    let failed = events.iter().position(|event| event.written == read && event.is_idle());
    std::iter::once(index).chain(failed.map(|failed| failed as u32)).collect()
}

/// Guesses the tombstone that each miss saw, from the zones that hold without the misses.
///
/// A miss takes the latest tombstone with which it shares a moment when no value must hold; else
/// the latest before it without such a value in between; else the initial state.
pub(crate) fn assign_misses(events: &[Event], resolved: &mut Resolved, zones: &Zones) {
    let is_tombstone = |event: u32| event < INITIAL && events[event as usize].kind == Kind::Delete;
    let spans = zones.spans(|writer| writer != INITIAL && !is_tombstone(writer));
    let mut tombstones: Vec<u32> = (0..events.len() as u32)
        .filter(|index| {
            let event = &events[*index as usize];
            !event.is_idle() && event.kind == Kind::Delete && event.is_mutation()
        })
        .collect();
    tombstones.sort_unstable_by_key(|index| events[*index as usize].inv);
    for miss in std::mem::take(&mut resolved.misses) {
        let (inv, res) = (events[miss as usize].inv, events[miss as usize].res);
        let early = tombstones.partition_point(|index| events[*index as usize].inv <= res);
        let mut best = (false, i64::MIN, INITIAL);
        for index in tombstones[..early].iter().rev().take(TOMBSTONES_TRIED_MAX) {
            let tombstone = &events[*index as usize];
            if *index == miss {
                continue;
            }
            let (from, to) = (tombstone.inv.max(inv), tombstone.res.min(res));
            if from <= to && !covers(&spans, from, to) {
                best = best.max((true, tombstone.inv, *index));
            } else if tombstone.res < inv && !meets(&spans, tombstone.res, inv) {
                best = best.max((false, tombstone.res, *index));
            }
        }
        let source = best.2;
        resolved.roles[miss as usize].source = source;
        if source != INITIAL {
            resolved.roles[source as usize].writes = true;
        }
    }
    resolved.guessed = true;
}

/// Whether one of the spans, which are disjoint and sorted, covers [from, to].
fn covers(spans: &[(i64, i64)], from: i64, to: i64) -> bool {
    let next = spans.partition_point(|(f, _)| *f < from);
    next > 0 && spans[next - 1].1 > to
}

/// Whether one of the spans has a moment in (from, to).
fn meets(spans: &[(i64, i64)], from: i64, to: i64) -> bool {
    let next = spans.partition_point(|(f, _)| *f < to);
    next > 0 && spans[next - 1].1 > from && to != NEVER
}

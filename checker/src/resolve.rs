//! Gives each read of a register its writer, so that the sweep can start.
//!
//! Step 0 of the sweep: reads whose result nobody knows are dropped; so is an unknown write, unless
//! a *completed* operation needs its id, transitively: a completed operation read it, or it is the
//! source of an unknown read-modify-write that is itself needed. (That some operation observed it
//! is not enough: brute force refutes that rule.) A read of an id that nobody wrote is a violation.
//!
//! A GET that misses cannot always name the tombstone that it saw. Without a DELETE on the key it
//! saw the initial state; otherwise it is left over for the module `presence`, and so is a DELETE
//! that found something which it does not name.

use rapidhash::RapidHashMap;

use crate::event::{Contradiction, Event, Rule, Rules};
use crate::history::{Kind, Value};
use crate::zones::{INITIAL, Role};

/// What is known of who read from whom.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// One per event.
    pub(crate) roles: Vec<Role>,
    /// Events that saw the key missing, where it is open which tombstone that was. They have no
    /// source yet.
    pub(crate) misses: Vec<u32>,
    /// Whether some DELETE found a value that it does not name.
    pub(crate) removes: bool,
    /// Whether some read says no more than that there was a value: left to the search.
    pub(crate) is_vague: bool,
}

/// Finds each event's role.
///
/// # Errors
///
/// A contradiction that shows on the way.
pub(crate) fn resolve(events: &[Event], rules: &Rules) -> Result<Resolved, Contradiction> {
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
                let is_delete = event.kind == Kind::Delete;
                resolved.removes |= is_delete;
                resolved.is_vague |= !is_delete;
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
    Ok(resolved)
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

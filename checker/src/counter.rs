//! Turns a counter's history into one of read-modify-writes.
//!
//! On a key with GETs and INCRs by one d > 0, an INCR's result r is the id that it wrote and r - d
//! the one that it read. INCRs with unknown outcome carry d and no ids: they fill the gaps below
//! the greatest number that was seen, the lowest gap first and the earliest invocation first. As
//! none of them has a response, no other choice does better. A gap that can't be filled is a
//! violation, and so is a number that was returned twice.
//!
//! A PUT of a number and a DELETE that no other operation on the key overlaps start the counter
//! anew. Other mixtures have no such form and are left to the general search.

use rapidhash::RapidHashMap;

use crate::event::{Contradiction, Event, Rule, Rules};
use crate::history::{Kind, Value};
use crate::resolve::Resolved;
use crate::zones::{INITIAL, NO_SOURCE, Role};

/// More starts than this on one counter are left to the search: each is compared with every event.
const STARTS_MAX: usize = 16;

/// A stretch of a counter's life.
#[derive(Debug)]
struct Epoch {
    /// The event that it starts with, or [`INITIAL`].
    start: u32,
    /// What the counter then is.
    number: i64,
    /// Whether the key is missing then.
    is_missing: bool,
    events: Vec<u32>,
}

/// Finds each event's role; `None` when the mixture of operations has no such form.
///
/// # Errors
///
/// A contradiction between the numbers.
pub(crate) fn resolve(events: &[Event], rules: &Rules) -> Result<Option<Resolved>, Contradiction> {
    let Some(by) = step(events) else { return Ok(None) };
    let Some(epochs) = epochs(events) else { return Ok(None) };
    let mut resolved = Resolved { roles: vec![Role::DROPPED; events.len()], ..Resolved::default() };
    for epoch in &epochs {
        if epoch.start != INITIAL {
            resolved.roles[epoch.start as usize].writes = true;
        }
        let writers = numbers(events, epoch, by, &mut resolved, rules)?;
        read_numbers(events, epoch, by, &writers, &mut resolved.roles, rules)?;
    }
    Ok(Some(resolved))
}

/// What all INCRs add, when that is one positive number and their results are known.
fn step(events: &[Event]) -> Option<i64> {
    let mut step = None;
    for event in events.iter().filter(|event| !event.is_idle()) {
        let fits = match event.kind {
            Kind::Increment => {
                let known = event.is_unknown() || matches!(event.written, Value::Number(_));
                known && event.by > 0 && *step.get_or_insert(event.by) == event.by
            }
            Kind::Put => matches!(event.written, Value::Number(_)) && !event.is_unknown(),
            Kind::Delete => !event.is_unknown() && !matches!(event.read, Value::Id { .. }),
            Kind::Get => matches!(event.read, Value::Number(_) | Value::Missing),
            Kind::CompareAndSwap => false,
        };
        if !fits {
            return None;
        }
    }
    Some(step.unwrap_or(1))
}

/// Cuts the history at each start that nothing overlaps; `None` when something does.
fn epochs(events: &[Event]) -> Option<Vec<Epoch>> {
    let active = || events.iter().enumerate().filter(|(_, event)| !event.is_idle());
    let is_start = |event: &Event| {
        event.kind == Kind::Put || (event.kind == Kind::Delete && event.is_mutation())
    };
    let mut starts: Vec<usize> =
        active().filter(|(_, event)| is_start(event)).map(|(index, _)| index).collect();
    if starts.len() > STARTS_MAX {
        return None;
    }
    starts.sort_unstable_by_key(|index| events[*index].inv);
    let first = Epoch { start: INITIAL, number: 0, is_missing: true, events: Vec::new() };
    let mut epochs = vec![first];
    for start in &starts {
        let event = &events[*start];
        let (number, is_missing) = match event.written {
            Value::Number(number) => (number, false),
            _ => (0, true),
        };
        epochs.push(Epoch { start: *start as u32, number, is_missing, events: Vec::new() });
    }
    for (index, event) in active() {
        let mut epoch = 0;
        for start in starts.iter().filter(|start| **start != index) {
            let start = &events[*start];
            if event.inv <= start.res && event.res >= start.inv {
                return None;
            }
            epoch += usize::from(start.res < event.inv);
        }
        if is_start(event) {
            // A DELETE that says what it found is a read of the epoch before too.
            if event.read != Value::NotKnown {
                epochs[epoch].events.push(index as u32);
            }
        } else {
            epochs[epoch].events.push(index as u32);
        }
    }
    Some(epochs)
}

/// Finds who wrote each number of an epoch, and gives the INCRs their roles.
fn numbers(
    events: &[Event],
    epoch: &Epoch,
    by: i64,
    resolved: &mut Resolved,
    rules: &Rules,
) -> Result<RapidHashMap<i64, u32>, Contradiction> {
    let mut writers = RapidHashMap::default();
    let mut unknown = Vec::new();
    let mut greatest = (epoch.number, epoch.start);
    for index in epoch.events.iter().copied() {
        let event = &events[index as usize];
        let number = match (event.kind, event.written, event.read) {
            (Kind::Increment, Value::Number(number), _) if !event.is_unknown() => {
                let other = writers.insert(number, index).filter(|_| rules.one_successor);
                if let Some(other) = other {
                    return Err(Contradiction::new(Rule::LostUpdate, [index, other]));
                }
                number
            }
            (Kind::Increment, ..) => {
                unknown.push(index);
                continue;
            }
            (_, _, Value::Number(number)) => number,
            _ => continue,
        };
        let steps = number.checked_sub(epoch.number);
        let least = if event.kind == Kind::Increment { by } else { 0 };
        if steps.is_none_or(|steps| steps < least || steps % by != 0) {
            return Err(Contradiction::new(Rule::Count, with_start(epoch, index)));
        }
        greatest = greatest.max((number, index));
    }
    let reached = (greatest.0 - epoch.number) / by;
    let gaps = reached as u64 - writers.len() as u64;
    if gaps > unknown.len() as u64 {
        if rules.gaps {
            return Err(Contradiction::new(Rule::Count, with_start(epoch, greatest.1)));
        }
        return Ok(writers);
    }
    if gaps > 0 {
        resolved.guessed = true;
        unknown.sort_unstable_by_key(|index| {
            let event = &events[*index as usize];
            (event.inv, event.stamp)
        });
        let mut unknown = unknown.into_iter();
        for step in 1..=reached {
            let number = epoch.number + step * by;
            writers.entry(number).or_insert_with(|| unknown.next().expect("gaps were counted"));
        }
    }
    for (number, index) in &writers {
        let source = match number - by {
            before if before == epoch.number => epoch.start,
            before => writers.get(&before).copied().unwrap_or(NO_SOURCE),
        };
        resolved.roles[*index as usize] = Role { source, writes: true };
    }
    Ok(writers)
}

/// Gives the GETs of an epoch their writers.
fn read_numbers(
    events: &[Event],
    epoch: &Epoch,
    by: i64,
    writers: &RapidHashMap<i64, u32>,
    roles: &mut [Role],
    rules: &Rules,
) -> Result<(), Contradiction> {
    for index in epoch.events.iter().copied() {
        let event = &events[index as usize];
        if event.kind == Kind::Increment {
            continue;
        }
        let source = match event.read {
            Value::Missing if epoch.is_missing => Some(epoch.start),
            Value::Present => {
                // The DELETE that ends the epoch overlaps nothing, so all INCRs came before it.
                let holds = !epoch.is_missing || !writers.is_empty();
                if !holds {
                    return Err(Contradiction::new(Rule::Count, with_start(epoch, index)));
                }
                continue;
            }
            Value::Number(number) if number == epoch.number && !epoch.is_missing => {
                Some(epoch.start)
            }
            Value::Number(number) => {
                debug_assert!((number - epoch.number) % by == 0, "multiples were checked");
                writers.get(&number).copied()
            }
            _ => None,
        };
        match source {
            Some(source) => roles[index as usize].source = source,
            None if rules.phantom => {
                return Err(Contradiction::new(Rule::Count, with_start(epoch, index)));
            }
            None => {}
        }
    }
    Ok(())
}

fn with_start(epoch: &Epoch, index: u32) -> impl Iterator<Item = u32> {
    [index, epoch.start].into_iter().filter(|index| *index != INITIAL)
}

//! Turns a counter's history into one of read-modify-writes.
//!
//! On a key with GETs and INCRs by one d > 0, an INCR's result r is the id that it wrote and r - d
//! the one that it read, so every answered operation has its place in the count. INCRs with unknown
//! outcome carry d and no ids: they fill the gaps below the greatest number that was seen. Each of
//! them fits from some step on (after all that had ended before it began, and after what its worker
//! did before it) up to another (before what its worker did after it). Filling the gaps in
//! ascending order, each with the one that fits and is first to fit no more, finds a way if there
//! is one (Glover, "Maximum matching in a convex bipartite graph", 1967). Those of one worker then
//! stand in the order of their stamps, as long as their windows ascend with the stamps; where they
//! do not, which takes a worker that invoked its operations against their stamps, the search
//! decides. A gap that can't be filled is a violation, and so is a number that was returned twice.
//!
//! A PUT of a number and a DELETE that no other operation on the key overlaps start the counter
//! anew. Other mixtures have no such form and are left to the general search.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

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

/// Whether some event counts, so that [`resolve`] is the one to find the roles.
pub(crate) fn is_counter(events: &[Event]) -> bool {
    let is_number = |value| matches!(value, Value::Number(_));
    let counts = |event: &Event| {
        event.kind == Kind::Increment || is_number(event.read) || is_number(event.written)
    };
    events.iter().any(|event| !event.is_idle() && counts(event))
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
    let mut earlier: Vec<u32> = Vec::new();
    for epoch in &epochs {
        if epoch.start != INITIAL {
            resolved.roles[epoch.start as usize].writes = true;
            earlier.push(epoch.start);
        }
        let Some(writers) = numbers(events, epoch, &earlier, by, &mut resolved, rules)? else {
            return Ok(None);
        };
        read_numbers(events, epoch, by, &writers, &mut resolved.roles, rules)?;
        earlier.extend(&epoch.events);
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

/// Who wrote each number of an epoch.
type Writers = RapidHashMap<i64, u32>;

/// Finds who wrote each number of an epoch, and gives the INCRs their roles; `None` when the
/// unknown INCRs of some worker have no agreeable windows.
fn numbers(
    events: &[Event],
    epoch: &Epoch,
    earlier: &[u32],
    by: i64,
    resolved: &mut Resolved,
    rules: &Rules,
) -> Result<Option<Writers>, Contradiction> {
    let mut writers = Writers::default();
    let mut unknown = Vec::new();
    let mut placed = Vec::new();
    let mut greatest = (epoch.number, epoch.start);
    for index in epoch.events.iter().copied() {
        let event = &events[index as usize];
        let is_increment = event.kind == Kind::Increment;
        let number = match (event.written, event.read) {
            (Value::Number(number), _) if is_increment && !event.is_unknown() => {
                let other = writers.insert(number, index).filter(|_| rules.one_successor);
                if let Some(other) = other {
                    return Err(Contradiction::new(Rule::LostUpdate, [index, other]));
                }
                number
            }
            _ if is_increment => {
                unknown.push(index);
                continue;
            }
            (_, Value::Number(number)) => number,
            (_, Value::Missing) => epoch.number,
            _ => continue,
        };
        let steps = number.checked_sub(epoch.number);
        let least = if is_increment { by } else { 0 };
        let Some(steps) = steps.filter(|steps| *steps >= least && steps % by == 0) else {
            return Err(Contradiction::new(Rule::Count, with_start(epoch, index)));
        };
        placed.push(Placed { event: index, step: steps / by, is_read: !is_increment });
        greatest = greatest.max((number, index));
    }
    let reached = (greatest.0 - epoch.number) / by;
    let gaps = reached as u64 - writers.len() as u64;
    if gaps > unknown.len() as u64 {
        if rules.gaps {
            return Err(Contradiction::new(Rule::Count, with_start(epoch, greatest.1)));
        }
        return Ok(Some(writers));
    }
    if gaps > 0 {
        // What an earlier start ended stands before all of them, in its workers' programs too.
        let earlier = earlier.iter().filter(|event| !events[**event as usize].is_unknown());
        placed.extend(earlier.map(|event| Placed { event: *event, step: 0, is_read: true }));
        let Some(windows) = windows(events, &unknown, &placed, rules) else { return Ok(None) };
        let number_of = |step: i64| epoch.number + step * by;
        let is_gap = |step: &i64| !writers.contains_key(&number_of(*step));
        let open: Vec<i64> = (1..=reached).filter(is_gap).collect();
        match fill(&open, windows) {
            Ok(fillers) => {
                let numbers = open.iter().map(|step| number_of(*step));
                writers.extend(numbers.zip(fillers));
            }
            Err(gap) => {
                // Whoever saw this number or a greater one saw too much.
                let above = placed.iter().filter(|other| other.step >= gap);
                let first = above.min_by_key(|other| events[other.event as usize].res);
                let first = first.map_or(greatest.1, |other| other.event);
                return Err(Contradiction::new(Rule::Count, with_start(epoch, first)));
            }
        }
    }
    for (number, index) in &writers {
        let source = match number - by {
            before if before == epoch.number => epoch.start,
            before => writers.get(&before).copied().unwrap_or(NO_SOURCE),
        };
        resolved.roles[*index as usize] = Role { source, writes: true };
    }
    Ok(Some(writers))
}

/// An operation whose place in the count is known.
#[derive(Clone, Copy, Debug)]
struct Placed {
    event: u32,
    /// How many INCRs had taken effect, with this one if it is one.
    step: i64,
    is_read: bool,
}

/// The steps that an unknown INCR can have made.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: i64,
    last: i64,
    stamp: u64,
    event: u32,
}

/// The windows of unknown INCRs: from after all that had ended before it began, and after what its
/// worker did before it, up to before what its worker did after it. Sorted by their first steps;
/// `None` when those of one worker do not ascend with its stamps.
fn windows(
    events: &[Event],
    unknown: &[u32],
    placed: &[Placed],
    rules: &Rules,
) -> Option<Vec<Window>> {
    // By response, with the greatest step so far; by worker and stamp.
    let mut ended: Vec<(i64, i64)> =
        placed.iter().map(|other| (events[other.event as usize].res, other.step)).collect();
    ended.sort_unstable();
    let mut greatest = 0;
    for (_, step) in &mut ended {
        greatest = greatest.max(*step);
        *step = greatest;
    }
    let mut windows: Vec<Window> = (unknown.iter())
        .map(|index| {
            let event = &events[*index as usize];
            let before = ended.partition_point(|(res, _)| *res < event.inv);
            let first = 1 + before.checked_sub(1).map_or(0, |last| ended[last].1);
            Window { first, last: i64::MAX, stamp: event.stamp, event: *index }
        })
        .collect();
    if !rules.windows {
        windows.iter_mut().for_each(|window| window.first = 1);
    }
    if rules.program_order && !bound_by_program(events, placed, &mut windows) {
        return None;
    }
    windows.sort_unstable_by_key(|window| (window.first, window.last, window.stamp));
    Some(windows)
}

/// Narrows the windows by what their workers did before and after; false when those of one worker
/// do not ascend with its stamps.
fn bound_by_program(events: &[Event], placed: &[Placed], windows: &mut [Window]) -> bool {
    enum At {
        Placed(Placed),
        Unknown(usize),
    }
    let of = |event: u32| {
        let event = &events[event as usize];
        event.is_ordered().then_some((event.worker, event.stamp))
    };
    let known = placed.iter().filter_map(|other| Some((of(other.event)?, At::Placed(*other))));
    let open = windows.iter().enumerate();
    let open = open.filter_map(|(at, window)| Some((of(window.event)?, At::Unknown(at))));
    let mut program: Vec<((u32, u64), At)> = known.chain(open).collect();
    program.sort_unstable_by_key(|(place, _)| *place);
    for worker in program.chunk_by(|a, b| a.0.0 == b.0.0) {
        let mut least = 1;
        let mut first_before = 0;
        for (_, at) in worker {
            match at {
                At::Placed(other) => least = least.max(other.step + 1),
                At::Unknown(at) => {
                    let window = &mut windows[*at];
                    window.first = window.first.max(least);
                    if window.first < first_before {
                        return false;
                    }
                    first_before = window.first;
                }
            }
        }
        let mut most = i64::MAX;
        for (_, at) in worker.iter().rev() {
            match at {
                // Up to a number that was read, or below one that another INCR made.
                At::Placed(other) => most = most.min(other.step - i64::from(!other.is_read)),
                At::Unknown(at) => windows[*at].last = most,
            }
        }
    }
    true
}

/// Fills the gaps, which ascend, each by the INCR that fits and is first to fit no more.
///
/// # Errors
///
/// The first gap that none can fill.
fn fill(gaps: &[i64], windows: Vec<Window>) -> Result<Vec<u32>, i64> {
    let mut windows = windows.into_iter().peekable();
    let mut fitting = BinaryHeap::new();
    let mut fillers = Vec::with_capacity(gaps.len());
    for gap in gaps.iter().copied() {
        while let Some(window) = windows.next_if(|window| window.first <= gap) {
            fitting.push(Reverse((window.last, window.stamp, window.event)));
        }
        while fitting.peek().is_some_and(|Reverse((last, ..))| *last < gap) {
            fitting.pop();
        }
        match fitting.pop() {
            Some(Reverse((.., event))) => fillers.push(event),
            None => return Err(gap),
        }
    }
    Ok(fillers)
}

/// Gives the GETs of an epoch their writers.
fn read_numbers(
    events: &[Event],
    epoch: &Epoch,
    by: i64,
    writers: &Writers,
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

//! Finds a small set of operations that contradict each other on their own.
//!
//! An operation may be left out of a history without making a legal one illegal when nothing that
//! stays depends on it. So a part that is left without such operations, and is illegal, shows the
//! whole to be illegal. This drops ever smaller pieces while the rest still contradicts itself
//! (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
//!
//! On a counter everything depends on every INCR. There an INCR is not left out but weakened: it may
//! have taken effect at any time, or not at all. What still contradicts itself does so whatever the
//! weakened ones did, so they need not be shown, unless it is their number that matters.

use std::time::{Duration, Instant};

use rapidhash::RapidHashMap;

use crate::event::{Contradiction, Event, NEVER, NO_SEQUENCE, Rule, UNORDERED};
use crate::history::{Kind, Outcome, Value};
use crate::object::{Decision, How, decide_alone};
use crate::search::Limit;

/// A history of more operations is not shrunk as a whole.
const EVENTS_MAX: usize = 4096;
/// A counter whose number of INCRs matters is shown with all of them up to so many.
const INCREMENTS_SHOWN_MAX: usize = 48;
/// Time for one violation.
const TIME_MAX: Duration = Duration::from_secs(2);

/// The events of a contradiction, as few as can be found, by invocation.
pub(crate) fn shrink(
    events: &[Event],
    found: &Contradiction,
    how: &How,
) -> (Contradiction, Vec<Event>) {
    let limit = Limit { time: Duration::from_millis(200), ..how.limit };
    let shown = || {
        let mut events: Vec<Event> =
            found.events.iter().map(|index| events[*index as usize]).collect();
        events.sort_by_key(|event| event.inv);
        (found.clone(), events)
    };
    if found.rule == Rule::Presence {
        // The others matter only by not standing in between.
        return shown();
    }
    let how = How { limit, ..*how };
    let until = Instant::now() + TIME_MAX;
    if events.iter().any(|event| !event.is_idle() && is_count(event)) {
        return shrink_count(events, &how, until).unwrap_or_else(shown);
    }
    let small = with_writers(events, &found.events);
    let mut rest: Vec<Event>;
    if contradiction(&small, &how).is_some() {
        rest = small;
    } else if events.len() <= EVENTS_MAX && contradiction(events, &how).is_some() {
        rest = events.to_vec();
    } else {
        return shown();
    }
    rest.sort_by_key(|event| event.inv);
    let mut piece = rest.len().div_ceil(2);
    while piece > 0 && Instant::now() < until {
        let mut start = 0;
        let before = rest.len();
        while start < rest.len() && Instant::now() < until {
            let less = without(&rest, start..(start + piece).min(rest.len()));
            match less.filter(|less| contradiction(less, &how).is_some()) {
                Some(less) => rest = less,
                None => start += piece,
            }
        }
        if rest.len() == before || piece > 1 {
            piece /= 2;
        }
    }
    let left = contradiction(&rest, &how).unwrap_or_else(|| found.clone());
    (left, rest)
}

fn is_count(e: &Event) -> bool {
    e.kind == Kind::Increment
        || matches!((e.read, e.written), (Value::Number(_), _) | (_, Value::Number(_)))
}

/// The same for a counter; `None` when it is too large, or the weakened history no contradiction.
fn shrink_count(
    events: &[Event],
    how: &How,
    until: Instant,
) -> Option<(Contradiction, Vec<Event>)> {
    if events.len() > EVENTS_MAX {
        return None;
    }
    let mut kept: Vec<Event> = events.iter().copied().filter(|event| !event.is_idle()).collect();
    kept.sort_by_key(|event| event.inv);
    // Everything else on a counter is a start, and stays.
    let may_go = |event: &Event| matches!(event.kind, Kind::Increment | Kind::Get);
    let (mut kept, starts): (Vec<Event>, Vec<Event>) = kept.into_iter().partition(may_go);
    let mut weak: Vec<Event> = Vec::new();
    let together = |kept: &[Event], weak: &[Event]| [&starts, kept, weak].concat();
    let mut left = contradiction(&together(&kept, &weak), how)?;
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 && Instant::now() < until {
        let (mut start, before) = (0, kept.len());
        while start < kept.len() && Instant::now() < until {
            let end = (start + piece).min(kept.len());
            let rest = [&kept[..start], &kept[end..]].concat();
            let gone = kept[start..end].iter().filter(|event| event.kind == Kind::Increment);
            let weaker: Vec<Event> =
                weak.iter().copied().chain(gone.map(|event| weakened(event, &starts))).collect();
            match contradiction(&together(&rest, &weaker), how) {
                Some(found) => (kept, weak, left) = (rest, weaker, found),
                None => start = end,
            }
        }
        if kept.len() == before || piece > 1 {
            piece /= 2;
        }
    }
    let mut shown = together(&kept, &[]);
    if let Some(any) = weak.first() {
        let more = [&weak[..], &vec![*any; EVENTS_MAX]].concat();
        if contradiction(&together(&kept, &more), how).is_none()
            && shown.len() + weak.len() <= INCREMENTS_SHOWN_MAX
        {
            shown.extend(events.iter().filter(|event| {
                event.kind == Kind::Increment && !event.is_idle() && !kept.contains(event)
            }));
        }
    }
    shown.sort_by_key(|event| event.inv);
    Some((left, shown))
}

/// An INCR of which nothing is known but that it came after the starts before it.
fn weakened(event: &Event, starts: &[Event]) -> Event {
    let ends = starts.iter().map(|start| start.res).filter(|res| *res < event.inv);
    Event {
        inv: ends.max().map_or(i64::MIN, |end| end + 1),
        res: NEVER,
        written: Value::NotKnown,
        sequence: NO_SEQUENCE,
        worker: event.worker | UNORDERED,
        outcome: Outcome::Unknown,
        ..*event
    }
}

fn contradiction(events: &[Event], how: &How) -> Option<Contradiction> {
    match decide_alone(events, how) {
        Decision::Violation(contradiction) => Some(contradiction),
        _ => None,
    }
}

/// The events with these indices, and everything that they depend on.
fn with_writers(events: &[Event], indices: &[u32]) -> Vec<Event> {
    let mutations = || events.iter().enumerate().filter(|(_, event)| event.is_mutation());
    let writers: RapidHashMap<Value, u32> = mutations()
        .filter(|(_, event)| event.written != Value::NotKnown && !event.is_idle())
        .map(|(index, event)| (event.written, index as u32))
        .collect();
    let mut taken = vec![false; events.len()];
    let mut open = indices.to_vec();
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut taken[index as usize], true) {
            continue;
        }
        match events[index as usize].read {
            Value::Missing => {
                let deletes = mutations().filter(|(_, event)| event.kind == Kind::Delete);
                open.extend(deletes.map(|(index, _)| index as u32));
            }
            Value::Present => open.extend(mutations().map(|(index, _)| index as u32)),
            Value::Id { .. } => open.extend(writers.get(&events[index as usize].read)),
            _ => {}
        }
    }
    let taken = taken.iter().zip(events).filter(|(taken, _)| **taken);
    taken.map(|(_, event)| *event).collect()
}

/// The events without a piece and without what depends on it; `None` when that is not possible.
fn without(events: &[Event], piece: std::ops::Range<usize>) -> Option<Vec<Event>> {
    let mut gone: Vec<bool> = (0..events.len()).map(|index| piece.contains(&index)).collect();
    loop {
        let removed = |value: Value| {
            let writers = events.iter().zip(&gone).filter(|(event, _)| event.written == value);
            writers.clone().count() > 0 && writers.into_iter().all(|(_, gone)| *gone)
        };
        let lost = (0..events.len()).find(|index| {
            !gone[*index]
                && matches!(events[*index].read, Value::Id { .. })
                && removed(events[*index].read)
        });
        match lost {
            Some(index) => gone[index] = true,
            None => break,
        }
    }
    let (mut left, mut removed) = (Vec::new(), Vec::new());
    for (event, gone) in events.iter().zip(&gone) {
        if *gone { removed.push(*event) } else { left.push(*event) }
    }
    let any = |events: &[Event], test: &dyn Fn(&Event) -> bool| events.iter().any(test);
    let is_bound = any(&removed, &|e| e.kind == Kind::Delete && e.is_mutation())
        && any(&left, &|e| e.read == Value::Missing)
        || any(&removed, &Event::is_mutation) && any(&left, &|e| e.read == Value::Present)
        || any(&removed, &Event::is_mutation) && any(&left, &is_count);
    (!is_bound && !left.is_empty()).then_some(left)
}

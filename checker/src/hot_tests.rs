//! Hot keys with DELETEs, as a full-speed run without a witness has them: they must be decided.

use std::time::Duration;

use crate::event::{Event, NEVER};
use crate::history::{Kind, Outcome, Value};
use crate::object::{Decision, How, decide_alone};
use crate::oracle::{HOW, Random, event, id};
use crate::search::Limit;

/// Which operations come how often, in percent; the rest are GETs.
#[derive(Clone, Copy, Debug)]
struct Mix {
    puts: u64,
    deletes: u64,
    creates: u64,
    unknown: u64,
}

/// A legal history: `workers` have a batch each in flight, of `batch` operations on the key.
fn hot(mix: Mix, workers: u64, batch: u64, batches: u64, seed: u64) -> Vec<Event> {
    let mut random = Random::new(seed);
    let mut events = Vec::new();
    let mut value = Value::Missing;
    for number in 0..batches {
        let middle = (1000 * number) as i64;
        let jitter = |random: &mut Random| 1 + random.below(1000 * workers / 2) as i64;
        let (inv, res) = (middle - jitter(&mut random), middle + jitter(&mut random));
        for index in 0..batch {
            let stamp = number * batch + index + 1;
            let dice = random.below(100);
            let is_lost = random.below(100) < mix.unknown;
            let is_executed = !is_lost || random.one_in(2);
            let deletes = mix.puts + mix.deletes;
            let kind = match dice {
                dice if dice < mix.puts => Kind::Put,
                dice if dice < deletes => Kind::Delete,
                dice if dice < deletes + mix.creates => Kind::CompareAndSwap,
                _ => Kind::Get,
            };
            let mut event = Event {
                worker: (number % workers) as u32,
                stamp,
                ..event(kind, inv, if is_lost { NEVER } else { res })
            };
            let is_missing = value == Value::Missing;
            let mut after = value;
            match kind {
                Kind::Put => (event.written, after) = (id(stamp), id(stamp)),
                Kind::Delete => {
                    event.read = if is_missing { Value::Missing } else { Value::Present };
                    after = Value::Missing;
                }
                Kind::CompareAndSwap => {
                    event.read = value;
                    if is_missing {
                        (event.written, after) = (id(stamp), id(stamp));
                    }
                }
                _ => event.read = value,
            }
            if is_lost {
                event.outcome = Outcome::Unknown;
                if kind != Kind::CompareAndSwap {
                    event.read = Value::NotKnown;
                }
            }
            if is_executed {
                value = after;
            }
            events.push(event);
        }
    }
    events
}

fn how() -> How {
    How { limit: Limit { time: Duration::from_secs(600), states: 1 << 22 }, ..HOW }
}

fn is_decided(events: &[Event], is_legal: bool) {
    let decision = decide_alone(events, &how());
    match (&decision, is_legal) {
        (Decision::Search | Decision::Sweep, true) | (Decision::Violation(_), false) => {}
        _ => panic!("{decision:?}"),
    }
}

const MIXES: [Mix; 4] = [
    Mix { puts: 10, deletes: 5, creates: 0, unknown: 0 },
    Mix { puts: 30, deletes: 30, creates: 0, unknown: 0 },
    Mix { puts: 5, deletes: 20, creates: 20, unknown: 0 },
    Mix { puts: 20, deletes: 30, creates: 5, unknown: 20 },
];

const SHAPES: [(u64, u64, u64); 5] =
    [(4, 1, 4000), (64, 1, 4000), (16, 40, 300), (64, 100, 100), (8, 1000, 40)];

#[test]
fn hot_keys_with_deletes_are_decided() {
    for (seed, mix) in MIXES.into_iter().enumerate() {
        for (workers, batch, batches) in SHAPES {
            is_decided(&hot(mix, workers, batch, batches, seed as u64), true);
        }
    }
}

/// A PUT that everything before it ended before, and a DELETE and a miss.
fn with_a_miss(mut events: Vec<Event>, deleted: i64) -> Vec<Event> {
    let end = events.iter().map(|event| event.res).max().expect("there are operations");
    events.push(Event { written: id(u64::MAX), ..event(Kind::Delete, end + 1, end + deleted) });
    events.push(Event { written: id(u64::MAX - 1), ..event(Kind::Put, end + 2, end + 3) });
    events.push(Event { read: Value::Missing, ..event(Kind::Get, end + 4, end + 5) });
    events
}

#[test]
fn a_miss_too_many_on_a_hot_key_is_found() {
    for (seed, mix) in MIXES.into_iter().enumerate().filter(|(_, mix)| mix.unknown == 0) {
        for (workers, batch, batches) in SHAPES {
            let events = hot(mix, workers, batch, batches, seed as u64);
            is_decided(&with_a_miss(events.clone(), 2), true);
            is_decided(&with_a_miss(events, 1), false);
        }
    }
}

/// As many DELETEs that found something as there are PUTs, or one more, at the end.
fn with_removes(mut events: Vec<Event>, removes: u64) -> Vec<Event> {
    let end = events.iter().map(|event| event.res).max().expect("there are operations");
    events.push(Event { written: id(u64::MAX), ..event(Kind::Delete, end + 1, end + 1) });
    events.push(Event { written: id(u64::MAX - 1), ..event(Kind::Put, end + 2, end + 4) });
    for _ in 0..removes {
        events.push(Event { read: Value::Present, ..event(Kind::Delete, end + 2, end + 4) });
    }
    events
}

#[test]
fn a_delete_too_many_on_a_hot_key_is_found() {
    for (seed, mix) in MIXES.into_iter().enumerate().filter(|(_, mix)| mix.unknown == 0) {
        for (workers, batch, batches) in SHAPES {
            let events = hot(mix, workers, batch, batches, seed as u64);
            is_decided(&with_removes(events.clone(), 1), true);
            if batch > 1 {
                // All orders of all batches would have to be tried.
                continue;
            }
            is_decided(&with_removes(events, 2), false);
        }
    }
}

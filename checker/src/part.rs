//! Checks one part of a history: all operations of some keys.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rapidhash::RapidHashMap;

use crate::event::{Contradiction, Event, NEVER, NO_SEQUENCE, UNORDERED};
use crate::history::{Batch, Decoder, Key, Operation, Outcome, Record, Value, Written};
use crate::load::Tables;
use crate::object::{Bound, Decision, How, decide, decide_with_losses};
use crate::shrink::shrink;
use crate::witness::Stamps;

/// Violations that are shown; the others are counted.
const SHOWN_MAX: u32 = 8;
/// Undecided keys that are named.
const NAMED_MAX: usize = 8;
/// Events that a thread keeps room for between parts: 22 MiB.
const EVENTS_KEPT_MAX: usize = 1 << 18;
/// An object's search gets at least this long.
const SEARCH_LEAST: Duration = Duration::from_millis(10);

/// A violation, before it is put into words.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: Vec<u8>,
    pub(crate) contradiction: Contradiction,
    /// The operations, by invocation.
    pub(crate) events: Vec<Event>,
}

/// What the check of a part showed. Operations are counted unless another thing is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartResult {
    pub(crate) keys: u64,
    pub(crate) by_witness: u64,
    pub(crate) by_sweep: u64,
    pub(crate) by_search: u64,
    pub(crate) violating: u64,
    pub(crate) undecided: u64,
    pub(crate) keys_by_search: u64,
    pub(crate) keys_violating: u64,
    pub(crate) keys_undecided: u64,
    /// Keys whose witness was no legal order although the history is linearizable.
    pub(crate) keys_mismatched: u64,
    /// Some of those, and what kept them from being decided.
    pub(crate) undecided_keys: Vec<(Vec<u8>, Bound)>,
    pub(crate) found: Vec<Found>,
    /// Boots that share a key, in pairs.
    pub(crate) boot_pairs: Vec<(u32, u32)>,
}

impl PartResult {
    pub(crate) fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.by_witness += other.by_witness;
        self.by_sweep += other.by_sweep;
        self.by_search += other.by_search;
        self.violating += other.violating;
        self.undecided += other.undecided;
        self.keys_by_search += other.keys_by_search;
        self.keys_violating += other.keys_violating;
        self.keys_undecided += other.keys_undecided;
        self.keys_mismatched += other.keys_mismatched;
        self.undecided_keys.extend(other.undecided_keys);
        self.undecided_keys.truncate(NAMED_MAX);
        self.found.extend(other.found);
        self.boot_pairs.extend(other.boot_pairs);
        self.boot_pairs.sort_unstable();
        self.boot_pairs.dedup();
    }
}

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) how: How,
    /// Added to every file's own clock error, in nanoseconds.
    pub(crate) clock_error_ns: u64,
    /// Violations shown so far.
    pub(crate) shown: AtomicU32,
    /// Searches that ran out of time so far.
    pub(crate) exhausted: AtomicU32,
}

/// Checks a part's records; `operations` is how many there are.
pub(crate) fn check_part(
    common: &Common<'_>,
    bytes: &[u8],
    operations: u64,
    buffers: &mut Buffers,
) -> PartResult {
    let Buffers { decoded, events, stamps } = buffers;
    decoded.reserve_exact(operations as usize);
    let keys = decode(common, bytes, decoded);
    by_key(decoded, keys.len(), events);
    forget(decoded);
    let has_lives = common.tables.lives() > 1;
    for events in events.chunk_by_mut(|a, b| a.key == b.key) {
        if common.how.use_witness {
            events.sort_by_key(|event| (event.boot, event.sequence, event.stamp));
        } else if has_lives {
            events.sort_by_key(|event| event.boot);
        }
    }
    let mut result = PartResult { keys: keys.len() as u64, ..PartResult::default() };
    let mut before = None;
    for object in events.chunk_by(|a, b| (a.key, a.boot) == (b.key, b.boot)) {
        let (key, boot) = (object[0].key, object[0].boot);
        if let Some((_, other)) = before.replace((key, boot)).filter(|(other, _)| *other == key) {
            result.boot_pairs.push((other, boot));
        }
        check_object(common, &keys, object, stamps, &mut result);
    }
    forget(events);
    result
}

/// Memory that a thread uses for one part after the other.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    decoded: Vec<Event>,
    events: Vec<Event>,
    stamps: Stamps,
}

/// Empties a buffer, and keeps its memory unless that is much.
fn forget(buffer: &mut Vec<Event>) {
    buffer.clear();
    if buffer.capacity() > EVENTS_KEPT_MAX {
        *buffer = Vec::new();
    }
}

/// Brings events together by key, in the order in which they stand: moves each once, which takes a
/// fraction of the time of a sort.
fn by_key(decoded: &[Event], keys: usize, events: &mut Vec<Event>) {
    let mut ends = vec![0u32; keys + 1];
    for event in decoded {
        ends[event.key as usize + 1] += 1;
    }
    for key in 0..keys {
        ends[key + 1] += ends[key];
    }
    let Some(first) = decoded.first() else { return };
    events.resize(decoded.len(), *first);
    for event in decoded {
        let place = &mut ends[event.key as usize];
        events[*place as usize] = *event;
        *place += 1;
    }
}

fn check_object(
    common: &Common<'_>,
    keys: &[Key<'_>],
    events: &[Event],
    stamps: &mut Stamps,
    result: &mut PartResult,
) {
    let mut how = common.how;
    let halvings = common.exhausted.load(Ordering::Relaxed).min(20);
    how.limit.time = (how.limit.time / (1 << halvings)).max(SEARCH_LEAST);
    let (mut decision, is_mismatch) = decide(events, &how, stamps);
    let lost = &common.tables.lost_clients;
    if matches!(decision, Decision::Violation(_)) && !lost.is_empty() {
        decision = decide_with_losses(events, &how, |client| lost.contains(&client));
    }
    let count = events.len() as u64;
    result.keys_mismatched += u64::from(is_mismatch && lost.is_empty());
    match decision {
        Decision::Witness => result.by_witness += count,
        Decision::Sweep => result.by_sweep += count,
        Decision::Search => {
            result.by_search += count;
            result.keys_by_search += 1;
        }
        Decision::Undecided(bound) => {
            common.exhausted.fetch_add(1, Ordering::Relaxed);
            result.undecided += count;
            result.keys_undecided += 1;
            if result.undecided_keys.len() < NAMED_MAX {
                let key = keys[events[0].key as usize].to_bytes();
                result.undecided_keys.push((key, bound));
            }
        }
        Decision::Violation(contradiction) => {
            result.keys_mismatched -= u64::from(is_mismatch && lost.is_empty());
            result.violating += count;
            result.keys_violating += 1;
            if common.shown.fetch_add(1, Ordering::Relaxed) < SHOWN_MAX {
                let key = keys[events[0].key as usize].to_bytes();
                let (contradiction, events) = if lost.is_empty() {
                    shrink(events, &contradiction, &how)
                } else {
                    // Some of its operations may be assumed ones, which are not in the history.
                    let real = contradiction.events.iter();
                    let real = real.filter_map(|index| events.get(*index as usize).copied());
                    let mut real: Vec<Event> = real.collect();
                    real.sort_by_key(|event| event.inv);
                    (contradiction, real)
                };
                result.found.push(Found { key, contradiction, events });
            }
        }
    }
}

/// Turns records into events, and numbers the keys.
fn decode<'a>(common: &Common<'_>, bytes: &'a [u8], events: &mut Vec<Event>) -> Vec<Key<'a>> {
    let mut numbers: RapidHashMap<Key<'a>, u32> = RapidHashMap::default();
    let mut keys = Vec::new();
    let mut decoder = Decoder::new(bytes);
    let mut span = Span::default();
    while let Some(record) = decoder.next().expect("the part was written by this process") {
        match record {
            Record::Batch(batch) => span = Span::new(common, &batch),
            Record::Operation(operation) => {
                let key = *numbers.entry(operation.key).or_insert_with(|| {
                    keys.push(operation.key);
                    keys.len() as u32 - 1
                });
                let mut event = span.event(&operation, key);
                event.boot = common.tables.life(event.boot);
                events.push(event);
            }
        }
    }
    keys
}

/// What the events of a batch share.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    inv: i64,
    res: i64,
    client: u32,
    worker: u32,
}

impl Span {
    fn new(common: &Common<'_>, batch: &Batch) -> Self {
        let worker = &common.tables.workers[batch.worker as usize];
        let error = worker.clock.error_ns.saturating_add(common.clock_error_ns);
        let error = i64::try_from(error).unwrap_or(i64::MAX);
        let on_the_clock = |time: u64| (time as i64).saturating_add(worker.clock.offset_ns);
        // The extremes stand for the beginning and for operations without an end.
        let inside = |time: i64| time.clamp(i64::MIN + 1, NEVER - 1);
        Self {
            inv: inside(on_the_clock(batch.inv_ns).saturating_sub(error)),
            res: inside(on_the_clock(batch.res_ns).saturating_add(error)),
            client: worker.client,
            worker: batch.worker + if worker.is_ordered { 0 } else { UNORDERED },
        }
    }

    #[inline]
    fn event(&self, operation: &Operation<'_>, key: u32) -> Event {
        Event {
            inv: self.inv,
            res: if operation.outcome == Outcome::Unknown { NEVER } else { self.res },
            read: operation.read,
            written: match operation.written {
                Written::Nothing => Value::NotKnown,
                Written::Own => Value::Id { client: self.client, stamp: operation.stamp },
                Written::Id { client, stamp } => Value::Id { client, stamp },
                Written::Number(number) => Value::Number(number),
            },
            by: operation.by,
            stamp: operation.stamp,
            sequence: match operation.outcome {
                Outcome::Ok => operation.sequence.unwrap_or(NO_SEQUENCE),
                _ => NO_SEQUENCE,
            },
            worker: self.worker,
            key,
            boot: operation.boot as u32,
            kind: operation.kind,
            outcome: operation.outcome,
        }
    }
}

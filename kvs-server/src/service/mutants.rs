//! Faults of the service that tests switch on; see [`proto::mutants`].

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use proto::mutants::Mutant;

use super::{BatchHeader, Bytes, Group, Lane, OperationEntry, OperationKind, Operations, Outcome};
use super::{Record, Scratch, Service, Session, Store};

/// One batch in so many meets [`Mutant::HandlerCancelled`], one read [`Mutant::StaleCopy`].
const ONE_IN: u64 = 8;

thread_local! {
    /// The request that the connection is at.
    static REQUEST_ID: Cell<u64> = const { Cell::new(0) };
}

/// Records by session and request id.
static BY_REQUEST: LazyLock<Mutex<HashMap<(u64, u64), Record>>> = LazyLock::new(Mutex::default);
/// Copies of values by their key's hash; `None` for a missing key.
static COPIES: LazyLock<Mutex<HashMap<u64, Option<Vec<u8>>>>> = LazyLock::new(Mutex::default);

fn is_hit() -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) % ONE_IN == ONE_IN - 1
}

/// Whether a batch is applied whatever its session and number are, and forgotten.
pub(super) fn does_nothing_for_retries() -> bool {
    Mutant::NothingForRetries.is_active()
}

/// Whether the handler of this batch is cancelled: then half of each group has taken effect, there
/// is no record, and no reply will come.
pub(crate) fn is_cancelled(service: &Service, request_id: u64, body: &Bytes) -> bool {
    REQUEST_ID.set(request_id);
    Mutant::HandlerCancelled.is_active() && is_hit() && apply_half(service, body).is_some()
}

fn apply_half(service: &Service, body: &Bytes) -> Option<()> {
    let mut scratch = Scratch::default();
    let header = service.decode(body, &mut scratch).ok()?;
    let session = service.sessions.find(header.session, &*service.environment).ok()?;
    let lane = session.lane(header.lane).ok()?;
    let lane = lane.lock().expect("no holder of a lane panicked");
    let mut first = 0;
    for group in scratch.groups.iter().filter(|_| lane.next() == header.sequence) {
        let operations = group.operations as usize;
        let half = &scratch.entries[first..first + operations.div_ceil(2)];
        service.store.apply(group.partition, Operations::new(body, half), &mut Vec::new());
        first += operations;
    }
    (first > 0).then_some(())
}

/// Lets the first and the last PUT of a key in a group change places.
pub(super) fn reorder_equal_keys(groups: &[Group], entries: &mut [OperationEntry]) {
    if !Mutant::EqualKeysOutOfOrder.is_active() {
        return;
    }
    let mut first = 0;
    for group in groups {
        let run = &mut entries[first..first + group.operations as usize];
        first += run.len();
        for index in 0..run.len() {
            let is_alike = |entry: &OperationEntry| {
                entry.kind == OperationKind::Put && entry.hash == run[index].hash
            };
            if let Some(last) = run.iter().rposition(is_alike)
                && last > index
                && run[index].kind == OperationKind::Put
            {
                run.swap(index, last);
                break;
            }
        }
    }
}

/// Whether a batch that is sent again is applied again.
pub(super) fn applies_again() -> bool {
    Mutant::RetryAppliedTwice.is_active()
}

/// The record of the batch that came with this request's id before.
pub(super) fn record_of_request(
    service: &Service,
    header: &BatchHeader,
    lane: &mut Lane,
    session: &Session,
) -> Option<Record> {
    if !Mutant::RequestIdsForDuplicates.is_active() {
        return None;
    }
    let records = BY_REQUEST.lock().expect("no holder of the records panicked");
    let record = records.get(&(header.session.number, REQUEST_ID.get()))?.clone();
    if lane.next() == header.sequence {
        session.give_record_room(lane.forget(header.lowest_open));
        service.sessions.take_record_room(session, record.bytes(), &*service.environment).ok()?;
        lane.complete(record.clone());
    }
    Some(record)
}

/// Keeps the record of a batch under its request's id.
pub(super) fn keep_for_request(header: &BatchHeader, record: &Record) {
    if Mutant::RequestIdsForDuplicates.is_active() {
        let mut records = BY_REQUEST.lock().expect("no holder of the records panicked");
        records.insert((header.session.number, REQUEST_ID.get()), record.clone());
    }
}

/// What a copy says that is brought up to date with one read in [`ONE_IN`].
pub(super) fn stale_copy(hash: u64, outcome: Outcome<&[u8]>) -> Option<Option<Vec<u8>>> {
    if !Mutant::StaleCopy.is_active() {
        return None;
    }
    let current = match outcome {
        Outcome::Value(value) => Some(value.to_vec()),
        _ => None,
    };
    let mut copies = COPIES.lock().expect("no holder of the copies panicked");
    if is_hit() {
        copies.insert(hash, current.clone());
    }
    Some(copies.get(&hash).cloned().unwrap_or(current))
}

/// A copy as an outcome.
pub(super) fn as_outcome(copy: &Option<Vec<u8>>) -> Outcome<&[u8]> {
    copy.as_deref().map_or(Outcome::Missing, Outcome::Value)
}

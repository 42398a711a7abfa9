//! Sessions, their lanes, and the completion records that make a retried batch take effect once.
//!
//! A client opens a session and numbers its batches per *lane*, an ordered stream. A lane takes
//! exactly the next number. A lower one is answered from its record, a higher one is refused, and
//! nothing is parked. A record is written under the lane's lock together with the batch's effects,
//! and lives until the client says that it holds the reply: a batch names the lowest number that is
//! still open. Records hold what mutations did, never values, and are bounded in bytes: those of a
//! session, and those of all sessions together.
//!
//! A session lives as long as it is used once per lease. An expired one is refused as such: were it
//! made anew, a late retry would find no record and take effect twice.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use proto::batch::SessionId;
use proto::control::SessionOptions;
use proto::operation::Outcome;
use proto::reply::Refusal;

use crate::environment::Environment;

/// How long a session lives unused. Longer than any retry that a client should make.
pub const LEASE: Duration = Duration::from_secs(120);
/// Most sessions at once: one per client process and server, with room for a large testbed.
pub const SESSIONS_MAX: usize = 4096;
/// Most lanes of a session, closed ones included: one per worker, with room for failures.
pub const LANES_MAX: usize = 16_384;
/// Most bytes of completion records per session: 1,024 lanes with 8 open batches of 5,000
/// mutations each take 40 MiB.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Most bytes of completion records over all sessions, unless `-record_bytes_max` says otherwise:
/// 25 clients as large as the one above, or hundreds of ordinary ones.
pub const RECORD_BYTES_TOTAL: usize = 1 << 30;

/// Locks a mutex whose holders do not panic, short of a failed assertion of ours; then the state
/// may be torn, and to go on would break promises.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panicked")
}

/// All sessions of one life of the server.
#[derive(Debug)]
pub struct Sessions {
    boot_id: u64,
    born: Instant,
    record_room: Arc<RecordRoom>,
    table: Mutex<HashMap<u64, Arc<Session>>>,
}

/// Bytes of completion records, and their bound.
#[derive(Debug)]
struct RecordRoom {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl RecordRoom {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), bytes_max }
    }

    /// Takes room for so many bytes, if there is.
    fn take(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    /// Gives room back.
    fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Why a batch's completion record has no room. The batch is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRecordRoom {
    /// Its session has too many.
    #[error(
        "the session's completion records take {RECORD_BYTES_MAX} bytes; name a higher lowest open \
         number, or keep fewer batches open"
    )]
    Session,
    /// All sessions together have.
    #[error(
        "the completion records of all sessions take -record_bytes_max ({0} bytes); try again, or \
         start the server with a greater one"
    )]
    Server(usize),
}

impl Sessions {
    /// No sessions yet, in the boot with this id, whose completion records may take so many bytes
    /// together.
    pub fn new(boot_id: u64, record_bytes_max: usize, environment: &dyn Environment) -> Self {
        let record_room = Arc::new(RecordRoom::new(record_bytes_max));
        Self { boot_id, born: environment.now(), record_room, table: Mutex::default() }
    }

    /// Bytes of completion records, of all sessions.
    pub fn record_bytes(&self) -> usize {
        self.record_room.bytes.load(Ordering::Relaxed)
    }

    /// Takes room for a record of a session.
    ///
    /// # Errors
    ///
    /// When there is none in the session, or none in all, even without those that have expired.
    pub fn take_record_room(
        &self,
        session: &Session,
        bytes: usize,
        environment: &dyn Environment,
    ) -> Result<(), NoRecordRoom> {
        if !session.records.take(bytes) {
            return Err(NoRecordRoom::Session);
        }
        if self.record_room.take(bytes) {
            return Ok(());
        }
        let now_ms = self.elapsed_ms(environment);
        lock(&self.table).retain(|_, session| !session.is_expired(now_ms));
        if self.record_room.take(bytes) {
            return Ok(());
        }
        session.records.give(bytes);
        Err(NoRecordRoom::Server(self.record_room.bytes_max))
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        lock(&self.table).len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn elapsed_ms(&self, environment: &dyn Environment) -> u64 {
        environment.now().duration_since(self.born).as_millis() as u64
    }

    /// Opens a session, after dropping those whose lease has ended.
    ///
    /// # Errors
    ///
    /// [`Refusal::Throttled`] when [`SESSIONS_MAX`] are in use.
    pub fn open(
        &self,
        options: SessionOptions,
        environment: &dyn Environment,
    ) -> Result<SessionId, Refusal> {
        let now_ms = self.elapsed_ms(environment);
        let mut table = lock(&self.table);
        table.retain(|_, session| !session.is_expired(now_ms));
        if table.len() >= SESSIONS_MAX {
            return Err(Refusal::Throttled);
        }
        loop {
            let id = SessionId { boot_id: self.boot_id, number: environment.random_u64() };
            if let std::collections::hash_map::Entry::Vacant(entry) = table.entry(id.number) {
                let record_room = Arc::clone(&self.record_room);
                entry.insert(Arc::new(Session::new(id, options, now_ms, record_room)));
                return Ok(id);
            }
        }
    }

    /// The session with this id, used now.
    ///
    /// # Errors
    ///
    /// [`Refusal::WrongBoot`] or [`Refusal::SessionExpired`].
    pub fn find(
        &self,
        id: SessionId,
        environment: &dyn Environment,
    ) -> Result<Arc<Session>, Refusal> {
        if id.boot_id != self.boot_id {
            return Err(Refusal::WrongBoot);
        }
        let now_ms = self.elapsed_ms(environment);
        let mut table = lock(&self.table);
        let session = table.get(&id.number).ok_or(Refusal::SessionExpired)?;
        if session.is_expired(now_ms) {
            table.remove(&id.number);
            return Err(Refusal::SessionExpired);
        }
        session.used_ms.store(now_ms, Ordering::Relaxed);
        Ok(Arc::clone(session))
    }

    /// Ends a session. Batches of it that are being applied finish first, as they hold their lanes.
    pub fn close(&self, id: SessionId) {
        if id.boot_id == self.boot_id {
            let session = lock(&self.table).remove(&id.number);
            if let Some(session) = session {
                session.close();
            }
        }
    }
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    options: SessionOptions,
    used_ms: AtomicU64,
    records: RecordRoom,
    /// What all sessions share.
    all_records: Arc<RecordRoom>,
    lanes: Mutex<HashMap<u32, Arc<Mutex<Lane>>>>,
}

/// Its records go with it.
impl Drop for Session {
    fn drop(&mut self) {
        self.all_records.give(*self.records.bytes.get_mut());
    }
}

impl Session {
    fn new(
        id: SessionId,
        options: SessionOptions,
        now_ms: u64,
        all_records: Arc<RecordRoom>,
    ) -> Self {
        Self {
            id,
            options,
            used_ms: AtomicU64::new(now_ms),
            records: RecordRoom::new(RECORD_BYTES_MAX),
            all_records,
            lanes: Mutex::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What its client wanted.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    fn is_expired(&self, now_ms: u64) -> bool {
        let used_ms = self.used_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(used_ms) > LEASE.as_millis() as u64
    }

    /// The lane with this number; a new one begins with sequence number 1.
    ///
    /// # Errors
    ///
    /// [`Refusal::Throttled`] when the session has [`LANES_MAX`] lanes already.
    pub fn lane(&self, number: u32) -> Result<Arc<Mutex<Lane>>, Refusal> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(&number) {
            return Ok(Arc::clone(lane));
        }
        if lanes.len() >= LANES_MAX {
            return Err(Refusal::Throttled);
        }
        let lane = Arc::new(Mutex::new(Lane::default()));
        lanes.insert(number, Arc::clone(&lane));
        Ok(lane)
    }

    /// Closes a lane: what comes for it later is refused, and its records go.
    ///
    /// # Errors
    ///
    /// [`Refusal::Throttled`] as for [`lane`](Self::lane).
    pub fn close_lane(&self, number: u32) -> Result<(), Refusal> {
        let lane = self.lane(number)?;
        let freed = lock(&lane).close();
        self.give_record_room(freed);
        Ok(())
    }

    fn close(&self) {
        for lane in lock(&self.lanes).values() {
            let freed = lock(lane).close();
            self.give_record_room(freed);
        }
    }

    /// Gives back the room of records that went, or were smaller than they might have been.
    pub fn give_record_room(&self, bytes: usize) {
        self.records.give(bytes);
        self.all_records.give(bytes);
    }
}

/// What a lane does with a batch's number.
#[derive(Debug)]
pub enum Turn<'a> {
    /// It is the next: apply the batch, then [`complete`](Lane::complete).
    Now,
    /// It was applied before: answer from the record.
    Again(&'a Record),
    /// It is refused.
    Refused(Refusal),
}

/// One ordered stream of batches.
#[derive(Debug)]
pub struct Lane {
    next: u64,
    is_closed: bool,
    /// Consecutive, the last one numbered `next - 1`.
    records: VecDeque<Record>,
}

impl Default for Lane {
    fn default() -> Self {
        Self { next: 1, is_closed: false, records: VecDeque::new() }
    }
}

impl Lane {
    /// The number that the lane takes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Decides on the batch numbered `sequence` whose bytes have this digest.
    pub fn turn(&self, sequence: u64, digest: u64) -> Turn<'_> {
        if self.is_closed {
            return Turn::Refused(Refusal::LaneClosed);
        }
        if sequence == self.next {
            return Turn::Now;
        }
        let Some(age) = self.next.checked_sub(sequence) else {
            return Turn::Refused(Refusal::OutOfTurn);
        };
        let position =
            usize::try_from(age).ok().and_then(|age| self.records.len().checked_sub(age));
        match position.map(|position| &self.records[position]) {
            None => Turn::Refused(Refusal::RecordGone),
            Some(record) if record.digest != digest => Turn::Refused(Refusal::DifferentBytes),
            Some(record) => Turn::Again(record),
        }
    }

    /// Notes that the next batch was applied.
    pub fn complete(&mut self, record: Record) {
        self.records.push_back(record);
        self.next += 1;
    }

    /// Drops the records below `lowest_open`, whose replies the client holds, and returns the bytes
    /// that they took.
    pub fn forget(&mut self, lowest_open: u64) -> usize {
        let oldest = self.next - self.records.len() as u64;
        let held = usize::try_from(lowest_open.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let held = held.min(self.records.len());
        self.records.drain(..held).map(|record| record.bytes()).sum()
    }

    fn close(&mut self) -> usize {
        self.is_closed = true;
        self.records.drain(..).map(|record| record.bytes()).sum()
    }
}

/// What an applied batch did: enough to answer a retry.
#[derive(Debug)]
#[cfg_attr(feature = "mutants", derive(Clone))]
pub struct Record {
    digest: u64,
    outcomes: Box<[u8]>,
    apply_sequences: Box<[u64]>,
}

impl Record {
    /// The record of a batch whose bytes have this digest.
    pub fn new(digest: u64, outcomes: &RecordWriter, apply_sequences: &[u64]) -> Self {
        Self {
            digest,
            outcomes: outcomes.bytes.as_slice().into(),
            apply_sequences: apply_sequences.into(),
        }
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.outcomes.len() + self.apply_sequences.len() * 8
    }

    /// Most bytes that the record of a batch can take.
    pub const fn bytes_max(mutations: usize, groups: usize) -> usize {
        size_of::<Self>() + mutations * 9 + groups * 8
    }

    /// Apply sequences of the groups; none when the store counts none.
    pub fn apply_sequences(&self) -> &[u64] {
        &self.apply_sequences
    }

    /// The outcomes of the batch's mutations, in order.
    pub fn outcomes(&self) -> RecordReader<'_> {
        RecordReader { bytes: &self.outcomes }
    }
}

mod code {
    pub(super) const DONE: u8 = 0;
    pub(super) const MISSING: u8 = 1;
    pub(super) const COUNTER: u8 = 2;
    pub(super) const MISMATCH: u8 = 3;
    pub(super) const MISMATCH_MISSING: u8 = 4;
    pub(super) const NOT_AN_INTEGER: u8 = 5;
    pub(super) const OVERFLOW: u8 = 6;
    pub(super) const NOT_EXECUTED: u8 = 7;
}

/// Collects the outcomes of a batch's mutations; reusable.
#[derive(Debug, Default)]
pub struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    /// Forgets the last batch.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Notes a mutation's outcome. Values are not kept.
    pub fn push(&mut self, outcome: &Outcome<&[u8]>) {
        let code = match outcome {
            Outcome::Done => code::DONE,
            Outcome::Missing => code::MISSING,
            Outcome::Counter(count) => {
                self.bytes.push(code::COUNTER);
                self.bytes.extend_from_slice(&count.to_le_bytes());
                return;
            }
            Outcome::Mismatch(None) => code::MISMATCH_MISSING,
            Outcome::Mismatch(Some(_)) | Outcome::MismatchNotRecorded => code::MISMATCH,
            Outcome::NotAnInteger => code::NOT_AN_INTEGER,
            Outcome::Overflow => code::OVERFLOW,
            Outcome::Deferred | Outcome::NotRecorded | Outcome::WrongShard => code::NOT_EXECUTED,
            Outcome::Value(_) => unreachable!("only GETs have values"),
        };
        self.bytes.push(code);
    }
}

/// Reads a record's outcomes one by one.
#[derive(Debug)]
pub struct RecordReader<'a> {
    bytes: &'a [u8],
}

impl RecordReader<'_> {
    /// The next mutation's outcome.
    ///
    /// # Panics
    ///
    /// When the record holds fewer: it is read for another batch than it was written for.
    pub fn next_outcome(&mut self) -> Outcome<&'static [u8]> {
        let (&code, rest) = self.bytes.split_first().expect("a record holds every mutation");
        self.bytes = rest;
        match code {
            code::DONE => Outcome::Done,
            code::MISSING => Outcome::Missing,
            code::COUNTER => {
                let (count, rest) = self.bytes.split_at(8);
                self.bytes = rest;
                Outcome::Counter(i64::from_le_bytes(count.try_into().expect("eight bytes")))
            }
            code::MISMATCH => Outcome::MismatchNotRecorded,
            code::MISMATCH_MISSING => Outcome::Mismatch(None),
            code::NOT_AN_INTEGER => Outcome::NotAnInteger,
            code::OVERFLOW => Outcome::Overflow,
            _ => Outcome::NotRecorded,
        }
    }
}

#[cfg(test)]
mod tests;

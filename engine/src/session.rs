//! Sessions: a client's lanes, from its hello to its end.
//!
//! What is executed for a session holds its gate; the end of a session waits for all who do, and
//! whoever comes later finds it closed. So nothing is applied for it once its end has been told, also
//! not by a thread that had looked the session up before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};

use crate::lane::Lane;
use crate::lock;
use crate::room::Gauge;

/// Most lanes of a session, closed ones included: one per worker, with room for failures.
pub const LANES_MAX: usize = 16_384;

/// A session's lanes by number; `None` once it has ended.
type Lanes = Option<HashMap<u32, Mutex<Lane>>>;

/// One client's session.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    /// When it was used last, on the clock of whoever looks after leases: no part of the state.
    used_ms: AtomicU64,
    gate: RwLock<Lanes>,
    records: Gauge,
    /// What all sessions of the shard share.
    all_records: Arc<Gauge>,
}

impl Session {
    /// What its client wanted.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// When it was used last; see [`touch`](Self::touch).
    pub fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Notes that it is used. Leases are not the engine's: this is kept for those who look after
    /// them.
    pub fn touch(&self, now_ms: u64) {
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Holds the session open.
    ///
    /// # Errors
    ///
    /// [`Refusal::SessionExpired`] when it has ended.
    pub(crate) fn enter(&self) -> Result<Entered<'_>, Refusal> {
        let lanes = self.gate.read().expect("no holder of this gate panicked");
        if lanes.is_some() { Ok(Entered(lanes)) } else { Err(Refusal::SessionExpired) }
    }

    /// Makes a lane, if there is none of this number.
    ///
    /// # Errors
    ///
    /// [`Refusal::SessionExpired`] when the session has ended.
    pub(crate) fn open_lane(&self, number: u32) -> Result<(), Refusal> {
        let mut lanes = self.gate.write().expect("no holder of this gate panicked");
        let lanes = lanes.as_mut().ok_or(Refusal::SessionExpired)?;
        lanes.entry(number).or_default();
        Ok(())
    }

    /// Ends it, after what is being executed for it.
    pub(crate) fn close(&self) {
        let lanes = self.gate.write().expect("no holder of this gate panicked").take();
        let close = |lane: Mutex<Lane>| lane.into_inner().expect("as above").close();
        self.give_record_bytes(lanes.into_iter().flatten().map(|(_, lane)| close(lane)).sum());
    }

    /// Counts the bytes of a record that is kept.
    pub(crate) fn take_record_bytes(&self, bytes: usize) {
        self.records.take(bytes, usize::MAX);
        self.all_records.take(bytes, usize::MAX);
    }

    /// Counts bytes of records no more.
    pub(crate) fn give_record_bytes(&self, bytes: usize) {
        self.records.give(bytes);
        self.all_records.give(bytes);
    }
}

/// A session that does not end while this is held.
pub(crate) struct Entered<'a>(RwLockReadGuard<'a, Lanes>);

impl Entered<'_> {
    /// The lane with this number, if there is one.
    pub(crate) fn lane(&self, number: u32) -> Option<&Mutex<Lane>> {
        self.0.as_ref().expect("it was open when it was entered").get(&number)
    }

    /// Whether there is a lane of this number, or room for one.
    pub(crate) fn has_room_for_lane(&self, number: u32) -> bool {
        let lanes = self.0.as_ref().expect("it was open when it was entered");
        lanes.len() < LANES_MAX || lanes.contains_key(&number)
    }
}

/// Room for a completion record, reserved before its batch is applied. It goes back when this is
/// dropped; what is kept counts by itself.
#[derive(Debug)]
pub struct Room {
    session: Arc<Session>,
    bytes: usize,
}

impl Room {
    /// The session that it is reserved in.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.session.give_record_bytes(self.bytes);
    }
}

/// Why a completion record has no room. Its batch is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Its session has too many.
    #[error(
        "the session's completion records take {0} bytes; name a higher lowest open number, or \
         keep fewer batches open"
    )]
    Session(usize),
    /// All sessions together have.
    #[error(
        "the completion records of all sessions take -record_bytes_max ({0} bytes); try again, or \
         start the server with a greater one"
    )]
    Shard(usize),
}

/// All sessions of a shard.
#[derive(Debug)]
pub struct Sessions {
    data_id: u64,
    records: Arc<Gauge>,
    table: Mutex<HashMap<u64, Arc<Session>>>,
}

impl Sessions {
    /// No sessions yet, of the data with this identity.
    pub fn new(data_id: u64) -> Self {
        Self { data_id, records: Arc::default(), table: Mutex::default() }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// Bytes of completion records, of all sessions, those that are reserved included.
    pub fn record_bytes(&self) -> usize {
        self.records.bytes()
    }

    /// Opens one, unless there is one of this number; says whether it did.
    pub fn open(&self, number: u64, options: SessionOptions, now_ms: u64) -> bool {
        let mut table = lock(&self.table);
        let is_new = !table.contains_key(&number);
        table.entry(number).or_insert_with(|| {
            Arc::new(Session {
                options,
                used_ms: now_ms.into(),
                gate: RwLock::new(Some(HashMap::new())),
                records: Gauge::default(),
                all_records: Arc::clone(&self.records),
            })
        });
        is_new
    }

    /// The session with this id.
    ///
    /// # Errors
    ///
    /// [`Refusal::OtherData`] or [`Refusal::SessionExpired`].
    pub fn find(&self, id: SessionId) -> Result<Arc<Session>, Refusal> {
        if id.data_id != self.data_id {
            return Err(Refusal::OtherData);
        }
        lock(&self.table).get(&id.number).map(Arc::clone).ok_or(Refusal::SessionExpired)
    }

    /// Those that were last used before this time; see [`Session::used_ms`].
    pub fn unused_since(&self, before_ms: u64) -> Vec<SessionId> {
        let id = |number: &u64| SessionId { data_id: self.data_id, number: *number };
        let table = lock(&self.table);
        let idle = table.iter().filter(|(_, session)| session.used_ms() < before_ms);
        idle.map(|(number, _)| id(number)).collect()
    }

    /// Ends one, after what is being executed for it. It is found until then: whoever does not find
    /// it takes it for ended.
    pub fn close(&self, id: SessionId) {
        if let Ok(session) = self.find(id) {
            session.close();
            lock(&self.table).remove(&id.number);
        }
    }

    /// Reserves room for a record: at most so many bytes in its session, and in all sessions.
    ///
    /// # Errors
    ///
    /// Whose bound there is no room under.
    pub fn reserve(
        &self,
        session: &Arc<Session>,
        bytes: usize,
        session_bytes_max: usize,
        bytes_max: usize,
    ) -> Result<Room, NoRoom> {
        if !session.records.take(bytes, session_bytes_max) {
            return Err(NoRoom::Session(session_bytes_max));
        }
        if !self.records.take(bytes, bytes_max) {
            session.records.give(bytes);
            return Err(NoRoom::Shard(bytes_max));
        }
        Ok(Room { session: Arc::clone(session), bytes })
    }
}

#[cfg(test)]
mod tests;

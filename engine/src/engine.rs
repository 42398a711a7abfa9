//! Who answers: commands in, outcomes out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use model::operation::OperationKind;
use model::operations::{OperationEntry, Operations, runs};
use model::outcome::{Outcome, OutcomeSink, Replies, Shape};
use model::refusal::Refusal;
use model::session::SessionId;
use model::slots::Partitions;
use store::{PREFETCH_AHEAD, PREFETCH_ENTRIES_AHEAD, Store};

use crate::command::{Batch, Change, Command, Origin, Refused};
use crate::lane::{Lane, Turn};
use crate::lock;
use crate::ownership::Ownership;
use crate::record::{Record, RecordWriter};
use crate::session::{Room, Session, Sessions};
use crate::tally::Tally;

/// One shard's state.
#[derive(Debug)]
pub struct Engine<S> {
    data_id: u64,
    partitions: Partitions,
    store: S,
    counts_applies: bool,
    ownership: RwLock<Ownership>,
    clock_ms: AtomicU64,
    sessions: Sessions,
}

/// Takes no outcomes.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Replies for Nobody {
    fn begin(&mut self, _shape: &Shape) {}

    fn place(&self, _hash: u64) -> *const u8 {
        std::ptr::null()
    }

    fn outcome(&mut self, _hash: u64, _outcome: Outcome<&[u8]>) -> bool {
        true
    }

    fn not_kept(&mut self) {}

    fn apply_sequence(&mut self, _group: usize, _sequence: u64) {}
}

impl<S: Store> Engine<S> {
    /// A shard whose data has this identity, over an empty store.
    pub fn new(data_id: u64, store: S, ownership: Ownership) -> Self {
        Self {
            data_id,
            partitions: Partitions::new(store.partitions()),
            counts_applies: store.apply(0, Operations::new(&[], &[]), &mut Vec::new()).is_some(),
            store,
            ownership: RwLock::new(ownership),
            clock_ms: AtomicU64::new(0),
            sessions: Sessions::new(data_id),
        }
    }

    /// Identity of the shard's data.
    pub fn data_id(&self) -> u64 {
        self.data_id
    }

    /// How its slots are divided.
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// What holds its keys.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Its sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Its slots, which do not change while this is held: whoever holds it applies nothing.
    pub fn ownership(&self) -> RwLockReadGuard<'_, Ownership> {
        self.ownership.read().expect("no holder of the slots panicked")
    }

    /// The shard's own time, in milliseconds since 1970.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    /// Judges whether there is room for a batch, before it is applied, and reserves it for its record:
    /// records may take at most so many bytes in its session, and in all.
    ///
    /// # Errors
    ///
    /// Whatever would keep it from being applied, and [`Refusal::Throttled`].
    pub fn reserve(
        &self,
        batch: &Batch<'_>,
        origin: &Origin,
        session: &Arc<Session>,
        session_bytes_max: usize,
        bytes_max: usize,
    ) -> Result<Option<Room>, Refused> {
        if batch.mutations == 0 {
            return Ok(None);
        }
        let entered = session.enter()?;
        let mut forgettable = 0;
        if let Some(lane) = entered.lane(origin.lane) {
            let lane = lock(lane);
            if let Turn::Again(_) = lane.turn(origin)? {
                return Ok(None);
            }
            forgettable = lane.forgettable_bytes(origin.lowest_open);
        } else {
            Lane::default().turn(origin)?;
            if !entered.has_room_for_lane(origin.lane) {
                return Err(Refusal::Throttled.into());
            }
        }
        // A lane's own old records never keep it from going on.
        let bytes = Record::bytes_max(batch.mutations, batch.groups.len());
        let bytes = bytes.saturating_sub(forgettable);
        let reserved = self.sessions.reserve(session, bytes, session_bytes_max, bytes_max);
        reserved.map(Some).map_err(|full| Refused::because(Refusal::Throttled, full.to_string()))
    }

    /// Reserves a place for a lane that is about to be closed.
    ///
    /// # Errors
    ///
    /// [`Refusal::Throttled`], or whatever would keep it from being closed.
    pub fn reserve_lane(&self, session: SessionId, lane: u32) -> Result<(), Refused> {
        let session = self.sessions.find(session)?;
        let has_room = session.enter()?.has_room_for_lane(lane);
        if has_room { Ok(()) } else { Err(Refusal::Throttled.into()) }
    }

    /// Applies a command. The outcomes of a batch go to `replies`; `room` is what was reserved for
    /// it.
    ///
    /// # Errors
    ///
    /// Why nothing was applied.
    pub fn apply<R: Replies>(
        &self,
        command: &Command<'_>,
        room: Option<Room>,
        replies: &mut R,
    ) -> Result<Tally, Refused> {
        let Change::Batch(batch) = &command.change else {
            return self.change(command).map(|()| Tally::default());
        };
        self.clock_ms.fetch_max(command.now_ms, Ordering::Relaxed);
        match &batch.origin {
            None => self.execute(batch, None, replies, &mut RecordWriter::default()),
            Some(origin) => self.take_turn(batch, origin, room, replies),
        }
    }

    /// Applies a command that is no batch.
    ///
    /// # Errors
    ///
    /// Why nothing was applied.
    ///
    /// # Panics
    ///
    /// When it is a batch.
    pub fn change(&self, command: &Command<'_>) -> Result<(), Refused> {
        self.clock_ms.fetch_max(command.now_ms, Ordering::Relaxed);
        match &command.change {
            Change::Batch(_) => panic!("a batch is applied with what takes its outcomes"),
            Change::OpenSession { number, options } => {
                if self.sessions.open(*number, *options, command.now_ms) {
                    return Ok(());
                }
                let twice = "a session of this number is open; try another".to_owned();
                Err(Refused::because(Refusal::Throttled, twice))
            }
            Change::CloseSession(session) => {
                self.sessions.close(*session);
                Ok(())
            }
            Change::CloseLane(session, lane) => self.close_lane(*session, *lane),
            Change::Own(ownership) => {
                let mut owned = self.ownership.write().expect("no holder of the slots panicked");
                if ownership.epoch <= owned.epoch {
                    return Err(Refusal::StaleEpoch.into());
                }
                *owned = ownership.clone();
                Ok(())
            }
        }
    }

    fn close_lane(&self, session: SessionId, lane: u32) -> Result<(), Refused> {
        let session = self.sessions.find(session)?;
        let mut entered = session.enter()?;
        if entered.lane(lane).is_none() {
            drop(entered);
            session.open_lane(lane)?;
            entered = session.enter()?;
        }
        let freed = lock(entered.lane(lane).expect("it was opened")).close();
        session.give_record_bytes(freed);
        Ok(())
    }

    fn take_turn<R: Replies>(
        &self,
        batch: &Batch<'_>,
        origin: &Origin,
        room: Option<Room>,
        replies: &mut R,
    ) -> Result<Tally, Refused> {
        // Room is reserved in a session that was found; if that has ended since, it says so itself.
        let session = match &room {
            Some(room) => Arc::clone(room.session()),
            None => self.sessions.find(origin.session)?,
        };
        let mut entered = session.enter()?;
        if batch.mutations == 0 {
            let lane = entered.lane(origin.lane).map(lock);
            match &lane {
                Some(lane) => lane.turn_of_reads(origin.number)?,
                None => Lane::default().turn_of_reads(origin.number)?,
            }
            return self.execute(batch, Some(&session), replies, &mut RecordWriter::default());
        }
        if entered.lane(origin.lane).is_none() {
            Lane::default().turn(origin)?;
            drop(entered);
            session.open_lane(origin.lane)?;
            entered = session.enter()?;
        }
        let mut lane = lock(entered.lane(origin.lane).expect("it was opened"));
        if let Turn::Again(record) = lane.turn(origin)? {
            return Ok(self.replay(batch, record, replies));
        }
        let mut record = RecordWriter::with_capacity(batch.mutations, batch.groups.len());
        let tally = self.execute(batch, Some(&session), replies, &mut record)?;
        let record = record.finish(origin.digest);
        // Before anything is given back: others would take it, and the bound be passed for good.
        session.take_record_bytes(record.bytes());
        session.give_record_bytes(lane.forget(origin.lowest_open));
        drop(room);
        lane.complete(record);
        Ok(tally)
    }

    /// All effects of a batch, from the first to the last.
    fn execute<R: Replies>(
        &self,
        batch: &Batch<'_>,
        session: Option<&Session>,
        replies: &mut R,
        record: &mut RecordWriter,
    ) -> Result<Tally, Refused> {
        let ownership = self.ownership();
        check_owner(&ownership, batch)?;
        let Batch { frame, groups, entries, .. } = *batch;
        replies.begin(&Shape {
            operations: entries.len(),
            groups: groups.len(),
            has_sequences: self.counts_applies,
            is_recorded: false,
            send_repeats_once: session.is_some_and(|session| session.options().send_repeats_once),
        });
        let mut sink = Sink { entries, next: 0, tally: Tally::default(), replies, record };
        let mut index_hints = runs(frame, groups, entries);
        let mut entry_hints = runs(frame, groups, entries);
        for (partition, run) in index_hints.by_ref().take(PREFETCH_AHEAD) {
            self.store.prefetch(partition, run);
        }
        for (partition, run) in entry_hints.by_ref().take(PREFETCH_ENTRIES_AHEAD) {
            self.store.prefetch_entries(partition, run);
        }
        for (index, (partition, run)) in runs(frame, groups, entries).enumerate() {
            if let Some((partition, run)) = index_hints.next() {
                self.store.prefetch(partition, run);
            }
            if let Some((partition, run)) = entry_hints.next() {
                self.store.prefetch_entries(partition, run);
            }
            if let Some(sequence) = self.store.apply(partition, run, &mut sink) {
                sink.replies.apply_sequence(index, sequence);
                sink.record.push_apply_sequence(sequence);
            }
        }
        Ok(sink.tally)
    }

    /// The answer to a batch that was applied before.
    fn replay<R: Replies>(&self, batch: &Batch<'_>, record: &Record, replies: &mut R) -> Tally {
        replies.begin(&Shape {
            operations: batch.entries.len(),
            groups: batch.groups.len(),
            has_sequences: self.counts_applies,
            is_recorded: true,
            send_repeats_once: false,
        });
        for (group, sequence) in record.apply_sequences().iter().enumerate() {
            replies.apply_sequence(group, *sequence);
        }
        let mut outcomes = record.outcomes();
        for entry in batch.entries {
            if entry.kind.is_mutation() {
                replies.outcome(entry.hash, outcomes.next_outcome());
            } else {
                replies.not_kept();
            }
        }
        Tally { replayed: batch.entries.len() as u64, ..Tally::default() }
    }
}

/// Whether the shard owns all keys of a batch that was routed by its own map.
fn check_owner(ownership: &Ownership, batch: &Batch<'_>) -> Result<(), Refused> {
    if let Some(epoch) = batch.epoch.filter(|epoch| *epoch != ownership.epoch) {
        let detail = format!("the map of slots has epoch {}, the batch {epoch}", ownership.epoch);
        return Err(Refused::because(Refusal::StaleEpoch, detail));
    }
    let is_owner = match batch.judged {
        (epoch, is_owner) if epoch == ownership.epoch => is_owner,
        _ => ownership.owns(Operations::new(batch.frame, batch.entries)),
    };
    if is_owner { Ok(()) } else { Err(Refusal::NotOwned.into()) }
}

/// Takes a store's outcomes into the answer, the record and the tally.
struct Sink<'a, R> {
    entries: &'a [OperationEntry],
    next: usize,
    tally: Tally,
    replies: &'a mut R,
    record: &'a mut RecordWriter,
}

impl<R: Replies> Sink<'_, R> {
    #[cold]
    fn push_mutation(&mut self, kind: OperationKind, hash: u64, outcome: Outcome<&[u8]>) {
        self.replies.outcome(hash, outcome);
        self.record.push(&outcome);
        self.tally.add_mutation(kind);
    }
}

impl<R: Replies> OutcomeSink for Sink<'_, R> {
    #[inline]
    fn place(&self, hash: u64) -> *const u8 {
        self.replies.place(hash)
    }

    #[inline]
    fn push(&mut self, hash: u64, outcome: Outcome<&[u8]>) {
        let kind = self.entries[self.next].kind;
        self.next += 1;
        if kind != OperationKind::Get {
            return self.push_mutation(kind, hash, outcome);
        }
        let is_told = self.replies.outcome(hash, outcome);
        self.tally.add_get(&outcome, is_told);
    }
}

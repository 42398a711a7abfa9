//! Batch in, reply out: the only code that knows both the wire and the store.
//!
//! A batch passes four gates before its first effect: its bytes are decoded and checked as a whole,
//! its epoch and session must be this server's, and its lane must expect its number. From the first
//! effect to the last there is no `.await`, so that no cancellation can cut a batch in two.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use proto::batch::{self, BatchError, BatchHeader, Group, Placement};
use proto::codec::BufferPool;
use proto::control::{ControlRequest, ControlResponse, Hello};
use proto::limits::DETAIL_BYTES_MAX;
use proto::operation::{OperationEntry, OperationKind, Operations, Outcome, OutcomeSink};
use proto::reply::{self, Refusal, ReplyBuilder, ReplyHeader, ReplyShape};
use proto::shard_map::{PartitionMap, Place, slot_of};
use store::{AnyStore, PREFETCH_AHEAD, PREFETCH_ENTRIES_AHEAD, Store, StoreKind};

use crate::environment::Environment;
use crate::session::{
    LEASE, Lane, RECORD_BYTES_TOTAL, Record, RecordReader, RecordWriter, Session, Sessions, Turn,
};
use crate::statistics::{BatchCounts, Statistics};

/// The shard map's epoch: maps do not change while servers run, so there is one.
pub const EPOCH: u32 = 1;
/// Most barriers at once; the oldest run's makes room.
const BARRIERS_MAX: usize = 256;
/// Most participants of a barrier.
const PARTICIPANTS_MAX: u32 = 65_536;

/// What a service is made of.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The server's place among its peers.
    pub place: Place,
    /// Which store holds the keys.
    pub store_kind: StoreKind,
    /// Lock domains.
    pub partitions: u32,
    /// Threads that serve, as the hello tells them.
    pub threads: u32,
}

/// One shard: its keys, its sessions, and what is asked of them.
pub struct Service {
    boot_id: u64,
    config: ServiceConfig,
    partition_map: PartitionMap,
    store: AnyStore,
    counts_applies: bool,
    digest_seed: u64,
    sessions: Sessions,
    barriers: Mutex<Vec<Barrier>>,
    scratches: Mutex<Vec<Scratch>>,
    buffers: BufferPool,
    statistics: Arc<Statistics>,
    environment: Arc<dyn Environment>,
}

struct Barrier {
    run_id: u64,
    name: String,
    participants: u32,
    arrived: HashSet<u32>,
}

/// Memory that a batch needs while it is applied. The service keeps as many as batches were ever
/// applied at the same time, and hands out the one that was used last.
#[derive(Debug, Default)]
struct Scratch {
    groups: Vec<Group>,
    entries: Vec<OperationEntry>,
    reply: ReplyBuilder,
    record: RecordWriter,
    apply_sequences: Vec<u64>,
}

impl Service {
    /// An empty shard.
    pub fn new(
        config: ServiceConfig,
        environment: Arc<dyn Environment>,
        statistics: Arc<Statistics>,
    ) -> Self {
        let boot_id = environment.random_u64();
        let partition_map = PartitionMap::new(config.place, config.partitions);
        let store = AnyStore::with_seed(
            config.store_kind,
            partition_map.partitions(),
            environment.random_u64(),
        );
        let partition_map = PartitionMap::new(config.place, store.partitions());
        let nothing = Operations::new(&[], &[]);
        Self {
            boot_id,
            counts_applies: store.apply(0, nothing, &mut Vec::new()).is_some(),
            config,
            partition_map,
            store,
            digest_seed: environment.random_u64(),
            sessions: Sessions::new(boot_id, RECORD_BYTES_TOTAL, &*environment),
            barriers: Mutex::default(),
            scratches: Mutex::default(),
            buffers: BufferPool::default(),
            statistics,
            environment,
        }
    }

    /// The same with another bound on the bytes of completion records over all sessions.
    pub fn with_record_bytes_max(mut self, record_bytes_max: usize) -> Self {
        self.sessions = Sessions::new(self.boot_id, record_bytes_max, &*self.environment);
        self
    }

    /// Random number of this life of the server.
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }

    /// How many keys the shard holds.
    pub fn keys(&self) -> usize {
        self.store.len()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Bytes that completion records take, over all sessions.
    pub fn record_bytes(&self) -> usize {
        self.sessions.record_bytes()
    }

    /// Lock domains.
    pub fn partitions(&self) -> u32 {
        self.partition_map.partitions()
    }

    /// The counters that batches are added to.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The buffers that replies are built in, to be given back when they were sent.
    pub fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// Applies a batch; returns its reply, and how many operations it had.
    pub fn batch(&self, body: &Bytes) -> (BytesMut, usize) {
        let scratch = self.scratches.lock().expect("no holder of the scratches panicked").pop();
        let mut scratch = scratch.unwrap_or_default();
        let reply = self.answer(body, &mut scratch, self.buffers.take());
        let operations = scratch.entries.len();
        self.scratches.lock().expect("no holder of the scratches panicked").push(scratch);
        (reply, operations)
    }

    fn answer(&self, body: &Bytes, scratch: &mut Scratch, buffer: BytesMut) -> BytesMut {
        let header = match self.decode(body, scratch) {
            Ok(header) => header,
            Err(error) => return self.refuse_malformed(body, &error),
        };
        if header.epoch != EPOCH {
            let detail = format!("the shard map has epoch {EPOCH}, the batch {}", header.epoch);
            return self.refuse(header.sequence, Refusal::StaleEpoch, &detail);
        }
        #[cfg(feature = "mutants")]
        if mutants::does_nothing_for_retries() {
            return self.apply(&header, body, true, scratch, buffer);
        }
        let session = self.sessions.find(header.session, &*self.environment);
        let lane = session.and_then(|session| Ok((session.lane(header.lane)?, session)));
        match lane {
            Ok((lane, session)) => {
                let mut lane = lane.lock().expect("no holder of a lane panicked");
                self.take_turn(&header, body, &mut lane, &session, scratch, buffer)
            }
            Err(refusal) => self.refuse(header.sequence, refusal, explain(refusal)),
        }
    }

    /// Decodes a batch and checks it as a whole.
    fn decode(&self, body: &Bytes, scratch: &mut Scratch) -> Result<BatchHeader, BatchError> {
        let Scratch { groups, entries, .. } = scratch;
        let header = batch::decode(body, self, groups, entries)?;
        #[cfg(feature = "mutants")]
        mutants::reorder_equal_keys(groups, entries);
        // Own keys vouch for their group's partition; foreign keys belong to none.
        let greatest = groups.last().expect("a batch has a group").partition;
        if greatest >= self.partitions() {
            return Err(BatchError::OutOfBounds {
                what: "a group's partition",
                got: greatest.into(),
                bounds: "one of the server's",
            });
        }
        Ok(header)
    }

    fn take_turn(
        &self,
        header: &BatchHeader,
        body: &Bytes,
        lane: &mut Lane,
        session: &Session,
        scratch: &mut Scratch,
        buffer: BytesMut,
    ) -> BytesMut {
        let digest = rapidhash::v3::rapidhash_v3_seeded(
            body,
            &rapidhash::v3::RapidSecrets::seed_cpp(self.digest_seed),
        );
        #[cfg(feature = "mutants")]
        if let Some(record) = mutants::record_of_request(self, header, lane, session) {
            return self.replay(header, &record, scratch, buffer);
        }
        match lane.turn(header.sequence, digest) {
            Turn::Now => {
                // First of all, so that a lane's own old records never keep it from going on.
                session.give_record_room(lane.forget(header.lowest_open));
                let room = Record::bytes_max(scratch.mutations(), scratch.groups.len());
                let taken = self.sessions.take_record_room(session, room, &*self.environment);
                if let Err(full) = taken {
                    let detail = full.to_string();
                    return self.refuse(header.sequence, Refusal::Throttled, &detail);
                }
                let repeats = session.options().send_repeats_once;
                let reply = self.apply(header, body, repeats, scratch, buffer);
                let record = Record::new(digest, &scratch.record, &scratch.apply_sequences);
                #[cfg(feature = "mutants")]
                mutants::keep_for_request(header, &record);
                session.give_record_room(room - record.bytes());
                lane.complete(record);
                reply
            }
            #[cfg(feature = "mutants")]
            Turn::Again(_) if mutants::applies_again() => {
                self.apply(header, body, false, scratch, buffer)
            }
            Turn::Again(record) => self.replay(header, record, scratch, buffer),
            Turn::Refused(Refusal::OutOfTurn) => {
                self.refuse(lane.next(), Refusal::OutOfTurn, explain(Refusal::OutOfTurn))
            }
            Turn::Refused(refusal) => self.refuse(header.sequence, refusal, explain(refusal)),
        }
    }

    /// All effects of a batch, from the first to the last.
    fn apply(
        &self,
        header: &BatchHeader,
        body: &Bytes,
        send_repeats_once: bool,
        scratch: &mut Scratch,
        buffer: BytesMut,
    ) -> BytesMut {
        let Scratch { groups, entries, reply, record, apply_sequences } = scratch;
        let shape = ReplyShape {
            operations: entries.len(),
            groups: groups.len(),
            has_sequences: self.counts_applies,
            is_recorded: false,
            send_repeats_once,
        };
        reply.begin(buffer, &self.reply_header(header.sequence), &shape);
        record.clear();
        apply_sequences.clear();
        let mut sink = Sink { entries, next: 0, counts: BatchCounts::default(), reply, record };
        let mut index_hints = runs(body, groups, entries);
        let mut entry_hints = runs(body, groups, entries);
        for (partition, run) in index_hints.by_ref().take(PREFETCH_AHEAD) {
            self.store.prefetch(partition, run);
        }
        for (partition, run) in entry_hints.by_ref().take(PREFETCH_ENTRIES_AHEAD) {
            self.store.prefetch_entries(partition, run);
        }
        for (index, (partition, run)) in runs(body, groups, entries).enumerate() {
            if let Some((partition, run)) = index_hints.next() {
                self.store.prefetch(partition, run);
            }
            if let Some((partition, run)) = entry_hints.next() {
                self.store.prefetch_entries(partition, run);
            }
            if let Some(sequence) = self.store.apply(partition, run, &mut sink) {
                sink.reply.set_apply_sequence(index, sequence);
                apply_sequences.push(sequence);
            }
        }
        self.statistics.add_batch(&sink.counts);
        reply.finish()
    }

    /// The answer to a batch that was applied before.
    fn replay(
        &self,
        header: &BatchHeader,
        record: &Record,
        scratch: &mut Scratch,
        buffer: BytesMut,
    ) -> BytesMut {
        let Scratch { groups, entries, reply, .. } = scratch;
        let shape = ReplyShape {
            operations: entries.len(),
            groups: groups.len(),
            has_sequences: self.counts_applies,
            is_recorded: true,
            send_repeats_once: false,
        };
        reply.begin(buffer, &self.reply_header(header.sequence), &shape);
        for (group, sequence) in record.apply_sequences().iter().enumerate() {
            reply.set_apply_sequence(group, *sequence);
        }
        let mut outcomes: RecordReader<'_> = record.outcomes();
        for entry in entries.iter() {
            let outcome = match entry.kind {
                OperationKind::Get => Outcome::NotRecorded,
                OperationKind::Foreign => Outcome::WrongShard,
                _ => outcomes.next_outcome(),
            };
            reply.push(entry.hash, outcome);
        }
        self.statistics.add_replayed(entries.len() as u64);
        reply.finish()
    }

    fn reply_header(&self, sequence: u64) -> ReplyHeader {
        ReplyHeader { boot_id: self.boot_id, sequence, epoch: EPOCH }
    }

    fn refuse(&self, sequence: u64, refusal: Refusal, detail: &str) -> BytesMut {
        reply::refuse(&self.reply_header(sequence), refusal, detail)
    }

    fn refuse_malformed(&self, body: &[u8], error: &BatchError) -> BytesMut {
        let sequence = batch::read_header(body).map_or(0, |header| header.sequence);
        self.refuse(sequence, Refusal::Malformed, &error.to_string())
    }

    /// Answers a control call.
    pub fn control(&self, request: ControlRequest) -> ControlResponse {
        match request {
            ControlRequest::Ping => ControlResponse::Pong { boot_id: self.boot_id },
            ControlRequest::Hello { open_session } => {
                let session = match open_session {
                    None => None,
                    Some(options) => match self.sessions.open(options, &*self.environment) {
                        Ok(session) => Some(session),
                        Err(refusal) => return refused(refusal),
                    },
                };
                ControlResponse::Hello(Box::new(self.hello(session)))
            }
            ControlRequest::Statistics => ControlResponse::Statistics(proto::control::Statistics {
                operations: self.statistics.snapshot().operations(),
                keys: self.keys() as u64,
                sessions: self.sessions() as u64,
                connections: self.statistics.connections(),
            }),
            ControlRequest::Barrier { run_id, name, participant, participants } => {
                self.arrive(run_id, name, participant, participants)
            }
            ControlRequest::CloseLane { session, lane } => {
                let closed = self
                    .sessions
                    .find(session, &*self.environment)
                    .and_then(|session| session.close_lane(lane));
                closed.map_or_else(refused, |()| ControlResponse::Closed)
            }
            ControlRequest::CloseSession { session } => {
                self.sessions.close(session);
                ControlResponse::Closed
            }
        }
    }

    fn hello(&self, session: Option<proto::batch::SessionId>) -> Hello {
        let (memory_free_bytes, memory_total_bytes) = host_memory();
        Hello {
            boot_id: self.boot_id,
            session,
            session_lease_ms: LEASE.as_millis() as u64,
            place: self.config.place,
            epoch: EPOCH,
            partitions: self.partitions(),
            store: self.config.store_kind.to_string(),
            keys: self.keys() as u64,
            memory_free_bytes,
            memory_total_bytes,
            host: sysinfo::System::host_name().unwrap_or_default(),
            threads: self.config.threads,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn arrive(
        &self,
        run_id: u64,
        name: String,
        participant: u32,
        participants: u32,
    ) -> ControlResponse {
        if participant >= participants || participants > PARTICIPANTS_MAX {
            return ControlResponse::Refused(format!(
                "participant {participant} of {participants}: the index counts from 0 and stays \
                 below the number of participants, at most {PARTICIPANTS_MAX}"
            ));
        }
        if name.len() > DETAIL_BYTES_MAX {
            return ControlResponse::Refused("the barrier's name is too long".to_owned());
        }
        let mut barriers = self.barriers.lock().expect("no holder of the barriers panicked");
        let found = barriers.iter().position(|known| known.run_id == run_id && known.name == name);
        let index = found.unwrap_or_else(|| {
            if barriers.len() >= BARRIERS_MAX {
                barriers.remove(0);
            }
            barriers.push(Barrier { run_id, name, participants, arrived: HashSet::new() });
            barriers.len() - 1
        });
        let barrier = &mut barriers[index];
        if barrier.participants != participants {
            return ControlResponse::Refused(format!(
                "this barrier of run {run_id:x} expects {} participants, not {participants}; give \
                 every client the same -client_count, and each run its own -run_id",
                barrier.participants
            ));
        }
        barrier.arrived.insert(participant);
        ControlResponse::Barrier { arrived: barrier.arrived.len() as u32 }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Placement for Service {
    #[inline]
    fn partition_of(&self, key: &[u8]) -> Option<u32> {
        self.partition_map.partition_of(slot_of(key))
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        self.store.hash(key)
    }
}

impl Scratch {
    fn mutations(&self) -> usize {
        self.entries.iter().filter(|entry| entry.kind.is_mutation()).count()
    }
}

/// A batch's groups, each with its partition.
fn runs<'a>(
    body: &'a [u8],
    groups: &'a [Group],
    entries: &'a [OperationEntry],
) -> impl Iterator<Item = (u32, Operations<'a>)> {
    groups.iter().scan(0, move |first, group| {
        let range = *first..*first + group.operations as usize;
        *first = range.end;
        Some((group.partition, Operations::new(body, &entries[range])))
    })
}

/// Takes a store's outcomes into the reply, the record and the counts.
struct Sink<'a> {
    entries: &'a [OperationEntry],
    next: usize,
    counts: BatchCounts,
    reply: &'a mut ReplyBuilder,
    record: &'a mut RecordWriter,
}

impl Sink<'_> {
    #[cold]
    fn push_mutation(&mut self, kind: OperationKind, hash: u64, outcome: Outcome<&[u8]>) {
        let executed = self.reply.push_outcome(hash, outcome);
        if kind == OperationKind::Foreign {
            self.counts.refused += 1;
            return;
        }
        if !executed {
            self.record.push(&Outcome::Deferred);
            self.counts.refused += 1;
            return;
        }
        self.record.push(&outcome);
        match kind {
            OperationKind::Put => self.counts.puts += 1,
            OperationKind::Delete => self.counts.deletes += 1,
            OperationKind::CompareAndSwap => self.counts.compare_and_swaps += 1,
            OperationKind::Increment => self.counts.increments += 1,
            OperationKind::Get | OperationKind::Foreign => unreachable!("handled by the caller"),
        }
    }
}

impl OutcomeSink for Sink<'_> {
    #[inline]
    fn place(&self, hash: u64) -> *const u8 {
        self.reply.place(hash)
    }

    #[inline]
    fn push(&mut self, hash: u64, outcome: Outcome<&[u8]>) {
        let kind = self.entries[self.next].kind;
        self.next += 1;
        if kind != OperationKind::Get {
            return self.push_mutation(kind, hash, outcome);
        }
        #[cfg(feature = "mutants")]
        let stale = mutants::stale_copy(hash, outcome);
        #[cfg(feature = "mutants")]
        let outcome = stale.as_ref().map_or(outcome, mutants::as_outcome);
        if !self.reply.push_outcome(hash, outcome) {
            self.counts.refused += 1;
            return;
        }
        self.counts.gets += 1;
        self.counts.hits += u64::from(matches!(outcome, Outcome::Value(_)));
    }
}

/// Free and all memory of this host in bytes, within its control group; 0 when unknown.
fn host_memory() -> (u64, u64) {
    let Ok(mut system) = sysinfo::System::new() else { return (0, 0) };
    system.refresh_memory();
    let host = (system.available_memory(), system.total_memory());
    system
        .cgroup_limits()
        .map_or(host, |limits| (host.0.min(limits.free_memory), host.1.min(limits.total_memory)))
}

fn refused(refusal: Refusal) -> ControlResponse {
    ControlResponse::Refused(explain(refusal).to_owned())
}

/// What a refusal means, in words.
fn explain(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed => "the batch is malformed",
        Refusal::StaleEpoch => "the shard map has changed; connect again",
        Refusal::WrongBoot => "the session belongs to an earlier life of this server",
        Refusal::SessionExpired => "the session is not known, or its lease has ended",
        Refusal::OutOfTurn => "a batch before this one has not arrived",
        Refusal::DifferentBytes => "this number was used by a batch with other bytes",
        Refusal::RecordGone => "the client said that it holds the reply to this number",
        Refusal::Throttled => "a bound on sessions or lanes is reached",
        Refusal::LaneClosed => "the lane was closed",
        Refusal::Stopping => "the server is ending",
    }
}

#[cfg(feature = "mutants")]
pub(crate) mod mutants;
#[cfg(test)]
mod tests;

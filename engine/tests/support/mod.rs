//! What the engine's tests share: commands that own their bytes, and shards that note what they
//! answer.

#![allow(dead_code, reason = "each test uses its part")]

use std::hash::{DefaultHasher, Hash, Hasher};

use engine::{
    Batch, Change, Command, Engine, Origin, Ownership, Refused, Replies, Room, Shape, Tally,
};
use model::operation::{Action, Operation};
use model::operations::{Group, OperationEntry};
use model::outcome::Outcome;
use model::session::{SessionId, SessionOptions};
use model::slot::slot_of;
use model::slots::{Shard, SlotSet};
use model::write_argument;
use store::{AnyStore, Store, StoreKind};

pub(crate) const DATA: u64 = 9;
pub(crate) const PARTITIONS: u32 = 4;
/// The epoch that a shard begins with.
pub(crate) const EPOCH: u32 = 1;
/// A judgement of an epoch that no shard has: the keys are judged by the engine.
pub(crate) const UNJUDGED: (u32, bool) = (0, false);

pub(crate) fn session(number: u64) -> SessionId {
    SessionId { data_id: DATA, number }
}

pub(crate) fn open(number: u64) -> Change<'static> {
    Change::OpenSession { number, options: SessionOptions { send_repeats_once: true } }
}

/// The slots of these keys, and no others.
pub(crate) fn own(epoch: u32, keys: &[&str]) -> Ownership {
    let mut slots = SlotSet::empty();
    for slot in keys.iter().map(|key| slot_of(key.as_bytes())) {
        slots.insert(slot..=slot);
    }
    Ownership { epoch, slots }
}

pub(crate) fn partitioned(seed: u64) -> AnyStore {
    AnyStore::with_seed(StoreKind::Partitioned, PARTITIONS, seed)
}

/// A shard that owns every slot.
pub(crate) fn shard<S: Store>(store: S) -> Engine<S> {
    Engine::new(DATA, store, Ownership { epoch: EPOCH, slots: Shard::SOLE.first_slots() })
}

/// A shard with session 1.
pub(crate) fn shard_with_session() -> Engine<AnyStore> {
    let engine = shard(partitioned(1));
    change(&engine, open(1)).unwrap();
    engine
}

/// What is asked of a key.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Ask {
    Get,
    Put(Vec<u8>),
    Delete,
    Swap(Option<Vec<u8>>, Vec<u8>),
    Add(i64),
}

impl Ask {
    fn action(&self) -> Action<'_> {
        match self {
            Self::Get => Action::Get,
            Self::Put(value) => Action::Put { value },
            Self::Delete => Action::Delete,
            Self::Swap(expected, value) => {
                Action::CompareAndSwap { expected: expected.as_deref(), value }
            }
            Self::Add(by) => Action::Increment { by: *by },
        }
    }
}

/// A batch that owns its bytes and lies in no store's order yet.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) origin: Option<Origin>,
    pub(crate) epoch: Option<u32>,
    pub(crate) operations: Vec<(&'static str, Ask)>,
}

impl Request {
    /// Of nobody who will ask again.
    pub(crate) fn unnumbered(operations: &[(&'static str, Ask)]) -> Self {
        Self { origin: None, epoch: None, operations: operations.to_vec() }
    }

    /// Of session 1.
    pub(crate) fn new(lane: u32, number: u64, operations: &[(&'static str, Ask)]) -> Self {
        let mut hasher = DefaultHasher::new();
        operations.hash(&mut hasher);
        let digest = hasher.finish();
        let origin = Origin { session: session(1), lane, number, lowest_open: 1, digest };
        Self { origin: Some(origin), ..Self::unnumbered(operations) }
    }

    pub(crate) fn at_epoch(self, epoch: u32) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    pub(crate) fn mutations(&self) -> usize {
        self.operations.iter().filter(|(_, ask)| !matches!(ask, Ask::Get)).count()
    }
}

/// A request as one shard needs it: by partition, with the hashes of its store.
pub(crate) struct Layout<'a> {
    request: &'a Request,
    frame: Vec<u8>,
    groups: Vec<Group>,
    entries: Vec<OperationEntry>,
}

impl<'a> Layout<'a> {
    pub(crate) fn new<S: Store>(engine: &Engine<S>, request: &'a Request) -> Self {
        let partition = |key: &str| engine.partitions().of(slot_of(key.as_bytes()));
        let mut operations: Vec<_> = request.operations.iter().collect();
        operations.sort_by_key(|(key, _)| partition(key));
        let mut layout =
            Self { request, frame: Vec::new(), groups: Vec::new(), entries: Vec::new() };
        for (key, ask) in operations {
            layout.push(Operation { key: key.as_bytes(), action: ask.action() }, engine.store());
            match layout.groups.last_mut() {
                Some(group) if group.partition == partition(key) => group.operations += 1,
                _ => layout.groups.push(Group { partition: partition(key), operations: 1 }),
            }
        }
        layout
    }

    fn push<S: Store>(&mut self, operation: Operation<'_>, store: &S) {
        let key_offset = self.frame.len();
        self.frame.extend_from_slice(operation.key);
        let argument_offset = self.frame.len();
        write_argument(&operation.action, &mut self.frame);
        self.entries.push(OperationEntry {
            hash: store.hash(operation.key),
            key_offset: key_offset as u32,
            argument_offset: argument_offset as u32,
            argument_bytes: (self.frame.len() - argument_offset) as u32,
            key_bytes: operation.key.len() as u16,
            kind: operation.kind(),
        });
    }

    pub(crate) fn batch(&self, judged: (u32, bool)) -> Batch<'_> {
        Batch {
            origin: self.request.origin,
            epoch: self.request.epoch,
            judged,
            mutations: self.request.mutations(),
            frame: &self.frame,
            groups: &self.groups,
            entries: &self.entries,
        }
    }
}

/// What is told of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Outcome(Outcome<Vec<u8>>),
    /// A read's value that had no room.
    NoRoom,
    /// A read that was executed once.
    NotKept,
}

/// The whole answer to a batch that was applied. The operations stand by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) tally: Tally,
    pub(crate) is_recorded: bool,
    pub(crate) send_repeats_once: bool,
    pub(crate) told: Vec<Told>,
    pub(crate) sequences: Vec<u64>,
}

impl Applied {
    /// The outcomes that were told.
    pub(crate) fn outcomes(&self) -> Vec<Outcome<Vec<u8>>> {
        let outcome = |told: &Told| match told {
            Told::Outcome(outcome) => Some(outcome.clone()),
            Told::NoRoom | Told::NotKept => None,
        };
        self.told.iter().filter_map(outcome).collect()
    }
}

pub(crate) type Answer = Result<Applied, Refused>;

/// Notes an answer, in which values have so many bytes each.
struct Recorder<'a> {
    value_bytes_max: usize,
    entries: &'a [OperationEntry],
    shape: Option<Shape>,
    told: Vec<Told>,
    sequences: Vec<u64>,
}

impl Replies for Recorder<'_> {
    fn begin(&mut self, shape: &Shape) {
        assert!(self.shape.is_none(), "a batch begins once");
        assert_eq!(shape.operations, self.entries.len());
        self.shape = Some(*shape);
    }

    fn place(&self, _hash: u64) -> *const u8 {
        std::ptr::null()
    }

    fn outcome(&mut self, hash: u64, outcome: Outcome<&[u8]>) -> bool {
        assert_eq!(hash, self.entries[self.told.len()].hash, "outcomes come in order");
        let fits = |value: &[u8]| value.len() <= self.value_bytes_max;
        let told = match outcome {
            Outcome::Value(value) if !fits(value) => Told::NoRoom,
            Outcome::Mismatch(Some(value)) if !fits(value) => {
                Told::Outcome(Outcome::MismatchUntold)
            }
            _ => Told::Outcome(outcome.map(<[u8]>::to_vec)),
        };
        let is_told = told != Told::NoRoom;
        self.told.push(told);
        is_told
    }

    fn not_kept(&mut self) {
        self.told.push(Told::NotKept);
    }

    fn apply_sequence(&mut self, group: usize, sequence: u64) {
        assert_eq!(group, self.sequences.len(), "groups come in order");
        self.sequences.push(sequence);
    }
}

/// Applies a batch whose keys were judged before, at this time, with or without room reserved, and
/// with so much room for each value of the answer.
pub(crate) fn apply_batch<S: Store>(
    engine: &Engine<S>,
    (position, now_ms): (u64, u64),
    batch: &Batch<'_>,
    room: Option<Room>,
    value_bytes_max: usize,
) -> Answer {
    let mut recorder = Recorder {
        value_bytes_max,
        entries: batch.entries,
        shape: None,
        told: Vec::new(),
        sequences: Vec::new(),
    };
    let command = Command { position, now_ms, change: Change::Batch(*batch) };
    let tally = engine.apply(&command, room, &mut recorder).inspect_err(|_| {
        assert!(recorder.shape.is_none(), "what is refused does not begin");
    })?;
    let shape = recorder.shape.expect("what is applied began");
    let Recorder { told, sequences, .. } = recorder;
    assert_eq!((told.len(), sequences.len()), (shape.operations, shape.groups), "all is told");
    assert!(shape.has_sequences);
    let Shape { is_recorded, send_repeats_once, .. } = shape;
    Ok(Applied { tally, is_recorded, send_repeats_once, told, sequences })
}

/// Asks a shard, which judges the keys itself.
pub(crate) fn ask<S: Store>(engine: &Engine<S>, request: &Request) -> Answer {
    let layout = Layout::new(engine, request);
    apply_batch(engine, (0, 0), &layout.batch(UNJUDGED), None, usize::MAX)
}

/// Changes a shard otherwise.
pub(crate) fn change<S: Store>(engine: &Engine<S>, change: Change<'_>) -> Result<Tally, Refused> {
    engine.apply(&Command { position: 0, now_ms: 0, change }, None, &mut engine::Nobody)
}

/// The outcome of a GET, past sessions and ownership.
pub(crate) fn get<S: Store>(engine: &Engine<S>, key: &'static str) -> Outcome<Vec<u8>> {
    let request = Request::unnumbered(&[(key, Ask::Get)]);
    let layout = Layout::new(engine, &request);
    let batch = layout.batch((engine.ownership().epoch, true));
    let answer = apply_batch(engine, (0, 0), &batch, None, usize::MAX).unwrap();
    answer.outcomes().remove(0)
}

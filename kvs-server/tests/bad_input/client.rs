//! A correct client with one lane, and the bytes of its batches for tests to spoil.

use model::operation::{Action, Operation};
use model::outcome::Outcome;
use model::refusal::Refusal;
use model::session::SessionId;
use model::slot::slot_of;
use model::slots::{Partitions, SlotSet};
use proto::batch::{BatchHeader, GroupEncoder, assemble, read_header};
use proto::control::Hello;
use proto::reply::Reply;

use crate::batches::OPERATIONS;
use crate::harness::Peer;

/// Where a lane stands, and how its batches are laid out.
#[derive(Clone)]
pub(crate) struct Lane {
    /// The header of the next batch that mutates.
    pub(crate) header: BatchHeader,
    slots: SlotSet,
    partitions: Partitions,
}

impl Lane {
    pub(crate) fn new(session: SessionId, hello: &Hello) -> Self {
        let header = BatchHeader {
            session,
            shard: hello.shard.index(),
            lane: 1,
            epoch: hello.epoch,
            number: 1,
            lowest_open: 1,
            first_stamp: 1000,
        };
        let slots = SlotSet::from_ranges(&hello.slots).expect("slots that there are");
        Self { header, slots, partitions: Partitions::new(hello.partitions) }
    }

    /// The header of reads that follow what the lane has sent so far.
    pub(crate) fn after(&self) -> BatchHeader {
        BatchHeader { number: self.header.number - 1, ..self.header }
    }

    /// The partition of a key, whoever owns it.
    pub(crate) fn partition_of(&self, key: &[u8]) -> u32 {
        self.partitions.of(slot_of(key))
    }

    /// Whether the server owns a key.
    pub(crate) fn owns(&self, key: &[u8]) -> bool {
        self.slots.contains(slot_of(key))
    }

    /// Two keys that begin like this, of different partitions in ascending order.
    pub(crate) fn keys_apart(&self, start: &str) -> [Vec<u8>; 2] {
        let first = self.owned_key(start);
        let second = (0..)
            .map(|number| format!("{start}-{number}").into_bytes())
            .find(|key| self.owns(key) && self.partition_of(key) != self.partition_of(&first))
            .expect("every partition owns keys");
        let mut keys = [first, second];
        keys.sort_by_key(|key| self.partition_of(key));
        keys
    }

    /// The body of the next batch, or of reads after the last one.
    pub(crate) fn body(&self, operations: &[Operation<'_>]) -> Vec<u8> {
        let mutates = operations.iter().any(|operation| operation.kind().is_mutation());
        let header = if mutates { self.header } else { self.after() };
        self.body_with(&header, operations)
    }

    /// A body under another header.
    pub(crate) fn body_with(&self, header: &BatchHeader, operations: &[Operation<'_>]) -> Vec<u8> {
        let mut groups: Vec<GroupEncoder> = Vec::new();
        groups.resize_with(self.partitions.count() as usize, GroupEncoder::default);
        for (offset, operation) in (0..).zip(operations) {
            groups[self.partition_of(operation.key) as usize].push(offset, operation);
        }
        let used: Vec<(u32, &GroupEncoder)> =
            (0..).zip(&groups).filter(|(_, group)| !group.is_empty()).collect();
        assemble(header, &used).to_vec()
    }

    /// A body with one group of operations that are encoded already, rightly or not.
    pub(crate) fn body_of_raw(&self, partition: u32, operations: &[Vec<u8>]) -> Vec<u8> {
        let counted = Operation { key: &self.owned_key("any"), action: Action::Get };
        let mut body = self.body_with(&self.header, &[counted]);
        body.truncate(OPERATIONS);
        let count = operations.len() as u32;
        for number in [count, 1, partition, count] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend(operations.iter().flatten());
        body
    }
}

/// A connection, its session, and a lane.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    pub(crate) lane: Lane,
}

impl Client {
    pub(crate) async fn begin(mut peer: Peer) -> Self {
        let (session, hello) = peer.open_session().await;
        Self { peer, lane: Lane::new(session, &hello) }
    }

    /// Applies a batch.
    pub(crate) async fn apply(&mut self, operations: &[Operation<'_>]) -> Reply {
        let body = self.lane.body(operations);
        self.apply_body(&body).await
    }

    /// Applies a batch that carries the lane's next number, or reads after the last one.
    pub(crate) async fn apply_body(&mut self, body: &[u8]) -> Reply {
        let reply = self.peer.batch(body).await;
        let number = read_header(body).expect("a whole header").number;
        assert_eq!(reply.refusal(), None);
        assert_eq!(reply.header().number, number);
        let next = &mut self.lane.header.number;
        assert!((*next - 1..=*next).contains(&number), "the lane's turn is {next}");
        *next = (*next).max(number + 1);
        reply
    }

    /// Applies a batch of one operation.
    pub(crate) async fn one(&mut self, key: &[u8], action: Action<'_>) -> Outcome<Vec<u8>> {
        let reply = self.apply(&[Operation { key, action }]).await;
        reply.outcome(0).expect("its value has room").map(<[u8]>::to_vec)
    }

    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) {
        assert_eq!(self.one(key, Action::Put { value }).await, Outcome::Done);
    }

    pub(crate) async fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.one(key, Action::Get).await {
            Outcome::Value(value) => Some(value),
            Outcome::Missing => None,
            other => panic!("a GET has a value or none, not {other:?}"),
        }
    }

    /// Tells the server, with the next batch, that the records of all earlier ones can go.
    pub(crate) fn forget_replies(&mut self) {
        self.lane.header.lowest_open = self.lane.header.number;
    }

    /// Sends a batch that must be refused for this reason, in these words; returns the number
    /// that the refusal names.
    pub(crate) async fn is_refused(&mut self, body: &[u8], reason: Refusal, words: &str) -> u64 {
        let reply = self.peer.batch(body).await;
        let (refusal, text) = reply.refusal().unwrap_or_else(|| panic!("refused: {words}"));
        assert_eq!(refusal, reason, "{text}");
        assert!(text.contains(words), "`{text}` says `{words}`");
        reply.header().number
    }
}

pub(crate) fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Operation<'a> {
    Operation { key, action: Action::Put { value } }
}

pub(crate) fn get(key: &[u8]) -> Operation<'_> {
    Operation { key, action: Action::Get }
}

pub(crate) fn increment(key: &[u8]) -> Operation<'_> {
    Operation { key, action: Action::Increment { by: 1 } }
}

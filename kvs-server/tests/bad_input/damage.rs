//! A stream of correct frames, damaged at random: whatever a server makes of it, it neither
//! panics nor disturbs others, and its store holds what the batches that are still correct wrote.
//!
//! Bytes carry no checksum above TCP's, so a damaged batch may be a correct one with another value.
//! Which batches are correct is decided by a model: the codec and the decoder, run over the same
//! bytes without a server, then a lane's rule and a sequential map.

use std::collections::{BTreeMap, HashMap};

use bytes::BytesMut;
use model::operation::{Action, Operation};
use model::operations::Operations;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proto::batch::{self, Decoded, Placement};
use proto::buffers::BufferPool;
use proto::codec::{Request, ServerCodec};
use proto::control::ControlRequest;
use proto::frame::kind;
use tarpc::ClientMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::Decoder;

use crate::client::Lane;
use crate::harness::{BYSTANDER_KEYS, Bystander, Server, control_frame, frame, patiently};

/// 128 cases, 4,096 with `KVS_LONG_TESTS=1`.
fn config() -> ProptestConfig {
    let is_long = std::env::var("KVS_LONG_TESTS").is_ok_and(|value| value == "1");
    let cases = if is_long { 4096 } else { 128 };
    // Each step of the search for a smaller failure may wait for an answer that does not come.
    let max_shrink_iters = 30;
    ProptestConfig { cases, max_shrink_iters, failure_persistence: None, ..Default::default() }
}

#[derive(Clone, Debug)]
enum Damage {
    Flip { at: Index, bit: u8 },
    Set { at: Index, byte: u8 },
    Insert { at: Index, bytes: Vec<u8> },
    Remove { at: Index, length: usize },
    CutOff { at: Index },
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    // Numbers at the edges hit more bounds than random ones.
    let byte = || prop_oneof![any::<u8>(), 0..16_u8, Just(0x7f), Just(0x80), Just(0xff)];
    let damage = prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (at(), byte()).prop_map(|(at, byte)| Damage::Set { at, byte }),
        2 => (at(), vec(byte(), 1..20)).prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        2 => (at(), 1..20_usize).prop_map(|(at, length)| Damage::Remove { at, length }),
        1 => at().prop_map(|at| Damage::CutOff { at }),
    ];
    vec(damage, 0..5)
}

fn damage(bytes: &mut Vec<u8>, damages: &[Damage]) {
    for damage in damages {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match damage {
            Damage::Flip { at, bit } => bytes[at.index(length)] ^= 1 << bit,
            Damage::Set { at, byte } => bytes[at.index(length)] = *byte,
            Damage::Insert { at, bytes: more } => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Remove { at, length: removed } => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + removed));
            }
            Damage::CutOff { at } => bytes.truncate(at.index(length)),
        }
    }
}

#[derive(Clone, Debug)]
enum Doing {
    Get,
    Put(Vec<u8>),
    Delete,
    CompareAndSwap(Option<Vec<u8>>, Vec<u8>),
    Increment(i64),
}

impl Doing {
    fn action(&self) -> Action<'_> {
        match self {
            Self::Get => Action::Get,
            Self::Put(value) => Action::Put { value },
            Self::Delete => Action::Delete,
            Self::CompareAndSwap(expected, value) => {
                Action::CompareAndSwap { expected: expected.as_deref(), value }
            }
            Self::Increment(by) => Action::Increment { by: *by },
        }
    }
}

/// Keys by number: few of them are foreign, as a batch with one of those is refused.
fn key(number: u8, lane: &Lane) -> Vec<u8> {
    let start = format!("key{number}-");
    if number < FOREIGN_KEYS { lane.foreign_key(&start) } else { lane.owned_key(&start) }
}

const KEYS: u8 = 16;
const FOREIGN_KEYS: u8 = 1;

fn operations() -> impl Strategy<Value = Vec<(u8, Doing)>> {
    // Few short values, so that CASes match and counts are found.
    let value = || prop_oneof![Just(b"1".to_vec()), Just(b"22".to_vec()), vec(any::<u8>(), 0..9)];
    let doing = prop_oneof![
        Just(Doing::Get),
        value().prop_map(Doing::Put),
        Just(Doing::Delete),
        (proptest::option::of(value()), value())
            .prop_map(|(expected, value)| Doing::CompareAndSwap(expected, value)),
        any::<i64>().prop_map(Doing::Increment),
    ];
    vec((0..KEYS, doing), 1..8)
}

#[derive(Clone, Debug)]
enum Message {
    Batch(u32, Vec<(u8, Doing)>),
    Ping,
    Cancel(u64),
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = prop_oneof![
        6 => (0..3_u32, operations()).prop_map(|(lane, batch)| Message::Batch(lane, batch)),
        1 => Just(Message::Ping),
        1 => (0..20_u64).prop_map(Message::Cancel),
    ];
    vec(message, 1..12)
}

/// The messages as a correct client sends them, which does not wait for answers: it knows that a
/// batch with a foreign key uses no number.
fn stream_of(messages: &[Message], lane: &Lane) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut last: HashMap<u32, u64> = HashMap::new();
    for (id, message) in (0..).zip(messages) {
        match message {
            Message::Ping => bytes.extend(control_frame(id, ControlRequest::Ping)),
            Message::Cancel(id) => bytes.extend(frame(kind::CANCEL, *id, &[])),
            Message::Batch(number, batch) => {
                let keys: Vec<Vec<u8>> =
                    batch.iter().map(|(number, _)| key(*number, lane)).collect();
                let operations: Vec<Operation<'_>> = batch
                    .iter()
                    .zip(&keys)
                    .map(|((_, doing), key)| Operation { key, action: doing.action() })
                    .collect();
                let last = last.entry(*number).or_insert(0);
                let mut header = lane.header;
                (header.lane, header.number) = (*number, *last);
                if operations.iter().any(|operation| operation.kind().is_mutation()) {
                    header.number += 1;
                    *last += u64::from(keys.iter().all(|key| lane.owns(key)));
                }
                bytes.extend(frame(kind::BATCH_REQUEST, id, &lane.body_with(&header, &operations)));
            }
        }
    }
    bytes
}

/// What a server should make of a stream of bytes.
struct Model<'a> {
    lane: &'a Lane,
    last: HashMap<u32, u64>,
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Placement for Model<'_> {
    fn place(&self, key: &[u8]) -> (u32, bool) {
        (self.lane.partition_of(key), self.lane.owns(key))
    }

    fn hash(&self, _key: &[u8]) -> u64 {
        0
    }
}

impl Model<'_> {
    fn read(&mut self, stream: &[u8]) {
        let mut codec = ServerCodec::new(BufferPool::default());
        let mut bytes = BytesMut::from(stream);
        while let Ok(Some(message)) = codec.decode(&mut bytes) {
            if let ClientMessage::Request(request) = message
                && let Request::Batch(body) = request.message
            {
                self.take(&body);
            }
        }
    }

    fn take(&mut self, body: &[u8]) {
        let (mut groups, mut entries) = (Vec::new(), Vec::new());
        let Ok(decoded) = batch::decode(body, self, &mut groups, &mut entries) else { return };
        let Decoded { header, mutations, is_owned } = decoded;
        let own = &self.lane.header;
        let last = self.last.get(&header.lane).copied().unwrap_or(0);
        let is_for_us = (header.session, header.shard, header.epoch)
            == (own.session, own.shard, own.epoch)
            && is_owned;
        // Reads change nothing, in their turn or not.
        if !is_for_us || mutations == 0 || header.number != last + 1 {
            return;
        }
        self.last.insert(header.lane, last + 1);
        let operations = Operations::new(body, &entries);
        for index in 0..operations.len() {
            self.apply(operations.get(index));
        }
    }

    fn apply(&mut self, operation: Operation<'_>) {
        let current = self.keys.get(operation.key).map(Vec::as_slice);
        let value = match operation.action {
            Action::Get => return,
            Action::Delete => {
                self.keys.remove(operation.key);
                return;
            }
            Action::Put { value } => value.to_vec(),
            Action::CompareAndSwap { expected, value } => {
                if current != expected {
                    return;
                }
                value.to_vec()
            }
            Action::Increment { by } => {
                // A decimal integer in the one form that counts are written in.
                let count = current.map_or(Some(0), |value| {
                    let count: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
                    (count.to_string().as_bytes() == value).then_some(count)
                });
                let Some(sum) = count.and_then(|count| count.checked_add(by)) else { return };
                sum.to_string().into_bytes()
            }
        };
        self.keys.insert(operation.key.to_vec(), value);
    }
}

async fn survives(messages: &[Message], damages: &[Damage]) {
    let server = Server::start_at("1/2").await;
    let mut others = Bystander::start(&server).await;
    let client = server.client().await;
    let (mut peer, lane) = (client.peer, client.lane);
    let mut stream = stream_of(messages, &lane);
    damage(&mut stream, damages);
    let mut model = Model { lane: &lane, last: HashMap::new(), keys: BTreeMap::new() };
    model.read(&stream);

    // The server may close before it has read everything.
    let _ = peer.stream.write_all(&stream).await;
    let _ = peer.stream.shutdown().await;
    let mut answers = Vec::new();
    let _ = patiently("the server ends", peer.stream.read_to_end(&mut answers)).await;
    server.connections_become(1).await;
    others.goes_on().await;

    let mut auditor = others.finish().await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + model.keys.len());
    for (key, value) in &model.keys {
        assert_eq!(auditor.get(key).await.as_ref(), Some(value), "{}", key.escape_ascii());
    }
    server.finish().await;
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn a_damaged_stream_writes_what_its_correct_batches_say(
        messages in messages(),
        damages in damages(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(survives(&messages, &damages));
    }
}

//! A batch from its bytes to its reply: the native front end's request to an order.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use engine::{Batch, Change, Engine, Origin, Refused, Tally};
use model::operations::{Group, OperationEntry};
use model::refusal::Refusal;
use model::slot::slot_of;
use model::slots::{Partitions, SlotSet};
use proto::batch::{self, Decoded, Placement};
use proto::reply::{ReplyBuilder, ReplyHeader, refuse};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use store::Store;

use crate::order::Request;

/// One batch. Its memory is used again for others.
#[derive(Debug, Default)]
pub struct Exchange {
    body: Bytes,
    decoded: Option<Decoded>,
    /// Epoch of the slots that the keys were judged by.
    judged_epoch: u32,
    digest: u64,
    groups: Vec<Group>,
    entries: Vec<OperationEntry>,
    header: Option<ReplyHeader>,
    builder: ReplyBuilder,
    reply: BytesMut,
    tally: Tally,
    /// Where the bytes of the reply are counted from when it is made until it is sent.
    held_bytes: Option<Arc<AtomicUsize>>,
}

impl Exchange {
    /// Takes a batch that a peer sent to this shard, checks it as a whole, and makes a request of it.
    /// `buffer` is memory for its reply.
    ///
    /// # Errors
    ///
    /// The reply that says why it is none.
    pub fn begin<S: Store>(
        &mut self,
        engine: &Engine<S>,
        shard: u32,
        body: Bytes,
        buffer: BytesMut,
        held_bytes: Option<Arc<AtomicUsize>>,
    ) -> Result<(), BytesMut> {
        let ownership = engine.ownership();
        let placement = Placed {
            slots: &ownership.slots,
            partitions: engine.partitions(),
            store: engine.store(),
        };
        let (groups, entries) = (&mut self.groups, &mut self.entries);
        entries.clear();
        let decoded = batch::decode(&body, &placement, groups, entries);
        self.judged_epoch = ownership.epoch;
        drop(ownership);
        let legible = match &decoded {
            Ok(decoded) => Some(decoded.header),
            Err(_) => batch::read_header(&body),
        };
        let number = legible.map_or(0, |header| header.number);
        let header = ReplyHeader { data_id: engine.data_id(), number, epoch: self.judged_epoch };
        let refused = match decoded {
            Err(error) => Refused::because(Refusal::Malformed, error.to_string()),
            Ok(decoded) if decoded.header.shard != shard => {
                let asked = decoded.header.shard;
                let detail = format!("there is no shard {asked} on this server, but shard {shard}");
                Refused::because(Refusal::NoSuchShard, detail)
            }
            Ok(decoded) => {
                // Reads leave no record that a digest would be compared with.
                self.digest = if decoded.mutations == 0 {
                    0
                } else {
                    let secrets = RapidSecrets::seed_cpp(engine.data_id());
                    rapidhash_v3_seeded(batch::operation_bytes(&body), &secrets)
                };
                self.decoded = Some(decoded);
                self.body = body;
                self.held_bytes = held_bytes;
                self.header = Some(header);
                self.builder.prepare(buffer, header);
                return Ok(());
            }
        };
        Err(refuse(&header, refused.refusal, &refused.detail))
    }

    /// How many operations the batch has.
    pub fn operations(&self) -> usize {
        self.entries.len()
    }

    /// Takes the reply's bytes out of those that are held: it leaves at once.
    pub fn uncount_reply(&self) {
        if let Some(held) = &self.held_bytes {
            held.fetch_sub(self.reply.len(), Ordering::Relaxed);
        }
    }

    /// What came of it, once it has ended: the reply, and what it did.
    pub fn finish(&mut self) -> (BytesMut, Tally) {
        self.body = Bytes::new();
        self.held_bytes = None;
        (mem::take(&mut self.reply), mem::take(&mut self.tally))
    }
}

impl Request for Box<Exchange> {
    type Replies = ReplyBuilder;

    fn parts(&mut self) -> (Change<'_>, &mut Self::Replies) {
        let Decoded { header, mutations, is_owned } = self.decoded.expect("it was begun");
        let origin = Origin {
            session: header.session,
            lane: header.lane,
            number: header.number,
            lowest_open: header.lowest_open,
            digest: self.digest,
        };
        let batch = Batch {
            origin: Some(origin),
            epoch: Some(header.epoch),
            judged: (self.judged_epoch, is_owned),
            mutations,
            frame: &self.body,
            groups: &self.groups,
            entries: &self.entries,
        };
        (Change::Batch(batch), &mut self.builder)
    }

    fn end(&mut self, result: Result<Tally, Refused>) {
        let mut header = self.header.take().expect("it was begun");
        self.reply = match result {
            Ok(tally) => {
                self.tally = tally;
                self.builder.finish()
            }
            Err(refused) => {
                header.number = refused.next.unwrap_or(header.number);
                refuse(&header, refused.refusal, &refused.detail)
            }
        };
        if let Some(held) = &self.held_bytes {
            held.fetch_add(self.reply.len(), Ordering::Relaxed);
        }
    }
}

/// Where keys belong, as a shard has it.
struct Placed<'a, S> {
    slots: &'a SlotSet,
    partitions: Partitions,
    store: &'a S,
}

impl<S: Store> Placement for Placed<'_, S> {
    #[inline]
    fn place(&self, key: &[u8]) -> (u32, bool) {
        let slot = slot_of(key);
        (self.partitions.of(slot), self.slots.contains(slot))
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        self.store.hash(key)
    }
}

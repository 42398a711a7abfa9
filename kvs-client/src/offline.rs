//! What a lane does to batches, without servers: for benchmarks, and no part of the library's promise.

use std::sync::Arc;

use bytes::Bytes;
use model::session::SessionId;
use model::slots::Shard;
use proto::batch::BatchHeader;
use proto::buffers::BufferPool;
use proto::control::Hello;
use proto::reply::Reply;

use crate::batcher::{Batch, Encoders, Layout};
use crate::outcomes::Outcomes;
use crate::router::Router;

/// Encodes the batches of one lane to one server, and decodes its replies.
#[derive(Debug)]
pub struct Offline {
    router: Arc<Router>,
    requests: BufferPool,
    encoders: Encoders,
    outcome_bytes: usize,
    next_stamp: u64,
}

/// A batch as it would be sent.
#[derive(Clone, Debug)]
pub struct Encoded {
    layout: Layout,
    bodies: Vec<Bytes>,
}

impl Encoded {
    /// The bodies of its frames.
    pub fn bodies(&self) -> &[Bytes] {
        &self.bodies
    }
}

impl Offline {
    /// A lane to a server of so many partitions, in whose replies an outcome is expected to take
    /// `outcome_bytes`.
    ///
    /// # Panics
    ///
    /// When a server can't have so many.
    pub fn new(partitions: u32, outcome_bytes: usize) -> Self {
        let hello = Hello::of(Shard::SOLE, 1, partitions);
        let host = "nowhere:1".parse().expect("it is an endpoint");
        let router = Router::new(&[host], &[&hello]).expect("one server contradicts nobody");
        Self {
            router: Arc::new(router),
            requests: BufferPool::default(),
            encoders: Encoders::default(),
            outcome_bytes,
            next_stamp: 1,
        }
    }

    /// As [`Lane::batch`](crate::Lane::batch).
    pub fn batch(&mut self, operations_max: usize) -> Batch {
        let first_stamp = self.next_stamp;
        self.next_stamp += operations_max as u64;
        let encoders = std::mem::take(&mut self.encoders);
        let router = Arc::clone(&self.router);
        Batch::new(router, first_stamp, operations_max, self.outcome_bytes, encoders)
    }

    /// Cuts the batch into frames and assembles them, as a lane does before it sends them.
    pub fn encode(&mut self, batch: Batch) -> Encoded {
        let (cut, layout) = batch.cut();
        let header = BatchHeader {
            session: SessionId { data_id: 1, number: 1 },
            shard: 1,
            lane: 1,
            epoch: 1,
            number: 1,
            lowest_open: 1,
            first_stamp: layout.first_stamp,
        };
        let bodies =
            cut.frames.iter().map(|frame| cut.assemble(frame, header, &self.requests)).collect();
        self.encoders = cut.into_encoders();
        Encoded { layout, bodies }
    }
}

/// Decodes the replies to a batch's frames, as a lane does when they arrive.
///
/// # Panics
///
/// When one is malformed.
pub fn decode(encoded: Encoded, replies: Vec<Bytes>) -> Outcomes {
    let data_ids = vec![1; replies.len()];
    let decode = |reply| Ok(Reply::decode(reply).expect("the reply is well-formed"));
    Outcomes::new(encoded.layout, replies.into_iter().map(decode).collect(), data_ids)
}

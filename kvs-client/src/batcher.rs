//! Lays operations out by server and partition, and cuts them into frames.
//!
//! Operations are encoded once, as they are pushed, straight into the run of their partition; stamps
//! ascend by themselves, so no sort is needed. A run that grows past [`CHUNK_BYTES`] goes on in a new
//! chunk, and chunks are joined into frames of up to [`FRAME_BYTES`], so that ten thousand
//! operations with large values become several frames and small ones a single frame a server.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use model::operation::{Action, Operation, OperationError};
use model::operations::{OperationEntry, Operations};
use proto::batch::{self, BatchHeader, GroupEncoder};
use proto::buffers::BufferPool;
use proto::limits::{BATCH_OPERATIONS_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};

use crate::router::Router;

/// Bytes, of the request or of the expected reply, after which a run is cut.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes, of the request or of the expected reply, after which a frame is closed.
const FRAME_BYTES: usize = 2 << 20;

// A chunk is cut after the operation that passes the mark, so it may hold one largest operation
// more; a frame is closed before the chunk that would pass it.
const _: () = assert!(FRAME_BYTES + CHUNK_BYTES + (1 << 20) <= REPLY_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES + 2 * (1 << 20) + (64 << 10) <= REQUEST_BYTES_MAX);

/// Operations to be sent together. Not a transaction: each takes effect on its own.
///
/// Operation `i`, in the order of the pushes, has the stamp `first_stamp() + i`.
#[derive(Debug)]
pub struct Batch {
    router: Arc<Router>,
    first_stamp: u64,
    operations_max: usize,
    outcome_bytes: usize,
    /// The open chunk of each group.
    open: Vec<Option<u32>>,
    chunks: Vec<Chunk>,
    placements: Vec<Placement>,
    encoders: Encoders,
}

/// Encoders with memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Encoders {
    spare: Vec<GroupEncoder>,
    open: Vec<Option<u32>>,
}

/// Most encoders that are kept for the next batch.
const SPARE_ENCODERS_MAX: usize = 1024;
/// Most sets of encoders that are kept: one for each batch that is filled at the same time.
const SPARE_SETS_MAX: usize = 16;

/// Encoders for the next batches, of whichever lane: the memory that was filled last is taken next,
/// while the caches still hold it.
#[derive(Debug, Default)]
pub(crate) struct EncoderPool(Mutex<Vec<Encoders>>);

impl EncoderPool {
    pub(crate) fn take(&self) -> Encoders {
        self.lock().pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, encoders: Encoders) {
        let mut sets = self.lock();
        if sets.len() < SPARE_SETS_MAX {
            sets.push(encoders);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Encoders>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug)]
struct Chunk {
    group: u32,
    encoder: GroupEncoder,
    reply_bytes: usize,
    mutates: bool,
}

impl Chunk {
    /// Counts the outcome of an operation that mutates.
    #[cold]
    fn expect_effect(&mut self, action: &Action<'_>) {
        self.mutates = true;
        self.reply_bytes += match action {
            Action::CompareAndSwap { value, .. } => 16 + value.len(),
            _ => 16,
        };
    }
}

/// Where an operation stands: its chunk, and its position in the chunk's run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) chunk: u32,
    pub(crate) position: u32,
}

/// Where a chunk stands: its frame, and the position of its first operation there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChunkPosition {
    pub(crate) frame: u32,
    pub(crate) first: u32,
    /// Position of the chunk's group in the frame.
    pub(crate) group: u32,
    pub(crate) partition: u32,
}

/// One server's part of a batch, without its number in the lane.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) server: usize,
    /// Whether it is to be sent: the server owns its keys. Otherwise nobody does.
    pub(crate) is_owned: bool,
    pub(crate) operations: u32,
    pub(crate) groups: u32,
    /// Bytes that its reply may take.
    pub(crate) reply_bytes: usize,
    /// Whether any of its operations mutates.
    pub(crate) mutates: bool,
    chunks: Vec<u32>,
}

/// How a batch was cut.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) first_stamp: u64,
    pub(crate) placements: Vec<Placement>,
    pub(crate) chunks: Vec<ChunkPosition>,
    pub(crate) servers: Vec<u32>,
}

impl Batch {
    pub(crate) fn new(
        router: Arc<Router>,
        first_stamp: u64,
        operations_max: usize,
        outcome_bytes: usize,
        mut encoders: Encoders,
    ) -> Self {
        let mut open = std::mem::take(&mut encoders.open);
        open.clear();
        open.resize(router.targets().len(), None);
        Self {
            router,
            first_stamp,
            operations_max,
            outcome_bytes,
            open,
            chunks: Vec::new(),
            placements: Vec::with_capacity(operations_max.min(BATCH_OPERATIONS_MAX)),
            encoders,
        }
    }

    /// The stamp of the first operation.
    pub fn first_stamp(&self) -> u64 {
        self.first_stamp
    }

    /// How many operations it holds.
    pub fn len(&self) -> usize {
        self.placements.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.placements.is_empty()
    }

    /// The map that it is routed by.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    #[inline]
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<(), OperationError> {
        self.push(&Operation { key: key.as_ref(), action: Action::Get })
    }

    /// Writes a key.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    #[inline]
    pub fn put(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), OperationError> {
        self.push(&Operation { key: key.as_ref(), action: Action::Put { value: value.as_ref() } })
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<(), OperationError> {
        self.push(&Operation { key: key.as_ref(), action: Action::Delete })
    }

    /// Writes `value` if the key holds `expected`, or, with `None`, if there is no such key.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    pub fn compare_and_swap(
        &mut self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), OperationError> {
        let action = Action::CompareAndSwap { expected, value: value.as_ref() };
        self.push(&Operation { key: key.as_ref(), action })
    }

    /// Adds to a counter; a missing key counts as 0.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    pub fn increment(&mut self, key: impl AsRef<[u8]>, by: i64) -> Result<(), OperationError> {
        self.push(&Operation { key: key.as_ref(), action: Action::Increment { by } })
    }

    /// Appends an operation.
    ///
    /// # Errors
    ///
    /// When key or value break a limit; the batch is as it was.
    ///
    /// # Panics
    ///
    /// When more operations are pushed than the batch was made for: their stamps are not reserved.
    #[inline]
    pub fn push(&mut self, operation: &Operation<'_>) -> Result<(), OperationError> {
        operation.check()?;
        let index = self.placements.len();
        assert!(index < self.operations_max, "a batch holds what its stamps were reserved for");
        let group = self.router.group_of(operation.key);
        let number = match self.open[group as usize] {
            Some(number) => number,
            None => self.open_chunk(group),
        };
        let chunk = &mut self.chunks[number as usize];
        self.placements.push(Placement { chunk: number, position: chunk.encoder.operations() });
        chunk.encoder.push(index as u64, operation);
        match operation.action {
            Action::Get => chunk.reply_bytes += self.outcome_bytes,
            action => chunk.expect_effect(&action),
        }
        if chunk.encoder.encoded_bytes() >= CHUNK_BYTES || chunk.reply_bytes >= CHUNK_BYTES {
            self.open[group as usize] = None;
        }
        Ok(())
    }

    fn open_chunk(&mut self, group: u32) -> u32 {
        let number = self.chunks.len() as u32;
        let encoder = self.encoders.spare.pop().unwrap_or_default();
        self.chunks.push(Chunk { group, encoder, reply_bytes: 0, mutates: false });
        self.open[group as usize] = Some(number);
        number
    }

    /// Cuts the batch into frames, ascending by server and, inside, by partition.
    pub(crate) fn cut(mut self) -> (Cut, Layout) {
        let mut order: Vec<u32> = (0..self.chunks.len() as u32).collect();
        // Stable: the chunks of one group stay in the order of their stamps.
        order.sort_by_key(|&number| self.chunks[number as usize].group);
        let mut places = vec![ChunkPosition::default(); self.chunks.len()];
        let mut servers = vec![0; self.chunks.len()];
        let mut frames: Vec<Frame> = Vec::new();
        let mut request_bytes = 0;
        for number in order {
            let chunk = &self.chunks[number as usize];
            let target = self.router.targets()[chunk.group as usize];
            let encoded = chunk.encoder.encoded_bytes();
            let goes_on = frames.last().is_some_and(|frame| {
                (frame.server, frame.is_owned) == (target.server, target.is_owned)
                    && request_bytes + encoded <= FRAME_BYTES
                    && frame.reply_bytes + chunk.reply_bytes <= FRAME_BYTES
                    && (frame.operations + chunk.encoder.operations()) as usize
                        <= BATCH_OPERATIONS_MAX
            });
            if !goes_on {
                request_bytes = 0;
                frames.push(Frame {
                    server: target.server,
                    is_owned: target.is_owned,
                    operations: 0,
                    groups: 0,
                    reply_bytes: 0,
                    mutates: false,
                    chunks: Vec::new(),
                });
            }
            let index = frames.len() as u32 - 1;
            let frame = frames.last_mut().expect("one was pushed");
            servers[number as usize] = target.server as u32;
            places[number as usize] = ChunkPosition {
                frame: index,
                first: frame.operations,
                group: frame.groups,
                partition: target.partition,
            };
            frame.operations += chunk.encoder.operations();
            frame.groups += 1;
            frame.reply_bytes += chunk.reply_bytes;
            frame.mutates |= chunk.mutates;
            frame.chunks.push(number);
            request_bytes += encoded;
        }
        let layout = Layout {
            first_stamp: self.first_stamp,
            placements: std::mem::take(&mut self.placements),
            chunks: places,
            servers,
        };
        (Cut { batch: self, frames }, layout)
    }
}

/// A batch whose frames are numbered and assembled one by one.
#[derive(Debug)]
pub(crate) struct Cut {
    batch: Batch,
    pub(crate) frames: Vec<Frame>,
}

impl Cut {
    /// The map that it was cut by.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.batch.router
    }

    /// Bytes that a frame takes on the wire, without the frame's header.
    pub(crate) fn request_bytes(&self, frame: &Frame) -> usize {
        let operations: usize = frame
            .chunks
            .iter()
            .map(|&number| self.batch.chunks[number as usize].encoder.encoded_bytes())
            .sum();
        batch::HEADER_BYTES + frame.chunks.len() * batch::GROUP_BYTES + operations
    }

    /// Bytes that the batch takes in flight at each of its servers, requests and expected replies
    /// together, in the servers' order.
    pub(crate) fn bytes_by_server(&self) -> Vec<(usize, usize)> {
        let mut servers: Vec<(usize, usize)> = Vec::new();
        for frame in self.frames.iter().filter(|frame| frame.is_owned) {
            let bytes = self.request_bytes(frame) + frame.reply_bytes;
            match servers.last_mut() {
                Some((server, sum)) if *server == frame.server => *sum += bytes,
                _ => servers.push((frame.server, bytes)),
            }
        }
        servers
    }

    /// The body of a frame, in a buffer of `buffers`.
    pub(crate) fn assemble(
        &self,
        frame: &Frame,
        mut header: BatchHeader,
        buffers: &BufferPool,
    ) -> Bytes {
        header.first_stamp = self.batch.first_stamp;
        header.epoch = self.batch.router.epoch(frame.server);
        let groups: Vec<(u32, &GroupEncoder)> = frame
            .chunks
            .iter()
            .map(|&number| {
                let chunk = &self.batch.chunks[number as usize];
                let target = self.batch.router.targets()[chunk.group as usize];
                (target.partition, &chunk.encoder)
            })
            .collect();
        let buffer = buffers.take_room(self.request_bytes(frame));
        buffers.share(batch::assemble_in(buffer, &header, &groups))
    }

    /// The memory of the batch, for the next one.
    pub(crate) fn into_encoders(self) -> Encoders {
        let mut encoders = self.batch.encoders;
        for mut chunk in self.batch.chunks {
            if encoders.spare.len() < SPARE_ENCODERS_MAX {
                chunk.encoder.clear();
                encoders.spare.push(chunk.encoder);
            }
        }
        encoders.open = self.batch.open;
        encoders
    }
}

/// The operations of a frame that was sent, to send some of them again.
#[derive(Debug)]
pub(crate) struct Decoded {
    body: Bytes,
    entries: Vec<OperationEntry>,
}

impl Decoded {
    pub(crate) fn new(body: &Bytes, router: &Router) -> Self {
        let (mut groups, mut entries) = (Vec::new(), Vec::new());
        let header = batch::read_header(body).expect("a batch of our own");
        let placement = router.placement(header.shard as usize - 1);
        batch::decode(body, &placement, &mut groups, &mut entries)
            .expect("a batch of our own is well-formed");
        Self { body: body.clone(), entries }
    }

    /// The operation at `position` of the frame.
    pub(crate) fn get(&self, position: usize) -> Operation<'_> {
        Operations::new(&self.body, &self.entries).get(position)
    }

    /// The keys that it mutates.
    pub(crate) fn mutated_keys(&self) -> impl Iterator<Item = &[u8]> {
        let operations = (0..self.entries.len()).map(|position| self.get(position));
        operations.filter(|operation| operation.kind().is_mutation()).map(|operation| operation.key)
    }
}

#[cfg(test)]
pub(crate) mod tests;

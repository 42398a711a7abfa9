//! What became of a batch's operations.

use std::collections::HashMap;

use bytes::Bytes;
use model::outcome::Outcome;
use proto::reply::Reply;

use crate::batcher::{ChunkPosition, Layout, Placement};
use crate::error::Failure;

/// Where an operation took effect, as its server counts: (apply sequence, position) orders all
/// operations on the keys of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// The server, from 0, in the order of the hosts.
    pub server: u32,
    /// The server's partition.
    pub partition: u32,
    /// The partition's count of applied runs.
    pub apply_sequence: u64,
    /// Position in the run.
    pub position: u32,
}

/// The outcomes of a batch, in the order in which its operations were pushed.
#[derive(Debug)]
pub struct Outcomes {
    first_stamp: u64,
    placements: Vec<Placement>,
    chunks: Vec<ChunkPosition>,
    servers: Vec<u32>,
    frames: Vec<Result<Reply, Failure>>,
    /// By frame: identity of the data that its session is of.
    data_ids: Vec<u64>,
    /// By server: what reads fail with that were deferred and can't be repeated.
    unread: HashMap<u32, Failure>,
    /// Stamps of operations that were sent again.
    new_stamps: HashMap<u32, u64>,
}

impl Outcomes {
    pub(crate) fn new(
        layout: Layout,
        frames: Vec<Result<Reply, Failure>>,
        data_ids: Vec<u64>,
    ) -> Self {
        let Layout { first_stamp, placements, chunks, servers } = layout;
        Self {
            first_stamp,
            placements,
            chunks,
            servers,
            frames,
            data_ids,
            unread: HashMap::new(),
            new_stamps: HashMap::new(),
        }
    }

    /// The stamp of the batch's first operation.
    pub fn first_stamp(&self) -> u64 {
        self.first_stamp
    }

    /// How many operations the batch had.
    pub fn len(&self) -> usize {
        self.placements.len()
    }

    /// Whether the batch had no operation.
    pub fn is_empty(&self) -> bool {
        self.placements.is_empty()
    }

    /// The outcome of operation `index`. Values are bytes of the reply; refusals are failures.
    ///
    /// # Errors
    ///
    /// Why the operation has no outcome.
    ///
    /// # Panics
    ///
    /// When `index` is out of range.
    #[inline]
    pub fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &Failure> {
        let Placement { chunk, position } = self.placements[index];
        let place = &self.chunks[chunk as usize];
        match &self.frames[place.frame as usize] {
            Ok(reply) => {
                let outcome = reply.outcome((place.first + position) as usize);
                outcome.ok_or_else(|| &self.unread[&self.servers[chunk as usize]])
            }
            Err(failure) => Err(failure),
        }
    }

    /// The same with a value that shares the reply's memory and outlives this.
    ///
    /// # Errors
    ///
    /// Why the operation has no outcome.
    pub fn shared(&self, index: usize) -> Result<Outcome<Bytes>, Failure> {
        self.get(index).map_err(Clone::clone)?;
        let Placement { chunk, position } = self.placements[index];
        let place = &self.chunks[chunk as usize];
        match &self.frames[place.frame as usize] {
            Ok(reply) => {
                let outcome = reply.shared_outcome((place.first + position) as usize);
                Ok(outcome.expect("it was there a moment ago"))
            }
            Err(failure) => Err(failure.clone()),
        }
    }

    /// The server that operation `index` went to, from 0, in the order of the hosts.
    #[inline]
    pub fn server(&self, index: usize) -> usize {
        self.servers[self.placements[index].chunk as usize] as usize
    }

    /// The stamp of operation `index`: its own, or that of the last time that it was sent anew.
    #[inline]
    pub fn stamp(&self, index: usize) -> u64 {
        if self.new_stamps.is_empty() {
            return self.first_stamp + index as u64;
        }
        let new = self.new_stamps.get(&(index as u32)).copied();
        new.unwrap_or(self.first_stamp + index as u64)
    }

    /// Whether any operation was sent anew, under a stamp that is not its position's.
    pub fn has_new_stamps(&self) -> bool {
        !self.new_stamps.is_empty()
    }

    /// Where operation `index` took effect; `None` when it has no outcome, or the server's store
    /// counts none.
    pub fn witness(&self, index: usize) -> Option<Witness> {
        let Placement { chunk, position } = self.placements[index];
        let place = &self.chunks[chunk as usize];
        let reply = self.frames[place.frame as usize].as_ref().ok()?;
        let apply_sequence = reply.apply_sequence(place.group as usize)?;
        let server = self.servers[chunk as usize];
        Some(Witness { server, partition: place.partition, apply_sequence, position })
    }

    /// Identity of the data that operation `index` belongs to: that of the session that carried it
    /// last, whether it was answered or not. It can have been applied to no other data.
    pub fn data_id(&self, index: usize) -> u64 {
        let place = &self.chunks[self.placements[index].chunk as usize];
        self.data_ids[place.frame as usize]
    }

    /// How many places the batch's operations have: partitions of servers, and some of them twice
    /// where a batch is long or operations were sent anew.
    pub fn places(&self) -> usize {
        self.chunks.len()
    }

    /// The place of operation `index`, below [`places`](Self::places).
    #[inline]
    pub fn place_of(&self, index: usize) -> usize {
        self.placements[index].chunk as usize
    }

    /// [`data_id`](Self::data_id) and [`witness`](Self::witness)' apply sequence of the operations at
    /// a place.
    pub fn place(&self, place: usize) -> (u64, Option<u64>) {
        let place = &self.chunks[place];
        let frame = place.frame as usize;
        let reply = self.frames[frame].as_ref().ok();
        (self.data_ids[frame], reply.and_then(|reply| reply.apply_sequence(place.group as usize)))
    }

    /// The reads that have to be repeated: they were deferred, or later batches of their lane
    /// were applied before they came.
    pub(crate) fn unread(&self) -> Vec<u32> {
        self.failing(|failure| matches!(failure, Failure::NotRead { .. }))
    }

    /// The operations that went to a server which does not own their keys.
    pub(crate) fn misrouted(&self) -> Vec<u32> {
        self.failing(|failure| matches!(failure, Failure::WrongShard { .. }))
    }

    fn failing(&self, is_meant: impl Fn(&Failure) -> bool) -> Vec<u32> {
        let is_meant = |index: &u32| self.get(*index as usize).is_err_and(&is_meant);
        (0..self.len() as u32).filter(is_meant).collect()
    }

    /// Whether any operation may have to be sent again.
    pub(crate) fn may_need_more(&self) -> bool {
        self.frames.iter().any(|frame| match frame {
            Ok(reply) => reply.has_deferred(),
            Err(failure) => matches!(failure, Failure::NotRead { .. } | Failure::WrongShard { .. }),
        })
    }

    /// Names the servers, for reads that they deferred.
    pub(crate) fn name_unread(&mut self, endpoint: impl Fn(usize) -> String) {
        for &server in &self.servers {
            let endpoint = endpoint(server as usize);
            self.unread.entry(server).or_insert(Failure::NotRead { endpoint });
        }
    }

    /// Frame and position in the frame of operation `index`.
    pub(crate) fn frame_position(&self, index: usize) -> (usize, usize) {
        let Placement { chunk, position } = self.placements[index];
        let place = &self.chunks[chunk as usize];
        (place.frame as usize, (place.first + position) as usize)
    }

    /// Puts in the outcomes of operations that were sent again: `indices[i]` here is operation `i`
    /// there. Those that took effect after others that were given later have new stamps.
    pub(crate) fn replace(&mut self, indices: &[u32], again: Self, has_new_stamps: bool) {
        let chunk_base = self.chunks.len() as u32;
        let frame_base = self.frames.len() as u32;
        for (position, &index) in indices.iter().enumerate() {
            let Placement { chunk, position: at } = again.placements[position];
            self.placements[index as usize] = Placement { chunk: chunk_base + chunk, position: at };
            if has_new_stamps {
                self.new_stamps.insert(index, again.first_stamp + position as u64);
            }
        }
        self.chunks.extend(
            again
                .chunks
                .iter()
                .map(|place| ChunkPosition { frame: frame_base + place.frame, ..*place }),
        );
        self.servers.extend_from_slice(&again.servers);
        self.frames.extend(again.frames);
        self.data_ids.extend(again.data_ids);
        self.unread.extend(again.unread);
    }
}

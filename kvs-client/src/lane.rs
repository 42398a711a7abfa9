//! One ordered stream of batches: what a worker holds.
//!
//! A lane cuts each batch into frames and gives them to its *server lanes*, one a server. Batches
//! complete in the order in which they were submitted. Operations that a server wants to have sent
//! again (a value that did not fit into a reply, a read whose reply was lost) go out under new stamps
//! before their batch completes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use proto::batch;
use proto::reply::Reply;
use tokio::sync::OwnedSemaphorePermit;

use crate::batcher::{Batch, Cut, Decoded, Layout};
use crate::client::Shared;
use crate::error::Failure;
use crate::outcomes::Outcomes;
use crate::server_lane::{FrameTag, ServerLane};

/// A batch whose outcomes are known.
#[derive(Debug)]
pub struct Completed {
    /// What [`Lane::submit`] returned.
    pub ticket: u64,
    /// The stamp of the batch's first operation.
    pub first_stamp: u64,
    /// What became of its operations.
    pub outcomes: Outcomes,
}

/// A batch on its way.
#[derive(Debug)]
struct Pending {
    ticket: u64,
    layout: Layout,
    frames: Vec<Option<FrameEnd>>,
    missing: usize,
    /// Its share of the bytes in flight at each server, until no frame is missing.
    rooms: Vec<OwnedSemaphorePermit>,
}

/// How a frame ended, and what it held.
#[derive(Debug)]
pub(crate) struct FrameEnd {
    pub(crate) result: Result<Reply, Failure>,
    pub(crate) body: Bytes,
}

/// Operations of the oldest batch that were sent again.
#[derive(Debug)]
struct Again {
    outcomes: Outcomes,
    bodies: Vec<Bytes>,
    indices: Vec<u32>,
    pending: Pending,
}

/// One ordered stream of batches to all servers.
///
/// Operations on one key take effect in the order of their stamps, over all batches in flight.
/// Dropping a lane leaves what is in flight unknown.
#[derive(Debug)]
pub struct Lane {
    shared: Arc<Shared>,
    servers: Vec<ServerLane>,
    pending: VecDeque<Pending>,
    again: Option<Again>,
    next_ticket: u64,
}

impl Lane {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let servers = shared
            .links
            .iter()
            .map(|link| ServerLane::new(Arc::clone(link), shared.retry))
            .collect();
        Self { shared, servers, pending: VecDeque::new(), again: None, next_ticket: 1 }
    }

    /// An empty batch with room for `operations_max` operations, whose stamps are reserved by one
    /// step of the client's counter.
    pub fn batch(&self, operations_max: usize) -> Batch {
        self.shared.batch(operations_max)
    }

    /// How many batches are in flight.
    pub fn in_flight(&self) -> usize {
        self.pending.len() + usize::from(self.again.is_some())
    }

    /// The boot id of the server's life to which an operation on this key belongs that is in flight
    /// now.
    pub fn boot_id(&self, key: &[u8]) -> u64 {
        let router = &self.shared.router;
        let target = router.targets()[router.group_of(key) as usize];
        self.servers[target.server].next_header().session.boot_id
    }

    /// Sends a batch, after waiting for room in the bytes in flight, and returns its ticket
    /// without waiting for the replies. An empty batch completes at once.
    ///
    /// The bytes of a batch stay counted until [`next`](Self::next) or a later `submit` is polled
    /// after its reply: a lane that is left alone with batches in flight keeps their room.
    pub async fn submit(&mut self, batch: Batch) -> u64 {
        let (cut, layout) = batch.cut();
        // Room is taken for the whole batch before any of it is sent: at each server in one step,
        // and the servers in their order. Were it taken frame by frame, lanes that hold a part each
        // would wait for each other for ever.
        let mut rooms = Vec::new();
        for (link, bytes) in cut.bytes_by_server() {
            let room = Arc::clone(&self.shared.links[link]).reserve(bytes);
            rooms.push(self.while_filing(room).await);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let pending = self.dispatch(cut, layout, FrameTag { ticket, is_again: false }, rooms);
        self.pending.push_back(pending);
        self.pump().await;
        ticket
    }

    /// Hands a batch's frames to the server lanes.
    fn dispatch(
        &mut self,
        cut: Cut,
        layout: Layout,
        tag: FrameTag,
        rooms: Vec<OwnedSemaphorePermit>,
    ) -> Pending {
        for (index, frame) in cut.frames.iter().enumerate() {
            let server = &mut self.servers[frame.server];
            let body = cut.assemble(frame, server.next_header(), &self.shared.requests);
            server.push(tag, index, body, frame.operations, frame.groups);
        }
        let missing = cut.frames.len();
        let frames = (0..missing).map(|_| None).collect();
        self.shared.encoders.give_back(cut.into_encoders());
        Pending { ticket: tag.ticket, layout, frames, missing, rooms }
    }

    /// Sends what can be sent and files what has arrived, without waiting.
    async fn pump(&mut self) {
        poll_fn(|cx| {
            while self.poll_frame(cx).is_ready() {}
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for `room`, and files what arrives meanwhile: earlier batches of this lane may hold it.
    async fn while_filing<T>(&mut self, room: impl Future<Output = T>) -> T {
        let mut room = std::pin::pin!(room);
        poll_fn(|cx| {
            if let Poll::Ready(room) = room.as_mut().poll(cx) {
                return Poll::Ready(room);
            }
            while self.poll_frame(cx).is_ready() {}
            room.as_mut().poll(cx)
        })
        .await
    }

    /// The next batch in the order of submission, once its outcomes are known; `None` when nothing
    /// is in flight. Nothing is lost when the returned future is dropped.
    pub async fn next(&mut self) -> Option<Completed> {
        loop {
            if let Some(completed) = self.take_completed() {
                return Some(completed);
            }
            if self.in_flight() == 0 {
                return None;
            }
            poll_fn(|cx| self.poll_frame(cx)).await;
        }
    }

    /// Ends all batches in flight without waiting for them, and returns them in the order of
    /// submission. What a server has answered by now has its outcome; of the rest, what was sent is
    /// unknown, and what was not sent, or what the server put off, is not applied. The lane may be
    /// used on.
    pub async fn abandon(&mut self) -> Vec<Completed> {
        self.pump().await;
        let mut all = Vec::new();
        loop {
            all.extend(std::iter::from_fn(|| self.take_completed()));
            if self.in_flight() == 0 {
                return all;
            }
            for server in 0..self.servers.len() {
                self.servers[server].abandon();
                while let Some((tag, frame, end)) = self.servers[server].take_ended() {
                    self.file(tag, frame, end);
                }
            }
        }
    }

    /// The next batch in the order of submission, if no frame of it is missing.
    fn take_completed(&mut self) -> Option<Completed> {
        loop {
            let (ticket, (outcomes, bodies)) = match self.again.take() {
                Some(again) if again.pending.missing == 0 => (again.pending.ticket, again.merge()),
                None if self.pending.front().is_some_and(|pending| pending.missing == 0) => {
                    let pending = self.pending.pop_front().expect("it was there a moment ago");
                    (pending.ticket, pending.finish())
                }
                again => {
                    self.again = again;
                    return None;
                }
            };
            if let Some(completed) = self.settle(ticket, outcomes, bodies) {
                return Some(completed);
            }
        }
    }

    /// Completes a batch, or sends those of its operations anew that want it.
    fn settle(
        &mut self,
        ticket: u64,
        mut outcomes: Outcomes,
        bodies: Vec<Bytes>,
    ) -> Option<Completed> {
        if outcomes.has_refusals() {
            let links = Arc::clone(&self.shared);
            outcomes.name_foreign(|server| links.links[server].endpoint.to_string());
            let indices = outcomes.deferred();
            if !indices.is_empty() {
                self.send_again(ticket, outcomes, bodies, indices);
                return None;
            }
        }
        Some(Completed { ticket, first_stamp: outcomes.first_stamp(), outcomes })
    }

    fn send_again(
        &mut self,
        ticket: u64,
        outcomes: Outcomes,
        bodies: Vec<Bytes>,
        indices: Vec<u32>,
    ) {
        let mut batch = self.shared.batch(indices.len());
        let mut decoded: Vec<Option<Decoded>> = bodies.iter().map(|_| None).collect();
        for &index in &indices {
            let (frame, position) = outcomes.frame_position(index as usize);
            let server = outcomes.frame_server(frame);
            let operations = decoded[frame]
                .get_or_insert_with(|| Decoded::new(&bodies[frame], &self.shared.router, server));
            batch.push(&operations.get(position)).expect("it was checked the first time");
        }
        let tag = FrameTag { ticket, is_again: true };
        // It is sent without waiting for room, so that no outcome is lost when the caller of
        // `next` stops waiting: its bytes were let in with the first attempt.
        let (cut, layout) = batch.cut();
        let pending = self.dispatch(cut, layout, tag, Vec::new());
        self.again = Some(Again { outcomes, bodies, indices, pending });
    }

    /// Waits until a frame has ended, and files it.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = Poll::Pending;
        for server in 0..self.servers.len() {
            while let Poll::Ready((tag, frame, end)) = self.servers[server].poll_frame(cx) {
                self.file(tag, frame, end);
                progress = Poll::Ready(());
            }
        }
        progress
    }

    /// Puts a frame that has ended to its batch.
    fn file(&mut self, tag: FrameTag, frame: usize, end: FrameEnd) {
        let pending = if tag.is_again {
            &mut self.again.as_mut().expect("its frames are open").pending
        } else {
            let oldest = self.pending.front().expect("its frames are open").ticket;
            &mut self.pending[(tag.ticket - oldest) as usize]
        };
        debug_assert_eq!(pending.ticket, tag.ticket);
        pending.frames[frame] = Some(end);
        pending.missing -= 1;
        if pending.missing == 0 {
            pending.rooms.clear();
        }
    }
}

impl Pending {
    fn finish(self) -> (Outcomes, Vec<Bytes>) {
        let mut results = Vec::with_capacity(self.frames.len());
        let mut bodies = Vec::with_capacity(self.frames.len());
        let mut boots = Vec::with_capacity(self.frames.len());
        for end in self.frames {
            let end = end.expect("no frame is missing");
            let header = batch::read_header(&end.body).expect("a batch of our own");
            boots.push(header.session.boot_id);
            results.push(end.result);
            bodies.push(end.body);
        }
        (Outcomes::new(self.layout, results, boots), bodies)
    }
}

impl Again {
    fn merge(self) -> (Outcomes, Vec<Bytes>) {
        let Self { mut outcomes, mut bodies, indices, pending } = self;
        let (again, again_bodies) = pending.finish();
        outcomes.replace(&indices, again);
        bodies.extend(again_bodies);
        (outcomes, bodies)
    }
}

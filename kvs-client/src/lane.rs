//! One ordered stream of batches: what a worker holds.
//!
//! A lane cuts each batch into frames and gives them to its *server lanes*, one a server. Batches
//! complete in the order in which they were submitted. Before one completes, what needs it is sent
//! again, in its turn:
//!
//! - a read without a value, because there was no room for it in a reply, or the reply was lost. It
//!   takes effect after what was sent meanwhile, so it is repeated only if none of that mutates its
//!   key, and gets a new stamp;
//! - an operation whose server does not own its key any more. The map is fetched, and until all that
//!   is in flight has completed nothing else is sent, so that the order of the lane stays.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use proto::batch;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::batcher::{Batch, Cut, Decoded, Layout};
use crate::error::Failure;
use crate::outcomes::Outcomes;
use crate::router::Router;
use crate::server_lane::ServerLane;
use crate::server_lane::frame::{FrameEnd, FrameTag};
use crate::shared::Shared;

/// Pause before the map is fetched again that has just been fetched in vain.
const MAP_PAUSE: Duration = Duration::from_millis(20);

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
    /// The map that it was cut by.
    router: Arc<Router>,
    layout: Layout,
    frames: Vec<Option<FrameEnd>>,
    missing: usize,
    /// Its share of the bytes in flight at each server, until no frame is missing.
    rooms: Vec<OwnedSemaphorePermit>,
}

/// The oldest batch, all of whose frames have ended.
#[derive(Debug)]
struct Oldest {
    ticket: u64,
    outcomes: Outcomes,
    /// By frame: its operations, and the map that it was cut by.
    frames: Vec<(Bytes, Arc<Router>)>,
    /// Since when operations of it have been going to servers that do not own their keys.
    misrouted_since: Option<Instant>,
}

/// What the oldest batch waits for.
enum Again {
    /// A newer map of slots.
    Map { oldest: Oldest, indices: Vec<u32>, map: BoxFuture<'static, Arc<Router>> },
    /// Operations that were sent again.
    Sent { oldest: Oldest, indices: Vec<u32>, has_new_stamps: bool, pending: Pending },
}

impl Again {
    fn is_map(&self) -> bool {
        matches!(self, Self::Map { .. })
    }
}

/// One ordered stream of batches to all servers.
///
/// Operations on one key take effect in the order of their stamps, over all batches in flight.
/// Dropping a lane leaves what is in flight unknown.
pub struct Lane {
    shared: Arc<Shared>,
    servers: Vec<ServerLane>,
    pending: VecDeque<Pending>,
    again: Option<Again>,
    /// Batches that completed before they were asked for.
    completed: VecDeque<Completed>,
    /// Operations in flight have met a server that does not own their keys.
    is_misrouted: bool,
    next_ticket: u64,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let servers = shared
            .links
            .iter()
            .map(|link| ServerLane::new(Arc::clone(link), shared.retry))
            .collect();
        Self {
            shared,
            servers,
            pending: VecDeque::new(),
            again: None,
            completed: VecDeque::new(),
            is_misrouted: false,
            next_ticket: 1,
        }
    }

    /// An empty batch with room for `operations_max` operations, whose stamps are reserved by one
    /// step of the client's counter.
    pub fn batch(&self, operations_max: usize) -> Batch {
        self.shared.batch(operations_max)
    }

    /// How many batches are in flight.
    pub fn in_flight(&self) -> usize {
        self.unfinished() + self.completed.len()
    }

    fn unfinished(&self) -> usize {
        self.pending.len() + usize::from(self.again.is_some())
    }

    /// Identity of the data to which an operation on this key belongs that is in flight now.
    pub fn data_id(&self, key: &[u8]) -> u64 {
        self.servers[self.shared.server_of(key)].next_header(false).session.data_id
    }

    /// Sends a batch, after waiting for room in the bytes in flight, and returns its ticket
    /// without waiting for the replies. An empty batch completes at once.
    ///
    /// The bytes of a batch stay counted until [`next`](Self::next) or a later `submit` is polled
    /// after its reply: a lane that is left alone with batches in flight keeps their room.
    pub async fn submit(&mut self, batch: Batch) -> u64 {
        self.keep_order(&batch).await;
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

    /// Waits until `batch` can't overtake anything: all in flight must be routed by one map, and none
    /// of it be on its way to another server than the one that it was sent to.
    async fn keep_order(&mut self, batch: &Batch) {
        let again = match &self.again {
            Some(Again::Sent { pending, .. }) => Some(pending),
            _ => None,
        };
        let by_its_map = |earlier: &Pending| Arc::ptr_eq(&earlier.router, batch.router());
        let is_in_order =
            !self.is_misrouted && again.into_iter().chain(self.pending.back()).all(by_its_map);
        if is_in_order {
            return;
        }
        poll_fn(|cx| {
            loop {
                while let Some(completed) = self.finish_oldest() {
                    self.completed.push_back(completed);
                }
                if self.unfinished() == 0 {
                    return Poll::Ready(());
                }
                ready!(self.poll_progress(cx));
            }
        })
        .await;
    }

    /// Hands a batch's frames to the server lanes, but for those whose keys nobody owns.
    fn dispatch(
        &mut self,
        cut: Cut,
        layout: Layout,
        tag: FrameTag,
        rooms: Vec<OwnedSemaphorePermit>,
    ) -> Pending {
        let mut frames = Vec::new();
        for (index, frame) in cut.frames.iter().enumerate() {
            let server = &mut self.servers[frame.server];
            let header = server.next_header(frame.mutates);
            let body = cut.assemble(frame, header, &self.shared.requests);
            if frame.is_owned {
                server.push(tag, index, body, frame);
                frames.push(None);
            } else {
                self.is_misrouted = true;
                let endpoint = self.shared.links[frame.server].endpoint.to_string();
                let result = Err(Failure::WrongShard { endpoint });
                frames.push(Some(FrameEnd { result, body }));
            }
        }
        let missing = frames.iter().filter(|frame| frame.is_none()).count();
        let router = Arc::clone(cut.router());
        self.shared.encoders.give_back(cut.into_encoders());
        Pending { ticket: tag.ticket, router, layout, frames, missing, rooms }
    }

    /// Sends what can be sent and files what has arrived, without waiting.
    async fn pump(&mut self) {
        poll_fn(|cx| {
            while self.poll_progress(cx).is_ready() {}
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
            while self.poll_progress(cx).is_ready() {}
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
            poll_fn(|cx| self.poll_progress(cx)).await;
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
            if let Some(Again::Map { oldest, .. }) = self.again.take_if(|again| again.is_map()) {
                all.push(oldest.complete());
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
        self.completed.pop_front().or_else(|| self.finish_oldest())
    }

    /// The oldest batch that was not finished yet, once nothing more is to be done for it.
    fn finish_oldest(&mut self) -> Option<Completed> {
        loop {
            let oldest = match self.again.take() {
                Some(Again::Sent { mut oldest, indices, has_new_stamps, pending })
                    if pending.missing == 0 =>
                {
                    let again = pending.finish();
                    oldest.outcomes.replace(&indices, again.outcomes, has_new_stamps);
                    oldest.frames.extend(again.frames);
                    oldest
                }
                None if self.pending.front().is_some_and(|pending| pending.missing == 0) => {
                    self.pending.pop_front().expect("it was there a moment ago").finish()
                }
                again => {
                    self.again = again;
                    return None;
                }
            };
            if let Some(completed) = self.complete_or_go_on(oldest) {
                self.is_misrouted &= self.unfinished() > 0;
                return Some(completed);
            }
        }
    }

    /// Completes a batch, or sends those of its operations again that need it.
    fn complete_or_go_on(&mut self, mut oldest: Oldest) -> Option<Completed> {
        if !oldest.outcomes.may_need_more() {
            return Some(oldest.complete());
        }
        let links = &self.shared.links;
        oldest.outcomes.name_unread(|server| links[server].endpoint.to_string());
        let indices = oldest.outcomes.misrouted();
        let is_first = oldest.misrouted_since.is_none();
        let since = *oldest.misrouted_since.get_or_insert_with(Instant::now);
        if !indices.is_empty() && (is_first || since.elapsed() < self.shared.retry) {
            let (frame, _) = oldest.outcomes.frame_position(indices[0] as usize);
            let stale = Arc::clone(&oldest.frames[frame].1);
            let shared = Arc::clone(&self.shared);
            let map = async move {
                if !is_first {
                    tokio::time::sleep(MAP_PAUSE).await;
                }
                shared.fetch_map(&stale).await
            };
            self.again = Some(Again::Map { oldest, indices, map: map.boxed() });
            return None;
        }
        let indices = self.repeatable(&oldest);
        if indices.is_empty() {
            return Some(oldest.complete());
        }
        let batch = self.shared.batch(indices.len());
        self.send_again(oldest, indices, batch, true);
        None
    }

    /// The reads of a batch that have no value and whose keys nothing mutates that was given later
    /// and sent already.
    fn repeatable(&self, oldest: &Oldest) -> Vec<u32> {
        let unread = oldest.outcomes.unread();
        let Some(&first) = unread.first() else { return unread };
        let (router, mut later) = (self.shared.router(), HashSet::new());
        let filed = self.pending.iter().flat_map(|pending| pending.frames.iter().flatten());
        let open = self.servers.iter().flat_map(|server| server.bodies_after(oldest.ticket));
        for body in filed.map(|end| &end.body).chain(open) {
            later.extend(Decoded::new(body, &router).mutated_keys().map(<[u8]>::to_vec));
        }
        let decoded: Vec<Decoded> =
            oldest.frames.iter().map(|(body, _)| Decoded::new(body, &router)).collect();
        let operation = |index: u32| {
            let (frame, position) = oldest.outcomes.frame_position(index as usize);
            decoded[frame].get(position)
        };
        let mut repeatable = Vec::new();
        for index in (first..oldest.outcomes.len() as u32).rev() {
            let operation = operation(index);
            if operation.kind().is_mutation() {
                later.insert(operation.key.to_vec());
            } else if unread.binary_search(&index).is_ok() && !later.contains(operation.key) {
                repeatable.push(index);
            }
        }
        repeatable.reverse();
        repeatable
    }

    fn send_again(
        &mut self,
        oldest: Oldest,
        indices: Vec<u32>,
        mut batch: Batch,
        has_new_stamps: bool,
    ) {
        let router = self.shared.router();
        let mut decoded: Vec<Option<Decoded>> = oldest.frames.iter().map(|_| None).collect();
        for &index in &indices {
            let (frame, position) = oldest.outcomes.frame_position(index as usize);
            let body = &oldest.frames[frame].0;
            let operations = decoded[frame].get_or_insert_with(|| Decoded::new(body, &router));
            batch.push(&operations.get(position)).expect("it was checked the first time");
        }
        let tag = FrameTag { ticket: oldest.ticket, is_again: true };
        // It is sent without waiting for room, so that no outcome is lost when the caller of
        // `next` stops waiting: its bytes were let in with the first attempt.
        let (cut, layout) = batch.cut();
        let pending = self.dispatch(cut, layout, tag, Vec::new());
        self.again = Some(Again::Sent { oldest, indices, has_new_stamps, pending });
    }

    /// Waits until a frame has ended, and files it, or until a map has come that the oldest batch
    /// needs.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = self.poll_frame(cx);
        if let Some(Again::Map { map, .. }) = &mut self.again
            && map.poll_unpin(cx).is_ready()
            && let Some(Again::Map { oldest, indices, .. }) = self.again.take()
        {
            // Their stamps stay: all that could overtake them waits.
            let batch = self.shared.batch_at(oldest.outcomes.first_stamp(), indices.len());
            self.send_again(oldest, indices, batch, false);
            progress = Poll::Ready(());
        }
        progress
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
        self.is_misrouted |= matches!(end.result, Err(Failure::WrongShard { .. }));
        let pending = if tag.is_again {
            let Some(Again::Sent { pending, .. }) = &mut self.again else {
                unreachable!("its frames are open")
            };
            pending
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

impl Oldest {
    fn complete(self) -> Completed {
        let Self { ticket, outcomes, .. } = self;
        Completed { ticket, first_stamp: outcomes.first_stamp(), outcomes }
    }
}

impl Pending {
    fn finish(self) -> Oldest {
        let Self { ticket, router, layout, frames: ends, .. } = self;
        let (mut results, mut frames, mut data_ids) = (Vec::new(), Vec::new(), Vec::new());
        for end in ends {
            let end = end.expect("no frame is missing");
            let header = batch::read_header(&end.body).expect("a batch of our own");
            data_ids.push(header.session.data_id);
            results.push(end.result);
            frames.push((end.body, Arc::clone(&router)));
        }
        let outcomes = Outcomes::new(layout, results, data_ids);
        Oldest { ticket, outcomes, frames, misrouted_since: None }
    }
}

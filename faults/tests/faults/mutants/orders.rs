//! Orders that break their promise to apply a batch whole and once.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{Batch, Change, Engine, Nobody, Origin, Refused, Tally};
use kvs_server::order::memory::Memory;
use kvs_server::order::{Answer, Order, Request};
use model::operations::{Group, OperationEntry};
use model::session::SessionId;
use store::AnyStore;
use tokio::sync::oneshot;

/// The last number that was applied in each lane.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<(SessionId, u32), u64>>);

impl Turns {
    /// The number that this batch's lane takes next.
    fn next(&self, origin: &Origin) -> u64 {
        let turns = self.0.lock().expect("no holder of the turns panicked");
        turns.get(&(origin.session, origin.lane)).map_or(1, |last| last + 1)
    }

    fn take(&self, origin: &Origin) {
        let mut turns = self.0.lock().expect("no holder of the turns panicked");
        let last = turns.entry((origin.session, origin.lane)).or_default();
        *last = origin.number.max(*last);
    }
}

/// Where a request's batch comes from, if it mutates.
fn origin<R: Request>(request: &mut R) -> Option<Origin> {
    match request.parts().0 {
        Change::Batch(batch) if batch.mutations > 0 => batch.origin,
        _ => None,
    }
}

/// A request whose end is seen, and which may hide where it comes from.
struct Watched<R> {
    request: R,
    hides_origin: bool,
    was_applied: bool,
}

impl<R: Request> Request for Watched<R> {
    type Replies = R::Replies;

    fn parts(&mut self) -> (Change<'_>, &mut R::Replies) {
        let (mut change, replies) = self.request.parts();
        if let Change::Batch(batch) = &mut change
            && self.hides_origin
        {
            batch.origin = None;
        }
        (change, replies)
    }

    fn end(&mut self, result: Result<Tally, Refused>) {
        self.was_applied = result.is_ok();
        self.request.end(result);
    }
}

/// Submits a request, and notes the turn that it has taken.
fn submit<R: Request>(memory: &Memory, turns: &Turns, mut request: R, hides_origin: bool) -> R {
    let origin = origin(&mut request);
    match memory.submit(Watched { request, hides_origin, was_applied: false }) {
        Answer::Now(Watched { request, was_applied, .. }) => {
            if let Some(origin) = origin.filter(|_| was_applied) {
                turns.take(&origin);
            }
            request
        }
        Answer::Later(_) => unreachable!("the order in memory answers at once"),
    }
}

/// A batch that is sent again is applied again.
pub(super) struct RetryAppliedTwice {
    memory: Memory,
    turns: Turns,
}

impl RetryAppliedTwice {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, turns: Turns::default() }
    }
}

impl Order for RetryAppliedTwice {
    type Store = AnyStore;

    fn engine(&self) -> &Engine<AnyStore> {
        self.memory.engine()
    }

    fn submit<R: Request>(&self, mut request: R) -> Answer<R> {
        let origin = origin(&mut request);
        let is_again = origin.is_some_and(|origin| origin.number < self.turns.next(&origin));
        Answer::Now(submit(&self.memory, &self.turns, request, is_again))
    }
}

/// One batch in so many is cancelled.
const ONE_IN: u64 = 8;

/// A handler is cancelled between the operations of its batch: half of each group has taken effect,
/// there is no record, and no reply comes.
pub(super) struct HandlerCancelled {
    memory: Memory,
    turns: Turns,
    batches: AtomicU64,
    /// Requests with the ends that would answer them.
    cancelled: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl HandlerCancelled {
    pub(super) fn new(memory: Memory) -> Self {
        let (turns, batches, cancelled) = Default::default();
        Self { memory, turns, batches, cancelled }
    }

    fn cancels(&self, origin: &Origin) -> bool {
        origin.number == self.turns.next(origin)
            && self.batches.fetch_add(1, Ordering::Relaxed) % ONE_IN == ONE_IN - 1
    }
}

impl Order for HandlerCancelled {
    type Store = AnyStore;

    fn engine(&self) -> &Engine<AnyStore> {
        self.memory.engine()
    }

    fn submit<R: Request>(&self, mut request: R) -> Answer<R> {
        if !origin(&mut request).is_some_and(|origin| self.cancels(&origin)) {
            return Answer::Now(submit(&self.memory, &self.turns, request, false));
        }
        if let Change::Batch(batch) = request.parts().0 {
            drop(self.memory.submit(Half::of(&batch)));
        }
        let (end, never) = oneshot::channel();
        let kept: Box<dyn Any + Send> = Box::new((request, end));
        self.cancelled.lock().expect("no holder of these panicked").push(kept);
        Answer::Later(never)
    }
}

/// The first half of each group of a batch.
struct Half {
    frame: Vec<u8>,
    groups: Vec<Group>,
    entries: Vec<OperationEntry>,
    judged: (u32, bool),
    nobody: Nobody,
}

impl Half {
    fn of(batch: &Batch<'_>) -> Self {
        let (mut groups, mut entries, mut first) = (Vec::new(), Vec::new(), 0);
        for group in batch.groups {
            let operations = group.operations.div_ceil(2);
            groups.push(Group { operations, ..*group });
            entries.extend_from_slice(&batch.entries[first..first + operations as usize]);
            first += group.operations as usize;
        }
        let (frame, judged) = (batch.frame.to_vec(), batch.judged);
        Self { frame, groups, entries, judged, nobody: Nobody }
    }
}

impl Request for Half {
    type Replies = Nobody;

    fn parts(&mut self) -> (Change<'_>, &mut Nobody) {
        let batch = Batch {
            origin: None,
            epoch: None,
            judged: self.judged,
            mutations: self.entries.iter().filter(|entry| entry.kind.is_mutation()).count(),
            frame: &self.frame,
            groups: &self.groups,
            entries: &self.entries,
        };
        (Change::Batch(batch), &mut self.nobody)
    }

    fn end(&mut self, _result: Result<Tally, Refused>) {}
}

//! The plain API's way: single operations that batch by themselves.
//!
//! Each server has one batch that is being filled. A caller encodes its operation straight into it
//! and waits; a task that owns a lane, the *pump*, sends the batch as soon as none is on its way,
//! and opens the next. So what arrives while a batch is on its way leaves together in the next one:
//! no timer, and no wait for a lone caller. Its thread does not sleep at once while the reply is on
//! its way: to be woken takes longer than a fast network and the server together.
//!
//! What many callers cost is kept low: an operation is written once, where it is sent from; all
//! callers of a batch share one allocation, their *flight*, and each takes its own outcome out of
//! the one reply, on its own thread.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use model::operation::{Action, Operation};
use model::outcome::Outcome;

use crate::batcher::Batch;
use crate::error::Error;
use crate::lane::Lane;
use crate::outcomes::Outcomes;
use crate::shared::Shared;

/// Most operations that leave together; beyond them callers wait for the next batch.
const BATCH_OPERATIONS_MAX: usize = 4096;
/// Bytes of keys and values after which a batch takes no further operation.
const BATCH_BYTES: usize = 1 << 20;
/// Batches in flight to a server.
const DEPTH: usize = 1;
/// How often a lone operation's reply is looked for before the thread sleeps: some 50 us, about what
/// it takes to wake two cores that sleep, which is most of such an operation's time.
const LOOKS_MAX: u32 = 100;
/// Most lone operations that are waited for asleep between two that are looked for.
const ASLEEP_MAX: u32 = 255;

/// The operations of one batch, from the first caller's arrival until the last has its outcome.
#[derive(Debug, Default)]
struct Flight {
    /// What became of them; `None` when the client was closed before that was known.
    landed: OnceLock<Option<Outcomes>>,
    /// Who waits, in the order of the operations.
    wakers: Mutex<Vec<Waker>>,
}

impl Flight {
    fn land(&self, outcomes: Option<Outcomes>) {
        self.landed.set(outcomes).expect("a flight lands once");
        for waker in std::mem::take(&mut *lock(&self.wakers)) {
            waker.wake();
        }
    }

    /// The outcome of operation `index`, for the task that waits for it.
    fn poll(&self, index: usize, cx: &Context<'_>) -> Poll<Result<Outcome<Bytes>, Error>> {
        if self.landed.get().is_none() {
            let mut wakers = lock(&self.wakers);
            // Under the lock, because whoever lands the flight takes the wakers after that.
            if self.landed.get().is_none() {
                wakers[index].clone_from(cx.waker());
                return Poll::Pending;
            }
        }
        let landed = self.landed.get().expect("it was there a moment ago");
        let outcomes = landed.as_ref().ok_or(Error::Closed);
        Poll::Ready(outcomes.and_then(|outcomes| outcomes.shared(index).map_err(Error::from)))
    }
}

/// The batch that is being filled for one server.
#[derive(Debug)]
struct Filling {
    batch: Batch,
    bytes: usize,
    flight: Arc<Flight>,
    /// The pump, when it waits for an operation.
    pump: Option<Waker>,
    /// Callers that found no room.
    crowd: Vec<Waker>,
    /// No further operation will come.
    is_closed: bool,
}

impl Filling {
    fn new(batch: Batch) -> Self {
        Self {
            batch,
            bytes: 0,
            flight: Arc::default(),
            pump: None,
            crowd: Vec::new(),
            is_closed: false,
        }
    }
}

/// What callers and the pump of one server share.
#[derive(Debug)]
struct Queue(Mutex<Filling>);

/// A batch that may leave, with those who wait for it.
type Departure = (Batch, Arc<Flight>);

impl Queue {
    /// Adds an operation; `Pending` while there is no room.
    fn poll_push(
        &self,
        operation: &Operation<'_>,
        cx: &Context<'_>,
    ) -> Poll<Result<(Arc<Flight>, usize), Error>> {
        let mut filling = lock(&self.0);
        if filling.is_closed {
            return Poll::Ready(Err(Error::Closed));
        }
        let index = filling.batch.len();
        if index == BATCH_OPERATIONS_MAX || filling.bytes >= BATCH_BYTES {
            filling.crowd.push(cx.waker().clone());
            return Poll::Pending;
        }
        if let Err(error) = filling.batch.push(operation) {
            return Poll::Ready(Err(error.into()));
        }
        filling.bytes += payload_bytes(operation);
        let flight = Arc::clone(&filling.flight);
        lock(&flight.wakers).push(cx.waker().clone());
        let pump = filling.pump.take();
        drop(filling);
        if let Some(pump) = pump {
            pump.wake();
        }
        Poll::Ready(Ok((flight, index)))
    }

    /// Takes the operations that wait, and leaves `next` to be filled; `None` when no more will
    /// come.
    fn poll_depart(&self, next: &mut Option<Batch>, cx: &Context<'_>) -> Poll<Option<Departure>> {
        let mut filling = lock(&self.0);
        if filling.batch.is_empty() {
            if filling.is_closed {
                return Poll::Ready(None);
            }
            filling.pump = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let next = next.take().expect("an empty batch was made before");
        let batch = std::mem::replace(&mut filling.batch, next);
        let flight = std::mem::take(&mut filling.flight);
        filling.bytes = 0;
        let crowd = std::mem::take(&mut filling.crowd);
        drop(filling);
        crowd.into_iter().for_each(Waker::wake);
        Poll::Ready(Some((batch, flight)))
    }

    /// Takes no further operation, and wakes the pump, so that it ends after the last.
    fn close(&self) -> MutexGuard<'_, Filling> {
        let mut filling = lock(&self.0);
        filling.is_closed = true;
        let pump = filling.pump.take();
        filling.crowd.drain(..).chain(pump).for_each(Waker::wake);
        filling
    }
}

fn payload_bytes(operation: &Operation<'_>) -> usize {
    let value_bytes = match operation.action {
        Action::Put { value } => value.len(),
        Action::CompareAndSwap { expected, value } => expected.map_or(0, <[u8]>::len) + value.len(),
        _ => 0,
    };
    operation.key.len() + value_bytes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panicked")
}

/// The plain API's part of a client. Clones share it; with the last of them its pumps end.
#[derive(Clone, Debug)]
pub(crate) struct Plain(Arc<Queues>);

#[derive(Debug)]
struct Queues(Vec<Arc<Queue>>);

impl Drop for Queues {
    fn drop(&mut self) {
        for queue in &self.0 {
            drop(queue.close());
        }
    }
}

impl Plain {
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let start_one = |_| {
            let lane = Lane::new(Arc::clone(shared));
            let filling = Filling::new(lane.batch(BATCH_OPERATIONS_MAX));
            let queue = Arc::new(Queue(Mutex::new(filling)));
            let pump = Pump { queue: Arc::clone(&queue), lane, flights: VecDeque::new() };
            tokio::spawn(pump.run());
            queue
        };
        Self(Arc::new(Queues((0..shared.links.len()).map(start_one).collect())))
    }

    pub(crate) async fn call(
        &self,
        server: usize,
        operation: &Operation<'_>,
    ) -> Result<Outcome<Bytes>, Error> {
        let queue = &self.0.0[server];
        let (flight, index) = poll_fn(|cx| queue.poll_push(operation, cx)).await?;
        poll_fn(|cx| flight.poll(index, cx)).await
    }
}

/// Sends one server's batches, one after the other.
struct Pump {
    queue: Arc<Queue>,
    lane: Lane,
    /// The batches on their way, oldest first.
    flights: VecDeque<Arc<Flight>>,
}

impl Pump {
    async fn run(mut self) {
        let mut next = None;
        let mut has_company = false;
        let (mut vigil, mut is_awake) = (Vigil::default(), false);
        loop {
            next.get_or_insert_with(|| self.lane.batch(BATCH_OPERATIONS_MAX));
            let queue = &self.queue;
            let departure = async {
                if has_company {
                    go_last().await;
                }
                poll_fn(|cx| queue.poll_depart(&mut next, cx)).await
            };
            tokio::select! {
                biased;
                Some(completed) = self.lane.next(), if !self.flights.is_empty() => {
                    has_company = completed.outcomes.len() > 1;
                    if std::mem::take(&mut is_awake) {
                        vigil.was_worth_it();
                    }
                    self.flights.pop_front().expect("one is on its way")
                        .land(Some(completed.outcomes));
                }
                () = look(), if is_awake => {
                    is_awake = false;
                    vigil.was_in_vain();
                }
                departure = departure, if self.flights.len() < DEPTH => {
                    let Some((batch, flight)) = departure else { return };
                    self.flights.push_back(flight);
                    is_awake = batch.len() == 1 && vigil.begins();
                    self.lane.submit(batch).await;
                }
            }
        }
    }
}

/// Those who wait learn that no outcome will come.
impl Drop for Pump {
    fn drop(&mut self) {
        let filling = std::mem::take(&mut self.queue.close().flight);
        self.flights.drain(..).chain([filling]).for_each(|flight| flight.land(None));
    }
}

/// Lets the tasks run that are ready now: callers whose operations have just landed send their next
/// ones, and these leave together instead of one by one. A lone caller is not made to wait for it.
async fn go_last() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        // To the end of the thread's queue, without a look at the sockets.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Keeps the thread awake for some looks at its sockets. All other tasks that are ready run between
/// them.
async fn look() {
    for _ in 0..LOOKS_MAX {
        tokio::task::yield_now().await;
    }
}

/// Which lone operations are looked for: all while most replies come in time. Each that was looked
/// for in vain doubles how many are then waited for asleep, so a slow network or a busy core costs
/// few looks.
#[derive(Debug, Default)]
struct Vigil {
    pause: u32,
    asleep: u32,
}

impl Vigil {
    /// A lone operation leaves: whether its reply is to be looked for.
    fn begins(&mut self) -> bool {
        let is_due = self.asleep == 0;
        self.asleep = self.asleep.saturating_sub(1);
        is_due
    }

    /// The reply came in time.
    fn was_worth_it(&mut self) {
        self.pause /= 2;
        self.asleep = self.pause;
    }

    /// It did not.
    fn was_in_vain(&mut self) {
        self.pause = (2 * self.pause + 1).min(ASLEEP_MAX);
        self.asleep = self.pause;
    }
}

#[cfg(test)]
mod tests;

//! One task of the load: builds batches, keeps some of them in flight, and checks what comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kvs_client::{Client, FailureClass};

use super::batches::{Classified, Replies, Reply, Requests};
use super::control::Control;
use super::fill::fill;
use super::history::{WorkerHistory, monotonic_ns};
use super::open_loop::Arrivals;
use super::plan::{PendingSwaps, Plan};
use super::progress::Board;
use super::random::Random;
use super::recorder::Recorder;
use super::source::Source;
use super::target::Stream;
use super::value::ValueWriter;

mod open;
mod plain;

/// A worker with all that it owns. It lives through all phases of a run.
#[derive(Debug)]
pub(crate) struct Worker<S: Stream> {
    index: usize,
    stream: S,
    values: ValueWriter,
    /// Draws the sizes of values.
    random: Random,
    /// Shared with the run, so that an abandoned worker's counts are not lost.
    recorder: Arc<Mutex<Recorder>>,
    board: Arc<Board>,
    history: Option<WorkerHistory>,
    pending: PendingSwaps,
    /// Plans of the batches in flight, oldest first.
    in_flight: VecDeque<Plan>,
    /// Plans whose memory waits to be used again.
    spare: Vec<Plan>,
}

/// How large batches are, how many are in flight, and what makes a worker send.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Operations per batch.
    pub(crate) batch_size: usize,
    /// Batches in flight per worker.
    pub(crate) depth: usize,
    /// What makes a worker send.
    pub(crate) style: Style,
}

/// What makes a worker send.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    /// The reply to an earlier batch: a closed loop.
    Closed,
    /// A schedule: an open loop.
    Open(Arc<Arrivals>),
    /// The reply to an earlier operation, with single operations through the library's plain API.
    Plain(Client),
}

impl<S: Stream> Worker<S> {
    /// Worker number `index`, which sends on `stream`.
    pub(crate) fn new(
        index: usize,
        stream: S,
        values: ValueWriter,
        random: Random,
        recorder: Arc<Mutex<Recorder>>,
        board: Arc<Board>,
        history: Option<WorkerHistory>,
    ) -> Self {
        Self {
            index,
            stream,
            values,
            random,
            recorder,
            board,
            history,
            pending: PendingSwaps::default(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// The number that it was made with.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Sends what the source gives until it is empty or the phase ends, and takes all replies, or
    /// those that are there when the phase is abandoned.
    pub(crate) async fn run(
        mut self,
        mut source: Source,
        control: Arc<Control>,
        pace: Pace,
    ) -> Self {
        self.pending = PendingSwaps::default();
        if let Style::Plain(client) = &pace.style {
            let working = self.work_plain(client, &mut source, &control);
            if control.until_abandoned(working).await.is_none() {
                self.forget_call(&control);
            }
            return self;
        }
        let is_done = {
            let working = async {
                match &pace.style {
                    Style::Open(arrivals) => {
                        self.work_open(arrivals, &mut source, &control, &pace).await;
                    }
                    _ => self.work(&mut source, &control, &pace).await,
                }
            };
            control.until_abandoned(working).await.is_some()
        };
        if !is_done {
            for outcomes in self.stream.abandon().await {
                self.receive(&outcomes, &source, &control);
            }
            self.forget_unsent(&control);
        }
        self
    }

    async fn work(&mut self, source: &mut Source, control: &Control, pace: &Pace) {
        loop {
            while self.in_flight.len() < pace.depth {
                if !self.send(source, control, pace.batch_size).await {
                    break;
                }
            }
            let Some(outcomes) = self.stream.next().await else { return };
            self.receive(&outcomes, source, control);
        }
    }

    /// Sends the next batch; `false` when there is none.
    async fn send(&mut self, source: &mut Source, control: &Control, batch_size: usize) -> bool {
        if !self.may_send() {
            return false;
        }
        match control.take(batch_size) {
            0 => false,
            operations_max => self.send_batch(source, operations_max, &mut Vec::new()).await,
        }
    }

    fn may_send(&self) -> bool {
        let has_failed = self.history.as_ref().is_some_and(WorkerHistory::has_failed);
        !has_failed && !self.stream.is_lost()
    }

    /// Sends a batch of at most so many operations; `false` when the source has none. In an open
    /// loop, `due` says when each of them was meant to start; it comes back empty.
    async fn send_batch(
        &mut self,
        source: &mut Source,
        operations_max: usize,
        due: &mut Vec<Instant>,
    ) -> bool {
        let mut plan = self.spare.pop().unwrap_or_else(Plan::new);
        let invoked_ns = self.history.as_ref().map_or(0, |_| monotonic_ns());
        source.plan(&mut plan, operations_max, &self.pending);
        if plan.operations.is_empty() {
            self.spare.push(plan);
            return false;
        }
        let mut batch = self.stream.batch(plan.operations.len());
        fill(&mut batch, &plan, &mut self.values, &mut self.random, &self.pending)
            .expect("keys and values of a workload are within the limits");
        plan.invoked_ns = invoked_ns;
        std::mem::swap(&mut plan.due, due);
        plan.first_stamp = batch.first_stamp();
        if let Some(history) = &self.history {
            let swaps = plan.operations[..plan.attempts.len()].iter().enumerate();
            plan.expected.extend(swaps.map(|(index, planned)| {
                history.name(self.pending.expected(index), planned.number())
            }));
        }
        self.pending.remove(plan.attempts.len());
        self.in_flight.push_back(plan);
        self.stream.submit(batch).await;
        self.board.worker(self.index).set_in_flight(self.in_flight.len());
        true
    }

    /// Checks and counts a completed batch.
    fn receive(&mut self, outcomes: &S::Outcomes, source: &Source, control: &Control) {
        let response = Instant::now();
        let plan = self.in_flight.pop_front().expect("a completed batch was in flight");
        assert_eq!(outcomes.len(), plan.operations.len(), "each operation has one outcome");
        let reply = |index| Reply::of(outcomes, plan.first_stamp, index);
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = &mut self.pending;
        let counts = match &mut self.history {
            None => recorder.batch(&plan, response, control, reply, pending, |_, _, _| {}),
            Some(history) => {
                let mut history = history.begin(&plan);
                let note = |index, reply: &Reply<'_, _>, writer| {
                    history.record(index, reply, writer, outcomes);
                };
                let counts = recorder.batch(&plan, response, control, reply, pending, note);
                history.finish(outcomes);
                counts
            }
        };
        let totals = self.board.worker(self.index);
        let latency = response.saturating_duration_since(plan.invocation);
        totals.add(&counts, latency, recorder.faults.count());
        totals.set_in_flight(self.in_flight.len());
        source.completed(&plan);
        self.spare.push(plan);
    }

    /// Takes note of a batch that was never sent: it waited for room when the phase was abandoned.
    fn forget_unsent(&mut self, control: &Control) {
        while let Some(plan) = self.in_flight.pop_front() {
            if let Some(history) = &mut self.history {
                history.unsent(&plan, &self.stream);
            }
            let reply = |_| Reply { outcome: Err(Unsent), server: 0, reissued: false };
            let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
            let pending = &mut self.pending;
            recorder.batch(&plan, Instant::now(), control, reply, pending, |_, _, _| {});
        }
    }
}

/// Why operations of a batch that was not sent have no outcome.
struct Unsent;

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the run was ended while its batch waited for room among the bytes in flight")
    }
}

impl Classified for Unsent {
    fn class(&self) -> FailureClass {
        FailureClass::NotApplied
    }
}

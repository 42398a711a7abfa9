//! The plain API's way: single operations that batch by themselves.
//!
//! One task a server owns a lane. What arrives while a batch is on its way leaves together in the
//! next one: no timer, no wait for a lone caller.

use std::sync::Arc;

use bytes::Bytes;
use proto::operation::{Action, Operation, Outcome};
use tokio::sync::{mpsc, oneshot};

use crate::client::Shared;
use crate::error::Error;
use crate::lane::{Completed, Lane};

/// Operations that wait for their batch; beyond it callers wait.
const QUEUE_OPERATIONS_MAX: usize = 16_384;
/// Most operations that leave together.
const BATCH_OPERATIONS_MAX: usize = 4096;
/// Batches in flight to a server.
const DEPTH: usize = 1;

type Answer = oneshot::Sender<Result<Outcome<Bytes>, Error>>;

/// An operation with its own bytes.
#[derive(Debug)]
struct Owned {
    key: Box<[u8]>,
    action: OwnedAction,
}

#[derive(Debug)]
enum OwnedAction {
    Get,
    Put(Box<[u8]>),
    Delete,
    CompareAndSwap(Option<Box<[u8]>>, Box<[u8]>),
    Increment(i64),
}

impl Owned {
    fn new(operation: &Operation<'_>) -> Self {
        let action = match operation.action {
            Action::Get => OwnedAction::Get,
            Action::Put { value } => OwnedAction::Put(value.into()),
            Action::Delete => OwnedAction::Delete,
            Action::CompareAndSwap { expected, value } => {
                OwnedAction::CompareAndSwap(expected.map(Into::into), value.into())
            }
            Action::Increment { by } => OwnedAction::Increment(by),
            Action::Foreign => unreachable!("clients do not make foreign operations"),
        };
        Self { key: operation.key.into(), action }
    }

    fn borrow(&self) -> Operation<'_> {
        let action = match &self.action {
            OwnedAction::Get => Action::Get,
            OwnedAction::Put(value) => Action::Put { value },
            OwnedAction::Delete => Action::Delete,
            OwnedAction::CompareAndSwap(expected, value) => {
                Action::CompareAndSwap { expected: expected.as_deref(), value }
            }
            OwnedAction::Increment(by) => Action::Increment { by: *by },
        };
        Operation { key: &self.key, action }
    }
}

/// Handles of the tasks, one a server.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    queues: Arc<[mpsc::Sender<(Owned, Answer)>]>,
}

impl Plain {
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let start_one = |_| {
            let (queue, operations) = mpsc::channel(QUEUE_OPERATIONS_MAX);
            tokio::spawn(serve(Lane::new(Arc::clone(shared)), operations));
            queue
        };
        Self { queues: (0..shared.links.len()).map(start_one).collect() }
    }

    pub(crate) async fn call(
        &self,
        server: usize,
        operation: &Operation<'_>,
    ) -> Result<Outcome<Bytes>, Error> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queues[server].send((Owned::new(operation), answer)).await;
        sent.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

/// Sends what is queued, one batch after the other, until all clients are gone.
async fn serve(mut lane: Lane, mut queue: mpsc::Receiver<(Owned, Answer)>) {
    let mut waiting: std::collections::VecDeque<Vec<Answer>> = std::collections::VecDeque::new();
    let mut operations = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(completed) = lane.next(), if lane_is_busy(&waiting) => {
                deliver(&completed, waiting.pop_front().expect("a batch was in flight"));
            }
            count = queue.recv_many(&mut operations, BATCH_OPERATIONS_MAX),
                if waiting.len() < DEPTH =>
            {
                if count == 0 {
                    break;
                }
                let mut batch = lane.batch(count);
                let mut answers = Vec::with_capacity(count);
                for (operation, answer) in operations.drain(..) {
                    match batch.push(&operation.borrow()) {
                        Ok(()) => answers.push(answer),
                        Err(error) => drop(answer.send(Err(error.into()))),
                    }
                }
                lane.submit(batch).await;
                waiting.push_back(answers);
            }
        }
    }
    while let Some(answers) = waiting.pop_front() {
        let Some(completed) = lane.next().await else { break };
        deliver(&completed, answers);
    }
}

fn lane_is_busy(waiting: &std::collections::VecDeque<Vec<Answer>>) -> bool {
    !waiting.is_empty()
}

fn deliver(completed: &Completed, answers: Vec<Answer>) {
    for (index, answer) in answers.into_iter().enumerate() {
        // A caller that stopped waiting does not want to know.
        drop(answer.send(completed.outcomes.shared(index).map_err(Error::from)));
    }
}

//! Workers that hammer a few keys through lanes and record what they see.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use checker::history::{Batch, Key, Kind, Operation, Outcome, Value, Written};
use kvs_client::{Action, Client, Completed, FailureClass, Lane, Outcome as Answer};

use crate::history::{History, Seen};
use crate::log::{Clock, EventLog};
use crate::random::Random;
use crate::value::{self, Writer};

/// What one client's workers do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where their choices come from.
    pub(crate) seed: u64,
    /// The client's number in the history.
    pub(crate) client: u32,
    /// Workers, each with a lane of its own.
    pub(crate) workers: u32,
    /// Batches of each worker.
    pub(crate) batches: u32,
    /// Operations of a batch.
    pub(crate) batch_size: RangeInclusive<u64>,
    /// Batches in flight of a worker.
    pub(crate) depth: RangeInclusive<u64>,
    /// Keys that hold values.
    pub(crate) registers: u64,
    /// Keys that hold numbers.
    pub(crate) counters: u64,
    /// How often each kind comes, by weight. GET goes to registers and counters alike.
    pub(crate) mix: Vec<(Kind, u32)>,
    /// Longest pause between two steps of a worker.
    pub(crate) pause_max: Duration,
    /// How long lost batches are sent again, if it is not the cluster's own choice.
    pub(crate) retry: Option<Duration>,
    /// What its workers get wrong.
    pub(crate) slip: Option<Slip>,
    /// Tells the time.
    pub(crate) clock: Clock,
    /// Takes what happens.
    pub(crate) log: EventLog,
}

/// What workers may get wrong on purpose, to see that it is noticed.
#[derive(Clone, Debug)]
pub(crate) enum Slip {
    /// A batch takes one number from a counter that all share and counts on by itself, as the Go
    /// program did that this project descends from.
    CollidingStamps(Arc<AtomicU64>),
    /// What was sent and had no answer is recorded as not applied.
    LossIsFailure,
}

impl Load {
    /// All kinds of operations, mostly reads and writes, over 6 registers and 2 counters.
    pub(crate) fn mixed(seed: u64, client: u32) -> Self {
        Self {
            seed,
            client,
            workers: 4,
            batches: 40,
            batch_size: 1..=100,
            depth: 1..=8,
            registers: 6,
            counters: 2,
            mix: vec![
                (Kind::Get, 40),
                (Kind::Put, 25),
                (Kind::CompareAndSwap, 15),
                (Kind::Increment, 15),
                (Kind::Delete, 5),
            ],
            pause_max: Duration::ZERO,
            retry: None,
            slip: None,
            clock: crate::log::system_clock,
            log: EventLog::default(),
        }
    }

    /// The same without DELETEs. A read that misses does not name the DELETE that it saw, so where
    /// many are open at a time and no server reports an order, too many explanations are left to
    /// try them all.
    pub(crate) fn without_deletes(mut self) -> Self {
        self.mix.retain(|(kind, _)| *kind != Kind::Delete);
        self
    }

    /// INCRs alone.
    pub(crate) fn increments(seed: u64, client: u32) -> Self {
        Self { registers: 0, mix: vec![(Kind::Increment, 1)], ..Self::mixed(seed, client) }
    }

    /// Runs all workers to their end.
    ///
    /// # Panics
    ///
    /// When a worker panics.
    pub(crate) async fn run(&self, client: &Client) -> History {
        let workers: Vec<_> = (0..self.workers)
            .map(|number| tokio::spawn(Worker::new(self, client, number).run()))
            .collect();
        let mut history = History::default();
        for worker in workers {
            history.add(worker.await.expect("workers do not panic"));
        }
        history
    }

    /// Reads every key once, as one more worker of the client.
    pub(crate) async fn read_all(&self, client: &Client) -> History {
        let mut worker = Worker::new(self, client, self.workers);
        let keys = (0..self.registers).map(Key::Number).chain((0..self.counters).map(Key::Counter));
        let plan: Vec<Planned> = keys.map(|key| Planned { key, what: What::Get }).collect();
        worker.submit(plan).await;
        while let Some(completed) = worker.lane.next().await {
            worker.record(&completed);
        }
        worker.history
    }
}

/// An operation that was chosen.
#[derive(Clone, Debug)]
struct Planned {
    key: Key<'static>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Get,
    Put,
    Delete,
    /// Expects this value.
    Swap(Option<Vec<u8>>),
    Increment(i64),
}

/// A batch on its way.
struct Open {
    invoked_ns: u64,
    first_stamp: u64,
    planned: Vec<Planned>,
}

struct Worker {
    load: Load,
    number: u32,
    lane: Lane,
    random: Random,
    open: VecDeque<Open>,
    /// Ordinal of the next operation.
    ordinal: u32,
    /// What was last seen of each register.
    known: HashMap<u64, Option<Vec<u8>>>,
    history: History,
}

impl Worker {
    fn new(load: &Load, client: &Client, number: u32) -> Self {
        let stream = (u64::from(load.client) << 32) + u64::from(number);
        Self {
            load: load.clone(),
            number,
            lane: client.lane(),
            random: Random::new(load.seed, stream),
            open: VecDeque::new(),
            ordinal: 0,
            known: HashMap::new(),
            history: History::default(),
        }
    }

    async fn run(mut self) -> History {
        let depth = self.random.within(&self.load.depth) as usize;
        let mut left = self.load.batches;
        while left > 0 || !self.open.is_empty() {
            if left > 0 && self.open.len() < depth {
                left -= 1;
                let plan = self.plan();
                self.submit(plan).await;
                self.pause().await;
            } else if let Some(completed) = self.lane.next().await {
                self.record(&completed);
            }
        }
        self.history
    }

    async fn pause(&mut self) {
        let longest_us = self.load.pause_max.as_micros() as u64;
        if longest_us > 0 {
            let pause = Duration::from_micros(self.random.below(longest_us + 1));
            tokio::time::sleep(pause).await;
        }
    }

    fn plan(&mut self) -> Vec<Planned> {
        let count = self.random.within(&self.load.batch_size);
        (0..count).map(|_| self.choose()).collect()
    }

    fn choose(&mut self) -> Planned {
        let kind = self.random.weighted(&self.load.mix);
        let Load { registers, counters, .. } = self.load;
        let number = match kind {
            Kind::Get => self.random.below(registers + counters),
            Kind::Increment => registers + self.random.below(counters),
            _ => self.random.below(registers),
        };
        let key = match number.checked_sub(registers) {
            Some(counter) => Key::Counter(counter),
            None => Key::Number(number),
        };
        let what = match kind {
            Kind::Get => What::Get,
            Kind::Put => What::Put,
            Kind::Delete => What::Delete,
            Kind::CompareAndSwap => What::Swap(self.known.get(&number).cloned().flatten()),
            Kind::Increment => What::Increment(1),
        };
        Planned { key, what }
    }

    async fn submit(&mut self, planned: Vec<Planned>) {
        let invoked_ns = (self.load.clock)().as_nanos() as u64;
        let mut batch = self.lane.batch(planned.len());
        let first_stamp = match &self.load.slip {
            Some(Slip::CollidingStamps(counter)) => counter.fetch_add(1, Ordering::Relaxed),
            _ => batch.first_stamp(),
        };
        for (index, Planned { key, what }) in planned.iter().enumerate() {
            let writer = Writer {
                client: self.load.client,
                stamp: first_stamp + index as u64,
                worker: self.number,
                ordinal: self.ordinal,
            };
            self.ordinal += 1;
            let (name, value) = (key.to_bytes(), value::encode(number_of(*key), &writer));
            let action = match what {
                What::Get => Action::Get,
                What::Put => Action::Put { value: &value },
                What::Delete => Action::Delete,
                What::Swap(expected) => {
                    Action::CompareAndSwap { expected: expected.as_deref(), value: &value }
                }
                What::Increment(by) => Action::Increment { by: *by },
            };
            batch
                .push(&kvs_client::Operation { key: &name, action })
                .expect("keys and values are small");
        }
        self.open.push_back(Open { invoked_ns, first_stamp, planned });
        let ticket = self.lane.submit(batch).await;
        let (client, worker) = (self.load.client, self.number);
        self.load.log.add(|| format!("{client}/{worker} submits {ticket}"));
    }

    /// Takes note of what a batch saw.
    fn record(&mut self, completed: &Completed) {
        let now_ns = (self.load.clock)().as_nanos() as u64;
        let Open { invoked_ns, first_stamp, planned } =
            self.open.pop_front().expect("it was submitted");
        let outcomes = &completed.outcomes;
        let mut operations = Vec::with_capacity(planned.len());
        let mut told = String::new();
        for (index, planned) in planned.into_iter().enumerate() {
            let mut operation = Operation {
                key: planned.key,
                stamp: match &self.load.slip {
                    Some(Slip::CollidingStamps(_)) => first_stamp + index as u64,
                    _ => outcomes.stamp(index),
                },
                kind: planned.what.kind(),
                outcome: Outcome::Ok,
                read: Value::NotKnown,
                written: Written::Nothing,
                by: 0,
                sequence: outcomes.witness(index).map(|witness| witness.apply_sequence),
                boot: outcomes.data_id(index),
            };
            match outcomes.get(index) {
                Ok(answer) => {
                    self.answered(&planned, answer, &mut operation);
                    told.push_str(&tell(planned.key, answer));
                }
                Err(failure) => {
                    let class = match &self.load.slip {
                        Some(Slip::LossIsFailure) => FailureClass::NotApplied,
                        _ => failure.class(),
                    };
                    open_ended(&planned, class, &mut operation);
                    told.push_str(&format!(" {class:?}"));
                }
            }
            operations.push(operation);
        }
        let (client, worker, ticket) = (self.load.client, self.number, completed.ticket);
        self.load.log.add(|| format!("{client}/{worker} completes {ticket}:{told}"));
        let batch = Batch { worker: self.number, inv_ns: invoked_ns, res_ns: now_ns, first_stamp };
        self.history.batches.push(Seen { client: self.load.client, batch, operations });
    }

    fn answered(
        &mut self,
        planned: &Planned,
        answer: Answer<&[u8]>,
        operation: &mut Operation<'_>,
    ) {
        let number = number_of(planned.key);
        let is_counter = matches!(planned.key, Key::Counter(_));
        match (&planned.what, answer) {
            (What::Get, Answer::Value(text)) if is_counter => {
                let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                operation.read = number.map_or(Value::Foreign, Value::Number);
            }
            (What::Get, Answer::Value(value)) | (What::Swap(_), Answer::Mismatch(Some(value))) => {
                operation.read = value::id(number, value);
                self.known.insert(number, Some(value.to_vec()));
            }
            (What::Get | What::Delete, Answer::Missing)
            | (What::Swap(_), Answer::Mismatch(None)) => {
                operation.read = Value::Missing;
                self.known.insert(number, None);
            }
            (What::Put, Answer::Done) => operation.written = Written::Own,
            (What::Delete, Answer::Done) => {
                (operation.read, operation.written) = (Value::Present, Written::Own);
            }
            (What::Swap(expected), Answer::Done) => {
                (operation.read, operation.written) = (expected_id(number, expected), Written::Own);
            }
            (What::Swap(_), Answer::MismatchUntold) => {}
            (What::Increment(by), Answer::Counter(sum)) => {
                (operation.by, operation.written) = (*by, Written::Number(sum));
            }
            (what, answer) => {
                self.history.oddities.push(format!("{what:?} was answered {answer:?}"));
                open_ended(planned, FailureClass::Unknown, operation);
            }
        }
    }
}

impl What {
    fn kind(&self) -> Kind {
        match self {
            Self::Get => Kind::Get,
            Self::Put => Kind::Put,
            Self::Delete => Kind::Delete,
            Self::Swap(_) => Kind::CompareAndSwap,
            Self::Increment(_) => Kind::Increment,
        }
    }
}

/// An operation without an answer, as a history holds it.
fn open_ended(planned: &Planned, class: FailureClass, operation: &mut Operation<'_>) {
    operation.outcome = match class {
        FailureClass::NotApplied => Outcome::Fail,
        FailureClass::Unknown | FailureClass::Applied => Outcome::Unknown,
    };
    match &planned.what {
        What::Get => {}
        What::Put | What::Delete => operation.written = Written::Own,
        What::Swap(expected) => {
            operation.read = expected_id(number_of(planned.key), expected);
            operation.written = Written::Own;
        }
        What::Increment(by) => operation.by = *by,
    }
}

fn expected_id(number: u64, expected: &Option<Vec<u8>>) -> Value {
    expected.as_deref().map_or(Value::Missing, |value| value::id(number, value))
}

fn number_of(key: Key<'_>) -> u64 {
    match key {
        Key::Number(number) | Key::Counter(number) => number,
        Key::Bytes(_) => unreachable!("a workload's keys have numbers"),
    }
}

/// An answer in words that do not hold stamps, which another run of the same seed has not.
fn tell(key: Key<'_>, answer: Answer<&[u8]>) -> String {
    let writer = |value: &[u8]| match (key, value::decode(number_of(key), value)) {
        (Key::Counter(_), _) => String::from_utf8_lossy(value).into_owned(),
        (_, Some(Writer { client, worker, ordinal, .. })) => format!("{client}/{worker}#{ordinal}"),
        (_, None) => "?".to_owned(),
    };
    match answer {
        Answer::Value(value) => format!(" {}", writer(value)),
        Answer::Mismatch(Some(value)) => format!(" not {}", writer(value)),
        Answer::Counter(sum) => format!(" +{sum}"),
        other => format!(" {other:?}"),
    }
}

//! What a run writes down for the checker: every operation of every phase, as its client saw it.
//!
//! What became of a batch's operations is told in the same pass in which it is counted, in a word for
//! each ([`Told`]) where that is enough, and packed when the pass is over. As this does not wait,
//! there are only as many buffers ([`BatchRecorder`]) as threads, and a worker takes the one that was
//! used last, which the caches still hold. A thread of its own writes full buffers to the file.
//!
//! An operation's id is its client and its first stamp: the one that stands inside the value that it
//! writes. An operation that the library had to send anew took effect under another stamp, which is
//! what orders it, but its value carries the first one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checker::history::{
    Batch, BatchRecorder, Clock, Header, HistoryWriter, Key, Operation, Outcome as Ending,
    PLACES_MAX, Place, Told, Value, Written,
};
use kvs_client::{FailureClass, Outcome, ServerInfo};

use super::batches::{Classified, Replies, Reply};
use super::cli::settings::Settings;
use super::plan::{Kind, Plan, Planned};
use super::target::Stream;
use super::text;
use super::value::{self, Writer};

/// The time on the clock that all processes of a host share, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Creates the history that the settings ask for.
///
/// # Errors
///
/// When the servers hold keys, whose writers the history would not tell; when the file can't be
/// written.
pub(crate) fn create(
    settings: &Settings,
    servers: &[ServerInfo],
) -> anyhow::Result<Option<HistoryWriter>> {
    let Some(path) = &settings.history else { return Ok(None) };
    if let Some(server) = servers.iter().find(|server| server.keys > 0) {
        anyhow::bail!(
            "-history: {} holds {} keys already, and nobody can tell who wrote them; start the \
             servers anew, or leave -history out",
            server.endpoint,
            text::count(server.keys),
        );
    }
    let header = Header {
        run: settings.run_id,
        client: settings.client_index,
        clock: Clock::default(),
        configuration: settings.flags.to_string(),
    };
    Ok(Some(HistoryWriter::create(path, &header)?))
}

/// The buffers that nobody uses now, the one that was used last on top.
#[derive(Clone, Debug)]
pub(crate) struct Recorders(Arc<Mutex<Vec<BatchRecorder>>>);

impl Recorders {
    /// One for each of the runtime's threads, and one for the thread that ends workers.
    pub(crate) fn new(writer: &HistoryWriter, threads: usize) -> Self {
        Self(Arc::new(Mutex::new((0..=threads).map(|_| writer.recorder()).collect())))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BatchRecorder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down one worker's batches.
#[derive(Debug)]
pub(crate) struct WorkerHistory {
    recorders: Recorders,
    worker: u32,
    run: u64,
    client: u32,
    has_failed: bool,
}

/// A batch that is being written down.
#[derive(Debug)]
pub(crate) struct BatchHistory<'a> {
    history: &'a mut WorkerHistory,
    /// There until the batch is dropped.
    recorder: Option<BatchRecorder>,
    plan: &'a Plan,
    /// What became of the operations so far.
    told: Vec<Told>,
}

impl WorkerHistory {
    /// The history of worker number `worker` of the run with these settings.
    pub(crate) fn new(recorders: Recorders, settings: &Settings, worker: usize) -> Self {
        Self {
            recorders,
            worker: worker as u32,
            run: settings.run_id,
            client: settings.client_index,
            has_failed: false,
        }
    }

    /// Whether the file can't be written, so that it makes no sense to go on.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The value under a key, by its writer.
    #[inline]
    pub(crate) fn name(&self, value: Option<&[u8]>, key: u64) -> Value {
        let Some(value) = value else { return Value::Missing };
        match value::writer(value, key) {
            Some(writer) if writer.run == self.run => {
                Value::Id { client: writer.client, stamp: writer.stamp }
            }
            _ => Value::Foreign,
        }
    }

    /// Begins the record of a batch that has its replies.
    pub(crate) fn begin<'a>(&'a mut self, plan: &'a Plan) -> BatchHistory<'a> {
        let (inv_ns, res_ns) = (plan.invoked_ns, monotonic_ns());
        let batch = Batch { worker: self.worker, inv_ns, res_ns, first_stamp: plan.first_stamp };
        let recorder = self.recorders.lock().pop();
        let mut recorder = recorder.expect("no more threads record than there are");
        recorder.begin(batch);
        let mut told = recorder.told();
        told.reserve(plan.operations.len());
        BatchHistory { history: self, recorder: Some(recorder), plan, told }
    }

    /// Records a batch that was never sent.
    pub(crate) fn unsent(&mut self, plan: &Plan, stream: &impl Stream) {
        let mut batch = self.begin(plan);
        for (index, planned) in plan.operations.iter().enumerate() {
            let boot = stream.boot_id(&history_key(*planned).to_bytes());
            let stamp = plan.first_stamp + index as u64;
            let place = Place { sequence: None, boot };
            batch.push(index, Err(FailureClass::NotApplied), stamp, place);
        }
    }
}

impl Drop for BatchHistory<'_> {
    fn drop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            self.history.has_failed = recorder.has_failed();
            self.history.recorders.lock().push(recorder);
        }
    }
}

impl BatchHistory<'_> {
    /// Records the next operation, number `index`, with its outcome and the writer of its value.
    #[inline(always)]
    pub(crate) fn record<R: Replies>(
        &mut self,
        index: usize,
        reply: &Reply<'_, &R::Failure>,
        writer: Option<Writer>,
        outcomes: &R,
    ) {
        debug_assert_eq!(self.told.len(), index, "operations are recorded in their order");
        let told = match &reply.outcome {
            Ok(outcome) => self.tell(index, outcome, writer),
            Err(_) => Told::ELSEWHERE,
        };
        if told == Told::ELSEWHERE || reply.reissued || outcomes.places() > PLACES_MAX {
            self.record_alone(index, &reply.outcome, outcomes);
            self.told.push(Told::ELSEWHERE);
        } else {
            self.told.push(told);
        }
    }

    /// An outcome in a word, where that is enough.
    #[inline(always)]
    fn tell(&self, index: usize, outcome: &Outcome<&[u8]>, writer: Option<Writer>) -> Told {
        let id = writer.filter(|writer| writer.run == self.history.run);
        match (self.plan.operations[index].kind(), outcome, id) {
            (Kind::Get | Kind::Read, Outcome::Value(_), Some(id)) => Told::get(id.client, id.stamp),
            (Kind::Get | Kind::Read, Outcome::Missing, _) => Told::GET_MISSING,
            (Kind::Put | Kind::Insert, Outcome::Done, _) => Told::PUT,
            (Kind::Delete, Outcome::Done, _) => Told::DELETE,
            (Kind::Delete, Outcome::Missing, _) => Told::DELETE_MISSING,
            (Kind::Swap, Outcome::Mismatch(Some(_)), Some(id)) => {
                Told::swap_mismatch(id.client, id.stamp)
            }
            (Kind::Swap, Outcome::Done, _) => match self.plan.expected[index] {
                Value::Id { client, stamp } => Told::swap(client, stamp),
                _ => Told::ELSEWHERE,
            },
            _ => Told::ELSEWHERE,
        }
    }

    /// Records an operation that needs more than a word.
    #[cold]
    fn record_alone<R: Replies>(
        &mut self,
        index: usize,
        outcome: &Result<Outcome<&[u8]>, &R::Failure>,
        outcomes: &R,
    ) {
        let outcome = outcome.map_err(Classified::class);
        let (boot, sequence) = outcomes.place(outcomes.place_of(index));
        let sequence = sequence.filter(|_| outcome.is_ok());
        self.push(index, outcome, outcomes.stamp(index), Place { boot, sequence });
    }

    /// Packs what was told. A batch that is dropped before has only the records of their own.
    pub(crate) fn finish(mut self, outcomes: &impl Replies) {
        let recorder = self.recorder.as_mut().expect("a batch has its buffer until it ends");
        let place = |place| {
            let (boot, sequence) = outcomes.place(place);
            Place { boot, sequence }
        };
        let places: Vec<Place> = if self.told.iter().all(|told| *told == Told::ELSEWHERE) {
            Vec::new()
        } else {
            (0..outcomes.places()).map(place).collect()
        };
        recorder.record_told(
            std::mem::take(&mut self.told),
            &self.plan.operations.iter().map(|planned| planned.number()),
            &(0..outcomes.len()).map(|index| outcomes.place_of(index) as u32),
            &places,
        );
    }

    fn push(
        &mut self,
        index: usize,
        outcome: Result<Outcome<&[u8]>, FailureClass>,
        stamp: u64,
        place: Place,
    ) {
        let Self { history, recorder, plan, .. } = self;
        let planned = plan.operations[index];
        let expected = plan.expected.get(index).copied().unwrap_or(Value::NotKnown);
        let ended =
            ended(planned, outcome, expected, |value| history.name(value, planned.number()));
        let id = plan.first_stamp + index as u64;
        let written = match ended.written {
            Written::Own if stamp != id => Written::Id { client: history.client, stamp: id },
            written => written,
        };
        let recorder = recorder.as_mut().expect("a batch has its buffer until it ends");
        recorder.record(&Operation {
            key: history_key(planned),
            stamp,
            kind: history_kind(planned.kind()),
            outcome: ended.ending,
            read: ended.read,
            written,
            by: i64::from(planned.kind() == Kind::Increment),
            sequence: place.sequence,
            boot: place.boot,
        });
    }
}

/// What an operation's end tells the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    ending: Ending,
    read: Value,
    written: Written,
}

/// Translates an outcome. `expected` is what a CAS expected, `name` tells a value by its writer.
#[inline]
fn ended(
    planned: Planned,
    outcome: Result<Outcome<&[u8]>, FailureClass>,
    expected: Value,
    name: impl Fn(Option<&[u8]>) -> Value,
) -> Ended {
    let ended = |ending, read, written| Ended { ending, read, written };
    let ok = |read, written| ended(Ending::Ok, read, written);
    match (planned.kind(), outcome) {
        (Kind::Get | Kind::Read, Ok(Outcome::Value(value))) => {
            ok(name(Some(value)), Written::Nothing)
        }
        (Kind::Get | Kind::Read, Ok(Outcome::Missing)) => ok(Value::Missing, Written::Nothing),
        (Kind::Put | Kind::Insert, Ok(Outcome::Done)) => ok(Value::NotKnown, Written::Own),
        (Kind::ResetCounter, Ok(Outcome::Done)) => ok(Value::NotKnown, Written::Number(0)),
        (Kind::Delete | Kind::DeleteCounter, Ok(Outcome::Done)) => ok(Value::Present, Written::Own),
        (Kind::Delete | Kind::DeleteCounter, Ok(Outcome::Missing)) => {
            ok(Value::Missing, Written::Own)
        }
        (Kind::Swap, Ok(Outcome::Done)) => ok(expected, Written::Own),
        (Kind::Swap, Ok(Outcome::Mismatch(current))) => ok(name(current), Written::Nothing),
        (Kind::Swap, Ok(Outcome::MismatchUntold)) => ok(Value::NotKnown, Written::Nothing),
        (Kind::Increment, Ok(Outcome::Counter(count))) => {
            ok(Value::NotKnown, Written::Number(count))
        }
        // The value was no integer, or the sum too great, and nothing changed.
        (Kind::Increment, Ok(Outcome::NotAnInteger | Outcome::Overflow)) => {
            ended(Ending::Fail, Value::NotKnown, Written::Nothing)
        }
        (kind, Err(FailureClass::NotApplied)) => {
            ended(Ending::Fail, Value::NotKnown, intended(kind))
        }
        // An answer of the wrong kind does not tell either what took effect; the run counts it as
        // a fault of its own.
        (kind, _) => {
            let read = if kind == Kind::Swap { expected } else { Value::NotKnown };
            ended(Ending::Unknown, read, intended(kind))
        }
    }
}

/// What an operation leaves if it takes effect, as far as its client can tell.
fn intended(kind: Kind) -> Written {
    match kind {
        Kind::Get | Kind::Read | Kind::Increment => Written::Nothing,
        Kind::ResetCounter => Written::Number(0),
        _ => Written::Own,
    }
}

#[inline]
fn history_kind(kind: Kind) -> checker::history::Kind {
    use checker::history::Kind as Recorded;
    match kind {
        Kind::Get | Kind::Read => Recorded::Get,
        Kind::Put | Kind::Insert | Kind::ResetCounter => Recorded::Put,
        Kind::Delete | Kind::DeleteCounter => Recorded::Delete,
        Kind::Swap => Recorded::CompareAndSwap,
        Kind::Increment => Recorded::Increment,
    }
}

#[inline]
fn history_key(planned: Planned) -> Key<'static> {
    match planned.kind() {
        Kind::Increment | Kind::ResetCounter | Kind::DeleteCounter => {
            Key::Counter(planned.number())
        }
        _ => Key::Number(planned.number()),
    }
}

#[cfg(test)]
mod tests;

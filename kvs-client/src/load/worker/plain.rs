//! A worker that knows nothing of batches: one operation at a time, through the plain API.

use std::sync::PoisonError;
use std::time::Instant;

use bytes::Bytes;
use kvs_client::{Client, Error, Failure, FailureClass, Outcome, Swap};

use super::super::batches::{Classified, Reply};
use super::super::control::Control;
use super::super::decimal::{self, Digits};
use super::super::fill::CounterKey;
use super::super::plan::{Kind, Plan, Planned};
use super::super::source::Source;
use super::super::target::Stream;
use super::Worker;

impl Classified for Error {
    fn class(&self) -> FailureClass {
        Error::class(self)
    }
}

impl<S: Stream> Worker<S> {
    /// Does what the source gives until the phase ends. An operation's latency is its call's.
    pub(super) async fn work_plain(
        &mut self,
        client: &Client,
        source: &mut Source,
        control: &Control,
    ) {
        assert!(self.history.is_none(), "a history needs the stamps of batches");
        // Values tell their writes apart; a history, which would compare them with the stamps of
        // the wire, is not taken.
        let mut stamp = (self.index as u64) << 40;
        while control.take(1) == 1 {
            let mut plan = self.spare.pop().unwrap_or_else(Plan::new);
            source.plan(&mut plan, 1, &self.pending);
            stamp += 1;
            let planned = plan.operations[0];
            self.in_flight.push_back(plan);
            let (answer, server) = self.call(client, planned, stamp).await;
            let response = Instant::now();
            let outcome = answer.as_ref().map(borrowed);
            let plan = self.count(outcome, server, response, control);
            source.completed(&plan);
            self.spare.push(plan);
        }
    }

    /// Checks and counts the call that is on its way, and gives back its plan.
    fn count(
        &mut self,
        outcome: Result<Outcome<&[u8]>, &Error>,
        server: usize,
        response: Instant,
        control: &Control,
    ) -> Plan {
        let plan = self.in_flight.pop_front().expect("a call was on its way");
        let pending = &mut self.pending;
        pending.remove(plan.attempts.len());
        assert_eq!(plan.operations.len(), 1, "a call has one operation");
        let reply = |_| Reply { outcome, server, reissued: false };
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = recorder.batch(&plan, response, control, reply, pending, |_, _, _| {});
        let latency = response.saturating_duration_since(plan.invocation);
        self.board.worker(self.index).add(&counts, latency, recorder.faults.count());
        plan
    }

    /// Takes note of a call whose answer nobody waits for: the phase was abandoned.
    pub(super) fn forget_call(&mut self, control: &Control) {
        if !self.in_flight.is_empty() {
            let endpoint = "a server".to_owned();
            let reason = "the run was ended while the reply was missing".to_owned();
            let lost = Error::Failure(Failure::ReplyLost { endpoint, reason });
            self.count(Err(&lost), 0, Instant::now(), control);
        }
    }

    /// Does one operation; says which server it went to.
    async fn call(
        &mut self,
        client: &Client,
        planned: Planned,
        stamp: u64,
    ) -> (Result<Outcome<Bytes>, Error>, usize) {
        let number = planned.number();
        let mut digits = Digits::default();
        let counter = CounterKey::new(number);
        let is_counter =
            matches!(planned.kind(), Kind::Increment | Kind::ResetCounter | Kind::DeleteCounter);
        let key = if is_counter { counter.as_bytes() } else { decimal::write(number, &mut digits) };
        let answer = match planned.kind() {
            Kind::Get | Kind::Read => {
                client.get(key).await.map(|value| value.map_or(Outcome::Missing, Outcome::Value))
            }
            Kind::Put | Kind::Insert => {
                let value = self.values.write(stamp, number, &mut self.random);
                client.put(key, value).await.map(|()| Outcome::Done)
            }
            Kind::Delete | Kind::DeleteCounter => {
                let was_there = client.delete(key).await;
                was_there.map(|it| if it { Outcome::Done } else { Outcome::Missing })
            }
            Kind::Swap => {
                let value = self.values.write(stamp, number, &mut self.random);
                let swap = client.compare_and_swap(key, self.pending.expected(0), value).await;
                swap.map(|swap| match swap {
                    Swap::Swapped => Outcome::Done,
                    Swap::Mismatch(current) => Outcome::Mismatch(current),
                    Swap::MismatchUnknown => Outcome::MismatchUntold,
                })
            }
            Kind::Increment => client.increment(key, 1).await.map(Outcome::Counter),
            Kind::ResetCounter => client.put(key, b"0").await.map(|()| Outcome::Done),
        };
        (answer, client.server_of(key))
    }
}

/// The outcome with its value as a slice.
fn borrowed(outcome: &Outcome<Bytes>) -> Outcome<&[u8]> {
    match outcome {
        Outcome::Value(value) => Outcome::Value(value),
        Outcome::Mismatch(value) => Outcome::Mismatch(value.as_deref()),
        Outcome::Counter(count) => Outcome::Counter(*count),
        Outcome::Done => Outcome::Done,
        Outcome::MismatchUntold => Outcome::MismatchUntold,
        _ => Outcome::Missing,
    }
}

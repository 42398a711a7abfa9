//! What a worker sees, checked and counted.
//!
//! [`Recorder::batch`] gets every completed batch: its plan with the invocation, the response time,
//! and each operation's outcome in push order. Counts, latencies and the time line are of the
//! measured window; failures and the servers' acknowledgements are of all phases. Each worker has
//! a recorder of its own, and they are merged at the end.
//!
//! - [`counts`]: operations by what became of them;
//! - [`faults`]: what went wrong;
//! - [`latencies`]: histograms by kind of operation;
//! - [`timeline`]: completions over the window.

pub(crate) mod counts;
pub(crate) mod faults;
pub(crate) mod latencies;
pub(crate) mod timeline;

use std::time::Instant;

use kvs_client::Outcome;

use super::batches::{Classified, Reply};
use super::control::Control;
use super::plan::{Kind, PendingSwaps, Plan, Planned};
use super::value::{Verifier, Writer};
use counts::{Counts, SWAP_RETRIES_MAX};
use faults::Faults;
use latencies::LatencyHistograms;
use timeline::TimeLine;

/// Checks and counts one worker's completed batches.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    verifier: Verifier,
    /// Counters start at 0 in this run, so that an INCR leaves at least 1.
    counters_reset: bool,
    /// What completed in the window.
    pub(crate) counts: Counts,
    /// Latencies of what completed in the window.
    pub(crate) latencies: LatencyHistograms,
    /// Operations completed in each bucket of the window.
    pub(crate) timeline: TimeLine,
    /// Of all phases.
    pub(crate) faults: Faults,
    /// Operations that each server acknowledged as executed, in all phases.
    pub(crate) acknowledged: Vec<u64>,
}

impl Recorder {
    /// A recorder for replies of `servers` servers.
    pub(crate) fn new(servers: usize, verifier: Verifier, counters_reset: bool) -> Self {
        Self {
            verifier,
            counters_reset,
            counts: Counts::default(),
            latencies: LatencyHistograms::default(),
            timeline: TimeLine::default(),
            faults: Faults::default(),
            acknowledged: vec![0; servers],
        }
    }

    /// Checks and counts a completed batch, of whose operation `index` `reply(index)` tells what it
    /// was answered. Read-modify-writes that go on are added to `pending`.
    /// `note` is told each operation's index and outcome, and of a whole value who wrote it.
    /// Returns what the batch counts, whether it is in the window or not.
    pub(crate) fn batch<'a, F: Classified>(
        &mut self,
        plan: &Plan,
        response: Instant,
        control: &Control,
        reply: impl Fn(usize) -> Reply<'a, F>,
        pending: &mut PendingSwaps,
        mut note: impl FnMut(usize, &Reply<'a, F>, Option<Writer>),
    ) -> Counts {
        let mut counts = Counts::default();
        let in_window = control.in_window(response);
        for (index, planned) in plan.operations.iter().enumerate() {
            let reply = reply(index);
            counts.retried += u64::from(reply.reissued);
            let mut writer = None;
            match &reply.outcome {
                Ok(outcome) => {
                    self.acknowledged[reply.server] += 1;
                    counts.operations += 1;
                    if let (Some(due), Some(_)) = (plan.due.get(index), in_window) {
                        let latency = response.saturating_duration_since(*due);
                        self.latencies.record_one(latency, planned.kind());
                    }
                    let attempts = plan.attempts.get(index).copied().unwrap_or(0);
                    writer = self.outcome(*planned, attempts, *outcome, &mut counts, pending);
                }
                Err(failure) => self.faults.failed(*planned, failure),
            }
            note(index, &reply, writer);
        }
        if let Some(at) = in_window {
            let latency = response.saturating_duration_since(plan.invocation);
            let done = if plan.due.is_empty() { &counts } else { &Counts::default() };
            self.latencies.record(latency, done);
            self.timeline.add(at, counts.operations);
            self.counts.add(counts.clone());
        }
        counts
    }

    /// Checks and counts one outcome. Returns who wrote the value in it, if it has a whole one.
    #[inline(always)]
    fn outcome(
        &mut self,
        planned: Planned,
        attempts: u8,
        outcome: Outcome<&[u8]>,
        counts: &mut Counts,
        pending: &mut PendingSwaps,
    ) -> Option<Writer> {
        let (kind, key) = (planned.kind(), planned.number());
        let mut writer = None;
        match (kind, outcome) {
            (Kind::Get | Kind::Read, Outcome::Value(value)) => {
                counts.gets += 1;
                counts.hits += 1;
                let is_accepted;
                (is_accepted, writer) = self.verifier.check(value, key);
                if !is_accepted {
                    self.faults.mismatched(planned, outcome);
                }
                if kind == Kind::Read {
                    pending.push(key, 0, Some(value));
                }
            }
            (Kind::Get | Kind::Read, Outcome::Missing) => {
                counts.gets += 1;
                if kind == Kind::Read {
                    pending.push(key, 0, None);
                }
            }
            (Kind::Put | Kind::Insert | Kind::ResetCounter, Outcome::Done) => counts.puts += 1,
            (Kind::Delete | Kind::DeleteCounter, Outcome::Done | Outcome::Missing) => {
                counts.deletes += 1;
            }
            (Kind::Swap, Outcome::Done) => counts.swaps += 1,
            (Kind::Swap, Outcome::Mismatch(current)) => {
                counts.swaps += 1;
                counts.swap_mismatches += 1;
                if let Some(value) = current {
                    let is_accepted;
                    (is_accepted, writer) = self.verifier.check(value, key);
                    if !is_accepted {
                        self.faults.mismatched(planned, outcome);
                    }
                }
                if attempts < SWAP_RETRIES_MAX {
                    pending.push(key, attempts + 1, current);
                } else {
                    counts.swaps_given_up += 1;
                }
            }
            (Kind::Swap, Outcome::MismatchUntold) => {
                // It did not match, and the reply that held the current value was lost.
                counts.swaps += 1;
                counts.swap_mismatches += 1;
                counts.swaps_given_up += 1;
            }
            (Kind::Increment, Outcome::Counter(count)) => {
                counts.increments += 1;
                if self.counters_reset && count < 1 {
                    self.faults.mismatched(planned, outcome);
                }
            }
            (_, other) => self.faults.mismatched(planned, other),
        }
        writer
    }

    /// Adds what another worker saw.
    pub(crate) fn merge(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.latencies.add(&other.latencies);
        self.timeline.merge(&other.timeline);
        self.faults.add(other.faults);
        for (sum, more) in self.acknowledged.iter_mut().zip(&other.acknowledged) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;
    use kvs_client::FailureClass;

    use super::super::random::Random;
    use super::super::value::ValueWriter;
    use super::latencies::LatencyHistogram;
    use super::timeline::TIMELINE_BUCKET;
    use super::*;

    #[derive(Clone, Copy)]
    struct Failed(FailureClass);

    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the wire was cut")
        }
    }

    impl Classified for Failed {
        fn class(&self) -> FailureClass {
            self.0
        }
    }

    const RUN: u64 = 77;
    const SECOND: Duration = Duration::from_secs(1);

    fn value(key: u64) -> Vec<u8> {
        let mut random = Random::new(1, 1, 1);
        let size = "64".parse().expect("64 is a size");
        ValueWriter::new(RUN, 1, size, &mut random).write(5, key, &mut random).to_vec()
    }

    fn recorder() -> Recorder {
        Recorder::new(2, Verifier::ThisRun(RUN), true)
    }

    fn plan(operations: &[(Kind, u64)]) -> Plan {
        let mut plan = Plan::new();
        plan.operations.extend(operations.iter().map(|(kind, key)| Planned::new(*kind, *key)));
        plan
    }

    type Given<'a> = Result<Outcome<&'a [u8]>, Failed>;

    /// Records a batch whose operations were answered so by server 1.
    fn record(
        recorder: &mut Recorder,
        plan: &Plan,
        given: &[Given<'_>],
        pending: &mut PendingSwaps,
    ) -> Counts {
        let control = Control::for_operations(1_000);
        let reply = |index| Reply { outcome: given[index], server: 1, reissued: false };
        recorder.batch(plan, Instant::now(), &control, reply, pending, |_, _, _| {})
    }

    fn faults_of(operation: (Kind, u64), given: Given<'_>) -> Faults {
        let mut recorder = recorder();
        record(&mut recorder, &plan(&[operation]), &[given], &mut PendingSwaps::default());
        recorder.faults
    }

    #[test]
    fn right_answers_are_counted() {
        let value = value(9);
        let plan = plan(&[
            (Kind::Get, 9),
            (Kind::Get, 10),
            (Kind::Put, 1),
            (Kind::Insert, 2),
            (Kind::Delete, 3),
            (Kind::Delete, 4),
            (Kind::Increment, 5),
            (Kind::ResetCounter, 5),
            (Kind::DeleteCounter, 5),
        ]);
        let given: [Given<'_>; 9] = [
            Ok(Outcome::Value(&value)),
            Ok(Outcome::Missing),
            Ok(Outcome::Done),
            Ok(Outcome::Done),
            Ok(Outcome::Done),
            Ok(Outcome::Missing),
            Ok(Outcome::Counter(1)),
            Ok(Outcome::Done),
            Ok(Outcome::Done),
        ];
        let mut recorder = recorder();
        record(&mut recorder, &plan, &given, &mut PendingSwaps::default());
        let expected = Counts {
            operations: 9,
            gets: 2,
            hits: 1,
            puts: 3,
            deletes: 3,
            increments: 1,
            ..Counts::default()
        };
        assert_eq!(recorder.counts, expected);
        assert_eq!(recorder.acknowledged, [0, 9]);
        assert_eq!(recorder.timeline.operations(), [9]);
        assert_eq!(recorder.faults, Faults::default());
        let samples = |histogram: &LatencyHistogram| histogram.distribution().map(Histogram::len);
        assert_eq!(samples(&recorder.latencies.batches), Some(1));
        assert_eq!(samples(&recorder.latencies.operations), Some(9));
        assert_eq!(samples(&recorder.latencies.gets), Some(2));
        assert_eq!(samples(&recorder.latencies.swaps), None);
    }

    #[test]
    fn wrong_answers_are_told_apart_from_failures() {
        let value = value(9);
        let value = value.as_slice();
        let wrong = [
            ((Kind::Get, 8), Outcome::Value(value)),
            ((Kind::Get, 9), Outcome::Value(&value[..50])),
            ((Kind::Get, 9), Outcome::Done),
            ((Kind::Put, 9), Outcome::Missing),
            ((Kind::Increment, 9), Outcome::Counter(0)),
            ((Kind::Increment, 9), Outcome::NotAnInteger),
            ((Kind::Swap, 8), Outcome::Mismatch(Some(value))),
        ];
        for (operation, outcome) in wrong {
            let faults = faults_of(operation, Ok(outcome));
            assert_eq!((faults.value_mismatches, faults.errors), (1, 0), "{operation:?}");
            assert!(faults.first.is_some());
        }
        let failed = |kind, class| {
            let faults = faults_of((kind, 9), Err(Failed(class)));
            assert!(faults.first.as_ref().is_some_and(|text| text.contains("the wire was cut")));
            (faults.errors, faults.unknown)
        };
        assert_eq!(failed(Kind::Put, FailureClass::NotApplied), (1, 0));
        assert_eq!(failed(Kind::Put, FailureClass::Unknown), (0, 1));
        assert_eq!(failed(Kind::Get, FailureClass::Unknown), (1, 0), "a read changes nothing");
    }

    #[test]
    fn failed_operations_are_not_acknowledged() {
        let mut recorder = recorder();
        let plan = plan(&[(Kind::Put, 1), (Kind::Put, 2)]);
        let given = [Ok(Outcome::Done), Err(Failed(FailureClass::Unknown))];
        record(&mut recorder, &plan, &given, &mut PendingSwaps::default());
        assert_eq!(recorder.acknowledged, [0, 1]);
        assert_eq!(recorder.counts.operations, 1);
    }

    #[test]
    fn mismatched_swaps_are_tried_again_with_what_was_found_and_then_given_up() {
        let mut recorder = recorder();
        let mut pending = PendingSwaps::default();
        let found = value(9);
        record(&mut recorder, &plan(&[(Kind::Read, 9)]), &[Ok(Outcome::Missing)], &mut pending);
        assert_eq!(pending.expected(0), None);
        for attempt in 0..=SWAP_RETRIES_MAX {
            let mut plan = Plan::new();
            pending.plan(&mut plan, 10);
            pending.remove(1);
            assert_eq!(plan.attempts, [attempt]);
            record(&mut recorder, &plan, &[Ok(Outcome::Mismatch(Some(&found)))], &mut pending);
            if attempt < SWAP_RETRIES_MAX {
                assert_eq!(pending.expected(0), Some(&found[..]));
            }
        }
        let mut plan = Plan::new();
        pending.plan(&mut plan, 10);
        assert!(plan.operations.is_empty());
        let tries = u64::from(SWAP_RETRIES_MAX) + 1;
        assert_eq!((recorder.counts.swaps, recorder.counts.swap_mismatches), (tries, tries));
        assert_eq!(recorder.counts.swaps_given_up, 1);
        assert!(recorder.faults.is_empty(), "a mismatch is an outcome");
    }

    #[test]
    fn a_mismatch_whose_value_was_lost_is_no_fault() {
        let (mut recorder, mut pending) = (recorder(), PendingSwaps::default());
        let given: [Given<'_>; 1] = [Ok(Outcome::MismatchUntold)];
        record(&mut recorder, &plan(&[(Kind::Swap, 9)]), &given, &mut pending);
        assert_eq!((recorder.counts.swap_mismatches, recorder.counts.swaps_given_up), (1, 1));
        assert!(recorder.faults.is_empty(), "a mismatch is an outcome");
        assert_eq!(faults_of((Kind::Swap, 9), Ok(Outcome::Counter(1))).count(), 1);
    }

    #[test]
    fn batches_outside_the_window_are_checked_but_not_counted() {
        let mut recorder = recorder();
        let control = Control::for_time(3_600 * SECOND, SECOND);
        let plan = plan(&[(Kind::Get, 9), (Kind::Get, 9)]);
        let wrong = value(8);
        let given: [Given<'_>; 2] = [Ok(Outcome::Missing), Ok(Outcome::Value(&wrong))];
        let reply = |index| Reply { outcome: given[index], server: 0, reissued: true };
        let pending = &mut PendingSwaps::default();
        let counts = recorder.batch(&plan, Instant::now(), &control, reply, pending, |_, _, _| {});
        assert_eq!((counts.operations, counts.retried), (2, 2));
        assert_eq!(recorder.counts, Counts::default());
        assert_eq!(recorder.acknowledged, [2, 0]);
        assert_eq!(recorder.faults.value_mismatches, 1);
        assert!(recorder.timeline.operations().is_empty());
    }

    #[test]
    fn latency_counts_from_the_intended_start_where_there_is_one() {
        let control = Control::for_operations(10);
        let kinds = [(Kind::Get, 1), (Kind::Get, 2), (Kind::Put, 3)];
        let given: [Given<'_>; 3] = [Outcome::Missing, Outcome::Missing, Outcome::Done].map(Ok);
        let reply = |index| Reply { outcome: given[index], server: 0, reissued: false };
        let p50_us = |due: &[Duration]| {
            let mut recorder = recorder();
            let mut plan = plan(&kinds);
            let response = plan.invocation + Duration::from_millis(1);
            plan.due = due.iter().map(|early| plan.invocation - *early).collect();
            let pending = &mut PendingSwaps::default();
            recorder.batch(&plan, response, &control, reply, pending, |_, _, _| {});
            let latencies = &recorder.latencies;
            let of = |histogram: &LatencyHistogram| {
                let histogram = histogram.distribution().expect("there was such an operation");
                (histogram.len(), histogram.value_at_quantile(0.5) / 1000)
            };
            [of(&latencies.operations), of(&latencies.gets), of(&latencies.puts)]
        };
        let ms = Duration::from_millis;
        assert_eq!(p50_us(&[ms(9), ms(4), ms(0)]), [(3, 5), (2, 5), (1, 1)]);
        // The twin: in a closed loop all have the batch's.
        assert_eq!(p50_us(&[]), [(3, 1), (2, 1), (1, 1)]);
    }

    #[test]
    fn merged_recorders_add_up() {
        let mut first = recorder();
        let mut second = recorder();
        let plan = plan(&[(Kind::Put, 1)]);
        let pending = &mut PendingSwaps::default();
        record(&mut first, &plan, &[Ok(Outcome::Done)], pending);
        record(&mut second, &plan, &[Ok(Outcome::Done)], pending);
        record(&mut second, &plan, &[Err(Failed(FailureClass::NotApplied))], pending);
        second.timeline = TimeLine::default();
        second.timeline.add(TIMELINE_BUCKET, 1);
        first.merge(second);
        assert_eq!(first.counts.puts, 2);
        assert_eq!(first.acknowledged, [0, 2]);
        assert_eq!(first.timeline.operations(), [1, 1]);
        assert_eq!(first.faults.errors, 1);
        assert_eq!(first.latencies.puts.distribution().map(Histogram::len), Some(2));
    }
}

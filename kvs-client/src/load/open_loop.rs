//! The open loop of `-rate`: operations arrive by a schedule, whether earlier ones are answered or
//! not.
//!
//! A [`Schedule`] says when each operation is meant to start. All workers share it: one that has
//! room for a batch takes what is due, up to the batch's size, and sleeps when nothing is. Since
//! arrivals are computed and not stored, a backlog takes no memory, however long it grows.
//!
//! Latency counts from the intended start. What waits because the servers, or the workers, are slow
//! waits in the measurement, so there is no coordinated omission (G. Tene, "How NOT to Measure
//! Latency", 2013). How late an idle worker itself was woken is told apart, as the pacer's lateness.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use report::result::{Latency, OpenLoop};
use tokio::sync::Notify;

use super::random::Random;

/// The stream of pseudorandom numbers that arrivals are drawn from; workers have others.
const ARRIVALS_STREAM: u32 = u32::MAX;

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Spacing {
    /// Independent of each other, as those of many users: exponentially distributed gaps.
    Poisson,
    /// At equal gaps.
    Fixed,
}

impl std::fmt::Display for Spacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Poisson => "poisson",
            Self::Fixed => "fixed",
        })
    }
}

/// When operations are meant to start.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    spacing: Spacing,
    gap_ns: f64,
    random: Random,
    /// Arrivals so far, without the next one.
    taken: u64,
    next_ns: f64,
}

impl Schedule {
    /// `rate` operations per second from `start` on. The first arrives a gap after it.
    pub(crate) fn new(start: Instant, rate: f64, spacing: Spacing, random: Random) -> Self {
        let gap_ns = 1e9 / rate;
        let mut schedule = Self { start, spacing, gap_ns, random, taken: 0, next_ns: 0.0 };
        schedule.advance();
        schedule
    }

    /// When the next operation is meant to start.
    pub(crate) fn next(&self) -> Instant {
        self.start + Duration::from_nanos(self.next_ns as u64)
    }

    /// Adds to `due` what is meant to start until `now`, but no more than `most`.
    pub(crate) fn take(&mut self, now: Instant, most: usize, due: &mut Vec<Instant>) {
        for _ in 0..most {
            let next = self.next();
            if next > now {
                return;
            }
            due.push(next);
            self.taken += 1;
            self.advance();
        }
    }

    fn advance(&mut self) {
        self.next_ns = match self.spacing {
            // A product, not a sum: nothing adds up over a long run.
            Spacing::Fixed => (self.taken + 1) as f64 * self.gap_ns,
            // 1 - unit() is never 0.
            Spacing::Poisson => self.next_ns - (1.0 - self.random.unit()).ln() * self.gap_ns,
        };
    }
}

/// The arrivals of one phase, shared by its workers and its pacer.
#[derive(Debug)]
pub(crate) struct Arrivals {
    rate: f64,
    spacing: Spacing,
    schedule: Mutex<Schedule>,
    /// Workers that wait for an arrival.
    idle: Notify,
    is_over: AtomicBool,
    /// How late idle workers were, in nanoseconds.
    lateness_ns: Mutex<Histogram<u64>>,
}

impl Arrivals {
    pub(crate) fn new(rate: f64, spacing: Spacing, seed: u64, client_index: u32) -> Arc<Self> {
        let random = Random::new(seed, client_index, ARRIVALS_STREAM);
        Arc::new(Self {
            rate,
            spacing,
            schedule: Mutex::new(Schedule::new(Instant::now(), rate, spacing, random)),
            idle: Notify::new(),
            is_over: AtomicBool::new(false),
            lateness_ns: Mutex::new(Histogram::new(3).expect("three digits are allowed")),
        })
    }

    /// Waits until an operation is due, and adds all that are to `due`, but no more than `most`;
    /// `false` when the phase is over. Nothing is lost when the returned future is dropped.
    pub(crate) async fn take(&self, most: usize, due: &mut Vec<Instant>) -> bool {
        let mut was_idle = false;
        loop {
            let mut notified = std::pin::pin!(self.idle.notified());
            // From here on no end and no arrival is missed.
            notified.as_mut().enable();
            if self.is_over.load(Ordering::Relaxed) {
                return false;
            }
            let now = Instant::now();
            let next = {
                let mut schedule = lock(&self.schedule);
                schedule.take(now, most, due);
                schedule.next()
            };
            if let Some(first) = due.first() {
                if was_idle {
                    let late = now.saturating_duration_since(*first).as_nanos() as u64;
                    lock(&self.lateness_ns).record(late).expect("it resizes itself");
                }
                if next <= now {
                    self.idle.notify_one();
                }
                return true;
            }
            notified.await;
            was_idle = true;
        }
    }

    /// When the next operation is due.
    pub(crate) fn next(&self) -> Instant {
        lock(&self.schedule).next()
    }

    /// Wakes one idle worker, now or as soon as there is one.
    pub(crate) fn wake_one(&self) {
        self.idle.notify_one();
    }

    /// No worker gets an arrival any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.idle.notify_waiters();
    }

    /// What is told of the phase, which ended at `end`.
    pub(crate) fn report(&self, end: Instant) -> OpenLoop {
        let backlog_s = end.saturating_duration_since(self.next()).as_secs_f64();
        OpenLoop {
            offered_operations_per_second: self.rate,
            arrivals: self.spacing.to_string(),
            backlog_s,
            backlog_operations: (backlog_s * self.rate) as u64,
            pacer_lateness_us: lateness(&lock(&self.lateness_ns)),
        }
    }
}

fn lateness(histogram_ns: &Histogram<u64>) -> Latency {
    let us = |ns: u64| ns as f64 / 1e3;
    let quantile = |quantile| us(histogram_ns.value_at_quantile(quantile));
    Latency {
        count: histogram_ns.len(),
        min: us(histogram_ns.min()),
        mean: histogram_ns.mean() / 1e3,
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: us(histogram_ns.max()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(rate: f64, spacing: Spacing, seed: u64) -> Schedule {
        Schedule::new(Instant::now(), rate, spacing, Random::new(seed, 0, ARRIVALS_STREAM))
    }

    fn due(schedule: &mut Schedule, until: Duration) -> Vec<Instant> {
        let mut due = Vec::new();
        schedule.take(schedule.start + until, usize::MAX, &mut due);
        due
    }

    #[test]
    fn fixed_arrivals_are_counted_exactly_at_any_rate() {
        for rate in [1_u64, 3, 1000, 300_007] {
            let mut schedule = schedule(rate as f64, Spacing::Fixed, 1);
            let half_gap = Duration::from_secs_f64(0.5 / rate as f64);
            assert_eq!(due(&mut schedule, 5 * SECOND + half_gap).len() as u64, 5 * rate);
            assert_eq!(due(&mut schedule, 5 * SECOND + half_gap).len(), 0, "nothing comes twice");
            assert_eq!(due(&mut schedule, 6 * SECOND + half_gap).len() as u64, rate);
        }
    }

    #[test]
    fn poisson_arrivals_replay_from_their_seed_and_have_the_rate() {
        let count = 200_000.0_f64;
        let one = due(&mut schedule(1e5, Spacing::Poisson, 7), 2 * SECOND);
        let gaps = |due: &[Instant]| -> Vec<Duration> {
            due.windows(2).map(|pair| pair[1] - pair[0]).collect()
        };
        let again = due(&mut schedule(1e5, Spacing::Poisson, 7), 2 * SECOND);
        assert_eq!(gaps(&one), gaps(&again));
        let other = due(&mut schedule(1e5, Spacing::Poisson, 8), 2 * SECOND);
        assert_ne!(gaps(&one)[..100], gaps(&other)[..100]);
        // The count's deviation is its root.
        assert!((one.len() as f64 - count).abs() < 5.0 * count.sqrt(), "{}", one.len());
        // Of exponential gaps 63.2% are shorter than the mean; of fixed ones all or none.
        let mean = Duration::from_micros(10);
        let short = gaps(&one).iter().filter(|gap| **gap < mean).count() as f64;
        assert!((short / one.len() as f64 - 0.632).abs() < 0.01, "{short}");
    }

    #[test]
    fn a_batch_takes_what_is_due_and_leaves_the_rest() {
        let mut schedule = schedule(1000.0, Spacing::Fixed, 1);
        let (start, mut first) = (schedule.start, Vec::new());
        schedule.take(start + SECOND, 400, &mut first);
        assert_eq!(first.len(), 400);
        let rest = due(&mut schedule, SECOND + Duration::from_micros(1));
        assert_eq!(rest.len(), 600);
        assert_eq!(rest[0] - first[399], Duration::from_millis(1));
    }

    #[tokio::test]
    async fn an_end_is_told_to_those_who_wait_and_to_those_who_come() {
        // The first arrival is an hour away.
        let arrivals = Arrivals::new(1.0 / 3600.0, Spacing::Fixed, 1, 0);
        let mut due = Vec::new();
        let waiting = tokio::spawn({
            let arrivals = Arc::clone(&arrivals);
            async move { arrivals.take(1, &mut Vec::new()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        arrivals.end();
        assert!(!waiting.await.unwrap());
        assert!(!arrivals.take(1, &mut due).await && due.is_empty());
    }

    #[tokio::test]
    async fn what_is_due_is_taken_at_once_and_counts_as_no_lateness_of_the_pacer() {
        let arrivals = Arrivals::new(1e9, Spacing::Fixed, 1, 0);
        let mut due = Vec::new();
        assert!(arrivals.take(10, &mut due).await);
        assert!(!due.is_empty() && due.len() <= 10);
        let report = arrivals.report(Instant::now() + SECOND);
        assert_eq!(report.pacer_lateness_us.count, 0);
        assert!(report.backlog_s >= 1.0 && report.backlog_operations >= 1_000_000_000);
    }
}

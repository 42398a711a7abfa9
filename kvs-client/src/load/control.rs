//! When workers stop, and which completions count: shared by the workers of one phase of a run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The limits of one phase.
///
/// The window is the time in which completed batches are counted. It is fixed when the phase
/// begins, and [`Control::stop`] can only end it sooner: no flag is raised when it opens, so a
/// batch that completes before it never counts, whatever a worker has seen.
#[derive(Debug)]
pub(crate) struct Control {
    origin: Instant,
    window_start_ns: u64,
    window_end_ns: AtomicU64,
    /// `None` when only time ends the phase.
    operations_left: Option<AtomicU64>,
    stopped: AtomicBool,
    abandoned: CancellationToken,
}

impl Control {
    /// A phase that counts what completes in `window` after `warmup`, and then ends.
    pub(crate) fn for_time(warmup: Duration, window: Duration) -> Self {
        Self::new(nanoseconds(warmup), nanoseconds(warmup.saturating_add(window)), None)
    }

    /// A phase that ends after this many operations, all of which count.
    pub(crate) fn for_operations(operations: u64) -> Self {
        Self::new(0, u64::MAX, Some(operations))
    }

    /// A phase that ends when its workers have nothing left to do. Nothing counts.
    pub(crate) fn unmeasured() -> Self {
        Self::new(u64::MAX, u64::MAX, None)
    }

    fn new(start: u64, end: u64, operations: Option<u64>) -> Self {
        Self {
            origin: Instant::now(),
            window_start_ns: start,
            window_end_ns: AtomicU64::new(end),
            operations_left: operations.map(AtomicU64::new),
            stopped: AtomicBool::new(false),
            abandoned: CancellationToken::new(),
        }
    }

    /// How many operations the next batch may have; 0 when the phase is over.
    #[inline]
    pub(crate) fn take(&self, operations_max: usize) -> usize {
        if self.stopped.load(Ordering::Relaxed)
            || self.elapsed_ns(Instant::now()) >= self.window_end_ns.load(Ordering::Relaxed)
        {
            return 0;
        }
        let Some(left) = &self.operations_left else { return operations_max };
        let wanted = operations_max as u64;
        let before = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(wanted))
            })
            .expect("the update always has a value");
        before.min(wanted) as usize
    }

    /// Whether no further batch may be sent.
    pub(crate) fn is_over(&self) -> bool {
        let none_left =
            self.operations_left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0);
        none_left
            || self.stopped.load(Ordering::Relaxed)
            || self.elapsed_ns(Instant::now()) >= self.window_end_ns.load(Ordering::Relaxed)
    }

    /// Ends the phase and its window now: workers take their open replies and no new batches.
    pub(crate) fn stop(&self) {
        let now = self.elapsed_ns(Instant::now());
        self.window_end_ns.fetch_min(now, Ordering::Relaxed);
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Has workers wait for open replies no longer. To be called after [`stop`](Self::stop).
    pub(crate) fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// What `work` returns; `None` when the phase is abandoned before.
    pub(crate) async fn until_abandoned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.abandoned.run_until_cancelled(work).await
    }

    /// How long after the window's start a completion counts; `None` when it does not count.
    #[inline]
    pub(crate) fn in_window(&self, response: Instant) -> Option<Duration> {
        let at = self.elapsed_ns(response);
        let end = self.window_end_ns.load(Ordering::Relaxed);
        (self.window_start_ns <= at && at < end)
            .then(|| Duration::from_nanos(at - self.window_start_ns))
    }

    /// When the window starts. `None` when nothing counts.
    pub(crate) fn window_start(&self) -> Option<Instant> {
        self.origin
            .checked_add(Duration::from_nanos(self.window_start_ns))
            .filter(|_| self.window_start_ns != u64::MAX)
    }

    /// When the window ends, or has ended. `None` while nothing but the operations ends it.
    pub(crate) fn window_end(&self) -> Option<Instant> {
        let end = self.window_end_ns.load(Ordering::Relaxed);
        self.origin.checked_add(Duration::from_nanos(end)).filter(|_| end != u64::MAX)
    }

    #[inline]
    fn elapsed_ns(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.origin))
    }
}

#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_completions_in_the_window_count() {
        let control = Control::for_time(2 * SECOND, 3 * SECOND);
        let at = |seconds: u32| control.in_window(control.origin + seconds * SECOND);
        assert_eq!([at(0), at(1), at(5), at(6)], [None; 4]);
        assert_eq!([at(2), at(4)], [Some(Duration::ZERO), Some(2 * SECOND)]);
        assert_eq!(control.window_start(), Some(control.origin + 2 * SECOND));
        assert_eq!(control.window_end(), Some(control.origin + 5 * SECOND));
    }

    #[test]
    fn stopping_ends_the_window_early_and_never_extends_it() {
        let control = Control::for_time(Duration::ZERO, 3_600 * SECOND);
        assert_eq!(control.take(10), 10);
        assert!(!control.is_over());
        control.stop();
        assert!(control.is_over());
        let end = control.window_end().expect("the window has ended");
        assert!(end <= Instant::now());
        assert_eq!(control.take(10), 0);
        assert_eq!(control.in_window(Instant::now()), None);
        control.stop();
        assert_eq!(control.window_end(), Some(end));
    }

    #[test]
    fn operations_are_handed_out_exactly() {
        let control = Control::for_operations(25);
        assert!(!control.is_over());
        assert_eq!([0; 4].map(|_| control.take(10)), [10, 10, 5, 0]);
        assert!(control.is_over());
        assert!(control.in_window(Instant::now()).is_some());
        assert_eq!(control.window_end(), None);
    }

    #[test]
    fn an_unmeasured_phase_counts_nothing_and_does_not_end_by_itself() {
        let control = Control::unmeasured();
        assert_eq!(control.take(10), 10);
        assert_eq!(control.in_window(Instant::now()), None);
        assert_eq!((control.window_start(), control.window_end()), (None, None));
    }
}

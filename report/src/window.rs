//! A time that is looked at, and what a server logged in it.

use serde::{Deserialize, Serialize};

use crate::result::RunResult;
use crate::server_log::{Interval, ServerLog};

/// A span of Unix time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its first instant.
    pub start_unix_ms: u64,
    /// Its end.
    pub end_unix_ms: u64,
}

impl Window {
    /// The window that a client measured in.
    pub fn of(client: &RunResult) -> Self {
        Self { start_unix_ms: client.window_start_unix_ms, end_unix_ms: client.window_end_unix_ms }
    }

    /// Its length; 0 if it ends before it begins.
    pub fn seconds(self) -> f64 {
        self.end_unix_ms.saturating_sub(self.start_unix_ms) as f64 / 1e3
    }

    /// Its whole seconds, from its start.
    pub fn whole_seconds(self) -> impl Iterator<Item = Self> {
        let count = self.end_unix_ms.saturating_sub(self.start_unix_ms) / 1_000;
        (0..count).map(move |second| {
            let start_unix_ms = self.start_unix_ms + 1_000 * second;
            Self { start_unix_ms, end_unix_ms: start_unix_ms + 1_000 }
        })
    }

    /// What two windows have in common.
    pub fn intersection(self, other: Self) -> Self {
        Self {
            start_unix_ms: self.start_unix_ms.max(other.start_unix_ms),
            end_unix_ms: self.end_unix_ms.min(other.end_unix_ms),
        }
    }

    /// Whether a server's interval lies in it from end to end.
    pub fn contains(self, interval: &Interval) -> bool {
        interval.start_unix_ms() >= self.start_unix_ms as f64
            && interval.end_unix_ms() <= self.end_unix_ms as f64
    }
}

/// A log's intervals that lie wholly inside `window`; without one, those in which the server did
/// anything.
pub(crate) fn intervals_in(
    log: &ServerLog,
    window: Option<Window>,
) -> impl Iterator<Item = &Interval> {
    log.intervals.iter().filter(move |interval| match window {
        Some(window) => window.contains(interval),
        None => interval.operations_per_second > 0.0,
    })
}

/// The median of a server's `ops/s` lines over the intervals wholly inside `window`; without a
/// window, over those in which it did anything.
pub fn median_rate(log: &ServerLog, window: Option<Window>) -> Option<f64> {
    let mut rates: Vec<f64> = intervals_in(log, window).map(|i| i.operations_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    match rates.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(rates[middle]),
        _ => Some(f64::midpoint(rates[middle - 1], rates[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::tests::{START_UNIX_MS, server_log};

    #[test]
    fn a_median_is_the_middle() {
        let log = ServerLog::parse(&server_log("1/2"), "x.log".as_ref()).unwrap();
        assert_eq!(median_rate(&log, None), Some(995.0));
        let window = |start, end| {
            Some(Window { start_unix_ms: START_UNIX_MS + start, end_unix_ms: START_UNIX_MS + end })
        };
        assert_eq!(median_rate(&log, window(0, 3_000)), Some(1_000.0));
        assert_eq!(median_rate(&log, window(1, 3_000)), Some(1_000.0));
        assert_eq!(median_rate(&log, window(1, 1_999)), None);
    }
}

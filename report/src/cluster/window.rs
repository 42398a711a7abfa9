//! The time in which all clients measured, and what happened in it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ClusterError, MeasuredClient, OVERLAP_MIN};
use crate::result::{RunResult, Timeline, ratio};
use crate::server_log::Interval;

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

/// The time in which all clients measured, and its part of the longest window.
pub(super) fn common_window(
    clients: &[MeasuredClient],
    folder: &Path,
) -> Result<(Window, f64), ClusterError> {
    let mut common = Window { start_unix_ms: 0, end_unix_ms: u64::MAX };
    let mut longest_s = 0.0_f64;
    for MeasuredClient { number, result: client } in clients {
        let window = Window::of(client);
        if window.seconds() <= 0.0 || client.timeline.bucket_ms == 0 {
            let what = format!("client {number} has an empty window");
            return Err(ClusterError::NothingMeasured { what, folder: folder.to_owned() });
        }
        longest_s = longest_s.max(window.seconds());
        common = common.intersection(window);
    }
    let overlap = ratio(common.seconds(), longest_s);
    if overlap < OVERLAP_MIN {
        return Err(ClusterError::Overlap { common_s: common.seconds(), longest_s });
    }
    Ok((common, overlap))
}

/// Operations of `timeline` that completed in `window`. A bucket that lies in it in part counts in
/// proportion; the last bucket is as long as the client's own window lets it be.
pub(super) fn completed_in(timeline: &Timeline, window: Window, client: &RunResult) -> f64 {
    let (from, to) = (window.start_unix_ms as f64, window.end_unix_ms as f64);
    let bucket_ms = timeline.bucket_ms as f64;
    let mut completed = 0.0;
    for (index, &operations) in timeline.operations.iter().enumerate() {
        let start = timeline.start_unix_ms as f64 + index as f64 * bucket_ms;
        let mut end = start + bucket_ms;
        if index + 1 == timeline.operations.len() && client.window_end_unix_ms as f64 > start {
            end = end.min(client.window_end_unix_ms as f64);
        }
        let inside = (end.min(to) - start.max(from)).max(0.0);
        completed += operations as f64 * inside / (end - start);
    }
    completed
}

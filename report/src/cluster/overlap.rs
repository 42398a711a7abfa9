//! The time in which all clients measured, and what happened in it.

use std::path::Path;

use super::{ClusterError, OVERLAP_MIN};
use crate::result::{RunResult, Timeline, ratio};
use crate::run_folder::MeasuredClient;
use crate::window::Window;

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

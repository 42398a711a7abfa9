//! Log lines that peers can cause are bounded: one a second on each matter, and the others are
//! counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two lines on one matter.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one log line through per interval, and counts the others.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Whether to write the line now; then how many were suppressed before.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }

    /// How many lines were suppressed since one was let through.
    pub fn suppressed(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_is_said_and_the_others_are_counted() {
        let limit = LogLimit::default();
        let start = Instant::now();
        assert_eq!(limit.pass(start), Some(0));
        assert_eq!(limit.pass(start), None);
        assert_eq!(limit.pass(start + INTERVAL / 2), None);
        assert_eq!(limit.suppressed(), 2);
        assert_eq!(limit.pass(start + INTERVAL), Some(2));
        assert_eq!(limit.suppressed(), 0);
        assert_eq!(limit.pass(start + 2 * INTERVAL), Some(0));
    }
}

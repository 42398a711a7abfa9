//! The pauses between attempts to reach a server.

use std::time::Duration;

/// First and longest pause between two attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The pause before attempt `attempt`: doubled each time, and spread by up to half over lanes, so
/// that they do not come all at once.
pub(super) fn backoff(attempt: u32, lane: u32) -> Duration {
    let pause = BACKOFF_MIN.saturating_mul(1 << attempt.min(10)).min(BACKOFF_MAX);
    let spread = u64::from(lane).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(attempt) >> 54;
    pause - pause.mul_f64(spread as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_are_spread() {
        for lane in 0..100 {
            for attempt in 0..40 {
                let pause = backoff(attempt, lane);
                assert!(pause <= BACKOFF_MAX);
                assert!(pause >= BACKOFF_MIN / 2);
            }
            assert!(backoff(20, lane) >= BACKOFF_MAX / 2);
        }
        assert_ne!(backoff(3, 1), backoff(3, 2));
    }
}

//! What round trips tell of another host's clocks.

use rustix::time::{ClockId, clock_gettime};

/// The fastest that a system slews its clock, in parts per million: Linux's own limit for NTP.
pub const DRIFT_MAX_PPM: u64 = 500;

/// A host's two clocks, read one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_MONOTONIC`, in nanoseconds: what histories hold.
    pub monotonic_ns: i64,
    /// Nanoseconds since 1970: what logs and results hold.
    pub wall_ns: i64,
}

impl Reading {
    /// Reads this host's clocks.
    pub fn now() -> Self {
        let nanoseconds = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
        };
        Self {
            monotonic_ns: nanoseconds(ClockId::Monotonic),
            wall_ns: nanoseconds(ClockId::Realtime),
        }
    }
}

/// One question to the other host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// This host's clocks before it was asked.
    pub before: Reading,
    /// The other host's clocks.
    pub other: Reading,
    /// This host's clocks when the answer was there.
    pub after: Reading,
}

/// How another host's clocks stand to this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Nanoseconds to add to the other host's monotonic times to bring them to this host's clock.
    pub offset_ns: i64,
    /// The same for its wall clock.
    pub wall_offset_ns: i64,
    /// How wrong either may be.
    pub error_ns: u64,
    /// When it was measured, on this host's monotonic clock.
    pub at_ns: i64,
}

impl Estimate {
    /// What the shortest of the rounds tells; `None` if there are none.
    pub fn of(rounds: &[Round]) -> Option<Self> {
        let length = |round: &&Round| round.after.monotonic_ns - round.before.monotonic_ns;
        let Round { before, other, after } = *rounds.iter().min_by_key(length)?;
        let middle = |from: i64, to: i64| from + (to - from) / 2;
        let error_ns = (after.monotonic_ns - before.monotonic_ns).unsigned_abs().div_ceil(2);
        Some(Self {
            offset_ns: middle(before.monotonic_ns, after.monotonic_ns) - other.monotonic_ns,
            wall_offset_ns: middle(before.wall_ns, after.wall_ns) - other.wall_ns,
            // What was rounded.
            error_ns: error_ns + 1,
            at_ns: after.monotonic_ns,
        })
    }

    /// What holds from `self`'s time to `last`'s: the middle of the span that covers both, and as
    /// error half of it, and once more what was seen to drift, for a clock that drifted out and back.
    pub fn join(self, last: Self) -> Self {
        let (offset_ns, error_ns) =
            cover([(self.offset_ns, self.error_ns), (last.offset_ns, last.error_ns)]);
        let (wall_offset_ns, wall_error_ns) =
            cover([(self.wall_offset_ns, self.error_ns), (last.wall_offset_ns, last.error_ns)]);
        Self { offset_ns, wall_offset_ns, error_ns: error_ns.max(wall_error_ns), at_ns: last.at_ns }
    }

    /// What holds up to `now_ns` when nothing was measured then: the clocks may have drifted apart by
    /// [`DRIFT_MAX_PPM`].
    pub fn grown_old(self, now_ns: i64) -> Self {
        let age_ns = now_ns.saturating_sub(self.at_ns).max(0).unsigned_abs();
        let drift_ns = age_ns.saturating_mul(DRIFT_MAX_PPM).div_ceil(1_000_000);
        Self { error_ns: self.error_ns.saturating_add(drift_ns), ..self }
    }
}

fn cover(spans: [(i64, u64); 2]) -> (i64, u64) {
    let [(first, first_error), (last, last_error)] =
        spans.map(|(offset, error)| (i128::from(offset), i128::from(error)));
    let low = (first - first_error).min(last - last_error);
    let high = (first + first_error).max(last + last_error);
    let error = (high - low + 1) / 2 + (last - first).abs();
    (i64::try_from((low + high) / 2).unwrap_or(0), u64::try_from(error).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ns: i64) -> Reading {
        Reading { monotonic_ns, wall_ns: monotonic_ns + 1_000_000 }
    }

    /// Asked at `asked`; the other side, `ahead` of us, read its clock `there` later.
    fn round(asked: i64, there: i64, back: i64, ahead: i64) -> Round {
        let other = at(asked + there + ahead);
        Round { before: at(asked), other, after: at(asked + there + back) }
    }

    #[test]
    fn the_true_offset_lies_within_the_error() {
        for (there, back) in [(0, 0), (10, 10), (1, 999), (999, 1), (500, 501)] {
            let estimate = Estimate::of(&[round(5_000, there, back, 7_777)]).unwrap();
            for offset in [estimate.offset_ns, estimate.wall_offset_ns] {
                let off_by = (offset + 7_777).unsigned_abs();
                assert!(off_by <= estimate.error_ns, "{there} {back}: {estimate:?}");
            }
            assert_eq!(estimate.error_ns, (there + back).unsigned_abs().div_ceil(2) + 1);
        }
    }

    #[test]
    fn the_shortest_round_counts() {
        let rounds = [round(0, 50, 900, -4), round(1_000, 3, 5, -4), round(2_000, 700, 1, -4)];
        let estimate = Estimate::of(&rounds).unwrap();
        assert_eq!((estimate.error_ns, estimate.at_ns), (5, 1_008));
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn two_estimates_are_covered_with_their_drift() {
        let first = Estimate { offset_ns: 100, wall_offset_ns: -50, error_ns: 10, at_ns: 1 };
        let last = Estimate { offset_ns: 140, wall_offset_ns: -50, error_ns: 20, at_ns: 9 };
        let joined = first.join(last);
        // 90 to 160 is covered, and 40 were drifted.
        assert_eq!((joined.offset_ns, joined.error_ns), (125, 35 + 40));
        assert_eq!((joined.wall_offset_ns, joined.at_ns), (-50, 9));
        let still = first.join(first);
        assert_eq!((still.offset_ns, still.error_ns), (100, 10), "no drift, no more error");
    }

    #[test]
    fn an_old_estimate_is_trusted_less() {
        let first = Estimate { offset_ns: 100, wall_offset_ns: 0, error_ns: 10, at_ns: 0 };
        assert_eq!(first.grown_old(10_000_000_000).error_ns, 10 + 5_000_000);
        assert_eq!(first.grown_old(-5).error_ns, 10);
    }
}

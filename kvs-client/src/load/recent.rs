//! Latencies of the last second, for the progress that is shown while a run lasts.
//!
//! The recorder's histograms are exact and belong to their worker; these are rough, and can be read
//! by another thread at any time: counts in buckets, each an eighth of a power of two wide.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets in a power of two: a bucket's bounds are at most 1/8 apart.
const PER_OCTAVE: usize = 8;

/// Up to here every microsecond has a bucket of its own.
const LINEAR_MAX: usize = 2 * PER_OCTAVE;

/// Latencies of 2^31 us and more, over half an hour, share the last bucket.
const BUCKETS: usize = LINEAR_MAX + (31 - 4) * PER_OCTAVE;

/// One worker's latencies since its start. Counts wrap, which differences do not mind.
#[derive(Debug)]
pub(crate) struct RecentLatencies([AtomicU32; BUCKETS]);

impl Default for RecentLatencies {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; BUCKETS])
    }
}

impl RecentLatencies {
    /// Adds operations that all took so long. Only one thread may call this.
    pub(crate) fn add(&self, latency: Duration, operations: u64) {
        let bucket = &self.0[bucket_of(latency.as_micros())];
        bucket.store(
            bucket.load(Ordering::Relaxed).wrapping_add(operations as u32),
            Ordering::Relaxed,
        );
    }
}

/// What several workers' latencies were at one time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot([u32; BUCKETS]);

impl Snapshot {
    /// The sum over all workers.
    pub(crate) fn of<'a>(workers: impl Iterator<Item = &'a RecentLatencies>) -> Self {
        let mut sums = [0_u32; BUCKETS];
        for worker in workers {
            for (sum, bucket) in sums.iter_mut().zip(&worker.0) {
                *sum = sum.wrapping_add(bucket.load(Ordering::Relaxed));
            }
        }
        Self(sums)
    }

    /// The latency in microseconds that `quantile` of all operations since `before` stayed under,
    /// at most 1/8 too high; `None` if there were none.
    pub(crate) fn quantile_us(&self, before: &Self, quantile: f64) -> Option<u64> {
        let counts: Vec<u64> = self
            .0
            .iter()
            .zip(&before.0)
            .map(|(after, before)| u64::from(after.wrapping_sub(*before)))
            .collect();
        let all: u64 = counts.iter().sum();
        let rank = (all as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        })?;
        Some(end_of(bucket))
    }
}

fn bucket_of(us: u128) -> usize {
    let us = usize::try_from(us).unwrap_or(usize::MAX).min((1 << 31) - 1);
    if us < LINEAR_MAX {
        return us;
    }
    // At least 4: the lower powers lie in the linear part.
    let octave = us.ilog2() as usize;
    LINEAR_MAX + (octave - 4) * PER_OCTAVE + ((us >> (octave - 3)) & (PER_OCTAVE - 1))
}

/// The greatest latency of a bucket.
fn end_of(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(LINEAR_MAX) else { return bucket as u64 };
    let (octave, eighth) = (above / PER_OCTAVE + 4, above % PER_OCTAVE);
    ((PER_OCTAVE + eighth + 1) << (octave - 3)) as u64 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_in_its_bucket() {
        let mut last = 0;
        for us in (0..2_000).chain([1 << 20, (1 << 31) - 1, 1 << 31, u128::MAX]) {
            let bucket = bucket_of(us);
            assert!(bucket == last || bucket == last + 1 || us >= 2_000, "{us}");
            last = bucket;
            let end = u128::from(end_of(bucket));
            let us = us.min((1 << 31) - 1);
            assert!(us <= end && end <= us + us / 8 + 1, "{us} in bucket to {end}");
        }
        assert_eq!(bucket_of(u128::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_since_the_last_look() {
        let workers = [RecentLatencies::default(), RecentLatencies::default()];
        let look = || Snapshot::of(workers.iter());
        let add = |worker: usize, us, operations| {
            workers[worker].add(Duration::from_micros(us), operations);
        };
        let start = look();
        assert_eq!(start.quantile_us(&start, 0.99), None);
        add(0, 3, 980);
        add(1, 1_000, 20);
        let first = look();
        assert_eq!(first.quantile_us(&start, 0.5), Some(3));
        assert_eq!(first.quantile_us(&start, 0.98), Some(3));
        assert_eq!(first.quantile_us(&start, 0.99), Some(1_023));
        add(0, 9, u64::from(u32::MAX) - 10);
        add(0, 9, 5);
        assert_eq!(look().quantile_us(&first, 0.99), Some(9));
    }
}

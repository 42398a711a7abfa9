//! Completions over the measured window.

use std::time::Duration;

/// Length of a bucket of the time line. Long enough to hold many batches, short enough that the
/// windows of several clients can be laid over each other.
pub(crate) const TIMELINE_BUCKET: Duration = Duration::from_millis(100);

/// Operations completed in each bucket of the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeLine(Vec<u64>);

impl TimeLine {
    /// Adds operations that completed so long after the window began.
    pub(super) fn add(&mut self, at: Duration, operations: u64) {
        let bucket = (at.as_nanos() / TIMELINE_BUCKET.as_nanos()) as usize;
        self.reach(bucket + 1);
        self.0[bucket] += operations;
    }

    /// Adds what another worker completed.
    pub(super) fn merge(&mut self, other: &Self) {
        self.reach(other.0.len());
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }

    /// Operations by bucket, up to the last one that has any.
    pub(crate) fn operations(&self) -> &[u64] {
        &self.0
    }

    fn reach(&mut self, buckets: usize) {
        if self.0.len() < buckets {
            self.0.resize(buckets, 0);
        }
    }
}

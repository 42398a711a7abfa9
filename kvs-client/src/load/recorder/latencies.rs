//! Latencies by kind of operation, in histograms that are merged at the end of a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::plan::Kind;
use super::counts::Counts;

/// Latencies in microseconds. Kinds that do not occur take no memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatencyHistogram(Option<Histogram<u64>>);

impl LatencyHistogram {
    /// Adds `count` operations of this latency.
    fn record(&mut self, latency_us: u64, count: u64) {
        if count > 0 {
            self.histogram()
                .record_n(latency_us, count)
                .expect("a histogram that resizes itself takes every latency");
        }
    }

    fn histogram(&mut self) -> &mut Histogram<u64> {
        // Three digits: percentiles are exact to 0.1%.
        self.0.get_or_insert_with(|| Histogram::new(3).expect("three digits are allowed"))
    }

    fn add(&mut self, other: &Self) {
        if let Some(other) = &other.0 {
            self.histogram().add(other).expect("a histogram that resizes itself takes another");
        }
    }

    /// The distribution, if there was any operation.
    pub(crate) fn distribution(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref()
    }
}

/// Latencies by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatencyHistograms {
    /// One sample a batch.
    pub(crate) batches: LatencyHistogram,
    /// One sample an operation, as all below.
    pub(crate) operations: LatencyHistogram,
    /// GETs.
    pub(crate) gets: LatencyHistogram,
    /// PUTs.
    pub(crate) puts: LatencyHistogram,
    /// DELETEs.
    pub(crate) deletes: LatencyHistogram,
    /// Compare-and-swaps.
    pub(crate) swaps: LatencyHistogram,
    /// INCRs.
    pub(crate) increments: LatencyHistogram,
}

impl LatencyHistograms {
    /// Adds a batch. All its operations have its latency.
    pub(super) fn record(&mut self, latency: Duration, counts: &Counts) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        self.batches.record(latency_us, u64::from(counts.operations > 0));
        self.operations.record(latency_us, counts.operations);
        self.gets.record(latency_us, counts.gets);
        self.puts.record(latency_us, counts.puts);
        self.deletes.record(latency_us, counts.deletes);
        self.swaps.record(latency_us, counts.swaps);
        self.increments.record(latency_us, counts.increments);
    }

    /// Adds one operation of this kind.
    pub(super) fn record_one(&mut self, latency: Duration, kind: Kind) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        self.operations.record(latency_us, 1);
        let of_kind = match kind {
            Kind::Get | Kind::Read => &mut self.gets,
            Kind::Put | Kind::Insert | Kind::ResetCounter => &mut self.puts,
            Kind::Delete | Kind::DeleteCounter => &mut self.deletes,
            Kind::Swap => &mut self.swaps,
            Kind::Increment => &mut self.increments,
        };
        of_kind.record(latency_us, 1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.batches.add(&other.batches);
        self.operations.add(&other.operations);
        self.gets.add(&other.gets);
        self.puts.add(&other.puts);
        self.deletes.add(&other.deletes);
        self.swaps.add(&other.swaps);
        self.increments.add(&other.increments);
    }
}

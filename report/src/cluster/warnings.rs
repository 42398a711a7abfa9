//! What a reader of a run's total should know, each with what to do about it.
//!
//! The table, `cluster.json` and the report page tell the same warnings. They do not make a total
//! wrong; what does is a [`ClusterError`](super::ClusterError).

use super::ClusterResult;
use crate::clocks::HostClock;
use crate::result::{Build, ratio};
use crate::run_folder::{MeasuredClient, RunFolder};
use crate::server_log::Interval;
use crate::warning::Warning;

/// The greatest relative gap between the total and the sum of the servers' medians that passes.
const MEDIANS_GAP_MAX: f64 = 0.05;

/// The greatest relative gap between a client's count and its timeline that passes: the
/// timeline's clock has a resolution of a millisecond.
const TIMELINE_GAP_MAX: f64 = 0.01;

/// A shard that did more than this multiple of an even share is told. Zipfian keys over 4 shards
/// give the hottest up to 1.16.
const SHARE_OVER_EVEN_MAX: f64 = 1.2;

/// A clock that is known less well than this, in milliseconds, is told: a second's count is then
/// wrong by a percent.
const CLOCK_ERROR_MS_MAX: f64 = 10.0;

/// A host's clock that is off by more than this, in milliseconds, is told: nobody keeps it.
const CLOCK_OFFSET_MS_MAX: f64 = 100.0;

/// Where the run took place, if that keeps its total from being a cluster's. Apart from the others,
/// because the table's first line says it already.
pub(crate) fn of_place(result: &ClusterResult) -> Option<Warning> {
    (result.machines == 1).then(|| {
        Warning::new(
            "servers and clients shared one machine",
            "name several hosts in KVS_HOSTS for a cluster figure",
        )
    })
}

/// Everything to be told about a run.
pub(crate) fn of(
    run: &RunFolder,
    clients: &[MeasuredClient],
    result: &ClusterResult,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if result.build == Build::Debug {
        let what = "a debug build, whose figures mean nothing";
        warnings.push(Warning::new(what, "make build, and run again"));
    }
    warnings.extend(run.description.warnings.iter().cloned());
    warnings.extend(clocks(&run.clocks));
    warnings.extend(clients.iter().filter_map(timeline_gap));
    warnings.extend(misses(result));
    warnings.extend(faults(result));
    // Of processes that died, shares, medians and samples are told to end where they ended.
    if result.failures.is_empty() {
        warnings.extend(uneven_shards(result));
        warnings.extend(unsteady(result));
        warnings.extend(dropped_samples(run));
    }
    warnings
}

/// What a reader should know about the hosts' clocks.
fn clocks(clocks: &[HostClock]) -> impl Iterator<Item = Warning> {
    clocks.iter().filter_map(|clock| {
        let HostClock { node, process, .. } = clock;
        let error_ms = clock.error_ns as f64 / 1e6;
        let offset_ms = clock.wall_offset_ns as f64 / 1e6;
        if error_ms > CLOCK_ERROR_MS_MAX {
            Some(Warning::new(
                format!("the clock of {node} ({process}) is known to {error_ms:.0} ms only"),
                "keep the network idle before and after a run, and see that chrony runs there",
            ))
        } else if offset_ms.abs() > CLOCK_OFFSET_MS_MAX {
            Some(Warning::new(
                format!(
                    "the clock of {node} ({process}) is off by {:.0} ms, which was set right here",
                    -offset_ms
                ),
                "see that chrony runs there",
            ))
        } else {
            None
        }
    })
}

fn timeline_gap(client: &MeasuredClient) -> Option<Warning> {
    let MeasuredClient { number, result } = client;
    let (counted, operations) = (result.timeline.operations.iter().sum::<u64>(), result.operations);
    let gap = ratio(counted.abs_diff(operations) as f64, operations as f64);
    (gap > TIMELINE_GAP_MAX).then(|| {
        Warning::new(
            format!("client {number} counts {operations} operations, its timeline {counted}"),
            "report this as a fault",
        )
    })
}

fn misses(result: &ClusterResult) -> Option<Warning> {
    let sum = &result.sum;
    // A workload that deletes misses by its nature.
    (sum.hits < sum.gets && sum.deletes == 0).then(|| {
        Warning::new(
            format!("{} of {} GETs found no key", sum.gets - sum.hits, sum.gets),
            "load the keys (leave -preload on), and see whether a server restarted",
        )
    })
}

fn faults(result: &ClusterResult) -> Option<Warning> {
    let (errors, unknown) = (result.sum.errors, result.sum.unknown);
    (errors + unknown > 0).then(|| {
        Warning::new(
            format!("{errors} operations failed, of {unknown} nobody knows the outcome"),
            "the clients' logs say why",
        )
    })
}

fn uneven_shards(result: &ClusterResult) -> Option<Warning> {
    let even = ratio(1.0, result.per_server.len() as f64);
    let hottest = result.per_server.iter().max_by(|a, b| a.share.total_cmp(&b.share))?;
    (hottest.share > SHARE_OVER_EVEN_MAX * even).then(|| {
        Warning::new(
            format!(
                "shard {} did {:.0}% of all operations, an even share is {:.0}%",
                hottest.shard,
                100.0 * hottest.share,
                100.0 * even
            ),
            "the hottest shard limits the total; a lower -theta or more -keys spread the load",
        )
    })
}

fn unsteady(result: &ClusterResult) -> Option<Warning> {
    let Some(medians_sum) = result.server_medians_sum else {
        let what = "no server wrote a whole second inside the window";
        return Some(Warning::new(what, "use a longer -secs"));
    };
    let total = result.operations_per_second;
    let gap = ratio((medians_sum - total).abs(), total);
    (gap > MEDIANS_GAP_MAX).then(|| {
        Warning::new(
            format!(
                "the servers' medians add up to {medians_sum:.0} op/s, {:.1}% from the total, so \
                 the load was not steady",
                100.0 * gap
            ),
            "use a longer -secs, and see ops.svg",
        )
    })
}

/// Seconds that servers did not log, because the machine did not let them.
fn dropped_samples(run: &RunFolder) -> Option<Warning> {
    let dropped: Vec<String> = run
        .servers
        .iter()
        .enumerate()
        .map(|(index, log)| (index + 1, missing_intervals(&log.intervals)))
        .filter(|(_, missing)| *missing > 0)
        .map(|(server, missing)| format!("server {server} left out {missing}"))
        .collect();
    (!dropped.is_empty()).then(|| {
        Warning::new(
            format!("not every second was logged ({})", dropped.join(", ")),
            "the machine was too busy: give the servers fewer -threads, or stop what else runs",
        )
    })
}

/// How many intervals of the usual length are missing between the first and the last one.
fn missing_intervals(intervals: &[Interval]) -> u64 {
    let mut lengths_s: Vec<f64> = intervals.iter().map(|i| i.stats.interval_s).collect();
    lengths_s.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (intervals.first(), intervals.last()) else { return 0 };
    let usual_ms = 1e3 * lengths_s[lengths_s.len() / 2];
    let expected = ratio(last.start_unix_ms() - first.start_unix_ms(), usual_ms).round() as u64 + 1;
    expected.saturating_sub(intervals.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_nobody_keeps_or_knows_are_told() {
        let clock = |wall_offset_ns, error_ns| HostClock {
            node: "node1".to_owned(),
            process: "kvs-client 1".to_owned(),
            offset_ns: -7,
            wall_offset_ns,
            error_ns,
            start: None,
            end: None,
        };
        let told = |clock| clocks(&[clock]).map(|warning| warning.to_string()).next();
        assert_eq!(told(clock(5_000_000, 300_000)), None);
        let off = told(clock(-2_000_000_000, 300_000)).unwrap();
        assert!(off.contains("node1 (kvs-client 1) is off by 2000 ms"), "{off}");
        let unknown = told(clock(0, 25_000_000)).unwrap();
        assert!(unknown.contains("known to 25 ms only: keep the network idle"), "{unknown}");
    }
}

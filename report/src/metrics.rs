//! The figures of a run by their names, as requirements, comparisons and sweeps use them.

use crate::cluster::{ClientShare, ClusterResult};
use crate::result::{Latency, ratio};
use crate::run_folder::Verdict;

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name; the unit stands last in it.
    pub name: &'static str,
    /// Its unit; empty for counts and ratios.
    pub unit: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Whether more is better; `None` where neither is.
    pub more_is_better: Option<bool>,
}

/// Every figure that there is. Percentiles of several clients are not merged: the worst counts.
pub const METRICS: [Metric; 15] = [
    metric("ops_s", "op/s", "the total", Some(true)),
    metric("mean_us", "us", "mean latency", Some(false)),
    metric("p50_us", "us", "median latency", Some(false)),
    metric("p95_us", "us", "95th percentile of latency", Some(false)),
    metric("p99_us", "us", "99th percentile of latency", Some(false)),
    metric("p999_us", "us", "99.9th percentile of latency", Some(false)),
    metric("max_us", "us", "greatest latency", Some(false)),
    metric("hit_ratio", "", "GETs that found their key, 0 to 1", Some(true)),
    metric("errors", "", "operations that failed", Some(false)),
    metric("unknown", "", "operations whose outcome nobody knows", Some(false)),
    metric("window_s", "s", "time in which all clients measured", None),
    metric("share_max", "", "the hottest shard's part of all operations, 0 to 1", Some(false)),
    metric("servers_cpu", "", "the servers' part of all cores, 0 to 1", None),
    metric("clients_cpu", "", "the clients' part of all cores, 0 to 1", None),
    metric("linearizable", "", "1 if a check passed, 0 if not", Some(true)),
];

const fn metric(
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    more_is_better: Option<bool>,
) -> Metric {
    Metric { name, unit, what, more_is_better }
}

/// A name that is no figure's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no figure {name:?}; the figures are {}", names())]
pub struct UnknownMetric {
    /// The name.
    pub name: String,
}

/// All names, as an enumeration for people.
pub fn names() -> String {
    METRICS.map(|metric| metric.name).join(", ")
}

/// All names with their meaning, a line each.
pub fn explained() -> String {
    METRICS.map(|metric| format!("  {:<13} {}", metric.name, metric.what)).join("\n")
}

impl Metric {
    /// The figure of this name.
    ///
    /// # Errors
    ///
    /// [`UnknownMetric`], which tells all names.
    pub fn named(name: &str) -> Result<Self, UnknownMetric> {
        let found = METRICS.iter().find(|metric| metric.name == name);
        found.copied().ok_or_else(|| UnknownMetric { name: name.to_owned() })
    }

    /// Its value in a run; `None` where the run does not have it.
    pub fn of(self, result: &ClusterResult) -> Option<f64> {
        let latency = |pick: fn(&Latency) -> f64| {
            let of_client = |client: &ClientShare| client.latency_us.as_ref().map(pick);
            result.per_client.iter().filter_map(of_client).reduce(f64::max)
        };
        match self.name {
            "ops_s" => Some(result.operations_per_second),
            "mean_us" => mean_latency_us(result),
            "p50_us" => latency(|latency| latency.p50),
            "p95_us" => latency(|latency| latency.p95),
            "p99_us" => latency(|latency| latency.p99),
            "p999_us" => latency(|latency| latency.p999),
            "max_us" => latency(|latency| latency.max),
            "hit_ratio" => Some(result.hit_ratio),
            "errors" => Some(result.sum.errors as f64),
            "unknown" => Some(result.sum.unknown as f64),
            "window_s" => Some(result.window.seconds()),
            "share_max" => result.per_server.iter().map(|server| server.share).reduce(f64::max),
            "servers_cpu" => result.bottleneck.servers_cpu,
            "clients_cpu" => result.bottleneck.clients_cpu,
            "linearizable" => result
                .check
                .as_ref()
                .map(|check| f64::from(u8::from(check.verdict == Verdict::Linearizable))),
            other => unreachable!("{other} is a figure without a value"),
        }
    }
}

/// Means, unlike percentiles, can be merged.
fn mean_latency_us(result: &ClusterResult) -> Option<f64> {
    let latencies = || result.per_client.iter().filter_map(|client| client.latency_us.as_ref());
    let count: u64 = latencies().map(|latency| latency.count).sum();
    let sum: f64 = latencies().map(|latency| latency.mean * latency.count as f64).sum();
    (count > 0).then(|| ratio(sum, count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::compute;
    use crate::run_folder::RunFolder;
    use crate::run_folder::tests::{CHECK, START_UNIX_MS, client, whole_run};

    #[test]
    fn every_figure_has_a_value_where_the_run_has_it() {
        let folder = whole_run("metrics");
        let mut slow = client(START_UNIX_MS);
        let latency = slow.latency_us.operations.as_mut().unwrap();
        (latency.p99, latency.mean, latency.count) = (9_999.0, 180.25, 3_000);
        slow.write(&folder.0.join("kvs-client-2.json")).unwrap();
        let value = |name: &str| {
            let result = compute(&RunFolder::read(&folder.0).unwrap()).unwrap();
            Metric::named(name).unwrap().of(&result)
        };
        for metric in METRICS {
            let expected = !matches!(metric.name, "linearizable" | "clients_cpu");
            assert_eq!(value(metric.name).is_some(), expected, "{}", metric.name);
        }
        assert_eq!(value("ops_s"), Some(2_000.0));
        assert_eq!(value("p99_us"), Some(9_999.0), "the worst client's");
        assert_eq!(value("mean_us"), Some(0.25 * 80.25 + 0.75 * 180.25));
        assert_eq!(value("share_max"), Some(0.5));
        folder.file("check.json", CHECK);
        assert_eq!(value("linearizable"), Some(1.0));
        folder.file("check.json", &CHECK.replace("\"linearizable\", \"c", "\"undecided\", \"c"));
        assert_eq!(value("linearizable"), Some(0.0));
    }

    #[test]
    fn a_name_that_is_none_is_answered_with_all_names() {
        let told = Metric::named("ops").unwrap_err().to_string();
        for metric in METRICS {
            assert!(told.contains(metric.name) && explained().contains(metric.what), "{told}");
        }
    }
}

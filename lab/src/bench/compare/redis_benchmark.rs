//! Redis under the load generator that comes with it.

use std::collections::HashMap;

use anyhow::{Context, ensure};

use super::{KEYS, VALUE_BYTES};
use crate::measure::redis;
use crate::measure::rounds::Figures;
use crate::measure::stores::{Store, Stores};
use crate::tied;

/// Requests of the first look at how fast a load is.
const FIRST_REQUESTS: u64 = 20_000;

/// A server of its own for redis-benchmark, with exactly the keys that it asks for.
pub(super) struct RedisBenchmark {
    server: Store,
    secs: f64,
    /// The requests that take the seconds of a run, by the flags.
    requests: HashMap<String, u64>,
}

impl RedisBenchmark {
    /// Starts and loads the server; runs will take about so many seconds.
    pub(super) async fn start(stores: &Stores, secs: f64) -> anyhow::Result<Self> {
        let server = stores.redis().await?;
        redis::load(server.port(), KEYS, VALUE_BYTES).await?;
        Ok(Self { server, secs, requests: HashMap::new() })
    }

    /// GETs of uniform keys, by the flags of redis-benchmark. It takes a number of requests and no
    /// time, so how many take the time is found out first.
    pub(super) async fn get(&mut self, flags: &str) -> anyhow::Result<Figures> {
        if !self.requests.contains_key(flags) {
            let rate = self.run(FIRST_REQUESTS, flags).await?.ops_s;
            let rate = self.run((rate / 2.0) as u64, flags).await?.ops_s;
            self.requests.insert(flags.to_owned(), (rate * self.secs) as u64);
        }
        self.run(self.requests[flags], flags).await
    }

    async fn run(&self, requests: u64, flags: &str) -> anyhow::Result<Figures> {
        let (port, requests) = (self.server.port(), requests.max(1));
        let common = format!(
            "-h 127.0.0.1 -p {port} -t get -r {KEYS} -d {VALUE_BYTES} -n {requests} {flags} --csv"
        );
        let output = tied::command("redis-benchmark").args(common.split(' ')).output().await?;
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().last().unwrap_or_default();
        ensure!(output.status.success(), "redis-benchmark failed: {last}");
        figures(&String::from_utf8_lossy(&output.stdout))
            .context("redis-benchmark printed no rate and median; take that of Redis 7")
    }

    /// Fails when the server missed a key: then its GETs were less work.
    pub(super) async fn must_have_found_all(&self) -> anyhow::Result<()> {
        let stats = redis::ask(self.server.port(), "INFO stats").await?;
        let misses = stats.lines().find_map(|line| line.strip_prefix("keyspace_misses:"));
        let misses = misses.context("redis does not count misses")?.trim_end();
        ensure!(misses == "0", "redis missed {misses} keys, so its GETs are not comparable");
        Ok(())
    }
}

/// Rate and median latency of the GETs in what redis-benchmark prints with --csv.
fn figures(csv: &str) -> Option<Figures> {
    let row = csv.lines().rev().find_map(|line| line.strip_prefix("\"GET\","))?;
    let numbers: Vec<f64> =
        row.split(',').map_while(|cell| cell.trim_matches('"').parse().ok()).collect();
    // rps, then avg, min, p50, .. in milliseconds.
    let (ops_s, p50_us) = (numbers.first()?.round(), 1000.0 * numbers.get(3)?);
    (ops_s > 0.0).then(|| Figures { ops_s, p50_us: p50_us.round(), ..Figures::default() })
}

#[cfg(test)]
mod tests {
    use super::figures;

    const HEADER: &str =
        "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\"\n";

    #[test]
    fn rate_and_median_are_read() {
        let row = "\"GET\",\"843595.40\",\"1.2\",\"0.3\",\"1.151\",\"2.0\",\"2.5\",\"3.1\"\n";
        let found = figures(&format!("{HEADER}{row}")).unwrap();
        assert_eq!((found.ops_s, found.p50_us), (843_595.0, 1151.0));
    }

    #[test]
    fn what_holds_no_rate_or_median_is_refused() {
        for row in [
            "",
            "\"SET\",\"843595.40\",\"1.2\",\"0.3\",\"1.151\"\n",
            "\"GET\",\"843595.40\"\n",
            "\"GET\",\"nan\",\"1.2\",\"0.3\",\"1.151\"\n",
            "\"GET\",\"0.00\",\"1.2\",\"0.3\",\"1.151\"\n",
            "\"GET\",\"843595.40\",\"1.2\",\"-\",\"1.151\"\n",
        ] {
            assert_eq!(figures(&format!("{HEADER}{row}")), None, "{row}");
        }
    }
}

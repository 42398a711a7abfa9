//! `kvs-lab open-loop`: latency against offered load, in an open loop: arrivals by a Poisson
//! schedule, latency from the intended start.
//!
//! First finds what a closed loop reaches, then offers parts of that, and searches for the highest
//! rate that keeps the 99th percentile. One server and one client on this machine, over TCP.

use anyhow::Context;
use report::result::RunResult;
use report::results::Cell;
use report::statistics::{Spread, significant};

use crate::measure::seconds;
use crate::measure::stores::{Store, Stores};
use crate::measure::table::{Table, cells};
use crate::say::say;

/// What is offered, in hundredths of what a closed loop reaches.
const PERCENTS: [u32; 10] = [1, 2, 5, 10, 20, 40, 60, 80, 100, 120];

/// How often the search halves its interval.
const SEARCH_STEPS: u32 = 6;

/// Runs at each rate of the search, of which the median counts.
const TRIALS: u32 = 3;

/// Writes results/open_loop.jsonl and results/slo.jsonl; RESULTS_DIR names another folder.
/// KVS_BIN_DIR names one with binaries that are built already.
#[derive(clap::Args)]
pub(crate) struct OpenLoop {
    /// What the 99th percentile may be, in microseconds
    #[arg(long = "slo_p99_us", env = "SLO_P99_US", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..))]
    slo_p99_us: u32,
    /// Seconds of each run
    #[arg(long, env = "SECS", default_value_t = 4.0, value_parser = seconds)]
    secs: f64,
    /// Flags of the client, as one word
    #[arg(
        long = "client_flags",
        env = "CLIENT_FLAGS",
        allow_hyphen_values = true,
        default_value = "-workers 64 -batch_size 1024"
    )]
    client_flags: String,
    /// Flags of the server, as one word
    #[arg(
        long = "server_flags",
        env = "SERVER_FLAGS",
        allow_hyphen_values = true,
        default_value = ""
    )]
    server_flags: String,
}

/// A server that is offered loads.
struct Offers {
    stores: Stores,
    server: Store,
    /// The client's flags in all runs.
    flags: String,
    /// Operations per second of a closed loop.
    capacity: f64,
    /// How all was measured.
    note: String,
}

impl OpenLoop {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stores = Stores::build().await?;
        let server_flags = format!("{} -stats_secs 0", self.server_flags);
        let server = stores.ours(&server_flags.split_whitespace().collect::<Vec<_>>()).await?;
        let flags = format!("-warmup_secs 1 -secs {} {}", self.secs, self.client_flags);
        let mut offers = Offers { stores, server, flags, capacity: 0.0, note: String::new() };
        offers.capacity = offers.run("").await?.operations_per_second.floor();
        say!("a closed loop reaches {} op/s", offers.capacity);
        offers.flags += " -preload=false";
        offers.note = format!(
            "Poisson arrivals; latency from the intended start; {}; one server and one client on \
             one machine over TCP; a closed loop reached {} op/s",
            self.client_flags, offers.capacity
        );
        by_load(&offers).await?;
        self.search(&offers).await
    }

    /// The highest rate whose median p99 keeps the bound: the interval is halved again and again.
    async fn search(&self, offers: &Offers) -> anyhow::Result<()> {
        let bound = self.slo_p99_us;
        let title = format!("Search for the highest rate with a median p99 of at most {bound} us");
        let command = format!("kvs-lab open-loop -slo_p99_us {bound}");
        let columns = "offered:op/s p99_median:us p99_min:us p99_max:us kept";
        let mut table = Table::new("slo", &title, &command, &[columns]).await?;
        let (mut low, mut high) = (0.0, offers.capacity);
        for _ in 0..SEARCH_STEPS {
            let rate = significant((low + high) / 2.0, 2);
            let mut p99s = Vec::new();
            for trial in 1..=TRIALS {
                let what = format!("search for p99 <= {bound} us, trial {trial} of {TRIALS}");
                p99s.push(offers.offer(rate, &what).await?.0);
            }
            let p99 = Spread::of(&p99s).context("no trials")?;
            let kept = p99.median <= f64::from(bound);
            *(if kept { &mut low } else { &mut high }) = rate;
            let kept = if kept { "yes" } else { "no" };
            table.row(cells![rate, p99.median, p99.min, p99.max, kept]);
        }
        table.note(format!(
            "{TRIALS} runs of {} s a rate; highest rate found: {low} op/s, {}% of the closed loop",
            self.secs,
            (100.0 * low / offers.capacity).floor()
        ));
        table.note(&*offers.note);
        table.write()?;
        say!("highest rate found that keeps p99 <= {bound} us: {low} op/s");
        Ok(())
    }
}

/// Measures latency against parts of what a closed loop reaches.
async fn by_load(offers: &Offers) -> anyhow::Result<()> {
    let columns = "offered:op/s of_closed_loop:% completed:op/s p50:us p95:us p99:us p999:us \
        max:us pacer_late_p50:us pacer_late_p99:us backlog:operations";
    let title = "Latency against offered load";
    let mut table = Table::new("open_loop", title, "kvs-lab open-loop", &[columns]).await?;
    table.note(&*offers.note);
    for percent in PERCENTS {
        let rate = significant(offers.capacity * f64::from(percent) / 100.0, 2);
        let (_, cells) = offers.offer(rate, &format!("{percent}% of the closed loop")).await?;
        table.row(cells![rate, percent].into_iter().chain(cells));
    }
    table.write().map(drop)
}

impl Offers {
    async fn run(&self, more: &str) -> anyhow::Result<RunResult> {
        let flags = format!("{} {more}", self.flags);
        self.stores.client(&self.server.url, flags.split_whitespace()).await
    }

    /// Offers so many operations per second; the 99th percentile of their latency in microseconds,
    /// and all that the table tells.
    async fn offer(&self, rate: f64, what: &str) -> anyhow::Result<(f64, Vec<Cell>)> {
        let run = self.run(&format!("-rate {rate}")).await?;
        let us = run.latency_us.operations.context("no operation was completed")?;
        let open_loop = run.open_loop.context("the client offered no rate")?;
        let (completed, late) = (run.operations_per_second, open_loop.pacer_lateness_us);
        say!(
            "{rate:>10} op/s offered, {completed:>10.0} completed: p50 {:>7.0} us, p95 {:>7.0}, \
             p99 {:>7.0}, p99.9 {:>7.0}; pacer late p99 {:>5.0} us  {what}",
            us.p50,
            us.p95,
            us.p99,
            us.p999,
            late.p99
        );
        let mut cells = cells![completed, us.p50, us.p95, us.p99, us.p999, us.max];
        cells.extend(cells![late.p50, late.p99, open_loop.backlog_operations as f64]);
        Ok((us.p99, cells))
    }
}

//! `kvs-lab scaling`: how throughput grows with the servers where the network is the limit: on test
//! hosts whose links are capped, 1+1, 2+2 and 4+4 of them, zipfian 0.99. It needs root, see
//! `scripts/test-hosts`.
//!
//! What is asked of it: each server's throughput stays at 95% of the lone server's, and the
//! servers' links carry within 5% of the same bytes. Hot keys make some servers execute more
//! operations than others; a value that repeats in one reply is sent once, so they don't send more.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use report::server_log::ServerLog;
use report::statistics::Sample;
use report::window::Window;
use tempfile::TempDir;

use super::launch::{self, Measured};
use crate::measure::rounds::turns;
use crate::measure::seconds;
use crate::measure::table::{Table, cells, decimals};
use crate::say::say;
use crate::tied::{self, output};
use crate::workspace;

/// Servers, and as many clients.
const SIZES: [u32; 3] = [1, 2, 4];

/// Writes results/scaling.jsonl; RESULTS_DIR names another folder.
#[derive(clap::Args)]
pub(crate) struct Scaling {
    /// What each host's link is capped to, both ways, in Mbit/s
    #[arg(long, env = "MBIT", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..))]
    mbit: u32,
    /// Rounds over all sizes, which take turns
    #[arg(long, env = "REPEATS", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Seconds of each run
    #[arg(long, env = "SECS", default_value_t = 10.0, value_parser = seconds)]
    secs: f64,
    // 32 batches a client on their way are 2 s of a link's time, so the load is steady before it is
    // measured.
    /// Flags of all clients, as one word
    #[arg(
        long = "client_args",
        env = "CLIENT_ARGS",
        allow_hyphen_values = true,
        default_value = "-workers 32 -batch_size 10000 -warmup_secs 4"
    )]
    client_args: String,
}

impl Scaling {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Err(why) = output(tied::command(script()).arg("check")).await {
            say!("NOT RUN: scaling over capped links: {why}");
            return Ok(());
        }
        let Self { mbit, repeats, secs, client_args } = self;
        let title = format!("Throughput over servers, each host's link capped at {mbit} Mbit/s");
        let command = format!("sudo kvs-lab scaling -mbit {mbit}").replace(" -mbit 200", "");
        let columns = "servers clients ops_s:op/s deviation:op/s min:op/s max:op/s linear:% \
            bytes_op:B link:% byte_spread:% shares:%";
        let mut table = Table::new("scaling", &title, &command, &[columns]).await?;
        let hosts = Hosts::up(2 * SIZES[SIZES.len() - 1], mbit).await?;
        let mut runs: Vec<(u32, Figures)> = Vec::new();
        for (_, &size) in turns(repeats, &SIZES) {
            let measured = hosts.run(size, format!("-theta 0.99 -secs {secs} {client_args}")).await;
            let measured = measured.with_context(|| format!("the run of {size}+{size} failed"))?;
            runs.push((size, Figures::of(&measured, mbit)?));
            say!("{size}+{size}: {:.0} op/s", measured.1.operations_per_second);
        }
        let mut one = None;
        for size in SIZES {
            let of_size = || runs.iter().filter(|run| run.0 == size).map(|(_, figures)| figures);
            let sample = |of: fn(&Figures) -> f64| Sample::of(of_size().map(of)).context("no runs");
            let rate = sample(|run| run.total)?;
            let linear = 100.0 * rate.mean / *one.get_or_insert(rate.mean) / f64::from(size);
            let (bytes, link) = (sample(|run| run.bytes_op)?.mean, sample(|run| run.link)?.mean);
            let [linear, bytes, link] = [linear, bytes, link].map(|number| decimals(number, 1));
            let spread = decimals(sample(|run| run.spread)?.max, 2);
            let shares = of_size().next_back().map(|run| run.shares.clone());
            let rate =
                [rate.mean, rate.deviation, rate.min, rate.max].map(|rate| rate.round().into());
            let rest = cells![linear, bytes, link, spread, shares];
            table.row(cells![size, size].into_iter().chain(rate).chain(rest));
        }
        table.note(format!(
            "zipfian 0.99, YCSB-B, 10^6 keys, values of 128 bytes, {client_args}; {repeats} runs \
             of {secs} s each, taking turns"
        ));
        table.note(
            "link: mean use of the servers' outgoing links; byte spread: the greatest difference \
             between what two servers of one run sent, of their mean; shares: of the operations \
             executed",
        );
        table.note(
            "all hosts are network namespaces of one machine, so only what the network limits is \
             shown",
        );
        table.print_and_write().map(drop)
    }
}

/// What is taken from one run.
struct Figures {
    /// Operations per second.
    total: f64,
    /// Bytes that the servers' links carried out for an operation.
    bytes_op: f64,
    /// The greatest difference between what two servers sent, in hundredths of their mean.
    spread: f64,
    /// Mean use of the servers' links, in hundredths.
    link: f64,
    /// Each server's part of the operations, in hundredths.
    shares: String,
}

impl Figures {
    fn of((run, result): &Measured, mbit: u32) -> anyhow::Result<Self> {
        let sent =
            run.servers.iter().map(|log| sent(log, result.window)).collect::<Option<Vec<_>>>();
        let sent =
            sent.context("a server logged no whole second of its link; use a longer -secs")?;
        Self::of_sent(&sent, result.operations_per_second, mbit).context("there is no server")
    }

    /// From each server's [`sent`], and the total.
    fn of_sent(sent: &[(f64, f64)], total: f64, mbit: u32) -> Option<Self> {
        let bytes_s = Sample::of(sent.iter().map(|(bytes_s, _)| *bytes_s))?;
        let all: f64 = sent.iter().map(|(_, operations)| operations).sum();
        let share = |(_, part): &(f64, f64)| decimals(100.0 * part / all, 1).to_string();
        Some(Self {
            total,
            bytes_op: bytes_s.mean * sent.len() as f64 / total,
            spread: 100.0 * (bytes_s.max - bytes_s.min) / bytes_s.mean,
            link: 100.0 * 8.0 * bytes_s.mean / (1e6 * f64::from(mbit)),
            shares: sent.iter().map(share).collect::<Vec<_>>().join("/"),
        })
    }
}

/// Of a server's seconds inside the window: the bytes that its link carried out per second, and the
/// operations. `None` if it logged no such second.
fn sent(log: &ServerLog, window: Window) -> Option<(f64, f64)> {
    let (mut bytes, mut seconds, mut operations) = (0, 0.0, 0);
    for interval in log.intervals.iter().filter(|interval| window.contains(interval)) {
        let stats = &interval.stats;
        bytes += stats.usage.network.iter().find(|link| link.interface == "eth0")?.sent_bytes;
        seconds += stats.interval_s;
        operations += stats.operations;
    }
    (seconds > 0.0).then(|| (bytes as f64 / seconds, operations as f64))
}

/// Test hosts, which go away when this is dropped.
struct Hosts {
    folder: TempDir,
    /// What the launcher has to know of them, as variables of its environment.
    variables: Vec<(String, String)>,
}

impl Hosts {
    async fn up(count: u32, mbit: u32) -> anyhow::Result<Self> {
        let mut hosts = Self { folder: tempfile::tempdir()?, variables: Vec::new() };
        let mut command = tied::command(script());
        command.args(["up", &count.to_string(), &mbit.to_string()]);
        command.env("KVS_TEST_HOSTS_DIR", hosts.state());
        let told = output(&mut command).await.context("the test hosts cannot be made")?;
        hosts.variables = variables(&told);
        Ok(hosts)
    }

    /// The folder in which the script remembers them.
    fn state(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    async fn run(&self, size: u32, client_args: String) -> anyhow::Result<Measured> {
        let logs = std::env::var_os("KVS_LOG_DIR").filter(|folder| !folder.is_empty());
        let logs = logs.map_or_else(|| workspace::root().join("log/bench"), PathBuf::from);
        let variables: Vec<(&str, &OsStr)> =
            self.variables.iter().map(|(name, value)| (&**name, value.as_ref())).collect();
        let arguments = [size.to_string(), size.to_string(), String::new(), client_args];
        launch::run(&arguments, &logs, &variables).await
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let mut command = Command::new(script());
        // It says itself what it could not take away.
        let _ = command
            .arg("down")
            .env("KVS_TEST_HOSTS_DIR", self.state())
            .stdin(Stdio::null())
            .status();
    }
}

fn script() -> PathBuf {
    workspace::root().join("scripts/test-hosts")
}

/// The variables that lines like `export NAME='value'` set.
fn variables(text: &str) -> Vec<(String, String)> {
    let variable = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    text.lines().filter_map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_from_lines_for_the_shell() {
        let text =
            "export KVS_HOSTS='node0 node1'\nmade\nexport KVS_SSH_OPTIONS='-F /a/ssh_config'\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            variables(text),
            [pair("KVS_HOSTS", "node0 node1"), pair("KVS_SSH_OPTIONS", "-F /a/ssh_config")]
        );
    }

    #[test]
    fn figures_are_those_by_hand() {
        let figures = Figures::of_sent(&[(22e6, 600.0), (18e6, 300.0)], 500_000.0, 200).unwrap();
        assert_eq!((figures.bytes_op, figures.spread, figures.link), (80.0, 20.0, 80.0));
        assert_eq!(figures.shares, "66.7/33.3");
        assert!(Figures::of_sent(&[], 500_000.0, 200).is_none());
    }

    /// A log of two seconds, the first of which began at 9 s.
    fn log(interface: &str) -> ServerLog {
        let second = |unix_ms: u64| {
            let stats = serde_json::json!({
                "unix_ms": unix_ms, "interval_s": 1.0, "operations": 500, "gets": 500, "hits": 500,
                "puts": 0, "deletes": 0, "compare_and_swaps": 0, "increments": 0, "refused": 0,
                "operations_total": 500, "keys": 1, "sessions": 1, "connections": 1,
                "cpu_percent": 1.0, "cores_percent": [1.0], "resident_bytes": 1,
                "resident_bytes_peak": 1, "threads": 1, "network": [{"interface": interface,
                "link_mbit": null, "received_bytes": 1, "sent_bytes": 7_000}]
            });
            format!("get/s 500\nput/s 0\nops/s 500\nstats {stats}\n")
        };
        ServerLog::parse(&(second(10_000) + &second(11_000)), "log".as_ref()).unwrap()
    }

    #[test]
    fn seconds_inside_the_window_count() {
        let window = |start_unix_ms| Window { start_unix_ms, end_unix_ms: 11_500 };
        assert_eq!(sent(&log("eth0"), window(9_000)), Some((7_000.0, 1_000.0)));
        assert_eq!(sent(&log("eth0"), window(9_500)), Some((7_000.0, 500.0)));
        assert_eq!(sent(&log("eth0"), window(10_500)), None);
        assert_eq!(sent(&log("lo"), window(9_000)), None);
    }
}

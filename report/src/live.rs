//! What a run is doing right now: a row per process, from the newest line of each log.
//!
//! The launcher shows this once a second on a terminal. Only the end of each log is read, so that a
//! long run costs no more than a short one; whatever cannot be read is not shown, because the run
//! itself will tell what is wrong with it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use resources::{Traffic, Usage};

use crate::client_log::ClientStats;
use crate::result::ratio;
use crate::run_folder::{Description, FolderError, RunFolder};
use crate::server_log::Stats;
use crate::table::aligned;

/// What is read of a log's end: several times the longest line, which names a few cores and links.
const TAIL_BYTES: u64 = 64 << 10;

/// The whole text: a table of servers and clients, and a line with the total.
///
/// # Errors
///
/// When the folder is not a run's.
pub fn render(folder: &Path) -> Result<String, FolderError> {
    let Description { servers, clients, .. } = RunFolder::read_description(folder)?;
    let mut rows = Vec::new();
    for number in 1..=servers {
        let stats: Option<Stats> = newest(&folder.join(format!("kvs-server-{number}.log")));
        let process = stats.as_ref().map(|stats| Process {
            operations: stats.operations,
            interval_s: stats.interval_s,
            p99_us: None,
            usage: &stats.usage,
        });
        rows.push(row(format!("server {number}"), process));
    }
    let stats: Vec<Option<ClientStats>> =
        (1..=clients).map(|n| newest(&folder.join(format!("kvs-client-{n}.log")))).collect();
    for (number, stats) in (1..).zip(&stats) {
        let process = stats.as_ref().map(|stats| Process {
            operations: stats.operations,
            interval_s: stats.interval_s,
            p99_us: stats.p99_us,
            usage: &stats.usage,
        });
        rows.push(row(format!("client {number}"), process));
    }
    let header = ["node", "op/s", "p99 ms", "CPU", "sent MB/s", "received MB/s"];
    let stats: Vec<ClientStats> = stats.into_iter().flatten().collect();
    Ok(format!("{}\n{}\n", aligned(&header, rows.into_iter()), total(&stats)))
}

/// What a row shows.
struct Process<'a> {
    operations: u64,
    interval_s: f64,
    p99_us: Option<f64>,
    usage: &'a Usage,
}

fn row(name: String, process: Option<Process<'_>>) -> Vec<String> {
    let Some(process) = process else {
        return vec![name, "-".into(), "-".into(), "-".into(), "-".into(), "-".into()];
    };
    // Of processes that share a machine, each shows the machine's traffic.
    let megabytes = |bytes: fn(&Traffic) -> u64| {
        let bytes: u64 = process.usage.network.iter().map(bytes).sum();
        format!("{:.1}", ratio(bytes as f64 / 1e6, process.interval_s))
    };
    vec![
        name,
        format!("{:.0}", ratio(process.operations as f64, process.interval_s)),
        process.p99_us.map_or("-".into(), |us| format!("{:.2}", us / 1e3)),
        process.usage.cpu_percent.map_or("-".into(), |percent| format!("{percent:.0}%")),
        megabytes(|link| link.sent_bytes),
        megabytes(|link| link.received_bytes),
    ]
}

/// E.g. `measure: 9810000 op/s, worst p99 12.40 ms, 0 errors, 18 s left`.
fn total(clients: &[ClientStats]) -> String {
    let Some(first) = clients.first() else { return "no client has begun".to_owned() };
    let rate: f64 =
        clients.iter().map(|stats| ratio(stats.operations as f64, stats.interval_s)).sum();
    let errors: u64 = clients.iter().map(|stats| stats.errors_total).sum();
    let p99_us = clients.iter().filter_map(|stats| stats.p99_us).reduce(f64::max);
    let left_s = clients.iter().filter_map(|stats| stats.left_s).reduce(f64::max);
    let p99 = p99_us.map_or(String::new(), |us| format!(", worst p99 {:.2} ms", us / 1e3));
    let left = left_s.map_or(String::new(), |left| format!(", {left:.0} s left"));
    format!("{}: {rate:.0} op/s{p99}, {errors} errors{left}", first.phase)
}

/// The newest whole `stats` line of a log; `None` if there is none yet.
fn newest<T: serde::de::DeserializeOwned>(log: &Path) -> Option<T> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = &text[..text.rfind('\n')?];
    whole.lines().rev().find_map(|line| serde_json::from_str(line.strip_prefix("stats ")?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_log::tests::client_log;
    use crate::run_folder::tests::{START_UNIX_MS, whole_run};

    #[test]
    fn every_process_has_a_row_and_all_have_a_total() {
        let folder = whole_run("live");
        let stats = |second: u64| {
            let log = client_log(START_UNIX_MS, second);
            log.replace("\"threads\"", "\"p99_us\": 12400, \"left_s\": 18.2, \"threads\"")
        };
        folder.file("kvs-client-1.log", &stats(3));
        // The second client's newest line is not whole yet, and the one before lacks a figure.
        let cut = stats(2).replace("\"cpu_percent\":83.0,", "");
        folder.file("kvs-client-2.log", &cut[..cut.len() - 10]);
        let text = render(&folder.0).unwrap();
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["server", "2", "500", "-", "180%", "0.0", "0.0"]);
        assert_eq!(rows[3], ["client", "1", "1000", "12.40", "85%", "0.0", "0.0"]);
        assert_eq!(rows[4], ["client", "2", "1000", "12.40", "-", "0.0", "0.0"]);
        let last = text.lines().last().unwrap();
        assert_eq!(last, "measure: 2000 op/s, worst p99 12.40 ms, 0 errors, 18 s left");
    }

    #[test]
    fn processes_that_said_nothing_yet_have_empty_rows() {
        let folder = whole_run("live-begin");
        folder.file("kvs-server-1.log", "");
        std::fs::remove_file(folder.0.join("kvs-server-2.log")).unwrap();
        let text = render(&folder.0).unwrap();
        assert_eq!(text.matches(" -  ").count() + text.matches(" -\n").count(), 4 * 5, "{text}");
        assert!(text.ends_with("no client has begun\n"), "{text}");
        assert!(render(Path::new("no/such")).is_err());
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read() {
        let folder = whole_run("live-long");
        let damage = format!("stats {{}}{}\n", "x".repeat(TAIL_BYTES as usize));
        folder.file("kvs-client-1.log", &(damage + &client_log(START_UNIX_MS, 400)));
        let text = render(&folder.0).unwrap();
        assert!(text.contains(" 482% "), "the newest second: {text}");
    }
}

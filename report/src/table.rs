//! A run's result as text: what the launcher prints.
//!
//! The first line says where the run took place, the last line is the one to quote.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

use crate::cluster::ClusterResult;
use crate::result::Build;
use crate::results::{self, Results};
use crate::run_folder::{Check, Verdict};

/// The whole text: mode, servers, clients, warnings, what limited the run, and the total as last
/// line.
pub fn render(result: &ClusterResult) -> String {
    let mut text = format!("{}\n\n{}\n\n{}\n\n", result.mode, servers(result), clients(result));
    if let Some(medians_sum) = result.server_medians_sum {
        text += &format!("sum of the servers' median seconds {medians_sum:.0} op/s\n");
    }
    for warning in &result.warnings {
        text += &format!("warning: {warning}\n");
    }
    format!("{text}{}\n{}\n", result.bottleneck, total_line(result))
}

/// A measured table: its title, its rows under their columns, and its notes.
pub fn of_results(results: &Results) -> String {
    let names: Vec<String> = results
        .header
        .columns
        .iter()
        .map(|column| match column.unit.as_str() {
            "" => column.name.replace('_', " "),
            unit => format!("{} ({unit})", column.name.replace('_', " ")),
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows = results.rows.iter().map(|row| row.iter().map(results::Cell::text).collect());
    let notes: String = results.header.notes.iter().map(|note| format!("\n{note}")).collect();
    format!("{}\n\n{}{notes}", results.header.title, aligned(&names, rows))
}

/// The line to quote, with everything that a reader needs to judge the figure:
/// `total 12345678 op/s (2+2 processes on one machine, YCSB-B, 128 B, batch 10000, 30 s, hit 100%,
/// 0 errors)`.
pub fn total_line(result: &ClusterResult) -> String {
    let place = match result.machines {
        1 => "one machine".to_owned(),
        machines => format!("{machines} machines"),
    };
    let mut facts = vec![format!("{}+{} processes on {place}", result.servers, result.clients)];
    let flag = |name: &str| match result.config.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    facts.extend(flag("workload"));
    facts.extend(flag("value_size").map(|bytes| format!("{bytes} B")));
    facts.extend(flag("batch_size").map(|operations| format!("batch {operations}")));
    facts.push(seconds(result.window.seconds()));
    facts.push(format!("hit {}", percent_down(result.sum.hits, result.sum.gets)));
    facts.push(format!("{} errors", result.sum.errors));
    if result.sum.unknown > 0 {
        facts.push(format!("{} unknown", result.sum.unknown));
    }
    match &result.check {
        Some(Check { verdict: Verdict::Linearizable, conclusion, .. }) => {
            facts.push(conclusion.clone());
        }
        Some(Check { verdict: Verdict::Violation, .. }) => {
            facts.push("NOT LINEARIZABLE".to_owned());
        }
        Some(Check { verdict: Verdict::Undecided, .. }) => facts.push("UNDECIDED".to_owned()),
        None => {}
    }
    facts.extend(result.failures.iter().map(|failure| failure.to_uppercase()));
    if result.interrupted {
        facts.push("INTERRUPTED".to_owned());
    }
    if result.build == Build::Debug {
        facts.push("DEBUG BUILD".to_owned());
    }
    format!("total {:.0} op/s ({})", result.operations_per_second, facts.join(", "))
}

/// Whole seconds, or tenths where those would say too little.
fn seconds(seconds: f64) -> String {
    if seconds < 9.5 && (seconds - seconds.round()).abs() >= 0.05 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// A ratio in percent with at most two decimals, rounded down: 100% means all.
fn percent_down(part: u64, whole: u64) -> String {
    if part >= whole {
        return "100%".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn servers(result: &ClusterResult) -> String {
    let header =
        ["server", "shard", "median op/s", "executed", "share", "CPU (of one core)", "memory peak"];
    let rows = result.per_server.iter().enumerate().map(|(index, server)| {
        vec![
            (index + 1).to_string(),
            server.shard.clone(),
            server.median_operations_per_second.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
            // Of a server that died, only what it told is known.
            if server.ended {
                server.executed.to_string()
            } else {
                format!(">={}", server.executed)
            },
            format!("{:.1}%", 100.0 * server.share),
            percent(server.cpu_percent_mean),
            server.resident_bytes_peak.map_or("-".to_owned(), |bytes| {
                format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
            }),
        ]
    });
    aligned(&header, rows)
}

fn clients(result: &ClusterResult) -> String {
    let header = [
        "client",
        "op/s",
        "operations",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "errors",
        "unknown",
        "CPU (of one core)",
    ];
    let rows = result.per_client.iter().map(|client| {
        let latency = |pick: fn(&crate::result::Latency) -> f64| {
            let latency_us = client.latency_us.as_ref().map(pick);
            latency_us.map_or("-".to_owned(), |us| format!("{:.2}", us / 1e3))
        };
        vec![
            client.number.to_string(),
            format!("{:.0}", client.operations_per_second),
            client.operations.to_string(),
            latency(|latency| latency.p50),
            latency(|latency| latency.p99),
            latency(|latency| latency.p999),
            latency(|latency| latency.max),
            client.errors.to_string(),
            client.unknown.to_string(),
            percent(client.cpu_percent_mean),
        ]
    });
    aligned(&header, rows)
}

fn percent(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), |percent| format!("{percent:.0}%"))
}

/// Columns aligned to the right, without borders, so that text tools can cut them.
pub(crate) fn aligned(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    table.set_header(header.iter().map(|text| right(text)));
    for row in rows {
        table.add_row(row.iter().map(|text| right(text)));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::RunFolder;
    use crate::run_folder::tests::{CHECK, whole_run};

    fn computed(name: &str) -> ClusterResult {
        let folder = whole_run(name);
        crate::cluster::compute(&RunFolder::read(&folder.0).unwrap()).unwrap()
    }

    #[test]
    fn the_last_line_is_the_one_to_quote() {
        let result = computed("table-total");
        assert_eq!(
            total_line(&result),
            "total 2000 op/s (2+2 processes on one machine, YCSB-B, 128 B, batch 10000, 4 s, \
             hit 100%, 0 errors)"
        );
        let text = render(&result);
        assert_eq!(text.lines().last(), Some(total_line(&result).as_str()));
        assert_eq!(text.lines().next(), Some(result.mode.as_str()));
        assert!(text.contains("sum of the servers' median seconds 2000 op/s"), "{text}");
    }

    #[test]
    fn what_makes_a_total_doubtful_stands_in_its_line() {
        let mut result = computed("table-doubtful");
        result.build = Build::Debug;
        result.interrupted = true;
        (result.sum.errors, result.sum.unknown) = (2, 7);
        result.sum.hits -= 1;
        result.machines = 4;
        result.config = Value::Null;
        assert_eq!(
            total_line(&result),
            "total 2000 op/s (2+2 processes on 4 machines, 4 s, hit 99.98%, 2 errors, 7 unknown, \
             INTERRUPTED, DEBUG BUILD)"
        );
    }

    #[test]
    fn who_died_stands_in_the_last_line() {
        let mut result = computed("table-died");
        result.failures = vec!["server 2 died".to_owned(), "client 1 left no result".to_owned()];
        result.per_server[1].ended = false;
        result.per_client.remove(0);
        let line = total_line(&result);
        assert!(line.ends_with(", 0 errors, SERVER 2 DIED, CLIENT 1 LEFT NO RESULT)"), "{line}");
        let text = render(&result);
        assert!(text.contains(" >=5000 "), "{text}");
        let client = text.lines().find(|line| line.contains("4000")).unwrap();
        assert!(client.trim_start().starts_with("2 "), "the second client has its number: {text}");
    }

    #[test]
    fn the_total_tells_what_a_check_found() {
        let folder = whole_run("table-check");
        let line = |check: &str| {
            folder.file("check.json", check);
            total_line(&crate::cluster::compute(&RunFolder::read(&folder.0).unwrap()).unwrap())
        };
        let verdict = |verdict: &str| CHECK.replace("\"linearizable\", \"c", verdict);
        assert!(line(CHECK).ends_with(", 0 errors, linearizable)"));
        assert!(line(&verdict("\"violation\", \"c")).ends_with(", 0 errors, NOT LINEARIZABLE)"));
        assert!(line(&verdict("\"undecided\", \"c")).ends_with(", 0 errors, UNDECIDED)"));
    }

    #[test]
    fn a_ratio_is_never_rounded_up_to_all() {
        assert_eq!(percent_down(999_999, 1_000_000), "99.99%");
        assert_eq!(percent_down(0, 3), "0.00%");
        assert_eq!(percent_down(3, 3), "100%");
        assert_eq!(percent_down(0, 0), "100%");
    }

    #[test]
    fn short_windows_keep_their_tenths() {
        assert_eq!(seconds(9.98), "10 s");
        assert_eq!(seconds(30.0), "30 s");
        assert_eq!(seconds(4.0), "4 s");
        assert_eq!(seconds(2.25), "2.2 s");
    }

    #[test]
    fn columns_are_aligned_and_every_process_has_a_row() {
        let text = render(&computed("table-columns"));
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("2500")).collect();
        assert_eq!(rows.len(), 0, "acknowledged counts are not shown: {text}");
        let shards: Vec<&str> =
            text.lines().filter(|line| line.contains("1/2") || line.contains("2/2")).collect();
        assert_eq!(shards.len(), 2, "{text}");
        assert_eq!(shards[0].len(), shards[1].len(), "{text}");
        assert!(shards[0].contains("50.0%"), "{text}");
    }
}

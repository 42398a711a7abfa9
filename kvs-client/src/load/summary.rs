//! The result of a run: one object, as JSON for programs and as tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use report::result::{
    Acknowledged, Build, Latencies, Latency, Level, OpenLoop, Preload, RESULT_VERSION, Resources,
    RunResult, Timeline, hit_ratio, ratio,
};
use resources::Traffic;

use super::cli::settings::Settings;
use super::progress::Sample;
use super::recorder::Recorder;
use super::recorder::counts::SWAP_RETRIES_MAX;
use super::recorder::latencies::{LatencyHistogram, LatencyHistograms};
use super::recorder::timeline::TIMELINE_BUCKET;
use super::text;

/// What a run saw beside its recorders.
#[derive(Debug)]
pub(crate) struct Observed {
    /// Length of the window.
    pub(crate) window_s: f64,
    /// When it began.
    pub(crate) window_start_unix_ms: u64,
    /// When it ended.
    pub(crate) window_end_unix_ms: u64,
    /// Bytes sent and received in the window.
    pub(crate) wire_bytes: (u64, u64),
    /// The loading of keys.
    pub(crate) preload: Option<Preload>,
    /// Endpoint and place of each server.
    pub(crate) servers: Vec<(String, String)>,
    /// Connections to all servers.
    pub(crate) connections: u64,
    /// Resources, second by second.
    pub(crate) samples: Vec<Sample>,
    /// Whether the run was cut short.
    pub(crate) interrupted: bool,
    /// What is told of the open loop, if it was one.
    pub(crate) open_loop: Option<OpenLoop>,
}

/// Puts the result together.
pub(crate) fn result(settings: &Settings, recorder: &Recorder, observed: &Observed) -> RunResult {
    let counts = &recorder.counts;
    let operations = counts.operations as f64;
    let (sent, received) = observed.wire_bytes;
    let acknowledged = observed.servers.iter().zip(&recorder.acknowledged);
    RunResult {
        version: RESULT_VERSION,
        build: Build::current(),
        mode: settings.mode.clone(),
        run_id: settings.run_name.clone(),
        client_index: settings.client_index,
        client_count: settings.client_count,
        seed: settings.seed,
        config: settings.flags.clone(),
        operations: counts.operations,
        operations_per_second: ratio(operations, observed.window_s),
        window_s: observed.window_s,
        window_start_unix_ms: observed.window_start_unix_ms,
        window_end_unix_ms: observed.window_end_unix_ms,
        gets: counts.gets,
        puts: counts.puts,
        deletes: counts.deletes,
        compare_and_swaps: counts.swaps,
        increments: counts.increments,
        hits: counts.hits,
        misses: counts.gets - counts.hits,
        hit_ratio: hit_ratio(counts.hits, counts.gets),
        cas_mismatches: counts.swap_mismatches,
        retried: counts.retried,
        errors: recorder.faults.errors,
        unknown: recorder.faults.unknown,
        value_mismatches: recorder.faults.value_mismatches,
        verified: settings.verifies(),
        interrupted: observed.interrupted,
        wire_bytes_per_operation: ratio((sent + received) as f64, operations),
        wire_bytes_sent: sent,
        wire_bytes_received: received,
        latency_us: latencies(&recorder.latencies),
        acknowledged: acknowledged
            .map(|((endpoint, shard), operations)| Acknowledged {
                endpoint: endpoint.clone(),
                shard: shard.clone(),
                operations: *operations,
            })
            .collect(),
        preload: observed.preload,
        timeline: Timeline {
            start_unix_ms: observed.window_start_unix_ms,
            bucket_ms: TIMELINE_BUCKET.as_millis() as u64,
            operations: recorder.timeline.operations().to_vec(),
        },
        resources: resources(observed),
        open_loop: observed.open_loop.clone(),
    }
}

fn latencies(histograms: &LatencyHistograms) -> Latencies {
    let latency = |histogram: &LatencyHistogram| histogram.distribution().map(latency);
    Latencies {
        batches: latency(&histograms.batches),
        operations: latency(&histograms.operations),
        get: latency(&histograms.gets),
        put: latency(&histograms.puts),
        delete: latency(&histograms.deletes),
        cas: latency(&histograms.swaps),
        incr: latency(&histograms.increments),
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let quantile = |quantile| histogram.value_at_quantile(quantile) as f64;
    Latency {
        count: histogram.len(),
        min: histogram.min() as f64,
        mean: histogram.mean(),
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: histogram.max() as f64,
    }
}

/// The levels of the samples that lie inside the window by half of their time or more.
fn resources(observed: &Observed) -> Resources {
    let window = observed.window_start_unix_ms as f64..=observed.window_end_unix_ms as f64;
    let middle_ms = |sample: &&Sample| sample.unix_ms as f64 - 500.0 * sample.interval_s;
    let inside = || observed.samples.iter().filter(|sample| window.contains(&middle_ms(sample)));
    let level = |of: fn(&Sample) -> Option<f64>| Level::of(inside().filter_map(of));
    let per_second = |of: fn(&Traffic) -> u64| {
        Level::of(inside().map(|sample| {
            let bytes: u64 = sample.usage.network.iter().map(of).sum();
            ratio(bytes as f64, sample.interval_s)
        }))
    };
    Resources {
        cpu_percent: level(|sample| sample.usage.cpu_percent),
        resident_bytes: level(|sample| Some(sample.usage.resident_bytes? as f64)),
        threads: level(|sample| Some(sample.usage.threads? as f64)),
        connections: Level::of(inside().map(|_| observed.connections as f64)),
        network_received_bytes_per_s: per_second(|traffic| traffic.received_bytes),
        network_sent_bytes_per_s: per_second(|traffic| traffic.sent_bytes),
    }
}

/// The result as lines for people. `swaps_given_up` are read-modify-writes that met too many
/// mismatches.
pub(crate) fn render(result: &RunResult, swaps_given_up: u64) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    if result.mode != report::result::MODE_SINGLE_CLIENT {
        row("mode", result.mode.clone());
    }
    let interrupted = if result.interrupted { ", interrupted" } else { "" };
    row(
        "operations",
        format!("{} in {:.2} s{interrupted}", text::count(result.operations), result.window_s),
    );
    row("throughput", text::rate(result.operations_per_second));
    if let Some(open_loop) = &result.open_loop {
        let (offered, pacer) = open_loop_text(open_loop, result.operations_per_second);
        row("offered", offered);
        row("pacer", pacer);
    }
    row("hit ratio", hit_text(result));
    for (name, count) in [
        ("puts", result.puts),
        ("deletes", result.deletes),
        ("increments", result.increments),
        ("sent again", result.retried),
    ] {
        if count > 0 {
            row(name, text::count(count));
        }
    }
    if result.compare_and_swaps > 0 {
        let (swaps, mismatches) = (result.compare_and_swaps, result.cas_mismatches);
        let given_up = match swaps_given_up {
            0 => String::new(),
            count => format!(", {} given up after {SWAP_RETRIES_MAX} retries", text::count(count)),
        };
        let swaps = text::count(swaps);
        row("swaps", format!("{swaps}, {} mismatched{given_up}", text::count(mismatches)));
    }
    let mismatches = text::count(result.value_mismatches);
    let verified = if result.verified { "" } else { " (values are not verified)" };
    row(
        "faults",
        format!(
            "{} errors, {} unknown, {mismatches} wrong values{verified}",
            text::count(result.errors),
            text::count(result.unknown)
        ),
    );
    row(
        "wire",
        format!(
            "{:.1} bytes per operation, {} sent, {} received",
            result.wire_bytes_per_operation,
            text::bytes(result.wire_bytes_sent),
            text::bytes(result.wire_bytes_received)
        ),
    );
    let Resources { cpu_percent, resident_bytes, .. } = result.resources;
    let cpu = cpu_percent.map_or("-".to_owned(), |cpu| format!("{:.0}%", cpu.mean));
    let memory = resident_bytes.map_or("-".to_owned(), |held| text::bytes(held.peak as u64));
    row("client", format!("{cpu} CPU, {memory} resident"));
    row("seed", result.seed.to_string());
    let warning = match result.build {
        Build::Debug => "This is a debug build: build with --release before you quote a figure.\n",
        Build::Release => "",
    };
    let latencies = latency_table(&result.latency_us);
    format!("{warning}{}\n\n{latencies}\n", flush_left(&mut table))
}

/// What was offered and what became of it, and how late the pacer was.
fn open_loop_text(open_loop: &OpenLoop, completed: f64) -> (String, String) {
    let OpenLoop { offered_operations_per_second: rate, arrivals, .. } = open_loop;
    let mut offered = format!("{}, {arrivals} arrivals", text::rate(*rate));
    if completed < SATURATED_BELOW * rate {
        offered.push_str(&format!(
            "; OVERLOADED: {:.1}% of it completed, {} operations ({:.2} s) were due and not sent \
             at the end",
            100.0 * completed / rate,
            text::count(open_loop.backlog_operations),
            open_loop.backlog_s,
        ));
    }
    let late = &open_loop.pacer_lateness_us;
    let pacer = format!(
        "late by {} p50, {} p99, {} max; included in the latencies",
        text::latency(late.p50),
        text::latency(late.p99),
        text::latency(late.max)
    );
    (offered, pacer)
}

/// Part of the offered load below which what completed does not keep up.
const SATURATED_BELOW: f64 = 0.98;

fn hit_text(result: &RunResult) -> String {
    let (hits, gets) = (text::count(result.hits), text::count(result.gets));
    format!("{:.2}% ({hits} of {gets} GETs)", result.hit_ratio * 100.0)
}

fn latency_table(latencies: &Latencies) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["latency", "count", "mean", "p50", "p95", "p99", "p99.9", "max"]);
    for (name, latency) in [
        ("batches", latencies.batches),
        ("operations", latencies.operations),
        ("get", latencies.get),
        ("put", latencies.put),
        ("delete", latencies.delete),
        ("cas", latencies.cas),
        ("incr", latencies.incr),
    ] {
        let Some(latency) = latency else { continue };
        let mut row = vec![name.to_owned(), text::count(latency.count)];
        row.extend(
            [latency.mean, latency.p50, latency.p95, latency.p99, latency.p999, latency.max]
                .map(text::latency),
        );
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    flush_left(&mut table)
}

/// The table without the space that tables with borders need on the left.
fn flush_left(table: &mut Table) -> String {
    for column in table.column_iter_mut().take(1) {
        column.set_padding((0, 1));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kvs_client::{Failure, Outcome};
    use resources::Usage;

    use super::super::batches::Reply;
    use super::super::control::Control;
    use super::super::plan::{Kind, PendingSwaps, Plan, Planned};
    use super::super::value::Verifier;
    use super::*;

    fn settings(args: &[&str]) -> Settings {
        let args = std::iter::once("kvs-client").chain(args.iter().copied());
        let cli = flags::try_parse_from::<super::super::cli::Cli, _>(args);
        cli.expect("the flags are right").settings().expect("the flags go together")
    }

    fn recorder() -> Recorder {
        let mut recorder = Recorder::new(2, Verifier::Off, false);
        let mut plan = Plan::new();
        plan.operations = [Kind::Get, Kind::Get, Kind::Put, Kind::Increment]
            .map(|kind| Planned::new(kind, 1))
            .to_vec();
        let outcomes: [Result<Outcome<&[u8]>, &Failure>; 4] = [
            Ok(Outcome::Value(b"x")),
            Ok(Outcome::Missing),
            Ok(Outcome::Done),
            Ok(Outcome::Counter(1)),
        ];
        let reply = |index| Reply { outcome: outcomes[index], server: 1, reissued: false };
        let control = Control::for_operations(4);
        let pending = &mut PendingSwaps::default();
        recorder.batch(&plan, Instant::now(), &control, reply, pending, |_, _, _| {});
        recorder
    }

    fn observed() -> Observed {
        let sample = |unix_ms, cpu_percent| Sample {
            unix_ms,
            interval_s: 1.0,
            usage: Usage {
                cpu_percent: Some(cpu_percent),
                resident_bytes: Some(1 << 20),
                ..Usage::default()
            },
        };
        Observed {
            window_s: 2.0,
            window_start_unix_ms: 10_000,
            window_end_unix_ms: 12_000,
            wire_bytes: (100, 300),
            preload: None,
            servers: vec![
                ("a:1".to_owned(), "1/2".to_owned()),
                ("b:1".to_owned(), "2/2".to_owned()),
            ],
            connections: 8,
            samples: vec![
                sample(10_400, 900.0),
                sample(11_400, 100.0),
                sample(12_400, 200.0),
                sample(13_400, 900.0),
            ],
            interrupted: false,
            open_loop: None,
        }
    }

    #[test]
    fn the_result_holds_what_was_seen() {
        let settings = settings(&["-seed", "5", "-run_id", "r"]);
        let result = result(&settings, &recorder(), &observed());
        assert_eq!((result.operations, result.operations_per_second), (4, 2.0));
        assert_eq!((result.gets, result.hits, result.misses, result.hit_ratio), (2, 1, 1, 0.5));
        assert_eq!((result.puts, result.increments), (1, 1));
        assert_eq!(result.wire_bytes_per_operation, 100.0);
        assert_eq!(result.latency_us.get.map(|latency| latency.count), Some(2));
        assert_eq!(result.latency_us.cas, None);
        let acknowledged = &result.acknowledged[1];
        assert_eq!((acknowledged.shard.as_str(), acknowledged.operations), ("2/2", 4));
        assert_eq!(result.timeline.operations, [4]);
        // Samples that lie mostly before or after the window do not count.
        assert_eq!(result.resources.cpu_percent, Some(Level { mean: 150.0, peak: 200.0 }));
        assert_eq!(result.resources.threads, None, "no sample tells them");
        assert_eq!((result.seed, result.run_id.as_str()), (5, "r"));
        let path = std::env::temp_dir().join(format!("kvs-summary-{}.json", std::process::id()));
        result.write(&path).expect("the result can be written");
        let read = RunResult::read(&path).expect("the result reads back");
        std::fs::remove_file(&path).expect("the file is there");
        assert_eq!(read, result);
    }

    #[test]
    fn an_empty_window_has_no_rates() {
        let mut recorder = recorder();
        recorder.counts = Default::default();
        let observed = Observed { window_s: 0.0, samples: Vec::new(), ..observed() };
        let result = result(&settings(&[]), &recorder, &observed);
        assert_eq!((result.operations_per_second, result.wire_bytes_per_operation), (0.0, 0.0));
        assert_eq!(result.hit_ratio, 1.0);
        assert_eq!(result.resources.cpu_percent, None, "nothing was seen");
        let text = render(&result, 0);
        assert!(text.contains("- CPU, - resident"), "{text}");
    }

    #[test]
    fn the_tables_tell_faults_and_builds() {
        let mut result = result(&settings(&["-value_size", "8"]), &recorder(), &observed());
        result.errors = 1234;
        result.interrupted = true;
        result.latency_us.put = Some(latency(&{
            let mut histogram = Histogram::new(3).expect("three digits are allowed");
            histogram.record(Duration::from_millis(20).as_micros() as u64).expect("it resizes");
            histogram
        }));
        let text = render(&result, 0);
        for part in ["1,234 errors", "not verified", "interrupted", "2 op/s", "50.00%", "20.0"] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert!(!text.contains("swaps") && !text.contains("ops/s"), "{text}");
        assert_eq!(text.contains("debug build"), cfg!(debug_assertions));
        assert!(!text.contains("offered") && !text.contains("OVERLOADED"), "{text}");
        let lateness = Latency { p50: 20.0, p99: 60.0, max: 70.0, ..Latency::default() };
        let mut open_loop = OpenLoop {
            offered_operations_per_second: 2.0,
            arrivals: "poisson".to_owned(),
            backlog_s: 0.5,
            backlog_operations: 1,
            pacer_lateness_us: lateness,
        };
        result.open_loop = Some(open_loop.clone());
        let text = render(&result, 0);
        assert!(text.contains("2 op/s, poisson") && text.contains("60 us p99"), "{text}");
        assert!(!text.contains("OVERLOADED"), "{text}");
        open_loop.offered_operations_per_second = 4.0;
        result.open_loop = Some(open_loop);
        let text = render(&result, 0);
        assert!(text.contains("OVERLOADED: 50.0%") && text.contains("0.50 s"), "{text}");
        result.compare_and_swaps = 10;
        result.cas_mismatches = 7;
        assert!(render(&result, 3).contains("10, 7 mismatched, 3 given up"));
    }
}

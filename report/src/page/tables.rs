//! The page's tables of figures.

use maud::{Markup, html};

use super::Page;
use super::numbers::{mebibytes, ms};
use crate::clocks::{HostClock, Measured};
use crate::cluster::{ClientShare, ServerShare};
use crate::result::Latency;
use crate::run_folder::{Environment, MeasuredClient};
use crate::server_log::ServerLog;
use crate::wording::grouped;

/// A table whose first column is text and whose others are figures.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Markup {
    html! {
        div .scroll { table {
            thead { tr { @for name in header { th scope="col" { (name) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        } }
    }
}

const NOT_KNOWN: &str = "-";

fn percent(percent: Option<f64>) -> String {
    percent.map_or(NOT_KNOWN.to_owned(), |percent| format!("{percent:.0}%"))
}

/// What each server and each client did.
pub(super) fn processes(page: &Page<'_>) -> Markup {
    let Ok(result) = &page.result else { return html! {} };
    let server = |(index, server): (usize, &ServerShare)| {
        vec![
            format!("server {}", index + 1),
            server.shard.clone(),
            server.median_operations_per_second.map_or(NOT_KNOWN.to_owned(), grouped),
            grouped(server.executed as f64),
            format!("{:.1}%", 100.0 * server.share),
            percent(server.cpu_percent_mean),
            server.resident_bytes_peak.map_or(NOT_KNOWN.to_owned(), mebibytes),
        ]
    };
    let client = |client: &ClientShare| {
        let number = client.number;
        let result = page.clients.iter().find(|known| known.number == number);
        let result = result.map(|known| &known.result);
        let memory = result.and_then(|result| result.resources.resident_bytes);
        let memory = memory.map(|held| mebibytes(held.peak as u64));
        let wire = result.map(|result| result.wire_bytes_per_operation);
        vec![
            format!("client {number}"),
            grouped(client.operations_per_second),
            grouped(client.operations as f64),
            grouped(client.errors as f64),
            grouped(client.unknown as f64),
            percent(client.cpu_percent_mean),
            memory.unwrap_or(NOT_KNOWN.to_owned()),
            wire.map_or(NOT_KNOWN.to_owned(), |bytes| format!("{bytes:.1}")),
        ]
    };
    html! {
        h2 { "Servers" }
        div #servers { (table(
            &["", "shard", "median op/s", "executed", "share", "CPU", "memory peak"],
            result.per_server.iter().enumerate().map(server),
        )) }
        p .soft {
            "Medians are over the seconds in which all clients measured"
            @if let Some(sum) = result.server_medians_sum {
                "; they add up to " (grouped(sum)) " op/s"
            }
            ". Executed operations count from a server's start. 100% CPU is one core."
        }
        h2 { "Clients" }
        div #clients { (table(
            &["", "op/s", "operations", "errors", "unknown", "CPU", "memory peak", "wire B/op"],
            result.per_client.iter().map(client),
        )) }
    }
}

/// Latencies by client and kind, in milliseconds.
pub(super) fn latencies(clients: &[MeasuredClient]) -> Markup {
    let row = |client: u32, kind: &str, latency: Latency| {
        let Latency { count, min, mean, p50, p95, p99, p999, max } = latency;
        let mut row = vec![format!("client {client} {kind}"), grouped(count as f64)];
        row.extend([min, mean, p50, p95, p99, p999, max].map(ms));
        row
    };
    let rows = clients.iter().flat_map(|MeasuredClient { number, result }| {
        let latencies = &result.latency_us;
        let kinds = [
            ("batches", latencies.batches),
            ("GET", latencies.get),
            ("PUT", latencies.put),
            ("DELETE", latencies.delete),
            ("CAS", latencies.cas),
            ("INCR", latencies.incr),
        ];
        let known = kinds.into_iter().filter_map(|(kind, latency)| Some((kind, latency?)));
        known.map(|(kind, latency)| row(*number, kind, latency)).collect::<Vec<_>>()
    });
    html! {
        @if !clients.is_empty() {
            h2 { "Latency in milliseconds" }
            div #latencies { (table(
                &["", "count", "min", "mean", "p50", "p95", "p99", "p99.9", "max"],
                rows,
            )) }
            p .soft {
                "From before an operation enters its batch until its outcome is at hand: with "
                "large batches this is the batch's time."
            }
        }
    }
}

/// The machines that the launcher noted.
pub(super) fn hosts(environment: &Environment) -> Markup {
    html! {
        @if !environment.hosts.is_empty() {
            h3 { "Machines" }
            div .scroll #hosts { table .texts {
                thead { tr {
                    @for name in ["name", "CPU", "cores", "memory", "kernel", "system"] {
                        th scope="col" { (name) }
                    }
                } }
                tbody { @for host in &environment.hosts { tr {
                    td { (host.machine.name) } td { (host.machine.cpu) } td { (host.machine.cores) }
                    td { (format!("{:.1} GiB", host.machine.memory_bytes as f64 / f64::from(1 << 30))) }
                    td { (host.machine.kernel) } td { (host.machine.system) }
                } } }
            } }
        }
    }
}

/// How far the hosts' clocks stood from the launcher's, at start and end; nothing on one machine.
pub(super) fn clocks(clocks: &[HostClock]) -> Markup {
    let micros = |ns: i64| format!("{:.1}", ns as f64 / 1e3);
    let measured = |measured: Option<Measured>| match measured {
        Some(measured) => [micros(measured.offset_ns), micros(measured.wall_offset_ns)],
        None => [NOT_KNOWN.to_owned(), NOT_KNOWN.to_owned()],
    };
    let row = |clock: &HostClock| {
        let mut row = vec![format!("{} ({})", clock.node, clock.process)];
        row.extend(measured(clock.start));
        row.extend(measured(clock.end));
        row.push(micros(i64::try_from(clock.error_ns).unwrap_or(i64::MAX)));
        row
    };
    html! {
        @if !clocks.is_empty() {
            h3 { "Clocks, in microseconds" }
            div #clocks { (table(
                &["", "at start", "wall, at start", "at end", "wall, at end", "known to"],
                clocks.iter().map(row),
            )) }
            p .soft {
                "What to add to a host's clock to get the launcher's: to the monotonic one, which "
                "histories are written by, and to the wall clock, which logs are written by. Times "
                "on this page are the launcher's."
            }
        }
    }
}

/// How each server was set up, by its own first line.
pub(super) fn listening(servers: &[ServerLog]) -> Markup {
    let row = |(index, log): (usize, &ServerLog)| {
        let mut row = vec![format!("server {}", index + 1)];
        if let Some(listening) = &log.listening {
            row.extend([
                listening.address.clone(),
                listening.shard.clone(),
                listening.store.clone(),
                listening.partitions.to_string(),
                listening.threads.to_string(),
            ]);
        } else {
            row.push("never listened".to_owned());
        }
        row
    };
    html! {
        h3 { "Servers as they listened" }
        (table(
            &["", "address", "shard", "store", "partitions", "threads"],
            servers.iter().enumerate().map(row),
        ))
    }
}

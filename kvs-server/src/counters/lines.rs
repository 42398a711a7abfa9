//! What a server prints of its counters: pure functions from snapshots to text.

use std::fmt::Write;
use std::time::Duration;

use engine::Tally;
use resources::Usage;
use serde::Serialize;

/// What holds at the end of an interval, beside the counters.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// Wall-clock time, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Keys held.
    pub keys: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Connections open.
    pub connections: u64,
    /// Connections that a panic ended, so far.
    pub panics: u64,
    /// What the process and its host used in the interval.
    pub usage: Usage,
}

/// What batches did, by kind of operation.
#[derive(Debug, Serialize)]
struct Counts {
    gets: u64,
    hits: u64,
    puts: u64,
    deletes: u64,
    compare_and_swaps: u64,
    increments: u64,
    refused: u64,
}

impl From<&Tally> for Counts {
    fn from(tally: &Tally) -> Self {
        let Tally { gets, hits, puts, deletes, compare_and_swaps, increments, .. } = *tally;
        let refused = tally.deferred;
        Self { gets, hits, puts, deletes, compare_and_swaps, increments, refused }
    }
}

/// The structured line of an interval. Counts are the interval's unless they are called totals.
#[derive(Debug, Serialize)]
struct StatsLine<'a> {
    unix_ms: u64,
    interval_s: f64,
    operations: u64,
    #[serde(flatten)]
    counts: Counts,
    operations_total: u64,
    keys: u64,
    sessions: u64,
    connections: u64,
    panics: u64,
    #[serde(flatten)]
    usage: &'a Usage,
}

/// The structured line of a server's whole life.
#[derive(Debug, Serialize)]
struct TotalLine {
    operations_total: u64,
    #[serde(flatten)]
    counts: Counts,
    replayed: u64,
    panics: u64,
    keys: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes_peak: Option<u64>,
    uptime_s: f64,
}

/// The lines of one interval: three rates that testbed scripts read, an empty line, and the
/// structured line, which never contains `ops/s`.
pub fn interval_lines(
    earlier: &Tally,
    later: &Tally,
    interval: Duration,
    gauges: &Gauges,
) -> String {
    let counts = later.since(earlier);
    let interval_s = interval.as_secs_f64();
    // An interval of no length, as when a server ends right after a line, has no rate.
    let rate = |count: u64| if interval.is_zero() { 0.0 } else { count as f64 / interval_s };
    let stats = StatsLine {
        unix_ms: gauges.unix_ms,
        interval_s,
        operations: counts.operations(),
        counts: Counts::from(&counts),
        operations_total: later.operations(),
        keys: gauges.keys,
        sessions: gauges.sessions,
        connections: gauges.connections,
        panics: gauges.panics,
        usage: &gauges.usage,
    };
    format!(
        "get/s {:.2}\nput/s {:.2}\nops/s {:.2}\n\nstats {}\n",
        rate(counts.gets),
        rate(counts.puts),
        rate(counts.operations()),
        json(&stats)
    )
}

/// The closing lines: the structured one, and one for people.
pub fn total_lines(
    counts: &Tally,
    keys: u64,
    panics: u64,
    resident_bytes_peak: Option<u64>,
    uptime: Duration,
) -> String {
    let uptime_s = uptime.as_secs_f64();
    let total = TotalLine {
        operations_total: counts.operations(),
        counts: Counts::from(counts),
        replayed: counts.replayed,
        panics,
        keys,
        resident_bytes_peak,
        uptime_s,
    };
    let mut lines = format!("total {}\napplied {} operations", json(&total), counts.operations());
    if counts.gets > 0 {
        let hit_percent = 100.0 * counts.hits as f64 / counts.gets as f64;
        write!(lines, ", {hit_percent:.2}% of {} GETs hit", counts.gets)
            .expect("a string takes text");
    }
    write!(lines, ", in {uptime_s:.1} s; {keys} keys").expect("a string takes text");
    if let Some(bytes) = resident_bytes_peak {
        let mebibytes = bytes as f64 / f64::from(1 << 20);
        write!(lines, ", at most {mebibytes:.0} MiB resident").expect("a string takes text");
    }
    lines + "\n"
}

fn json<T: Serialize>(line: &T) -> String {
    serde_json::to_string(line).expect("numbers and names become JSON")
}

#[cfg(test)]
mod tests {
    use resources::Traffic;

    use super::*;

    fn totals(gets: u64, puts: u64, others: u64) -> Tally {
        Tally {
            gets,
            hits: gets / 2,
            puts,
            deletes: others,
            compare_and_swaps: others,
            increments: others,
            deferred: 5 * others,
            replayed: others,
        }
    }

    fn gauges() -> Gauges {
        Gauges {
            unix_ms: 1_795_183_201_000,
            keys: 11,
            sessions: 2,
            connections: 3,
            panics: 1,
            usage: Usage {
                cpu_percent: Some(150.5),
                cores_percent: vec![99.0, 51.5],
                resident_bytes: Some(1000),
                resident_bytes_peak: Some(2000),
                threads: Some(4),
                network: vec![
                    Traffic {
                        interface: "eth0".to_owned(),
                        link_mbit: Some(10_000),
                        received_bytes: 7,
                        sent_bytes: 8,
                    },
                    Traffic {
                        interface: "lo".to_owned(),
                        link_mbit: None,
                        received_bytes: 9,
                        sent_bytes: 9,
                    },
                ],
            },
        }
    }

    #[test]
    fn an_interval_has_exactly_these_lines() {
        let (earlier, later) = (totals(1000, 100, 10), totals(1246, 108, 10));
        let text = interval_lines(&earlier, &later, Duration::from_secs(2), &gauges());
        let expected = concat!(
            "get/s 123.00\n",
            "put/s 4.00\n",
            "ops/s 127.00\n",
            "\n",
            r#"stats {"unix_ms":1795183201000,"interval_s":2.0,"operations":254,"gets":246,"#,
            r#""hits":123,"puts":8,"deletes":0,"compare_and_swaps":0,"increments":0,"#,
            r#""refused":0,"operations_total":1384,"keys":11,"sessions":2,"connections":3,"panics":1,"#,
            r#""cpu_percent":150.5,"cores_percent":[99.0,51.5],"resident_bytes":1000,"#,
            r#""resident_bytes_peak":2000,"threads":4,"network":[{"interface":"eth0","#,
            r#""link_mbit":10000,"received_bytes":7,"sent_bytes":8},{"interface":"lo","#,
            r#""link_mbit":null,"received_bytes":9,"sent_bytes":9}]}"#,
            "\n",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn all_executed_operations_count_into_the_rate_and_refused_ones_do_not() {
        let (earlier, later) = (Tally::default(), totals(4, 2, 1));
        let text = interval_lines(&earlier, &later, Duration::from_secs(1), &gauges());
        assert!(text.contains("\nops/s 9.00\n"), "{text}");
        assert!(text.contains("\"refused\":5,"), "{text}");
        assert_eq!(text.matches("ops/s").count(), 1, "{text}");
    }

    #[test]
    fn an_interval_of_no_length_has_no_rate() {
        let (earlier, later) = (Tally::default(), totals(4, 2, 1));
        let text = interval_lines(&earlier, &later, Duration::ZERO, &gauges());
        assert!(text.starts_with("get/s 0.00\nput/s 0.00\nops/s 0.00\n\nstats {"), "{text}");
        assert!(text.contains("\"operations\":9,"), "{text}");
    }

    #[test]
    fn totals_are_told_to_programs_and_to_people() {
        let text =
            total_lines(&totals(4, 2, 1), 11, 0, Some(3 << 20), Duration::from_millis(12_340));
        let expected = concat!(
            r#"total {"operations_total":9,"gets":4,"hits":2,"puts":2,"deletes":1,"#,
            r#""compare_and_swaps":1,"increments":1,"refused":5,"replayed":1,"panics":0,"keys":11,"#,
            r#""resident_bytes_peak":3145728,"uptime_s":12.34}"#,
            "\n",
            "applied 9 operations, 50.00% of 4 GETs hit, in 12.3 s; ",
            "11 keys, at most 3 MiB resident\n",
        );
        assert_eq!(text, expected);
        // A hit rate of nothing is not told, nor memory that is not known.
        let idle = total_lines(&Tally::default(), 0, 0, None, Duration::ZERO);
        assert!(idle.ends_with("applied 0 operations, in 0.0 s; 0 keys\n"), "{idle}");
        assert!(!idle.contains("resident"), "{idle}");
    }
}

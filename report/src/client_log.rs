//! What a client wrote to its log about itself.
//!
//! Beside each line of progress stands a structured one, once a second:
//!
//! ```text
//! measure 3 s  10.27 Mop/s  hit 100.00%  errors 0  7 s left
//! stats {"phase":"measure","operations":10270720,"unix_ms":1795256554864,...}
//! ```
//!
//! Every other line is for people to read and is skipped here. Like a server's log, this one may end
//! in the middle of a line; damage anywhere else is an error.

use std::path::Path;

use resources::Usage;
use serde::Deserialize;

use crate::server_log::LogError;

/// A client's `stats` line: counts are those of the interval, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClientStats {
    /// What the client was doing, e.g. `warm-up` or `measure`.
    pub phase: String,
    /// Operations completed.
    pub operations: u64,
    /// Operations that failed since the phase began.
    pub errors_total: u64,
    /// Batches on their way at the end of the interval.
    pub in_flight_batches: u64,
    /// Connections open.
    pub connections: u64,
    /// 99th percentile of latency in the interval, roughly; `None` if nothing was completed, or
    /// in logs of clients that did not tell it.
    #[serde(default)]
    pub p99_us: Option<f64>,
    /// The time until the phase ends, where it is known.
    #[serde(default)]
    pub left_s: Option<f64>,
    /// When the line was written: the end of the interval.
    pub unix_ms: u64,
    /// The length of the interval.
    pub interval_s: f64,
    /// What the process and its host used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// Reads the `stats` lines of a client's log, in order of time.
pub fn read(path: &Path) -> Result<Vec<ClientStats>, LogError> {
    let bytes =
        std::fs::read(path).map_err(|source| LogError::Read { path: path.to_owned(), source })?;
    parse(&String::from_utf8_lossy(&bytes), path)
}

/// Reads the `stats` lines of a log's text; `path` is what errors name.
pub fn parse(text: &str, path: &Path) -> Result<Vec<ClientStats>, LogError> {
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // A last line without its newline is cut off, even where it happens to parse.
        let Some(line) = line.strip_suffix('\n') else { break };
        let Some(stats) = line.strip_prefix("stats ") else { continue };
        let stats = serde_json::from_str(stats).map_err(|error| LogError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            reason: error.to_string(),
        })?;
        lines.push(stats);
    }
    Ok(lines)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client's log: a line for people and a `stats` line for each of `seconds`, of which the
    /// first ends at `unix_ms`.
    pub(crate) fn client_log(unix_ms: u64, seconds: u64) -> String {
        let mut text = "run 20261121-102229, client 1 of 2, seed 7\n".to_owned();
        for second in 0..seconds {
            let stats = serde_json::json!({
                "phase": "measure", "operations": 1_000, "errors_total": 0,
                "in_flight_batches": 64, "connections": 4, "unix_ms": unix_ms + 1_000 * second,
                "interval_s": 1.0, "cpu_percent": 83.0 + second as f64,
                "cores_percent": [88.0, 100.0], "resident_bytes": 60_000_000, "threads": 2,
                "network": [{"interface": "lo", "link_mbit": null, "received_bytes": 30,
                    "sent_bytes": 40}],
            });
            text += &format!("measure {second} s  1000 op/s\nstats {stats}\n");
        }
        text
    }

    fn parsed(text: &str) -> Result<Vec<ClientStats>, LogError> {
        parse(text, Path::new("log/kvs-client-1.log"))
    }

    #[test]
    fn every_second_of_a_log_is_read() {
        let lines = parsed(&client_log(5_000, 3)).unwrap();
        assert_eq!(
            lines.iter().map(|line| line.unix_ms).collect::<Vec<_>>(),
            [5_000, 6_000, 7_000]
        );
        assert_eq!(lines[2].usage.cpu_percent, Some(85.0));
        assert_eq!(lines[0].usage.network[0].sent_bytes, 40);
        assert_eq!(parsed("").unwrap(), []);
    }

    #[test]
    fn a_log_cut_anywhere_yields_what_was_written_whole() {
        let text = client_log(5_000, 3);
        let whole = parsed(&text).unwrap();
        for end in 0..text.len() {
            let lines = parsed(&text[..end]).unwrap();
            assert_eq!(lines, whole[..lines.len()], "cut at {end}");
        }
    }

    #[test]
    fn damage_before_the_end_is_named_with_its_line() {
        let text = client_log(5_000, 2).replacen("\"threads\":2", "\"threads\":x", 1);
        let error = parsed(&text).unwrap_err();
        assert!(error.to_string().contains("log/kvs-client-1.log line 3"), "{error}");
    }
}

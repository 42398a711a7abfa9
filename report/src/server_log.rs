//! What a server wrote to its log.
//!
//! A log begins with one `listening on ..` line. Every second then brings three lines that
//! testbed scripts read, and one structured line:
//!
//! ```text
//! get/s 950000.00
//! put/s 50000.00
//! ops/s 1000000.00
//!
//! stats {"unix_ms":1795183201000,"interval_s":1.0,...}
//! ```
//!
//! A server that ends cleanly closes with `total {..}`. Every other line is for people to read and
//! is skipped here. A log may end in the middle of a line, because its writer may be killed at any
//! time; damage anywhere else is an error.

use std::path::{Path, PathBuf};

use resources::Usage;
use serde::Deserialize;

/// One server's log.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLog {
    /// The first line; `None` if the server never came to listen.
    pub listening: Option<Listening>,
    /// The intervals in order of time.
    pub intervals: Vec<Interval>,
    /// The closing line; `None` if the server did not end cleanly.
    pub total: Option<Total>,
}

/// The `listening on ..` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The address that the server accepts on.
    pub address: String,
    /// The server's place, e.g. `1/2`.
    pub shard: String,
    /// The store's name.
    pub store: String,
    /// Lock domains of the store.
    pub partitions: u64,
    /// Worker threads.
    pub threads: u64,
    /// The boot id in hexadecimal digits.
    pub boot: String,
}

/// What a server did between two `stats` lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// The `get/s` line.
    pub gets_per_second: f64,
    /// The `put/s` line.
    pub puts_per_second: f64,
    /// The `ops/s` line.
    pub operations_per_second: f64,
    /// The `stats` line.
    pub stats: Stats,
}

impl Interval {
    /// When the interval began.
    pub fn start_unix_ms(&self) -> f64 {
        self.end_unix_ms() - self.stats.interval_s * 1e3
    }

    /// When the interval ended.
    pub fn end_unix_ms(&self) -> f64 {
        self.stats.unix_ms as f64
    }
}

/// The `stats` line: counts are those of the interval, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Stats {
    /// When the line was written: the end of the interval.
    pub unix_ms: u64,
    /// The length of the interval.
    pub interval_s: f64,
    /// Operations executed.
    pub operations: u64,
    /// GETs.
    pub gets: u64,
    /// GETs that found their key.
    pub hits: u64,
    /// PUTs.
    pub puts: u64,
    /// DELETEs.
    pub deletes: u64,
    /// Compare-and-swaps.
    pub compare_and_swaps: u64,
    /// INCRs.
    pub increments: u64,
    /// Operations refused before execution.
    pub refused: u64,
    /// Operations executed since the start.
    pub operations_total: u64,
    /// Keys stored.
    pub keys: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Connections open.
    pub connections: u64,
    /// What the process and its host used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// The closing `total` line: counts since the start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Total {
    /// Operations executed.
    pub operations_total: u64,
    /// GETs.
    pub gets: u64,
    /// GETs that found their key.
    pub hits: u64,
    /// PUTs.
    pub puts: u64,
    /// DELETEs.
    pub deletes: u64,
    /// Compare-and-swaps.
    pub compare_and_swaps: u64,
    /// INCRs.
    pub increments: u64,
    /// Operations refused before execution.
    pub refused: u64,
    /// Operations answered from a completion record instead of being executed again.
    pub replayed: u64,
    /// Keys stored at the end.
    pub keys: u64,
    /// The most resident memory, where it is known.
    #[serde(default)]
    pub resident_bytes_peak: Option<u64>,
    /// How long the server ran.
    pub uptime_s: f64,
}

/// Why a server's log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file is not there or may not be read.
    #[error("cannot read {}: {source}; was the server started by run-cluster.sh?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line other than the last is damaged.
    #[error("{} line {line} is damaged ({reason}); two processes may have written to one log, or \
        a program of another version: run again with binaries of one build", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl ServerLog {
    /// Reads a log from its file.
    pub fn read(path: &Path) -> Result<Self, LogError> {
        let bytes = std::fs::read(path)
            .map_err(|source| LogError::Read { path: path.to_owned(), source })?;
        Self::parse(&String::from_utf8_lossy(&bytes), path)
    }

    /// Reads a log from its text; `path` is what errors name.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LogError> {
        let mut reader = Reader::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            // A last line without its newline is cut off, even where it happens to parse.
            let Some(line) = line.strip_suffix('\n') else { break };
            reader.line(line).map_err(|reason| LogError::Damaged {
                path: path.to_owned(),
                line: index + 1,
                reason,
            })?;
        }
        Ok(reader.log)
    }
}

/// The log so far, and the rates that wait for their `stats` line.
struct Reader {
    log: ServerLog,
    rates: Rates,
}

/// `get/s`, `put/s`, `ops/s`.
type Rates = [Option<f64>; 3];

impl Default for Reader {
    fn default() -> Self {
        let log = ServerLog { listening: None, intervals: Vec::new(), total: None };
        Self { log, rates: Rates::default() }
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "get/s" => self.rates[0] = Some(rate(rest)?),
            "put/s" => self.rates[1] = Some(rate(rest)?),
            "ops/s" => self.rates[2] = Some(rate(rest)?),
            "stats" => {
                let stats = serde_json::from_str(rest).map_err(|error| error.to_string())?;
                let [Some(gets), Some(puts), Some(operations)] = std::mem::take(&mut self.rates)
                else {
                    return Err("a stats line without its get/s, put/s and ops/s lines".to_owned());
                };
                self.log.intervals.push(Interval {
                    gets_per_second: gets,
                    puts_per_second: puts,
                    operations_per_second: operations,
                    stats,
                });
            }
            "total" => {
                self.log.total =
                    Some(serde_json::from_str(rest).map_err(|error| error.to_string())?);
            }
            "listening" => self.log.listening = Some(listening(rest)?),
            _ => {}
        }
        Ok(())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|rate| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| format!("{text:?} is not a rate"))
}

/// `on <addr> shard 1/2 store partitioned partitions 16 threads 2 boot <hex>`
fn listening(text: &str) -> Result<Listening, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let word = |name: &str| {
        let mut pairs = words.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0] == name);
        pair.map(|pair| pair[1].to_owned()).ok_or_else(|| format!("no {name} in it"))
    };
    let number = |name: &str| {
        word(name)?.parse::<u64>().map_err(|error| format!("{name} is not a number: {error}"))
    };
    Ok(Listening {
        address: word("on")?,
        shard: word("shard")?,
        store: word("store")?,
        partitions: number("partitions")?,
        threads: number("threads")?,
        boot: word("boot")?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Write;

    use super::*;

    /// A server's first line.
    pub(crate) fn listening_line(shard: &str) -> String {
        format!(
            "listening on 127.0.0.1:40123 shard {shard} store partitioned partitions 16 \
             threads 2 boot 5f3a9c0011223344\n"
        )
    }

    /// The lines of one second that ends at `unix_ms`.
    pub(crate) fn second(unix_ms: u64, operations: u64, operations_total: u64) -> String {
        let (gets, puts) = (operations - operations / 20, operations / 20);
        let stats = serde_json::json!({
            "unix_ms": unix_ms, "interval_s": 1.0, "operations": operations, "gets": gets,
            "hits": gets, "puts": puts, "deletes": 0, "compare_and_swaps": 0, "increments": 0,
            "refused": 0, "operations_total": operations_total, "keys": 1_000, "sessions": 1,
            "connections": 4, "cpu_percent": 180.5, "cores_percent": [90.0, 90.5],
            "resident_bytes": 1_000_000, "resident_bytes_peak": 2_000_000, "threads": 3,
            "network": [{"interface": "lo", "link_mbit": null, "received_bytes": 10,
                "sent_bytes": 20}],
        });
        format!(
            "get/s {:.2}\nput/s {:.2}\nops/s {:.2}\n\nstats {stats}\n",
            gets as f64, puts as f64, operations as f64
        )
    }

    /// A server's closing line.
    pub(crate) fn total_line(operations_total: u64) -> String {
        let total = serde_json::json!({
            "operations_total": operations_total, "gets": operations_total, "hits": 0, "puts": 0,
            "deletes": 0, "compare_and_swaps": 0, "increments": 0, "refused": 0, "replayed": 0,
            "keys": 1_000, "resident_bytes_peak": 2_000_000, "uptime_s": 12.5,
        });
        format!("total {total}\n")
    }

    fn sample() -> String {
        let mut text = String::from("2026-11-20T14:15:02Z  INFO kvs_server: starting\n");
        text.push_str(&listening_line("1/2"));
        for index in 1..=3 {
            let end = 1_795_183_200_000 + index * 1_000;
            write!(text, "{}", second(end, 1_000 * index, 9_000 + index)).unwrap();
            text.push_str("2026-11-20T14:15:03Z  WARN kvs_server: a peer went away\n");
        }
        text + &total_line(12_345)
    }

    fn parse(text: &str) -> Result<ServerLog, LogError> {
        ServerLog::parse(text, Path::new("log/kvs-server-1.log"))
    }

    #[test]
    fn a_whole_log_is_read() {
        let log = parse(&sample()).unwrap();
        let listening = log.listening.unwrap();
        assert_eq!(listening.address, "127.0.0.1:40123");
        assert_eq!(listening.shard, "1/2");
        assert_eq!(listening.store, "partitioned");
        assert_eq!((listening.partitions, listening.threads), (16, 2));
        assert_eq!(listening.boot, "5f3a9c0011223344");

        let rates: Vec<f64> =
            log.intervals.iter().map(|interval| interval.operations_per_second).collect();
        assert_eq!(rates, [1_000.0, 2_000.0, 3_000.0]);
        assert_eq!(log.intervals[1].gets_per_second, 1_900.0);
        assert_eq!(log.intervals[1].puts_per_second, 100.0);
        assert_eq!(log.intervals[0].start_unix_ms(), 1_795_183_200_000.0);
        assert_eq!(log.intervals[0].end_unix_ms(), 1_795_183_201_000.0);
        assert_eq!(log.intervals[2].stats.usage.network[0].interface, "lo");
        assert_eq!(log.total.unwrap().operations_total, 12_345);
    }

    #[test]
    fn a_log_cut_anywhere_yields_what_was_written_whole() {
        let text = sample();
        let whole = parse(&text).unwrap();
        for end in 0..text.len() {
            let log = parse(&text[..end]).unwrap();
            assert_eq!(log.total, None, "cut at {end}");
            assert_eq!(log.intervals, whole.intervals[..log.intervals.len()], "cut at {end}");
        }
    }

    #[test]
    fn damage_before_the_end_is_named_with_its_line() {
        let text = sample().replacen("\"gets\":950", "\"gets\":95x", 1);
        let error = parse(&text).unwrap_err();
        let LogError::Damaged { line, .. } = &error else { panic!("{error}") };
        assert_eq!(*line, 7);
        assert!(error.to_string().contains("log/kvs-server-1.log line 7"), "{error}");

        for (good, bad) in [
            ("ops/s 1000.00", "ops/s 10ops/s 1000.00"),
            ("ops/s 1000.00", "ops/s NaN"),
            ("put/s 50.00\n", ""),
            ("\"keys\":1000,", ""),
            (" threads 2 ", " "),
            (" partitions 16 ", " partitions x "),
            ("\"uptime_s\":12.5", "\"uptime_s\":null"),
        ] {
            let text = sample().replacen(good, bad, 1);
            assert_ne!(text, sample(), "{good} is in the sample");
            assert!(matches!(parse(&text), Err(LogError::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn lines_for_people_are_skipped_wherever_they_speak_of_rates() {
        let text = format!("the ops/s line follows\nops/sec 3\nstatsy {{\n{}", sample());
        assert_eq!(parse(&text).unwrap().intervals.len(), 3);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_reader() {
        let path = std::env::temp_dir().join(format!("kvs-report-log-{}.log", std::process::id()));
        let mut bytes = b"\xff\xfe odd\n".to_vec();
        bytes.extend_from_slice(sample().as_bytes());
        std::fs::write(&path, bytes).unwrap();
        assert!(ServerLog::read(&path).unwrap().total.is_some());
        std::fs::remove_file(&path).unwrap();
        let error = ServerLog::read(&path).unwrap_err();
        assert!(matches!(error, LogError::Read { .. }), "{error}");
    }
}

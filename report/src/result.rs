//! The result of one client's run: the one type that the load generator writes and everything
//! else reads (tables, plots, the cluster's total, comparisons of several runs).
//!
//! The file form is JSON. Every field is present in every file; what does not apply is `null`.
//! A field's unit stands last in its name. Times are Unix times in milliseconds, so that the
//! results of several clients and the logs of several servers can be laid over each other.
//!
//! # Example
//!
//! ```no_run
//! let result = report::result::RunResult::read("log/latest/kvs-client-1.json".as_ref())?;
//! println!("{:.0} op/s", result.operations_per_second);
//! # Ok::<(), report::result::ResultError>(())
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version of the file form. It rises when a field changes its meaning or goes away; a new
/// field alone does not raise it, because readers ignore what they do not know.
pub const RESULT_VERSION: u32 = 1;

/// What a client is told by nobody: it ran alone.
pub const MODE_SINGLE_CLIENT: &str = "single client";

/// How the binary was compiled. A debug build's figures are never quoted without saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Build {
    /// Optimised, debug assertions off.
    Release,
    /// Debug assertions on.
    Debug,
}

impl Build {
    /// The build of the running binary.
    pub const fn current() -> Self {
        if cfg!(debug_assertions) { Self::Debug } else { Self::Release }
    }
}

/// What one client did and measured. Counts are those of the measured window, unless said
/// otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The file form, [`RESULT_VERSION`].
    pub version: u32,
    /// How the client was compiled.
    pub build: Build,
    /// Where the run took place, in the launcher's words, e.g. `dev: 8 processes on ONE machine,
    /// not a cluster figure`; [`MODE_SINGLE_CLIENT`] without a launcher.
    pub mode: String,
    /// What all clients of one run share.
    pub run_id: String,
    /// This client's place, from 0.
    pub client_index: u32,
    /// How many clients took part.
    pub client_count: u32,
    /// The seed from which the workload replays.
    pub seed: u64,
    /// Every flag with its value, defaults included.
    pub config: serde_json::Value,

    /// Operations completed (acknowledged as executed) in the window.
    pub operations: u64,
    /// [`Self::operations`] over [`Self::window_s`].
    pub operations_per_second: f64,
    /// Length of the measured window, on a monotonic clock.
    pub window_s: f64,
    /// When the window began.
    pub window_start_unix_ms: u64,
    /// When the window ended.
    pub window_end_unix_ms: u64,
    /// GETs completed.
    pub gets: u64,
    /// PUTs completed.
    pub puts: u64,
    /// DELETEs completed.
    pub deletes: u64,
    /// Compare-and-swaps completed, whether they matched or not.
    pub compare_and_swaps: u64,
    /// INCRs completed.
    pub increments: u64,
    /// GETs that found their key.
    pub hits: u64,
    /// GETs that did not.
    pub misses: u64,
    /// `hits / gets`; 1.0 when there were no GETs.
    pub hit_ratio: f64,
    /// Compare-and-swaps that found another value.
    pub cas_mismatches: u64,
    /// Operations that were sent again, under a new stamp or the old one: deferred, not recorded,
    /// throttled.
    pub retried: u64,
    /// Operations that failed and surely took no effect.
    pub errors: u64,
    /// Mutations of which nobody knows whether they took effect.
    pub unknown: u64,
    /// GETs that answered with a value that cannot belong to their key.
    pub value_mismatches: u64,
    /// Whether values were checked; if not, [`Self::value_mismatches`] says nothing.
    pub verified: bool,
    /// Whether the run was cut short by a signal.
    pub interrupted: bool,

    /// Bytes sent and received per operation.
    pub wire_bytes_per_operation: f64,
    /// Bytes written to the servers.
    pub wire_bytes_sent: u64,
    /// Bytes read from the servers.
    pub wire_bytes_received: u64,

    /// Latencies by kind.
    pub latency_us: Latencies,
    /// What each server acknowledged, over *all* phases of the run.
    pub acknowledged: Vec<Acknowledged>,
    /// The loading of keys before the window; `None` when nothing was loaded.
    #[serde(deserialize_with = "Option::deserialize")]
    pub preload: Option<Preload>,
    /// Completions over the window.
    pub timeline: Timeline,
    /// What the client's process used during the window.
    pub resources: Resources,
    /// The open loop, where operations arrived by a schedule; `None` in a closed loop, and in files
    /// that were written before there was one.
    #[serde(default)]
    pub open_loop: Option<OpenLoop>,
}

/// Load that arrives by a schedule. Latencies of such a run count from the intended start of each
/// operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenLoop {
    /// Arrivals per second.
    pub offered_operations_per_second: f64,
    /// How they follow each other: `poisson` or `fixed`.
    pub arrivals: String,
    /// How long ago the oldest operation that was due and not sent should have started, when the
    /// window ended.
    pub backlog_s: f64,
    /// About how many operations were due and not sent then.
    pub backlog_operations: u64,
    /// How late idle workers were woken, in microseconds. Latencies include it.
    pub pacer_lateness_us: Latency,
}

/// Latencies from invocation to response; `None` for a kind that did not occur.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Whole batches.
    #[serde(deserialize_with = "Option::deserialize")]
    pub batches: Option<Latency>,
    /// Operations of every kind.
    #[serde(deserialize_with = "Option::deserialize")]
    pub operations: Option<Latency>,
    /// GETs.
    #[serde(deserialize_with = "Option::deserialize")]
    pub get: Option<Latency>,
    /// PUTs.
    #[serde(deserialize_with = "Option::deserialize")]
    pub put: Option<Latency>,
    /// DELETEs.
    #[serde(deserialize_with = "Option::deserialize")]
    pub delete: Option<Latency>,
    /// Compare-and-swaps.
    #[serde(deserialize_with = "Option::deserialize")]
    pub cas: Option<Latency>,
    /// INCRs.
    #[serde(deserialize_with = "Option::deserialize")]
    pub incr: Option<Latency>,
}

/// A latency distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

/// Operations that one server acknowledged as executed, over every phase of the run: preload,
/// warm-up, window, cleanup. Compared with the server's own total, it finds operations that were
/// executed twice or acknowledged without being executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The server's address as the client was given it.
    pub endpoint: String,
    /// The server's place, e.g. `1/2`.
    pub shard: String,
    /// Operations.
    pub operations: u64,
}

/// The loading of keys before the window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preload {
    /// Keys that this client loaded.
    pub keys: u64,
    /// How long it took.
    pub seconds: f64,
    /// [`Self::keys`] over [`Self::seconds`].
    pub operations_per_second: f64,
}

/// Completions over the measured window, in buckets of equal length. The last bucket may reach
/// past the end of the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// When the first bucket begins: the start of the window.
    pub start_unix_ms: u64,
    /// The length of a bucket.
    pub bucket_ms: u64,
    /// Operations completed in each bucket.
    pub operations: Vec<u64>,
}

/// What a process used, sampled about once a second; `None` where no sample tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time of the process; 100 is one core.
    pub cpu_percent: Option<Level>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<Level>,
    /// Threads of the process.
    pub threads: Option<Level>,
    /// Open connections to servers.
    pub connections: Option<Level>,
    /// Bytes that the machine's network interfaces received per second.
    pub network_received_bytes_per_s: Option<Level>,
    /// Bytes that the machine's network interfaces sent per second.
    pub network_sent_bytes_per_s: Option<Level>,
}

/// The mean and the peak of a sampled quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Arithmetic mean of the samples.
    pub mean: f64,
    /// The greatest sample.
    pub peak: f64,
}

impl Level {
    /// The level of some samples; `None` when there are none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut count, mut sum, mut peak) = (0_u64, 0.0, 0.0_f64);
        for sample in samples {
            count += 1;
            sum += sample;
            peak = peak.max(sample);
        }
        (count > 0).then(|| Self { mean: sum / count as f64, peak })
    }
}

/// `numerator / denominator`, and 0 where that is not a number: a rate over an empty time. JSON
/// has no form for NaN and infinity, so a result must not hold them.
pub fn ratio(numerator: f64, denominator: f64) -> f64 {
    let quotient = numerator / denominator;
    if quotient.is_finite() { quotient } else { 0.0 }
}

/// `hits / gets`, and 1.0 when there were no GETs: nothing was missed.
pub fn hit_ratio(hits: u64, gets: u64) -> f64 {
    if gets == 0 { 1.0 } else { hits as f64 / gets as f64 }
}

/// Why a result file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The file is not there or may not be read.
    #[error("cannot read {}: {source}; did the client end before it wrote its result?",
        path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file ends in the middle of the JSON text.
    #[error("{} is cut off ({source}): its writer was stopped or the disk is full; run again",
        path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// The file is whole JSON or other text, but not a result.
    #[error("{} is not a result of kvs-client ({source}); write one with kvs-client -json FILE",
        path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file was written by another version of the program.
    #[error("{} has version {found}, this program reads version {RESULT_VERSION}; \
        read it with the program that wrote it, or run again", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}; name a file in a folder that you may write to",
        path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The part of a result that every version has.
#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl RunResult {
    /// Reads a result from its file.
    pub fn read(path: &Path) -> Result<Self, ResultError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ResultError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a result from JSON text; `path` is what errors name.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ResultError> {
        // The version alone first: a later version's other fields may have changed.
        let VersionOnly { version } = parse_json(text, path)?;
        if version != u64::from(RESULT_VERSION) {
            return Err(ResultError::UnknownVersion { path: path.to_owned(), found: version });
        }
        parse_json(text, path)
    }

    /// Writes the result as JSON. The file appears whole or not at all: the text goes to a
    /// neighbour first, which then takes the file's name.
    ///
    /// # Panics
    ///
    /// When a number is NaN or infinite; see [`ratio`].
    pub fn write(&self, path: &Path) -> Result<(), ResultError> {
        let text = serde_json::to_string_pretty(self).expect("a result has string keys only");
        assert!(
            Self::parse(&text, path).is_ok(),
            "a result reads back: every number in it is finite"
        );
        write_whole(path, &text)
            .map_err(|source| ResultError::Write { path: path.to_owned(), source })
    }
}

/// Parses JSON, telling a text that ends early from one that is wrong.
pub(crate) fn parse_json<'de, T: Deserialize<'de>>(
    text: &'de str,
    path: &Path,
) -> Result<T, ResultError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = T::deserialize(&mut deserializer);
    parsed.and_then(|value| deserializer.end().map(|()| value)).map_err(|source| {
        let path = path.to_owned();
        // A number cut after its point is a syntax error to the parser, not an early end.
        let open = text.trim_start().starts_with('{') && !text.trim_end().ends_with('}');
        if source.is_eof() || open {
            ResultError::CutOff { path, source }
        } else {
            ResultError::Malformed { path, source }
        }
    })
}

/// Writes `text` and a closing newline to `path` through a temporary neighbour and a rename.
pub(crate) fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let neighbour = path.with_file_name(name);
    let written = std::fs::File::create(&neighbour)
        .and_then(|mut file| writeln!(file, "{text}"))
        .and_then(|()| std::fs::rename(&neighbour, path));
    if written.is_err() {
        // The first error is the one to tell; a neighbour that was never made cannot be removed.
        let _ = std::fs::remove_file(&neighbour);
    }
    written
}

#[cfg(test)]
pub(crate) mod tests;

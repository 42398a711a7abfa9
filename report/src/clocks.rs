//! How the clocks of a run's hosts stood to the launcher's: `clocks.json`, which the launcher writes
//! for runs over several machines.
//!
//! Each process wrote its log and its result by its own host's clock. Read from a run's folder, all
//! times are brought to the launcher's clock, so that windows and seconds can be laid on each other.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lines;
use crate::result::{ResultError, RunResult};

/// The clocks of the host that one process ran on. Offsets are what to add to its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClock {
    /// The host, as the user names it.
    pub node: String,
    /// The process, e.g. `kvs-client 2`.
    pub process: String,
    /// Of the monotonic clock, which histories are written by.
    pub offset_ns: i64,
    /// Of the wall clock, which logs and results are written by.
    pub wall_offset_ns: i64,
    /// How wrong either may be, over the whole run.
    pub error_ns: u64,
    /// What was measured before the clients started.
    pub start: Option<Measured>,
    /// What was measured after they ended; `None` if the host did not answer any more.
    pub end: Option<Measured>,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// As [`HostClock::offset_ns`].
    pub offset_ns: i64,
    /// As [`HostClock::wall_offset_ns`].
    pub wall_offset_ns: i64,
    /// Half of the shortest round trip.
    pub error_ns: u64,
}

#[derive(Serialize, Deserialize)]
struct File<'a> {
    clocks: Cow<'a, [HostClock]>,
}

/// The hosts' clocks cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} does not tell how the clocks stood ({reason}); run again with run-cluster.sh",
    path.display())]
pub struct ClocksError {
    path: PathBuf,
    reason: String,
}

/// Writes `clocks.json` to `path`, whole or not at all. Each process has a line.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(path: &Path, clocks: &[HostClock]) -> Result<(), ResultError> {
    lines::write(path, &File { clocks: clocks.into() })
}

/// Reads `clocks.json`; nothing if the run took place on one machine.
pub(crate) fn read(path: &Path) -> Result<Vec<HostClock>, ClocksError> {
    let wrong = |reason: String| ClocksError { path: path.to_owned(), reason };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let file: File<'_> = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(file.clocks.into_owned())
}

/// What to add to a process's wall times, in milliseconds; 0 if its clock was not measured.
pub(crate) fn wall_offset_ms(clocks: &[HostClock], process: &str) -> i64 {
    let clock = clocks.iter().find(|clock| clock.process == process);
    clock.map_or(0, |clock| (clock.wall_offset_ns as f64 / 1e6).round() as i64)
}

/// Brings a result to the launcher's clock.
pub(crate) fn shift(result: &mut RunResult, offset_ms: i64) {
    for time in [
        &mut result.window_start_unix_ms,
        &mut result.window_end_unix_ms,
        &mut result.timeline.start_unix_ms,
    ] {
        *time = time.saturating_add_signed(offset_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::RunFolder;
    use crate::run_folder::tests::{START_UNIX_MS, whole_run};

    /// The clock of one process, as the launcher writes it.
    fn line(process: &str, wall_offset_ns: i64, error_ns: u64) -> String {
        format!(
            "{{\"node\": \"node1\", \"process\": \"{process}\", \"offset_ns\": -7, \
             \"wall_offset_ns\": {wall_offset_ns}, \"error_ns\": {error_ns}, \"start\": \
             {{\"offset_ns\": -7, \"wall_offset_ns\": 1, \"error_ns\": 2}}, \"end\": null}}"
        )
    }

    #[test]
    fn times_are_brought_to_one_clock() {
        let folder = whole_run("clocks");
        let plain = RunFolder::read(&folder.0).unwrap();
        assert_eq!(plain.clocks, []);
        let lines = [line("kvs-client 2", -2_000_400_000, 9), line("kvs-server 1", 3_000_000, 9)];
        folder.file("clocks.json", &format!("{{\"clocks\": [{}]}}", lines.join(",")));
        let run = RunFolder::read(&folder.0).unwrap();
        let clients = run.read_clients().unwrap();
        let starts = [0, 1].map(|index| clients[index].result.window_start_unix_ms);
        assert_eq!(starts, [START_UNIX_MS, START_UNIX_MS - 2_000]);
        assert_eq!(clients[1].result.timeline.start_unix_ms, START_UNIX_MS - 2_000);
        let seconds = |run: &RunFolder| {
            [0, 1].map(|index: usize| run.servers[index].intervals[0].stats.unix_ms)
        };
        let [first, second] = seconds(&plain);
        assert_eq!(seconds(&run), [first + 3, second]);
    }

    #[test]
    fn clocks_are_written_a_line_each_and_read_back() {
        let folder = whole_run("clocks-written");
        let path = folder.0.join("clocks.json");
        let lines = [line("kvs-server 1", 3, 9), line("kvs-client 1", -2, 9)];
        folder.file("clocks.json", &format!("{{\"clocks\": [{}]}}", lines.join(",")));
        let clocks = read(&path).unwrap();
        write(&path, &clocks).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{{\"clocks\": [{}]}}\n", lines.join(",\n ")));
        assert_eq!(read(&path).unwrap(), clocks);
        let error = write(&folder.0.join("gone/clocks.json"), &clocks).unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("gone/clocks.json"), "{error}");
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let folder = whole_run("clocks-wrong");
        for wrong in ["", "{}", "{\"clocks\": [{}]}"] {
            folder.file("clocks.json", wrong);
            let error = RunFolder::read(&folder.0).unwrap_err().to_string();
            assert!(error.contains("clocks.json does not tell"), "{error}");
        }
    }
}

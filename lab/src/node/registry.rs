//! What runs on a host now, and who keeps it.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// Where entries lie.
pub(super) const FOLDER: &str = "processes";

/// A launcher that is silent so long is gone, or cut off; see [`super::keeper`]. What it had started
/// ends a moment later.
const BUSY_MAX: Duration = Duration::from_secs(13);

/// Between two looks at another run.
const LOOK: Duration = Duration::from_millis(200);

/// What an aborted run left is removed after so long.
const LEFT_MAX: Duration = Duration::from_secs(3600);

/// A process by its number and start, as the number may be another's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: i32,
    /// In the system's clock ticks after its boot.
    started_ticks: u64,
}

impl Identity {
    /// Of the process that has the number now; `None` if there is none.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, the second field, may hold spaces and brackets; the start is the 22nd.
        let (_, behind) = stat.rsplit_once(") ")?;
        let started_ticks = behind.split(' ').nth(19)?.parse().ok()?;
        Some(Self { pid, started_ticks })
    }

    fn is_there(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// A kept process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    run: String,
    name: String,
    keeper: Identity,
    process: Identity,
}

impl Entry {
    /// Notes that this program keeps a process.
    pub(super) fn note(run: &str, name: &str, process: Identity) -> anyhow::Result<()> {
        let keeper =
            Identity::of(getpid().as_raw_pid()).context("/proc does not show this process")?;
        let entry = Self { run: run.to_owned(), name: name.to_owned(), keeper, process };
        Ok(std::fs::write(own_file(), serde_json::to_string(&entry)?)?)
    }

    /// Takes the note back.
    pub(super) fn remove() {
        // A note that stays is of a process that is not there any more: the next run removes it.
        let _ = std::fs::remove_file(own_file());
    }
}

fn own_file() -> PathBuf {
    PathBuf::from(FOLDER).join(format!("{}.json", getpid().as_raw_pid()))
}

/// Ends what earlier runs left: processes that nobody looks after any more. Those that somebody does
/// look after end by themselves when their launcher is gone; when it is not, another run is going on.
/// What was ended, in words.
pub(super) async fn end_stale() -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + BUSY_MAX;
    let mut ended = Vec::new();
    loop {
        let mut busy = None;
        for file in std::fs::read_dir(FOLDER)?.flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            // A note that is being written, or of another version.
            let Ok(entry) = serde_json::from_str::<Entry>(&text) else { continue };
            let Entry { run, name, keeper, process } = entry;
            if process.is_there() && keeper.is_there() {
                busy =
                    Some((format!("{name} (process {}) of run {run}", process.pid), process.pid));
                continue;
            }
            if process.is_there() {
                let pid = Pid::from_raw(process.pid).context("a process has a number")?;
                let _ = kill_process(pid, Signal::KILL);
                ended.push(format!("{name} (process {}) of run {run}", process.pid));
            }
            let _ = std::fs::remove_file(file.path());
        }
        match busy {
            None => return Ok(ended),
            Some((what, pid)) if Instant::now() >= deadline => bail!(
                "another run is going on there: {what}; wait for its end, or end it there with: \
                 kill {pid}"
            ),
            Some(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Removes what runs left that were aborted long ago.
pub(super) fn clear_runs() -> std::io::Result<()> {
    let now = SystemTime::now();
    for folder in std::fs::read_dir("runs")?.flatten() {
        let changed = folder.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|changed| now.duration_since(changed).ok());
        if age.is_some_and(|age| age > LEFT_MAX) {
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let own = Identity::of(getpid().as_raw_pid()).unwrap();
        assert!(own.is_there());
        assert!(!Identity { started_ticks: own.started_ticks + 1, ..own }.is_there());
        assert_eq!(Identity::of(i32::MAX), None);
    }
}

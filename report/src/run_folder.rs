//! The folder that one run leaves behind.
//!
//! ```text
//! log/<run>/run.json            what the launcher started, see Description
//! log/<run>/kvs-server-<i>.log  one per server, from 1
//! log/<run>/kvs-client-<i>.log  one per client, from 1
//! log/<run>/kvs-client-<i>.json one per client, its result
//! log/<run>/clocks.json         of several machines, how their clocks stood to the launcher's
//! log/<run>/check.json          what kvs-check found, if it was asked
//! log/<run>/cluster.json        the total, computed here
//! log/<run>/report.html         the report, written here
//! log/<run>/ops.svg, ops.png, .. the pictures, drawn here
//! ```

use std::path::{Path, PathBuf};

use resources::{Machine, Traffic};
use serde::{Deserialize, Serialize};

use crate::client_log::{self, ClientStats};
use crate::clocks::{self, ClocksError, HostClock};
use crate::lines;
use crate::result::{ResultError, RunResult, parse_json};
use crate::server_log::{LogError, ServerLog};
use crate::warning::Warning;

/// What the launcher wrote about a run before it started it: `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Where the run took place, e.g. `dev: 8 processes on ONE machine, not a cluster figure`.
    pub mode: String,
    /// Server processes.
    pub servers: u32,
    /// Client processes.
    pub clients: u32,
    /// Machines that the processes were spread over.
    pub machines: u32,
    /// What the user gave the servers.
    pub server_args: String,
    /// What the user gave the clients.
    pub client_args: String,
    /// When the launcher began.
    pub started_unix_ms: u64,
    /// The speed of every network link, where the user knows better than the system: a virtual
    /// link tells none, a capped one tells the uncapped.
    #[serde(default)]
    pub link_mbit: Option<u64>,
    /// What the launcher found that a reader should know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Where the run took place; empty in runs of launchers that did not note it.
    #[serde(default)]
    pub environment: Environment,
}

/// Where a run took place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The commit that the binaries were built from; `-dirty` behind it if files were changed.
    #[serde(default)]
    pub commit: String,
    /// The machines.
    #[serde(default)]
    pub hosts: Vec<Host>,
}

/// One machine of a run. What stands before its name is told of several machines only, and left out
/// where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What the user calls it, e.g. `me@node2:2222`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The process that ran on it, e.g. `client 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where the run's data reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The network interface of [`Self::address`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The speed of [`Self::interface`], where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_mbit: Option<u64>,
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
}

impl Description {
    /// Writes the description to `path`, whole or not at all. Hosts and warnings have a line each.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ResultError> {
        lines::write(path, self)
    }
}

/// What kvs-check found: the part of `check.json` that the total tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The conclusion.
    pub verdict: Verdict,
    /// The conclusion in one line.
    pub conclusion: String,
    /// Operations in the histories.
    pub recorded: u64,
    /// Operations of keys that were decided.
    pub checked: u64,
    /// Operations with unknown outcome.
    pub unknown: u64,
    /// Server restarts that the histories saw.
    pub restarts: u64,
}

/// What a check concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every operation was checked, and some legal order explains them all.
    Linearizable,
    /// Some operations contradict each other.
    Violation,
    /// Some operations could not be decided. That is never a pass.
    Undecided,
}

/// A run's folder with what stands in it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    /// What was started.
    pub description: Description,
    /// The servers' logs, in order of their number, by the launcher's clock.
    pub servers: Vec<ServerLog>,
    /// The clocks of the hosts; empty when there was one machine.
    pub clocks: Vec<HostClock>,
}

/// A client that left its result.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredClient {
    /// Its number, from 1.
    pub number: u32,
    /// What it measured.
    pub result: RunResult,
}

/// Why a run's folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no description of a run.
    #[error("cannot read {}: {source}; name a run's folder, e.g. log/latest", path.display())]
    NoDescription {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The description is cut off or of another kind.
    #[error("{} does not describe a run ({reason}); run again with run-cluster.sh",
        path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The check's result cannot be read.
    #[error("{} does not tell what a check found ({reason}); run kvs-check -json again",
        path.display())]
    Check {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The hosts' clocks cannot be read.
    #[error(transparent)]
    Clocks(#[from] ClocksError),
    /// A server's log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A client's result cannot be read.
    #[error(transparent)]
    Result(#[from] ResultError),
}

impl RunFolder {
    /// Reads the description and the servers' logs.
    pub fn read(path: &Path) -> Result<Self, FolderError> {
        let description = Self::read_description(path)?;
        let mut servers: Vec<ServerLog> = (1..=description.servers)
            .map(|number| ServerLog::read(&path.join(format!("kvs-server-{number}.log"))))
            .collect::<Result<_, _>>()?;
        let clocks = clocks::read(&path.join("clocks.json"))?;
        for (index, log) in servers.iter_mut().enumerate() {
            let offset_ms = clocks::wall_offset_ms(&clocks, &format!("kvs-server {}", index + 1));
            for interval in &mut log.intervals {
                interval.stats.unix_ms = interval.stats.unix_ms.saturating_add_signed(offset_ms);
            }
        }
        let intervals = servers.iter_mut().flat_map(|log| &mut log.intervals);
        set_link(
            description.link_mbit,
            intervals.flat_map(|interval| &mut interval.stats.usage.network),
        );
        Ok(Self { path: path.to_owned(), description, servers, clocks })
    }

    /// Reads the description alone.
    pub fn read_description(path: &Path) -> Result<Description, FolderError> {
        read_description(&path.join("run.json"))
    }

    /// What to add to a client's times, in milliseconds.
    fn client_offset_ms(&self, number: u32) -> i64 {
        clocks::wall_offset_ms(&self.clocks, &format!("kvs-client {number}"))
    }

    /// Reads the results of the clients that left one, in order of their number and by the
    /// launcher's clock.
    pub fn read_clients(&self) -> Result<Vec<MeasuredClient>, FolderError> {
        let mut clients = Vec::new();
        for number in 1..=self.description.clients {
            let path = self.path.join(format!("kvs-client-{number}.json"));
            if path.exists() {
                let mut result = RunResult::read(&path)?;
                clocks::shift(&mut result, self.client_offset_ms(number));
                clients.push(MeasuredClient { number, result });
            }
        }
        Ok(clients)
    }

    /// Reads what the clients logged every second, in order of their number; nothing for one that
    /// left no log.
    pub fn read_client_logs(&self) -> Result<Vec<Vec<ClientStats>>, FolderError> {
        let log = |number| {
            let path = self.path.join(format!("kvs-client-{number}.log"));
            if !path.exists() {
                return Ok(Vec::new());
            }
            let mut seconds = client_log::read(&path)?;
            let offset_ms = self.client_offset_ms(number);
            for stats in &mut seconds {
                stats.unix_ms = stats.unix_ms.saturating_add_signed(offset_ms);
            }
            Ok::<_, LogError>(seconds)
        };
        let mut logs: Vec<Vec<ClientStats>> =
            (1..=self.description.clients).map(log).collect::<Result<_, _>>()?;
        let seconds = logs.iter_mut().flatten();
        set_link(self.description.link_mbit, seconds.flat_map(|stats| &mut stats.usage.network));
        Ok(logs)
    }

    /// Reads what a check found; `None` if there was none.
    pub fn read_check(&self) -> Result<Option<Check>, FolderError> {
        let path = self.path.join("check.json");
        let wrong = |reason: String| FolderError::Check { path: path.clone(), reason };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| wrong(error.to_string()))
    }
}

/// Sets the speed of links where the user told it.
fn set_link<'a>(link_mbit: Option<u64>, interfaces: impl Iterator<Item = &'a mut Traffic>) {
    if link_mbit.is_some() {
        interfaces.for_each(|interface| interface.link_mbit = link_mbit);
    }
}

fn read_description(path: &Path) -> Result<Description, FolderError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FolderError::NoDescription { path: path.to_owned(), source })?;
    let wrong = |reason: String| FolderError::Description { path: path.to_owned(), reason };
    let description: Description = parse_json(&text, path).map_err(|error| match error {
        ResultError::CutOff { source, .. } => wrong(format!("cut off: {source}")),
        ResultError::Malformed { source, .. } => wrong(source.to_string()),
        other => FolderError::Result(other),
    })?;
    if description.servers == 0 || description.clients == 0 || description.machines == 0 {
        return Err(wrong("it counts no servers, no clients or no machines".to_owned()));
    }
    Ok(description)
}

#[cfg(test)]
pub(crate) mod tests;

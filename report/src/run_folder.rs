//! The folder that one run leaves behind.
//!
//! ```text
//! log/<run>/run.json            what the launcher started
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

use resources::Traffic;
use serde::{Deserialize, Serialize};

use crate::client_log::{self, ClientStats};
use crate::clocks::{self, HostClock};
use crate::result::{ResultError, RunResult, parse_json};
use crate::server_log::{LogError, ServerLog};
use crate::warnings::Warning;

/// What the launcher wrote about a run before it started it: `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

/// One machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The processor's name.
    pub cpu: String,
    /// Its cores, as the system counts them.
    pub cores: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// The kernel's name and release.
    pub kernel: String,
    /// The system's name.
    pub system: String,
    /// The clock of its cores; `None` in runs of launchers that did not note it, or where the
    /// system tells none.
    #[serde(default)]
    pub clock_mhz: Option<u32>,
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
    #[error("{} does not tell how the clocks stood ({reason}); run again with run-cluster.sh",
        path.display())]
    Clocks {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
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

    /// Reads the clients' results, in order of their number and by the launcher's clock; `None` for a
    /// client that left none.
    pub fn read_results(&self) -> Result<Vec<Option<RunResult>>, FolderError> {
        let result = |number| {
            let path = self.path.join(format!("kvs-client-{number}.json"));
            if !path.exists() {
                return Ok(None);
            }
            let mut result = RunResult::read(&path)?;
            clocks::shift(&mut result, self.client_offset_ms(number));
            Ok(Some(result))
        };
        (1..=self.description.clients).map(result).collect()
    }

    /// Reads the results of the clients that left one.
    pub fn read_clients(&self) -> Result<Vec<RunResult>, FolderError> {
        Ok(self.read_results()?.into_iter().flatten().collect())
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
pub(crate) mod tests {
    use super::*;
    use crate::client_log::tests::client_log;
    use crate::result::tests::sample;
    use crate::server_log::tests::{listening_line, second, total_line};

    /// A folder that goes away when the test ends.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("kvs-report-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn file(&self, name: &str, text: &str) {
            std::fs::write(self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// When the sample run's window begins.
    pub(crate) const START_UNIX_MS: u64 = 1_795_183_200_000;

    /// The description of a run of 2 servers and 2 clients.
    pub(crate) const DESCRIPTION: &str = r#"{
        "mode": "dev: 4 processes on ONE machine, not a cluster figure", "servers": 2, "clients": 2, "machines": 1, "server_args": "",
        "client_args": "-secs 4", "started_unix_ms": 1795183199000}"#;

    /// A client's result: 4 s from `start_unix_ms`, 100 operations per 100 ms.
    pub(crate) fn client(start_unix_ms: u64) -> RunResult {
        let mut result = sample();
        result.config = serde_json::json!({"workload": "YCSB-B", "value_size": 128,
            "batch_size": 10_000});
        result.operations = 4_000;
        result.operations_per_second = 1_000.0;
        result.window_s = 4.0;
        result.window_start_unix_ms = start_unix_ms;
        result.window_end_unix_ms = start_unix_ms + 4_000;
        (result.errors, result.unknown) = (0, 0);
        (result.gets, result.hits) = (3_800, 3_800);
        result.timeline.start_unix_ms = start_unix_ms;
        result.timeline.operations = vec![100; 40];
        result.acknowledged = ["1/2", "2/2"]
            .map(|shard| crate::result::Acknowledged {
                endpoint: "127.0.0.1:1".to_owned(),
                shard: shard.to_owned(),
                operations: 2_500,
            })
            .to_vec();
        result
    }

    /// A server's log: six seconds, of which the middle four lie in the window.
    pub(crate) fn server_log(shard: &str) -> String {
        let mut text = listening_line(shard);
        for (index, operations) in [500, 1_000, 990, 1_010, 1_000, 500].into_iter().enumerate() {
            text += &second(START_UNIX_MS + 1_000 * index as u64, operations, 0);
        }
        text + &total_line(5_000)
    }

    /// A whole run: 2 servers, 2 clients, no fault.
    pub(crate) fn whole_run(name: &str) -> Scratch {
        let folder = Scratch::new(name);
        folder.file("run.json", DESCRIPTION);
        for number in 1..=2 {
            folder.file(&format!("kvs-server-{number}.log"), &server_log(&format!("{number}/2")));
            let result = client(START_UNIX_MS);
            result.write(&folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
        }
        folder
    }

    #[test]
    fn a_whole_folder_is_read() {
        let folder = whole_run("folder-whole");
        let run = RunFolder::read(&folder.0).unwrap();
        assert_eq!((run.description.servers, run.description.clients), (2, 2));
        assert_eq!(run.servers[1].listening.as_ref().unwrap().shard, "2/2");
        assert_eq!(run.read_clients().unwrap().len(), 2);
    }

    /// A check's result, with fields that the total does not tell.
    pub(crate) const CHECK: &str = r#"{"verdict": "linearizable", "conclusion": "linearizable",
        "recorded": 9000, "checked": 9000, "keys": 7, "unknown": 3, "restarts": 0}"#;

    #[test]
    fn a_check_is_read_if_there_was_one() {
        let folder = whole_run("folder-check");
        let check = || RunFolder::read(&folder.0)?.read_check();
        assert_eq!(check().unwrap(), None);
        folder.file("check.json", CHECK);
        let found = check().unwrap().unwrap();
        assert_eq!(
            (found.verdict, found.recorded, found.unknown),
            (Verdict::Linearizable, 9000, 3)
        );
        for wrong in ["", "{}", &CHECK.replace("\"linearizable\", \"c", "\"fine\", \"c")] {
            folder.file("check.json", wrong);
            let error = check().unwrap_err();
            assert!(error.to_string().contains("check.json"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = whole_run("folder-missing");
        for name in ["kvs-server-2.log", "run.json"] {
            std::fs::remove_file(folder.0.join(name)).unwrap();
            let error = RunFolder::read(&folder.0).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_environment_is_read_if_it_was_noted() {
        let folder = whole_run("folder-environment");
        assert_eq!(RunFolder::read(&folder.0).unwrap().description.environment.hosts, []);
        let host = r#"{"name": "node0", "cpu": "Xeon", "cores": 16, "memory_bytes": 7,
            "kernel": "Linux 6.8", "system": "Ubuntu 24.04", "later": "fields are skipped"}"#;
        let noted = |host: &str| {
            let environment =
                format!("\"environment\": {{\"commit\": \"abc\", \"hosts\": [{host}]}}");
            DESCRIPTION.replacen('{', &format!("{{{environment}, "), 1)
        };
        folder.file("run.json", &noted(host));
        let environment = RunFolder::read(&folder.0).unwrap().description.environment;
        assert_eq!((environment.commit.as_str(), environment.hosts[0].cores), ("abc", 16));
        folder.file("run.json", &noted("{}"));
        let error = RunFolder::read(&folder.0).unwrap_err();
        assert!(error.to_string().contains("missing field `name`"), "{error}");
    }

    #[test]
    fn a_link_speed_that_the_user_told_counts_for_all_links() {
        let folder = whole_run("folder-link");
        folder.file("kvs-client-1.log", &client_log(START_UNIX_MS, 2));
        let links = |description: &str| {
            folder.file("run.json", description);
            let run = RunFolder::read(&folder.0).unwrap();
            let client = run.read_client_logs().unwrap()[0][1].usage.network[0].link_mbit;
            (run.servers[1].intervals[5].stats.usage.network[0].link_mbit, client)
        };
        assert_eq!(links(DESCRIPTION), (None, None));
        let told = DESCRIPTION.replace("\"machines\"", "\"link_mbit\": 200, \"machines\"");
        assert_eq!(links(&told), (Some(200), Some(200)));
    }

    #[test]
    fn a_description_that_is_none_is_told() {
        let folder = whole_run("folder-description");
        for (text, told) in [
            ("{\"mode\": \"dev", "cut off"),
            ("{}", "missing field"),
            (&DESCRIPTION.replace("\"servers\": 2", "\"servers\": 0"), "no servers"),
            (&DESCRIPTION.replace("\"servers\": 2", "\"servers\": -2"), "invalid value"),
        ] {
            folder.file("run.json", text);
            let error = RunFolder::read(&folder.0).unwrap_err();
            assert!(matches!(error, FolderError::Description { .. }), "{error}");
            assert!(error.to_string().contains(told), "{told}: {error}");
        }
    }
}

//! Runs of a whole cluster, each by the launcher in a process of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use report::cluster::{self, ClusterResult};
use report::run_folder::RunFolder;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::{tied, workspace};

/// How long a launcher may take to end its run after it was asked to.
const STOP_SECONDS_MAX: u64 = 25;

/// A run's folder, and what was measured.
pub(crate) type Measured = (RunFolder, ClusterResult);

/// Runs a cluster to its end. `arguments` are servers, clients and the flags of both sides; the
/// run's own folder appears in `logs`, beside what the launcher tells, `launcher.log`; `variables`
/// are added to its environment. Who drops this meanwhile waits until the launcher has ended the
/// run.
///
/// # Errors
///
/// When the run fails, with the launcher's last line, or its result cannot be trusted.
pub(crate) async fn run(
    arguments: &[String; 4],
    logs: &Path,
    variables: &[(&str, &OsStr)],
) -> anyhow::Result<Measured> {
    let told = logs.join("launcher.log");
    let file = std::fs::create_dir_all(logs).and_then(|()| File::create(&told));
    let file = file.with_context(|| format!("cannot write {}", told.display()))?;
    let mut command = tied::command(workspace::root().join("run-cluster.sh"));
    command.args(arguments).env("KVS_LOG_DIR", logs).envs(variables.iter().copied());
    // Of its own group, so that Ctrl-C reaches it once, from here.
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut launcher = Launcher(command.spawn().context("cannot start the launcher")?);
    let succeeded = launcher.0.wait().await?.success();
    let text = String::from_utf8_lossy(&std::fs::read(&told)?).into_owned();
    ensure!(succeeded, "{}", text.lines().last().unwrap_or("the launcher told nothing"));
    let run = RunFolder::read(&logs.join("latest").canonicalize()?)?;
    let result = cluster::compute(&run)?;
    ensure!(result.failures.is_empty(), "the run is not whole, {}", result.failures.join(", "));
    Ok((run, result))
}

/// A launcher, which is asked to end its run, and waited for, when this is dropped.
struct Launcher(Child);

impl Drop for Launcher {
    fn drop(&mut self) {
        let Some(pid) = self.0.id().and_then(|pid| Pid::from_raw(pid as i32)) else { return };
        // It may be about to end by itself.
        let _ = kill_process(pid, Signal::INT);
        let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

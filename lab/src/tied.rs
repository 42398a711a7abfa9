//! Processes that end with who started them, whatever ends it, SIGKILL included.
//!
//! The kernel sends a signal to a process whose parent has died, if the process asked for it. A
//! program that is started knows nothing of that; so it is `kvs-lab tied` that is started, asks,
//! and becomes the program. The parent is the thread that started it, so the starting thread has
//! to stay: here all work is done on one.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// What `kvs-lab tied` takes.
#[derive(clap::Args)]
pub(crate) struct Tied {
    /// Number of the process that starts it
    #[arg(long)]
    parent: i32,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Tied {
    /// Becomes the command; returns only if it can't.
    pub(crate) fn run(self) -> ExitCode {
        let tied = set_parent_process_death_signal(Some(Signal::KILL));
        // Who started it may have ended before it asked.
        if tied.is_err() || getppid() != Pid::from_raw(self.parent) {
            return ExitCode::FAILURE;
        }
        let error = Command::new(&self.command[0]).args(&self.command[1..]).exec();
        eprintln!("error: cannot start {}: {error}", self.command[0].display());
        ExitCode::from(127)
    }
}

/// The program as a command whose process is killed when this one ends, or when its handle is
/// dropped.
pub(crate) fn command(program: impl AsRef<OsStr>) -> tokio::process::Command {
    let lab = std::env::current_exe().expect("a program knows where it lies");
    let mut command = tokio::process::Command::new(lab);
    command.args(["tied", "-parent", &getpid().to_string(), "--"]).arg(program);
    command.kill_on_drop(true);
    command
}

/// Runs a command to its end; what it printed on stdout.
///
/// # Errors
///
/// When it fails, with the last line that it printed.
pub(crate) async fn output(command: &mut tokio::process::Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().await?;
    let [told, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let last = told.lines().chain(errors.lines()).last();
    anyhow::ensure!(output.status.success(), "{}", last.unwrap_or("it failed and printed nothing"));
    Ok(told)
}

//! Keeps one process on a host for a launcher elsewhere.
//!
//! Its input: an [`Order`] as a line of JSON; then a line each second while the launcher is there,
//! which may name a signal to pass on. The process ends when the launcher falls silent or the
//! connection ends, and with this keeper, however that ends.

use std::io::stdin;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::registry::{Entry, Identity};
use crate::tied;

/// A launcher that is silent so long is gone, or cut off.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The keeper's exit status is the process's, or this and the number of the signal that killed it: so
/// it differs from the end of the ssh that leads here.
pub(crate) const KILLED: i32 = 192;

/// What is to be kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The run's name, which is that of its folder.
    pub(crate) run: String,
    /// The process's, such as `kvs-server 1`.
    pub(crate) name: String,
    /// The command, from this host's folder.
    pub(crate) command: Vec<String>,
}

/// Keeps a process to its end.
pub(super) async fn keep() -> ExitCode {
    let status = match start().await {
        Ok((child, orders)) => guard(child, orders).await,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    Entry::remove();
    let code = status.code().or_else(|| Some(KILLED + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

async fn start() -> anyhow::Result<(Child, mpsc::Receiver<String>)> {
    super::enter_folder()?;
    let mut lines = hear();
    let first = timeout(SILENCE_MAX, lines.recv()).await.context("the launcher is silent")?;
    let order: Order = serde_json::from_str(&first.context("the launcher is gone")?)?;
    std::fs::create_dir_all(format!("runs/{}", order.run))?;
    let (program, flags) = order.command.split_first().context("there is no command")?;
    let mut command = tied::command(program);
    let child = command.args(flags).stdin(Stdio::null()).process_group(0).spawn()?;
    let process = child.id().and_then(|id| Identity::of(id.cast_signed()));
    // One that has ended already needs no looking after.
    if let Some(process) = process {
        Entry::note(&order.run, &order.name, process)?;
    }
    Ok((child, lines))
}

/// The lines that the launcher sends. A thread of its own reads them, which may wait for one when this
/// program ends.
fn hear() -> mpsc::Receiver<String> {
    let (heard, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if heard.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Passes signals on; ends the process when the launcher does.
async fn guard(mut child: Child, mut lines: mpsc::Receiver<String>) -> ExitStatus {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let send = |signal| pid.map(|pid| kill_process(pid, signal));
    let killed = ExitStatus::from_raw(Signal::KILL.as_raw());
    loop {
        let heard = tokio::select! {
            status = child.wait() => return status.unwrap_or(killed),
            heard = timeout(SILENCE_MAX, lines.recv()) => heard,
        };
        match heard {
            Ok(Some(line)) => match line.as_str() {
                "SIGINT" => drop(send(Signal::INT)),
                "SIGTERM" => drop(send(Signal::TERM)),
                _ => {}
            },
            _ => {
                send(Signal::KILL);
                return child.wait().await.unwrap_or(killed);
            }
        }
    }
}

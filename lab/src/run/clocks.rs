//! How far the hosts' clocks are from this machine's: measured before the clients start and after they
//! ended. Histories and results of several hosts are laid on one time line with it.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use clocks::{Estimate, Reading, probe};
use report::clocks::{HostClock, Measured};
use tokio::process::Command;

/// Round trips, of which the shortest counts.
const ROUNDS: u32 = 64;

/// Measures over a command that answers with another host's clocks.
///
/// # Errors
///
/// In one line, why there was no answer.
pub(crate) async fn measure(mut command: Command) -> Result<Estimate, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start ssh: {error}"))?;
    let pipe = |fd: std::io::Result<OwnedFd>| fd.map(File::from).map_err(|error| error.to_string());
    let questions = pipe(child.stdin.take().expect("it is a pipe").into_owned_fd())?;
    let answers = pipe(child.stdout.take().expect("it is a pipe").into_owned_fd())?;
    // Nothing may come between a clock and its reading, so a thread of its own asks. When this future
    // is dropped the child ends, and with it the thread.
    let asked =
        tokio::task::spawn_blocking(move || probe(questions, BufReader::new(answers), ROUNDS));
    let rounds = asked.await.map_err(|error| error.to_string())?;
    let rounds = match rounds {
        Ok(rounds) => rounds,
        Err(error) => {
            let said = child.wait_with_output().await.map(|output| output.stderr);
            let said = super::words::last_line(&String::from_utf8_lossy(&said.unwrap_or_default()));
            return Err(if said.is_empty() { error.to_string() } else { said });
        }
    };
    Ok(Estimate::of(&rounds).expect("there is at least one round"))
}

/// A host's clocks over the whole run. One that could not be read at the end counts as drifted since
/// the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Measured before the clients started.
    pub(crate) first: Estimate,
    /// Measured after they ended.
    pub(crate) last: Option<Estimate>,
    /// What holds for the time between.
    pub(crate) joined: Estimate,
}

impl Clock {
    /// What the two measurements tell.
    pub(crate) fn new(first: Estimate, last: Option<Estimate>) -> Self {
        let now_ns = Reading::now().monotonic_ns;
        let joined = last.map_or_else(|| first.grown_old(now_ns), |last| first.join(last));
        Self { first, last, joined }
    }

    /// As `clocks.json` has it.
    pub(crate) fn of_host(&self, node: &str, process: String) -> HostClock {
        let measured = |estimate: Estimate| Measured {
            offset_ns: estimate.offset_ns,
            wall_offset_ns: estimate.wall_offset_ns,
            error_ns: estimate.error_ns,
        };
        HostClock {
            node: node.to_owned(),
            process,
            offset_ns: self.joined.offset_ns,
            wall_offset_ns: self.joined.wall_offset_ns,
            error_ns: self.joined.error_ns,
            start: Some(measured(self.first)),
            end: self.last.map(measured),
        }
    }
}

//! What runs on a host of a cluster, in a folder of its own there, where the launcher puts this
//! program:
//!
//! - `bin/`: the binaries;
//! - `runs/<run>/`: what the processes of a run write, until the launcher has brought it back;
//! - `processes/<n>.json`: what runs now: its run and name, and two processes with their start times.

pub(crate) mod keeper;
pub(crate) mod prepare;
mod registry;

use std::io::{stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// What a launcher asks of a host.
#[derive(clap::Subcommand)]
pub(crate) enum Node {
    /// End what earlier runs left, and tell about this host
    Prepare {
        /// The data address; without, the one that ssh came in by
        address: Option<String>,
    },
    /// Keep a process until it ends, or the launcher falls silent
    Keep,
    /// Answer questions on stdin with this host's clocks
    Clock,
}

impl Node {
    /// Does it. The launcher reads the last line on stderr, behind `error: `.
    pub(crate) async fn run(self) -> ExitCode {
        /// What the shell of node hosts has for such faults too.
        const FAULT: u8 = 3;
        let done = match self {
            Self::Prepare { address } => prepare::prepare(address).await,
            Self::Keep => return keeper::keep().await,
            Self::Clock => clocks::serve(stdin().lock(), stdout().lock()).map_err(Into::into),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(FAULT)
            }
        }
    }
}

/// Goes to the folder on this host, which this program lies in, and makes what is missing there.
fn enter_folder() -> anyhow::Result<PathBuf> {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let program = std::env::current_exe()?;
    let folder = program.parent().and_then(Path::parent).context("there is no folder above bin")?;
    std::env::set_current_dir(folder)?;
    for name in ["runs", registry::FOLDER] {
        std::fs::create_dir_all(name).with_context(|| format!("it cannot make {name}"))?;
    }
    Ok(folder.to_owned())
}

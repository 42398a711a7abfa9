//! The load generator: workloads, measured through the client library's public API.
//!
//! A run is a row of phases ([`run`]): connect, load the keys, warm up, measure, clean up. In each
//! of them every [`worker`] repeats one loop: draw a batch of operations from its [`source`], send
//! it on its own lane, take the next reply, check and count it in its own [`recorder`]. Workers
//! share only what must be shared: the key space with its distribution, the counter of stamps (the
//! library's), the connections, and a flag that ends the phase. What they count is merged at the
//! end.
//!
//! # What is measured, and how
//!
//! - **Latency** is that of a batch, from before its first operation is drawn until its outcomes
//!   are seen; all its operations share it. Waiting for room in the bytes in flight is included.
//!   The loop is closed: a slow server slows down the load. With `-rate` it is open: operations
//!   arrive by a schedule, and each one's latency counts from its intended start. Latencies are of
//!   completed operations.
//! - **Throughput** counts operations that completed, acknowledged as executed, inside the window.
//!   What is in flight when it ends is waited for, but not counted.
//! - **A read-modify-write** counts as its GET and each of its CASes.
//! - **Values** carry the run, the writer's stamp and the key ([`value`]), and each one that is
//!   read is checked. A wrong one is a fault of the run, like an operation that failed; both make
//!   the exit status 1.
//!
//! # Exit status
//!
//! 0 when everything was done and nothing failed; 1 when anything failed, was of unknown outcome
//! or was answered wrongly; 2 when the command line is wrong; 130 when an interrupt ended a run
//! that was clean so far. The result is printed in all cases but the second to last.
//!
//! # Layout
//!
//! - [`cli`]: flags and commands, and what a run makes of them; [`shell`]: commands for one
//!   operation
//! - [`random`], [`permutation`], [`zipfian`], [`keyspace`], [`workload`]: which keys, which
//!   operations
//! - [`plan`], [`source`], [`value`]: what a batch does
//! - [`target`]: what is driven, in [`batches`] that [`fill`] fills, keys as [`decimal`] text
//! - [`worker`], [`control`], [`recorder`]: sending, when to stop, checking and counting
//! - [`open_loop`], [`pacer`]: operations that arrive by a schedule
//! - [`history`]: what is written down for the checker
//! - [`progress`], [`summary`], [`text`]: what is shown, beside what was done what it took
//!   ([`resources`])
//! - [`in_process`]: servers inside this process, for `-hosts mem:N`
//! - [`memory`], [`interrupt`], [`run`]: the phases and their safeguards

mod batches;
pub(crate) mod cli;
mod control;
mod decimal;
mod fill;
mod history;
mod in_process;
mod interrupt;
mod keyspace;
mod memory;
mod open_loop;
mod pacer;
mod permutation;
mod plan;
mod progress;
mod random;
mod recent;
mod recorder;
mod run;
mod shell;
mod source;
mod summary;
mod target;
mod text;
mod value;
mod worker;
mod workload;
mod zipfian;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use cli::Cli;
use in_process::InProcess;
use interrupt::Interrupt;
use run::ending::Ending;

/// Does what the command line says.
///
/// # Errors
///
/// Why nothing could be done or measured.
pub(crate) fn start(mut cli: Cli) -> anyhow::Result<ExitCode> {
    start_tracing()?;
    if let Some(command) = cli.command.take() {
        if cli.load.drives_a_peer() {
            return Ok(refuse("a command for one operation goes to -hosts: leave out -target"));
        }
        let mut config = match cli.connection.config() {
            Ok(config) => config,
            Err(wrong) => return Ok(refuse(&wrong)),
        };
        InProcess::install(&mut config, 1);
        return runtime(1)?.block_on(shell::execute(command, config));
    }
    let settings = match cli.settings() {
        Ok(settings) => settings,
        Err(wrong) => return Ok(refuse(&wrong)),
    };
    let ending = runtime(settings.threads)?.block_on(async {
        let interrupt = Interrupt::on_signals().context("cannot wait for signals")?;
        run::run(settings, interrupt).await
    })?;
    Ok(match ending {
        Ending::Clean => ExitCode::SUCCESS,
        Ending::Faulty => ExitCode::FAILURE,
        Ending::Interrupted => ExitCode::from(interrupt::EXIT_INTERRUPTED),
    })
}

fn refuse(wrong: &str) -> ExitCode {
    eprintln!("kvs-client: {wrong}");
    ExitCode::from(2)
}

/// Log lines of the libraries go to standard error, warnings and above unless `RUST_LOG` says
/// otherwise. Those of tarpc are left out: it writes one for each request that fails, and the
/// client library reports those itself.
fn start_tracing() -> anyhow::Result<()> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,tarpc=off".to_owned());
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("RUST_LOG={directives} is no filter; try RUST_LOG=info"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// One thread runs everything where it is called; more run beside it.
fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(threads).enable_all().build().context("cannot start the runtime")
}

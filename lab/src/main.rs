//! `kvs-lab`: runs clusters and measures them.
//!
//! - [`run`]: the launcher, what `run-cluster.sh` does;
//! - [`node`]: what runs on a cluster's hosts;
//! - [`mod@bench`]: what is measured, a subcommand each;
//! - [`mod@measure`]: what they share: stores, rounds, tables;
//! - [`say`]: what is printed meanwhile;
//! - [`signals`]: how a user asks to stop;
//! - [`tied`]: processes that end with who started them;
//! - [`workspace`]: the sources, and what is built of them.

mod bench;
mod measure;
mod node;
mod run;
mod say;
mod signals;
mod tied;
mod workspace;

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use signals::interrupted;

/// Runs clusters of kvs-server and kvs-client, and measures them.
#[derive(Parser)]
#[command(name = "kvs-lab", version, after_help = ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

/// What all that measures reads from the environment.
const ENVIRONMENT: &str = "KVS_BIN_DIR names a folder with binaries that are built already, \
    RESULTS_DIR one for measured tables (results/).";

#[derive(Subcommand)]
enum What {
    /// Run servers and clients, on this machine or over ssh; see run-cluster.sh -help
    Run,
    /// Run over lists of settings, several times each, into one table
    Sweep,
    /// Measure REPORT.md's sweeps
    Sweeps(bench::sweeps::Sweeps),
    /// Ours beside Redis and memcached
    Compare(bench::compare::Compare),
    /// From one operation per call to the full design, step by step
    Ladder(bench::ladder::Ladder),
    /// The scenarios that key-value stores publish
    Scenarios(bench::scenarios::Scenarios),
    /// Throughput over servers where the network is the limit
    Scaling(bench::scaling::Scaling),
    /// Latency against offered load
    OpenLoop(bench::open_loop::OpenLoop),
    /// How fast histories are checked
    Check(bench::check::Check),
    /// What promises cost
    Costs(bench::costs::Costs),
    /// The stores by themselves
    Store(bench::store::Store),
    /// TCP, Unix sockets, and servers inside the client's process
    Transports(bench::transports::Transports),
    /// What a client spends on an operation
    Client(bench::client::Client),
    /// Flamegraphs of server and client, and the share of time by stage
    Profile(bench::profile::Profile),
    /// Keep a run for REPORT.md
    Publish(bench::publish::Publish),
    /// What a launcher elsewhere asks of this host
    #[command(subcommand, hide = true)]
    Node(node::Node),
    /// Become a command that ends when its parent does
    #[command(hide = true)]
    Tied(tied::Tied),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // These two take flags of other programs, which are passed on as they are.
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("run") => return on_runtime(run::main(&arguments[2..])),
        Some("sweep") => return on_runtime(bench::sweep::main(&arguments[2..])),
        _ => {}
    }
    let what = flags::parse::<Cli>().what;
    match what {
        What::Tied(tied) => tied.run(),
        What::Node(node) => on_runtime(node.run()),
        // Who stops them is told how a sweep goes on.
        What::Sweeps(sweeps) => on_runtime(sweeps.run()),
        what => on_runtime(interruptible(what)),
    }
}

/// One thread: what is started ends with the thread that started it.
fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    say::heard(|| runtime.expect("a runtime of one thread can be made").block_on(work))
}

/// Measures until it is done or the user asks to stop; then what was started ends.
async fn interruptible(what: What) -> ExitCode {
    let interrupted = interrupted();
    let result = tokio::select! {
        result = measure(what) => result,
        status = interrupted => return ExitCode::from(status),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "kvs-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(what: What) -> anyhow::Result<()> {
    match what {
        What::Run | What::Sweep | What::Sweeps(_) | What::Tied(_) | What::Node(_) => {
            unreachable!("main has taken it")
        }
        What::Compare(it) => it.run().await,
        What::Ladder(it) => it.run().await,
        What::Scenarios(it) => it.run().await,
        What::Scaling(it) => it.run().await,
        What::OpenLoop(it) => it.run().await,
        What::Check(it) => it.run().await,
        What::Costs(it) => it.run().await,
        What::Store(it) => it.run().await,
        What::Transports(it) => it.run().await,
        What::Client(it) => it.run().await,
        What::Profile(it) => it.run().await,
        What::Publish(it) => it.run().await,
    }
}

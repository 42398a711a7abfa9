//! The server's program: see the library for what it does.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use kvs_server::config::Flags;
use kvs_server::descriptors;
use kvs_server::environment::SystemEnvironment;
use kvs_server::reporter::Reporter;
use kvs_server::server::{BoundAddress, FatalError, Server};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What a program that ends by a signal from the keyboard returns to its shell.
const INTERRUPTED: i32 = 130;

/// Parse, serve, and say in one line what went wrong.
fn main() -> ExitCode {
    let flags = flags::parse::<Flags>();
    let served = start_logging().and_then(|()| runtime(flags.threads())?.block_on(serve(&flags)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            if error.is::<FatalError>() {
                std::process::abort();
            }
            ExitCode::FAILURE
        }
    }
}

/// Who is built from what, and in which order they end.
async fn serve(flags: &Flags) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    let mut config = flags.server_config();
    config.connections_max = connections_that_fit(config.connections_max)?;
    let shard = config.shard.shard;
    let server = Server::bind(config, Arc::new(SystemEnvironment)).await?;
    let addresses = server.addresses();
    let service = Arc::clone(server.service());
    if let Some(path) = &flags.port_file {
        write_ports(path, &addresses)
            .with_context(|| format!("cannot write -port_file {}", path.display()))?;
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let first_line = format!(
        "listening on {} shard {shard} store {} partitions {} threads {} boot {:016x}",
        addresses.join(","),
        flags.store,
        service.engine().partitions().count(),
        flags.threads(),
        service.engine().data_id()
    );
    let interval = flags.stats_secs.0;
    let reporter = Reporter::start(service, interval, first_line, io::stdout(), stop.clone())
        .context("cannot start the thread that writes statistics")?;
    server.run(stop).await?;
    Ok(reporter.finish().await?)
}

/// Logs go to stderr; stdout belongs to the statistics.
fn start_logging() -> anyhow::Result<()> {
    const DEFAULT: &str = "info,tarpc=warn";
    let wanted = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => wanted,
        Ok(_) | Err(std::env::VarError::NotPresent) => DEFAULT.to_owned(),
        Err(error) => anyhow::bail!("RUST_LOG: {error}; write e.g. RUST_LOG={DEFAULT}"),
    };
    let filter = EnvFilter::try_new(&wanted).map_err(|error| {
        anyhow::anyhow!("RUST_LOG={wanted} is no filter ({error}); write e.g. RUST_LOG={DEFAULT}")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{}", panic.to_string().replace('\n', " "));
    }));
    Ok(())
}

/// One thread serves without the cost of handing tasks over to others.
fn runtime(threads: u32) -> anyhow::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads as usize)
        // Names of hosts are looked up on these, and nothing else.
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .context("cannot start the threads that serve; lower -threads")
}

/// Cancelled by the first SIGINT or SIGTERM; the second one ends the process at once.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupts, mut terminations) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        either(&mut interrupts, &mut terminations).await;
        tracing::info!("stopping; a second signal ends the server at once");
        stopping.cancel();
        either(&mut interrupts, &mut terminations).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn connections_that_fit(connections_max: usize) -> anyhow::Result<usize> {
    let fitting = descriptors::raise_limit(connections_max);
    anyhow::ensure!(fitting > 0, "the bound on open files leaves no connection; raise `ulimit -n`");
    if fitting < connections_max {
        tracing::warn!(
            connections_max,
            fitting,
            "the bound on open files holds fewer connections; raise it with `ulimit -n`"
        );
    }
    Ok(fitting)
}

/// Writes the TCP ports, a line each. The file appears whole or not at all, for whoever waits.
fn write_ports(path: &Path, addresses: &[BoundAddress]) -> io::Result<()> {
    let ports: String = addresses
        .iter()
        .filter_map(|address| match address {
            BoundAddress::Tcp(address) => Some(format!("{}\n", address.port())),
            BoundAddress::Unix(_) => None,
        })
        .collect();
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    std::fs::write(&unfinished, ports)?;
    std::fs::rename(&unfinished, path)
}

/// One line on stderr. Nothing is left to do when even that fails.
fn complain(error: &anyhow::Error) {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "kvs-server: {error:#}");
}

//! The launcher: runs servers and clients, on this machine or on several over ssh, and tells what came
//! out.
//!
//! - [`arguments`], [`hosts`]: what the user typed, and where it takes place;
//! - [`folder`], [`description`]: what the run leaves behind, and what is noted of it before;
//! - [`processes`]: what is started, watched and stopped, here and on other hosts;
//! - [`cluster`], [`ssh`], [`clocks`]: hosts, the way there, and their clocks;
//! - [`live`], [`logs`]: what is shown, and what is read in logs;
//! - [`check`]: the check of what was recorded;
//! - [`end`]: why a run ends before its time; [`words`]: helpers for texts.
//!
//! # Exit status
//!
//! 0 for a run that is whole; 1 when something failed or the run was convicted; 2 for what was typed
//! wrongly; 128 and the signal's number when the user stopped it.

mod arguments;
mod check;
mod clocks;
mod cluster;
mod description;
mod end;
mod folder;
mod hosts;
mod live;
mod logs;
mod processes;
mod ssh;
mod words;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use report::tell;
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use self::arguments::Arguments;
use self::cluster::Cluster;
use self::end::{End, signal_name};
use self::folder::Folders;
use self::live::{Live, say};
use self::processes::{Kind, Processes, short_path};
use self::ssh::{CONNECT_SECS_MAX, Ssh};
use self::words::last_line;
use crate::signals::{Signals, status_of};
use crate::{tied, workspace};

/// For all servers to answer.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
/// For an answer to a ping.
const PING_TIME_MAX: Duration = Duration::from_secs(5);
/// For a process to end after it was asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// The same after another process has failed, 10 s in all. A client gives open replies 5 s.
const FAIL_CLIENT_TIME_MAX: Duration = Duration::from_secs(6);
/// The servers' part of it.
const FAIL_SERVER_TIME_MAX: Duration = Duration::from_secs(2);
/// For the clients' files of a run that went well, histories among them.
const FETCH_TIME_MAX: Duration = Duration::from_secs(3600);
/// The same after a failure: who does not answer by then is not waited for.
const FAIL_FETCH_TIME_MAX: Duration = Duration::from_secs(3);
/// Histories take their time, like their check.
const FAIL_FETCH_HISTORY_TIME_MAX: Duration = Duration::from_secs(60);
/// For a host's clock to be measured.
const CLOCK_TIME_MAX: Duration = Duration::from_secs(20);
/// The same after a failure.
const FAIL_CLOCK_TIME_MAX: Duration = Duration::from_secs(2);
/// For the connections to close.
const DISCONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two looks at what is written while a run starts.
const LOOK_STARTING: Duration = Duration::from_millis(10);
/// Between two looks at what is written while it runs.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a cluster: `[servers] [clients] [server_args] [client_args]`.
pub(crate) async fn main(arguments: &[OsString]) -> ExitCode {
    let words: Vec<String> =
        arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if matches!(words.first().map(String::as_str), Some("-help" | "--help" | "-h")) {
        return match live::print(include_str!("usage.txt")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(end) => ExitCode::from(told(end)),
        };
    }
    let status = match Run::begin(&words).await {
        Ok(mut run) => {
            let status = match run.go().await {
                Ok(()) => 0,
                Err(end) => run.end_early(end).await,
            };
            run.processes.kill().await;
            run.processes.disconnect(DISCONNECT_TIME_MAX).await;
            status
        }
        Err(end) => told(end),
    };
    ExitCode::from(status)
}

/// Tells the user why it ends; the exit status.
fn told(end: End) -> u8 {
    let (status, lines) = match end {
        End::Stop { status, lines } => (status, lines),
        End::Failed(lines) => (1, lines),
        End::Interrupted(signal) => (status_of(signal), Vec::new()),
    };
    for line in lines {
        // Nobody may be there to read it.
        let _ = writeln!(stderr(), "run-cluster.sh: {line}");
    }
    status
}

/// A run.
struct Run {
    arguments: Arguments,
    bin: PathBuf,
    folders: Folders,
    processes: Processes,
    signals: Signals,
    live: Live,
    cluster: Option<Cluster>,
    /// The servers' addresses, with commas between.
    hosts: String,
    /// What the binaries were built from.
    commit: String,
}

impl Run {
    /// Reads what is asked for and makes the run's folder; starts nothing.
    async fn begin(words: &[String]) -> Result<Self, End> {
        let signals = Signals::listen();
        let mut arguments = Arguments::read(words).await?;
        say(&arguments.mode)?;
        let bin = binaries(arguments.checks)?;
        let commit = workspace::commit().await;
        let folders = Folders::make()?;
        let nodes = std::mem::take(&mut arguments.nodes);
        let cluster = if nodes.is_empty() {
            None
        } else {
            let ssh = Ssh::new(folders.work.path())?;
            let (source, folder) = (arguments.hosts_source.clone(), arguments.node_dir.clone());
            Some(Cluster::new(nodes, arguments.servers, ssh, source, folder))
        };
        description::write(&arguments, &folders, cluster.as_ref(), &commit)?;
        say(&format!("logs in {}", short_path(&folders.run)))?;
        let (processes, live, hosts) = (Processes::default(), Live::new(), String::new());
        Ok(Self { arguments, bin, folders, processes, signals, live, cluster, hosts, commit })
    }

    /// The run in its order.
    async fn go(&mut self) -> Result<(), End> {
        self.connect().await?;
        self.prepare_hosts().await?;
        self.start_servers()?;
        self.await_servers().await?;
        self.measure_first_clocks().await?;
        self.start_clients()?;
        self.watch_clients().await?;
        self.finish().await
    }

    /// Opens a connection to each host. All answers are waited for: what is wrong is told at once.
    async fn connect(&mut self) -> Result<(), End> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let size = cluster.size();
        for index in 0..size {
            let name = format!("ssh {}", cluster.name(index));
            let (log, command) = (cluster.ssh.log(index), cluster.connection(index));
            self.processes.start(Kind::Connection, name, log, command, Some(String::new()))?;
        }
        let deadline = Instant::now() + Duration::from_secs(2 * CONNECT_SECS_MAX);
        let connected = |index| cluster.ssh.is_connected(index);
        loop {
            let processes = &self.processes;
            let waits = |index| !processes.connection_ended(index) && !connected(index);
            if Instant::now() >= deadline || !(0..size).any(waits) {
                break;
            }
            tokio::select! {
                () = self.processes.one_ends() => {}
                signal = self.signals.next() => return Err(End::Interrupted(signal)),
                () = sleep(LOOK_STARTING) => {}
            }
        }
        let lost = |index: &usize| self.processes.connection_ended(*index) || !connected(*index);
        let lines: Vec<String> =
            (0..size).filter(lost).map(|index| cluster.why_not(index)).collect();
        if lines.is_empty() { Ok(()) } else { Err(End::Stop { status: 1, lines }) }
    }

    async fn prepare_hosts(&mut self) -> Result<(), End> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        tokio::select! {
            prepared = cluster.prepare(&self.bin) => prepared?,
            signal = self.signals.next() => return Err(End::Interrupted(signal)),
        }
        for line in cluster.lines() {
            say(&line)?;
        }
        description::write(&self.arguments, &self.folders, self.cluster.as_ref(), &self.commit)
    }

    /// Starts `kvs-server 2` or the like: on this machine, or on the one at `index`.
    fn start(
        &mut self,
        kind: Kind,
        name: &str,
        index: usize,
        flags: Vec<String>,
    ) -> Result<(), End> {
        let program = name.split(' ').next().expect("a name begins with the program's");
        let log = self.folders.run.join(format!("{}.log", name.replace(' ', "-")));
        let Some(cluster) = &self.cluster else {
            let mut command = tied::command(self.bin.join(program));
            command.args(flags);
            return self.processes.start(kind, name.to_owned(), log, command, None);
        };
        let command = std::iter::once(program.to_owned()).chain(flags).collect();
        let (command, order) = cluster.process(index, &self.run_name(), name, command);
        let name = format!("{name} on {}", cluster.name(index));
        self.processes.start(kind, name, log, command, Some(order))
    }

    /// The name of the run's folder.
    fn run_name(&self) -> String {
        let name = self.folders.run.file_name().expect("the folder has a name");
        name.to_string_lossy().into_owned()
    }

    fn start_servers(&mut self) -> Result<(), End> {
        let servers = self.arguments.servers;
        for index in 0..servers {
            let (listen, port) = match (&self.cluster, self.arguments.port) {
                (Some(cluster), port) => (cluster.address(index), port),
                (None, 0) => ("127.0.0.1".to_owned(), 0),
                (None, port) => ("127.0.0.1".to_owned(), port + index as u16),
            };
            let shard = format!("{}/{servers}", index + 1);
            let flags = ["-listen", &listen, "-port", &port.to_string(), "-shard", &shard];
            let flags = flags.map(str::to_owned).into_iter();
            let flags = flags.chain(self.arguments.server_args.clone()).collect();
            self.start(Kind::Server, &format!("kvs-server {}", index + 1), index, flags)?;
        }
        Ok(())
    }

    /// Waits until every server answers.
    async fn await_servers(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + READY_TIME_MAX;
        let mut addresses = Vec::new();
        for number in 1..=self.arguments.servers {
            let log = self.folders.run.join(format!("kvs-server-{number}.log"));
            addresses.push(loop {
                if let Some(address) = logs::listening(&log) {
                    break address;
                }
                self.starting(deadline, || format!("kvs-server {number} has not begun to listen"))?;
                self.pause(LOOK_STARTING).await?;
            });
        }
        self.hosts = addresses.join(",");
        while let Err(why) = self.ping().await? {
            self.starting(deadline, || format!("not every server answers: {why}"))?;
            self.pause(LOOK).await?;
        }
        say(&format!("servers on {}", self.hosts))
    }

    /// Ends the run if the time to start is over.
    fn starting(&self, deadline: Instant, what: impl FnOnce() -> String) -> Result<(), End> {
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(End::failed(format!(
            "{} after {} s; see {}",
            what(),
            READY_TIME_MAX.as_secs(),
            short_path(&self.folders.run)
        )))
    }

    /// Asks all servers; why not all of them answer.
    async fn ping(&mut self) -> Result<Result<(), String>, End> {
        let hosts = &self.hosts;
        let ping = async {
            if let Some(cluster) = &self.cluster {
                return cluster.ping(hosts).await;
            }
            let mut command = tied::command(self.bin.join("kvs-client"));
            command.args(["-hosts", hosts, "ping"]).stdin(Stdio::null());
            let output = command.output().await.map_err(|error| error.to_string())?;
            let said = || last_line(&String::from_utf8_lossy(&output.stderr));
            if output.status.success() { Ok(()) } else { Err(said()) }
        };
        tokio::select! {
            answer = timeout(PING_TIME_MAX, ping) => {
                Ok(answer.unwrap_or_else(|_| Err("it takes too long".to_owned())))
            }
            signal = self.signals.next() => Err(End::Interrupted(signal)),
        }
    }

    async fn measure_first_clocks(&mut self) -> Result<(), End> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let error_ns = tokio::select! {
            measured = cluster.measure_first_clocks(CLOCK_TIME_MAX) => measured?,
            signal = self.signals.next() => return Err(End::Interrupted(signal)),
        };
        say(&format!("hosts' clocks are known to {} us", error_ns.div_ceil(1_000)))
    }

    fn start_clients(&mut self) -> Result<(), End> {
        let (servers, clients) = (self.arguments.servers, self.arguments.clients);
        let run = self.run_name();
        let folder = match self.cluster {
            Some(_) => format!("runs/{run}"),
            None => self.folders.run.display().to_string(),
        };
        for number in 1..=clients {
            let (index, count) = (number.to_string(), clients.to_string());
            let json = format!("{folder}/kvs-client-{number}.json");
            let mode = &self.arguments.mode;
            let mut flags = vec!["-hosts", &self.hosts, "-client_index", &index];
            flags.extend(["-client_count", &count, "-run_id", &run, "-mode", mode, "-json", &json]);
            let history = format!("{folder}/kvs-client-{number}.history");
            if self.arguments.checks {
                flags.extend(["-history", &history]);
            }
            let flags = flags.into_iter().map(str::to_owned);
            let flags = flags.chain(self.arguments.client_args.clone()).collect();
            let name = format!("kvs-client {number}");
            self.start(Kind::Client, &name, servers + number - 1, flags)?;
        }
        Ok(())
    }

    async fn watch_clients(&mut self) -> Result<(), End> {
        while self.processes.running(Kind::Client) {
            self.live.show(&self.folders.run)?;
            self.pause(LOOK).await?;
        }
        self.live.clear()
    }

    /// Waits for a moment, or until a process ends. Ends the run if one failed, the user asked, or the
    /// run's folder is gone.
    async fn pause(&mut self, time: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            signal = self.signals.next() => return Err(End::Interrupted(signal)),
            () = self.processes.one_ends() => {}
            () = sleep(time) => {}
        }
        let failures = self.processes.failures();
        if !failures.is_empty() {
            return Err(End::Failed(failures));
        }
        if !self.folders.run.is_dir() {
            let folder = short_path(&self.folders.run);
            return Err(End::failed(format!(
                "the run's folder {folder} is gone; leave it in place"
            )));
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), End> {
        if !self.processes.stop(Kind::Server, Signal::TERM, STOP_TIME_MAX).await {
            return Err(End::failed(format!(
                "a server did not end within {} s of SIGTERM and was killed; see {}",
                STOP_TIME_MAX.as_secs(),
                short_path(&self.folders.run)
            )));
        }
        let unclean = self.processes.unclean();
        if !unclean.is_empty() {
            return Err(End::Failed(unclean));
        }
        self.bring_back(FETCH_TIME_MAX, CLOCK_TIME_MAX).await?;
        let verdict = check::check_histories(self, false).await?;
        self.tell().map_err(|error| End::Stop { status: 1, lines: error.faults })?;
        verdict.map_or(Ok(()), |verdict| Err(End::stop(verdict)))
    }

    /// Prints the total and draws the pictures.
    fn tell(&self) -> Result<(), tell::TellError> {
        tell::run(&self.folders.run, &tell::Options::default(), &mut stdout().lock())
    }

    /// From several hosts, what the clients left there, and how the clocks went meanwhile.
    async fn bring_back(&mut self, fetch_max: Duration, clock_max: Duration) -> Result<(), End> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let folder = &self.folders.run;
        let clocks = cluster.measure_last_clocks(clock_max, folder).await;
        cluster.fetch(fetch_max, folder, self.arguments.checks).await?;
        clocks.map_err(End::failed)
    }

    /// Stops what runs, tells what there is, and says why; the exit status.
    async fn end_early(&mut self, end: End) -> u8 {
        let (client_max, server_max) = match &end {
            End::Stop { .. } => return told(end),
            End::Failed(_) => (FAIL_CLIENT_TIME_MAX, FAIL_SERVER_TIME_MAX),
            End::Interrupted(_) => (STOP_TIME_MAX, STOP_TIME_MAX),
        };
        // The reason is told all the same if nobody reads this.
        let _ = self.live.clear();
        if let End::Interrupted(signal) = &end {
            let _ = say(&format!("stopping on {}", signal_name(signal.as_raw())));
        }
        self.processes.stop(Kind::Client, Signal::INT, client_max).await;
        self.processes.stop(Kind::Server, Signal::TERM, server_max).await;
        if let Some(cluster) = &mut self.cluster {
            cluster.ssh.hurries = true;
        }
        let histories = self.arguments.checks;
        let fetch_max = if histories { FAIL_FETCH_HISTORY_TIME_MAX } else { FAIL_FETCH_TIME_MAX };
        // What does not come is named as missing by what is told below.
        let _ = self.bring_back(fetch_max, FAIL_CLOCK_TIME_MAX).await;
        match end {
            // Nobody who wants to stop wants to wait for a check.
            End::Interrupted(signal) => told(End::Stop {
                status: status_of(signal),
                lines: match self.tell() {
                    Err(error) if !error.has_total => vec![format!(
                        "stopped before there was a total: {}",
                        error.faults.first().map_or("", String::as_str)
                    )],
                    _ => Vec::new(),
                },
            }),
            End::Failed(mut lines) => {
                // A client that was killed left a history without an end.
                match check::check_histories(self, true).await {
                    Ok(verdict) => lines.extend(verdict),
                    Err(end) => return told(end),
                }
                // What was measured until then is told, and who is missing from it; without a result
                // of any client, the servers' seconds are still plotted.
                let _ = self.tell();
                told(End::Failed(lines))
            }
            End::Stop { .. } => unreachable!("it was told"),
        }
    }
}

/// The folder of the binaries that a run needs, which all are there.
fn binaries(checks: bool) -> Result<PathBuf, End> {
    let beside = || {
        let program = std::env::current_exe().map_err(|error| End::stop(error.to_string()))?;
        Ok(program.parent().map_or_else(PathBuf::new, PathBuf::from))
    };
    let folder = workspace::given_binaries().map_or_else(beside, Ok)?;
    let needed = ["kvs-lab", "kvs-server", "kvs-client"].into_iter();
    for name in needed.chain(checks.then_some("kvs-check")) {
        if !folder.join(name).is_file() {
            return Err(End::stop(format!(
                "there is no {name} in {}; build it there, or unset KVS_BIN_DIR",
                folder.display()
            )));
        }
    }
    Ok(folder)
}

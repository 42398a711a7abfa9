//! What a run over several machines takes beside one on this machine: hosts that are made ready
//! before, and files that are brought back after.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clocks::Estimate;
use futures::future::join_all;
use report::run_folder::Host;
use report::warning::Warning;
use tokio::process::Command;
use tokio::time::timeout;

use super::clocks::{Clock, measure};
use super::end::End;
use super::hosts::Node;
use super::ssh::Ssh;
use super::words::quoted;
use crate::node::keeper::Order;
use crate::node::prepare::Facts;
use crate::tied;

/// For one host to be made ready.
pub(crate) const PREPARE_TIME_MAX: Duration = Duration::from_secs(300);

/// Where the launcher puts things on a host, unless the user names a folder.
const FOLDER: &str = "/tmp/kvs-$(id -u)";

/// One of the machines.
#[derive(Debug)]
pub(crate) struct Machine {
    node: Node,
    /// `server 1` or `client 1`.
    role: String,
    /// The launcher's folder there, and what the host told; once it was made ready.
    ready: Option<Ready>,
}

/// A host that was made ready.
#[derive(Debug)]
struct Ready {
    folder: String,
    facts: Facts,
    copied: bool,
}

/// The machines of a run, the servers' first.
#[derive(Debug)]
pub(crate) struct Cluster {
    machines: Vec<Machine>,
    servers: usize,
    /// The way there.
    pub(crate) ssh: Ssh,
    source: String,
    folder: Option<String>,
    first_clocks: Vec<Estimate>,
    /// How the clocks stood over the whole run, by machine; empty before its end.
    pub(crate) clocks: Vec<Clock>,
}

impl Cluster {
    /// Nothing is asked of any host yet. `source` named them; `folder` is for the launcher there.
    pub(crate) fn new(
        nodes: Vec<Node>,
        servers: usize,
        ssh: Ssh,
        source: String,
        folder: Option<String>,
    ) -> Self {
        let role = |index: usize| match index.checked_sub(servers) {
            None => format!("server {}", index + 1),
            Some(client) => format!("client {}", client + 1),
        };
        let machine = |(index, node)| Machine { node, role: role(index), ready: None };
        let machines = nodes.into_iter().enumerate().map(machine).collect();
        let (first_clocks, clocks) = (Vec::new(), Vec::new());
        Self { machines, servers, ssh, source, folder, first_clocks, clocks }
    }

    /// How many machines there are.
    pub(crate) fn size(&self) -> usize {
        self.machines.len()
    }

    /// What the user calls a machine.
    pub(crate) fn name(&self, index: usize) -> &str {
        &self.machines[index].node.name
    }

    /// The command that opens the connection to a machine.
    pub(crate) fn connection(&self, index: usize) -> Command {
        self.ssh.connection(index, &self.machines[index].node)
    }

    /// Why there is no connection to a machine, and the mend.
    pub(crate) fn why_not(&self, index: usize) -> String {
        self.ssh.why_not(index, &self.machines[index].node, &self.source)
    }

    /// Does a thing with each machine, all at once.
    ///
    /// # Errors
    ///
    /// A line for each machine that failed or took longer.
    async fn each<T>(
        &self,
        time_max: Duration,
        work: impl AsyncFn(usize, &Machine) -> Result<T, String>,
    ) -> Result<Vec<T>, End> {
        let bounded = async |index, machine: &Machine| {
            let silent = || format!("it did not answer within {} s", time_max.as_secs());
            let done =
                timeout(time_max, work(index, machine)).await.unwrap_or_else(|_| Err(silent()));
            done.map_err(|why| format!("{}: {why}", machine.node.name))
        };
        let work = self.machines.iter().enumerate().map(|(index, machine)| bounded(index, machine));
        let mut done = Vec::new();
        let mut failed = Vec::new();
        for result in join_all(work).await {
            match result {
                Ok(value) => done.push(value),
                Err(line) => failed.push(line),
            }
        }
        if failed.is_empty() { Ok(done) } else { Err(End::Failed(failed)) }
    }

    /// Has each host end what earlier runs left, takes it what it has not, and learns what it is.
    ///
    /// # Errors
    ///
    /// A line for each host that failed; two hosts that are one.
    pub(crate) async fn prepare(&mut self, bin: &Path) -> Result<(), End> {
        let sums = sums_here(bin).await.map_err(End::stop)?;
        let prepared = self
            .each(PREPARE_TIME_MAX, async |index, machine| {
                self.prepare_one(index, machine, bin, &sums).await
            })
            .await?;
        for (machine, ready) in self.machines.iter_mut().zip(prepared) {
            machine.ready = Some(ready);
        }
        let address = |machine: &Machine| machine.ready.as_ref().map(|ready| ready.facts.address);
        for (index, machine) in self.machines.iter().enumerate() {
            let twin =
                self.machines[..index].iter().find(|other| address(other) == address(machine));
            if let Some(twin) = twin {
                return Err(End::failed(format!(
                    "{} and {} are one host: both have the data address {}; name each host once",
                    twin.node.name,
                    machine.node.name,
                    self.ready(index).facts.address
                )));
            }
        }
        Ok(())
    }

    async fn prepare_one(
        &self,
        index: usize,
        machine: &Machine,
        bin: &Path,
        sums: &HashMap<String, String>,
    ) -> Result<Ready, String> {
        let run =
            async |command: &str, input| self.ssh.run(index, &machine.node, command, input).await;
        // What the node's own shell reads is plain to every shell; the rest is for sh.
        let make = format!(
            "umask 077; d={}; mkdir -p \"$d/bin\" && [ -O \"$d\" ] || {{ echo \"error: it cannot use \
             the folder $d; set KVS_NODE_DIR to another\" >&2; exit 3; }}; cd \"$d/bin\" && \
             {{ sha256sum kvs-* 2>/dev/null; pwd; }}",
            self.folder.as_deref().unwrap_or(FOLDER)
        );
        let there = run(&format!("exec sh -c {}", quoted(&make)), Stdio::null()).await?;
        // The node's shell may have something to say first.
        let folder = there.lines().last().and_then(|line| line.strip_suffix("/bin"));
        let folder = folder.ok_or("it does not tell its folder")?.to_owned();
        let mut copied = false;
        for name in [if index < self.servers { "kvs-server" } else { "kvs-client" }, "kvs-lab"] {
            let line = format!("{}  {name}", sums[name]);
            if there.lines().any(|told| told == line) {
                continue;
            }
            let file = File::open(bin.join(name)).map_err(|error| format!("{name}: {error}"))?;
            run(&install(&folder, name), file.into()).await?;
            copied = true;
        }
        let address = machine.node.address.as_deref().unwrap_or_default();
        let prepare = format!("exec {folder}/bin/kvs-lab node prepare {address}");
        let told = run(&prepare, Stdio::null()).await?;
        let facts = told.lines().last().unwrap_or_default();
        let facts =
            serde_json::from_str(facts).map_err(|error| format!("it told {told}: {error}"))?;
        Ok(Ready { folder, facts, copied })
    }

    fn ready(&self, index: usize) -> &Ready {
        self.machines[index].ready.as_ref().expect("all machines were made ready")
    }

    /// What the user is told of the hosts, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut copied = 0;
        for (index, machine) in self.machines.iter().enumerate() {
            let Ready { facts, copied: newly, .. } = self.ready(index);
            let ended = facts.ended.iter();
            lines.extend(ended.map(|what| format!("{}: ended {what}", machine.node.name)));
            copied += usize::from(*newly);
        }
        for (index, machine) in self.machines.iter().enumerate() {
            let Facts { address, interface, .. } = &self.ready(index).facts;
            lines.push(format!(
                "{:<10}  {:<10}  {address} on {}, {}",
                machine.node.name,
                machine.role,
                interface.name,
                speed(interface.link_mbit)
            ));
        }
        let warnings = self.warnings().into_iter();
        lines.extend(warnings.map(|it| format!("warning: {}: {}", it.what, it.remedy)));
        if copied > 0 {
            lines.push(format!("copied binaries to {copied} hosts"));
        }
        lines
    }

    /// What the reader of the result should know of the hosts.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let of_machine = |machine: &Machine| {
            let name = machine.node.name.clone();
            let facts = machine.ready.as_ref().map(|ready| ready.facts.clone());
            let faster = facts.into_iter().flat_map(|facts| {
                let Facts { interface, faster, .. } = facts;
                faster.into_iter().map(move |faster| (interface.clone(), faster))
            });
            faster.map(move |(own, (other, address))| Warning {
                what: format!(
                    "{name} has its data on {} ({}), but is linked with {} by {}",
                    own.name,
                    speed(own.link_mbit),
                    speed(other.link_mbit),
                    other.name
                ),
                remedy: format!("name it as {name}={address}"),
            })
        };
        self.machines.iter().flat_map(of_machine).collect()
    }

    /// The hosts as `run.json` has them; none before they were made ready.
    pub(crate) fn hosts(&self) -> Vec<Host> {
        let host = |machine: &Machine| {
            let Facts { address, interface, machine: host, .. } = &machine.ready.as_ref()?.facts;
            Some(Host {
                node: Some(machine.node.name.clone()),
                role: Some(machine.role.clone()),
                address: Some(address.to_string()),
                interface: Some(interface.name.clone()),
                link_mbit: interface.link_mbit,
                machine: host.clone(),
            })
        };
        self.machines.iter().filter_map(host).collect()
    }

    /// The data address of a machine.
    pub(crate) fn address(&self, index: usize) -> String {
        self.ready(index).facts.address.to_string()
    }

    /// The command that leads to a process on a machine, and the line that orders it there. `command`
    /// begins with a binary's name.
    pub(crate) fn process(
        &self,
        index: usize,
        run: &str,
        name: &str,
        mut command: Vec<String>,
    ) -> (Command, String) {
        command[0] = format!("bin/{}", command[0]);
        let order = Order { run: run.to_owned(), name: name.to_owned(), command };
        let order = serde_json::to_string(&order).expect("words are JSON");
        let keep = format!("exec {}/bin/kvs-lab node keep", self.ready(index).folder);
        (self.ssh.command(index, &self.machines[index].node, &keep), order)
    }

    /// Has the first client's host ask whether all servers answer: this machine may be none of their
    /// network.
    pub(crate) async fn ping(&self, hosts: &str) -> Result<(), String> {
        let index = self.servers;
        let folder = &self.ready(index).folder;
        let command = format!("exec {folder}/bin/kvs-client -hosts {hosts} ping");
        self.ssh.run(index, &self.machines[index].node, &command, Stdio::null()).await.map(drop)
    }

    /// Measures the clocks before the clients start; how well they are known, in nanoseconds.
    ///
    /// # Errors
    ///
    /// A line for each host whose clock cannot be read.
    pub(crate) async fn measure_first_clocks(&mut self, time_max: Duration) -> Result<u64, End> {
        self.first_clocks =
            self.each(time_max, async |i, it| self.measure_clock(i, it).await).await?;
        Ok(self.first_clocks.iter().map(|clock| clock.error_ns).max().unwrap_or(0))
    }

    /// Measures them after the clients ended, and writes `clocks.json`.
    pub(crate) async fn measure_last_clocks(
        &mut self,
        time_max: Duration,
        run: &Path,
    ) -> Result<(), String> {
        if self.first_clocks.is_empty() {
            return Ok(());
        }
        let last = self
            .each(time_max, async |i, it| Ok(self.measure_clock(i, it).await.ok()))
            .await
            .unwrap_or_default();
        let last = last.into_iter().chain(std::iter::repeat(None));
        let clocks = self.first_clocks.iter().zip(last);
        self.clocks = clocks.map(|(first, last)| Clock::new(*first, last)).collect();
        let hosts = self.machines.iter().zip(&self.clocks).map(|(machine, clock)| {
            clock.of_host(&machine.node.name, format!("kvs-{}", machine.role))
        });
        let written = report::clocks::write(&run.join("clocks.json"), &hosts.collect::<Vec<_>>());
        written.map_err(|error| error.to_string())
    }

    async fn measure_clock(&self, index: usize, machine: &Machine) -> Result<Estimate, String> {
        let ready = machine.ready.as_ref().ok_or("it was not made ready")?;
        let command = format!("exec {}/bin/kvs-lab node clock", ready.folder);
        measure(self.ssh.command(index, &machine.node, &command)).await
    }

    /// How the clients' clocks stood, by their number from 1.
    pub(crate) fn client_clocks(&self) -> impl Iterator<Item = (usize, Estimate)> {
        let clocks = self.clocks.iter().skip(self.servers);
        clocks.enumerate().map(|(index, clock)| (index + 1, clock.joined))
    }

    /// Brings back what the clients wrote, and removes it there. What can't be brought back stays there
    /// for a while.
    ///
    /// # Errors
    ///
    /// A line for each host from which something is missing.
    pub(crate) async fn fetch(
        &self,
        time_max: Duration,
        run: &Path,
        with_histories: bool,
    ) -> Result<(), End> {
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let fetch = async |index: usize, machine: &Machine| {
            let Some(ready) = &machine.ready else { return Ok(()) };
            let folder = format!("{}/runs/{name}", ready.folder);
            let files = index.checked_sub(self.servers).map_or_else(Vec::new, |client| {
                let file = |ending| format!("kvs-client-{}.{ending}", client + 1);
                let endings: &[&str] =
                    if with_histories { &["json", "history"] } else { &["json"] };
                endings.iter().map(file).collect()
            });
            let mut missing = Ok(());
            for file in files {
                let command = format!("exec cat {folder}/{file}");
                let command = self.ssh.command(index, &machine.node, &command);
                missing = missing.and(receive(command, run.join(file)).await);
            }
            missing?;
            let remove = format!("exec rm -rf {folder}");
            self.ssh.run(index, &machine.node, &remove, Stdio::null()).await.map(drop)
        };
        self.each(time_max, fetch).await.map(drop)
    }
}

/// Writes what the command prints to the file, which appears whole or not at all.
async fn receive(mut command: Command, path: PathBuf) -> Result<(), String> {
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::create(&part).map_err(fail)?;
    let done = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).status().await;
    match done {
        Ok(status) if status.success() => std::fs::rename(&part, &path).map_err(fail),
        _ => {
            let _ = std::fs::remove_file(&part);
            Err(format!("{} could not be brought back", path.display()))
        }
    }
}

/// The command that puts a binary there, from its input. One that runs stays as it is under the old
/// name's file.
fn install(folder: &str, name: &str) -> String {
    let script = format!(
        "umask 077; cd {folder}/bin && n=.{name}.$$ && cat >$n && chmod 700 $n && \
         why=$(./$n -version 2>&1) || {{ rm -f $n; echo \"error: {name} does not start there: $why; \
         build on a system like the hosts'\" >&2; exit 3; }}; mv -f $n {name}"
    );
    format!("exec sh -c {}", quoted(&script.replace('\n', " ")))
}

/// The checksums of the binaries here, by name.
async fn sums_here(bin: &Path) -> Result<HashMap<String, String>, String> {
    let mut command = tied::command("sha256sum");
    command.args(["kvs-server", "kvs-client", "kvs-lab"]).current_dir(bin);
    let text = tied::output(&mut command).await.map_err(|error| error.to_string())?;
    let sums = text.lines().filter_map(|line| line.split_once("  "));
    Ok(sums.map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect())
}

/// A link's speed for people.
fn speed(mbit: Option<u64>) -> String {
    match mbit {
        None | Some(0) => "speed unknown".to_owned(),
        Some(mbit) if mbit.is_multiple_of(1_000) => format!("{} Gbit/s", mbit / 1_000),
        Some(mbit) => format!("{mbit} Mbit/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_have_units() {
        assert_eq!(
            [Some(10_000), Some(2_500), None].map(speed),
            ["10 Gbit/s", "2500 Mbit/s", "speed unknown"]
        );
    }
}

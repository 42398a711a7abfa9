//! The sentence that names what limited a run, with its evidence.
//!
//! Everything is taken from what servers and clients logged once a second inside the measured
//! window. The most used of these is named, if it was used for most of the time:
//!
//! - a network link, one way, against its speed (where the system or `KVS_LINK_MBIT` tells it);
//! - the CPU of a machine, all its cores together;
//! - one core of a machine: what runs there is pinned to it;
//! - the worker threads of a process, which take one core each at most;
//! - the offered load, where clients were given a `-rate` and kept it.
//!
//! Where none of them was, processes wait for each other: more operations in flight help.
//!
//! Left on purpose: disks, because nothing is written; memory bandwidth, because no system tells it
//! without privileges, and it shows as CPU.

use std::fmt;

use resources::{Traffic, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::result::ratio;
use crate::run_folder::{FolderError, MeasuredClient, RunFolder};
use crate::window::{Window, intervals_in};

/// From here on a link, a machine's CPU or a process's threads are what limits: some of their
/// time is always lost to waits that no amount of load fills.
pub const LIMIT_MIN: f64 = 0.9;

/// The same for one core, on which system work of others shows too.
const CORE_MIN: f64 = 0.95;

/// A machine whose CPU is busy to less than this part with the run is busy with something else.
const OWN_CPU_MIN: f64 = 0.6;

/// What limited a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// The whole sentence, e.g. `node2 outgoing link 97% of 10 Gbit/s; servers 61% CPU, clients 68%`.
    pub sentence: String,
    /// What kind of thing limits; `None` if nothing was found.
    pub kind: Option<Kind>,
    /// How much it was used, from 0 to 1.
    pub used: Option<f64>,
    /// CPU time of the servers, as part of all cores that they could use, from 0 to 1.
    pub servers_cpu: Option<f64>,
    /// The same of the clients.
    pub clients_cpu: Option<f64>,
}

/// What kind of thing limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One direction of a network link.
    Link,
    /// All cores of a machine.
    MachineCpu,
    /// All cores of a machine, mostly by something that is not of the run.
    ForeignCpu,
    /// One core, to which processes are pinned.
    Core,
    /// The worker threads of one process.
    Threads,
    /// The clients' `-rate`.
    OfferedLoad,
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limited by: {}", self.sentence)
    }
}

/// One candidate.
struct Limit {
    kind: Kind,
    used: f64,
    text: String,
}

/// The part of a second's log that servers and clients have in common.
struct Second<'a> {
    interval_s: f64,
    usage: &'a Usage,
}

/// A process of the run, with its seconds inside the window.
struct Process<'a> {
    /// E.g. `server 2`.
    name: String,
    is_server: bool,
    /// Where it ran; processes of one machine have one number.
    machine: usize,
    threads: Option<u64>,
    seconds: Vec<Second<'a>>,
}

/// Finds what limited the run in `window`, in which clients completed `operations_per_second`.
pub(crate) fn find(
    run: &RunFolder,
    clients: &[MeasuredClient],
    window: Window,
    operations_per_second: f64,
) -> Result<Bottleneck, FolderError> {
    let logs = run.read_client_logs()?;
    let mut processes: Vec<Process<'_>> = Vec::new();
    for (index, log) in run.servers.iter().enumerate() {
        let seconds = intervals_in(log, Some(window)).map(|interval| Second {
            interval_s: interval.stats.interval_s,
            usage: &interval.stats.usage,
        });
        processes.push(Process {
            name: format!("server {}", index + 1),
            is_server: true,
            machine: machine_of(run, processes.len()),
            threads: log.listening.as_ref().map(|listening| listening.threads),
            seconds: seconds.collect(),
        });
    }
    for (index, log) in logs.iter().enumerate() {
        let inside = log.iter().filter(|stats| {
            let end_unix_ms = stats.unix_ms as f64;
            let start_unix_ms = end_unix_ms - 1e3 * stats.interval_s;
            start_unix_ms >= window.start_unix_ms as f64 && end_unix_ms <= window.end_unix_ms as f64
        });
        let seconds =
            inside.map(|stats| Second { interval_s: stats.interval_s, usage: &stats.usage });
        let result = clients.iter().find(|client| client.number as usize == index + 1);
        let threads = result.and_then(|client| client.result.config.get("threads"));
        processes.push(Process {
            name: format!("client {}", index + 1),
            is_server: false,
            machine: machine_of(run, processes.len()),
            threads: threads.and_then(Value::as_u64).filter(|threads| *threads > 0),
            seconds: seconds.collect(),
        });
    }
    Ok(judge(run, &processes, offered_load(clients, operations_per_second)))
}

/// The machine of a process, servers first: one for all, or one for each.
fn machine_of(run: &RunFolder, process: usize) -> usize {
    if run.description.machines == 1 { 0 } else { process }
}

fn judge(run: &RunFolder, processes: &[Process<'_>], offered: Option<Limit>) -> Bottleneck {
    let cpu = |is_server| cpu_of_all_cores(run, processes, is_server);
    let (servers_cpu, clients_cpu) = (cpu(true), cpu(false));
    let Some((servers, clients)) = servers_cpu.zip(clients_cpu) else {
        let what = "not known, because no whole second lies inside the window: use a longer -secs";
        let sentence = what.to_owned();
        return Bottleneck { sentence, kind: None, used: None, servers_cpu, clients_cpu };
    };
    let mut limits: Vec<Limit> = processes.iter().flat_map(|process| links(run, process)).collect();
    for machine in 0..processes.len() {
        limits.extend(machine_limits(run, processes, machine));
    }
    limits.extend(processes.iter().filter_map(threads));
    // Of equals the first: links before machines before threads.
    // What else runs on a machine counts only where nothing of the run's own is at its limit.
    let rank = |limit: &Limit| (limit.kind != Kind::ForeignCpu, limit.used);
    let higher = |most: Limit, next: Limit| if rank(&next) > rank(&most) { next } else { most };
    let most = limits.into_iter().reduce(higher);
    let limit = offered.or(most);
    let evidence = format!("servers {:.0}% CPU, clients {:.0}%", 100.0 * servers, 100.0 * clients);
    let text = match &limit {
        Some(limit) => &limit.text,
        None => "none found: raise -workers or -depth",
    };
    let sentence = format!("{text}; {evidence}");
    let (kind, used) = limit.map(|limit| (limit.kind, limit.used)).unzip();
    Bottleneck { sentence, kind, used, servers_cpu, clients_cpu }
}

/// CPU time of one side's processes over that of all cores of their machines; `None` if nothing
/// was logged.
fn cpu_of_all_cores(run: &RunFolder, processes: &[Process<'_>], is_server: bool) -> Option<f64> {
    let side = || processes.iter().filter(|process| process.is_server == is_server);
    let used: Option<f64> = side().map(cpu_percent).sum();
    let cores =
        |process: &Process<'_>| process.seconds.first().map_or(0, |s| s.usage.cores_percent.len());
    let cores = match run.description.machines {
        1 => side().map(cores).max(),
        _ => Some(side().map(cores).sum()),
    };
    Some(ratio(used?, 100.0 * cores? as f64))
}

/// Links of a process's machine that were full, one way or the other.
fn links(run: &RunFolder, process: &Process<'_>) -> Vec<Limit> {
    let Some(second) = process.seconds.last() else { return Vec::new() };
    let mut limits = Vec::new();
    for Traffic { interface, link_mbit, .. } in &second.usage.network {
        let Some(mbit) = link_mbit.filter(|mbit| *mbit > 0) else { continue };
        for way in ["outgoing", "incoming"] {
            let bytes = |link: &Traffic| match way {
                "outgoing" => link.sent_bytes,
                _ => link.received_bytes,
            };
            let rates = process.seconds.iter().map(|second| {
                let link = second.usage.network.iter().find(|link| link.interface == *interface);
                ratio(link.map_or(0, bytes) as f64, second.interval_s)
            });
            let used = mean(rates).map_or(0.0, |rate| ratio(8.0 * rate, 1e6 * mbit as f64));
            if used >= LIMIT_MIN {
                let (place, percent) = (place(run, process), percent(used));
                let text = format!("{place} {way} link {percent} of {}", link_speed(mbit));
                limits.push(Limit { kind: Kind::Link, used, text });
            }
        }
    }
    limits
}

/// A machine's CPU, all of it or one core.
fn machine_limits(run: &RunFolder, processes: &[Process<'_>], machine: usize) -> Option<Limit> {
    let on_it: Vec<&Process<'_>> =
        processes.iter().filter(|process| process.machine == machine).collect();
    let process = on_it.iter().find(|process| !process.seconds.is_empty())?;
    let place = place(run, process);
    let cores: Vec<f64> = (0..process.seconds[0].usage.cores_percent.len())
        .filter_map(|core| {
            mean(process.seconds.iter().filter_map(|s| s.usage.cores_percent.get(core).copied()))
        })
        .map(|percent| percent / 100.0)
        .collect();
    let all = mean(cores.iter().copied())?;
    if all >= LIMIT_MIN {
        let own: f64 = on_it.iter().filter_map(|process| cpu_percent(process)).sum();
        let own = ratio(own, 100.0 * cores.len() as f64);
        let is_foreign = own < OWN_CPU_MIN * all;
        let who = if is_foreign {
            format!(", only {} of it by this run: something else runs there", percent(own))
        } else if on_it.len() > 1 {
            ", shared by servers and clients".to_owned()
        } else {
            String::new()
        };
        let text = format!("{place}'s CPU {}{who}", percent(all));
        let kind = if is_foreign { Kind::ForeignCpu } else { Kind::MachineCpu };
        return Some(Limit { kind, used: all, text });
    }
    let (core, used) = cores.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let text = format!("core {core} of {place} {}, all cores {}", percent(used), percent(all));
    (used >= CORE_MIN).then_some(Limit { kind: Kind::Core, used, text })
}

/// The worker threads of a process, if they were busy all the time.
fn threads(process: &Process<'_>) -> Option<Limit> {
    let threads = process.threads?;
    let cpu_percent = cpu_percent(process)?;
    // What threads beside the workers use may bring it over 100%.
    let used = ratio(cpu_percent, 100.0 * threads as f64).min(1.0);
    let noun = if threads == 1 { "1 thread" } else { &format!("{threads} threads") };
    // Beyond the cores more threads are no help.
    let cores = process.seconds.first().map_or(0, |second| second.usage.cores_percent.len() as u64);
    let mend = if threads < cores { ": raise its -threads" } else { "" };
    let text = format!("{}'s {noun} {} busy{mend}", process.name, percent(used));
    (used >= LIMIT_MIN).then_some(Limit { kind: Kind::Threads, used, text })
}

/// The clients' schedule, if they kept it: then nothing of the store's limits shows.
fn offered_load(clients: &[MeasuredClient], operations_per_second: f64) -> Option<Limit> {
    /// A schedule of random arrivals is met to about this part in a short run.
    const KEPT_MIN: f64 = 0.97;
    let rate = |client: &MeasuredClient| client.result.config.get("rate").and_then(Value::as_f64);
    let offered: f64 = clients.iter().map(rate).sum::<Option<f64>>()?;
    let used = ratio(operations_per_second, offered);
    let text = format!("the offered load, {offered:.0} op/s: raise -rate");
    (used >= KEPT_MIN).then_some(Limit { kind: Kind::OfferedLoad, used: used.min(1.0), text })
}

/// A machine's name for people.
fn place(run: &RunFolder, process: &Process<'_>) -> String {
    let hosts = &run.description.environment.hosts;
    match hosts.get(process.machine) {
        _ if run.description.machines == 1 => "this machine".to_owned(),
        Some(host) if hosts.len() > 1 => host.machine.name.clone(),
        _ => format!("{}'s host", process.name),
    }
}

/// Mean CPU time of a process; `None` if nothing was logged.
fn cpu_percent(process: &Process<'_>) -> Option<f64> {
    mean(process.seconds.iter().filter_map(|second| second.usage.cpu_percent))
}

fn percent(part: f64) -> String {
    format!("{:.0}%", 100.0 * part)
}

/// `10 Gbit/s`, `200 Mbit/s`.
fn link_speed(mbit: u64) -> String {
    match mbit {
        1_000.. if mbit.is_multiple_of(1_000) => format!("{} Gbit/s", mbit / 1_000),
        1_000.. => format!("{:.1} Gbit/s", mbit as f64 / 1e3),
        _ => format!("{mbit} Mbit/s"),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests;

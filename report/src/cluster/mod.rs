//! The result of a whole run: several clients and servers, one figure.
//!
//! Clients do not begin and end at the same instant, so adding up their rates overstates what the
//! servers did at any one time. The total is therefore what was completed in the time in which
//! *all* clients measured, over that time. Beside it stands the figure that testbed scripts have
//! always reported, the sum of the servers' median seconds; the two should agree.
//!
//! A total that cannot be trusted is not computed: [`ClusterError`] says why. A process that died
//! does not make the others' figures wrong: there is a total then, and [`ClusterResult::failures`]
//! says who is missing from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bottleneck::{self, Bottleneck};
use crate::clocks::HostClock;
use crate::result::{Build, RESULT_VERSION, ResultError, hit_ratio, ratio, write_whole};
use crate::run_folder::{Check, Description, MeasuredClient, RunFolder};
use crate::warning::Warning;
use crate::window::Window;

mod error;
mod overlap;
mod servers;
pub(crate) mod warnings;

pub use error::ClusterError;
use overlap::{common_window, completed_in};

/// The least part of the longest window that must be common to all clients.
pub const OVERLAP_MIN: f64 = 0.9;

/// The result of a run, written as `cluster.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterResult {
    /// Where the run took place; first in the file, so that nobody overlooks it.
    pub mode: String,
    /// The file form, [`RESULT_VERSION`].
    pub version: u32,
    /// [`Build::Debug`] if any client was a debug build.
    pub build: Build,
    /// What all clients of the run share.
    pub run_id: String,
    /// Server processes.
    pub servers: u32,
    /// Client processes.
    pub clients: u32,
    /// Machines that the processes were spread over.
    pub machines: u32,
    /// Who did not come to an end: processes that died, each in words. The figures hold what is
    /// known of them: nothing of a client, the last whole second of a server.
    pub failures: Vec<String>,
    /// Whether a client was stopped before its time.
    pub interrupted: bool,
    /// The first client's flags; the launcher gives all clients the same.
    pub config: serde_json::Value,
    /// The time in which all clients measured.
    pub window: Window,
    /// [`Self::window`]'s length over the longest client's.
    pub overlap: f64,
    /// Operations completed in [`Self::window`], edges interpolated.
    pub operations: f64,
    /// The total: [`Self::operations`] over [`Self::window`].
    pub operations_per_second: f64,
    /// Operations completed in each whole second of [`Self::window`]: how steady the load was.
    pub operations_each_second: Vec<f64>,
    /// The sum of all clients' counts, each over its own window.
    pub sum: Sum,
    /// GETs that found their key, over all clients' GETs.
    pub hit_ratio: f64,
    /// The sum of the servers' medians; `None` if no server wrote a whole second in the window.
    pub server_medians_sum: Option<f64>,
    /// One entry per server.
    pub per_server: Vec<ServerShare>,
    /// One entry per client.
    pub per_client: Vec<ClientShare>,
    /// What limited the run.
    pub bottleneck: Bottleneck,
    /// How the hosts' clocks stood to the launcher's; empty when there was one machine.
    #[serde(default)]
    pub clocks: Vec<HostClock>,
    /// What kvs-check found; `None` if the run was not checked.
    pub check: Option<Check>,
    /// What a reader of the total should know.
    pub warnings: Vec<Warning>,
}

/// Counts of all clients together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Operations completed.
    pub operations: u64,
    /// GETs.
    pub gets: u64,
    /// GETs that found their key.
    pub hits: u64,
    /// PUTs.
    pub puts: u64,
    /// DELETEs.
    pub deletes: u64,
    /// Compare-and-swaps.
    pub compare_and_swaps: u64,
    /// INCRs.
    pub increments: u64,
    /// Operations sent again.
    pub retried: u64,
    /// Operations that surely took no effect.
    pub errors: u64,
    /// Mutations whose outcome nobody knows.
    pub unknown: u64,
}

impl Sum {
    fn of(clients: &[MeasuredClient]) -> Self {
        let results = clients.iter().map(|client| &client.result);
        results.fold(Self::default(), |sum, client| Self {
            operations: sum.operations + client.operations,
            gets: sum.gets + client.gets,
            hits: sum.hits + client.hits,
            puts: sum.puts + client.puts,
            deletes: sum.deletes + client.deletes,
            compare_and_swaps: sum.compare_and_swaps + client.compare_and_swaps,
            increments: sum.increments + client.increments,
            retried: sum.retried + client.retried,
            errors: sum.errors + client.errors,
            unknown: sum.unknown + client.unknown,
        })
    }
}

/// What one server did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerShare {
    /// Its place, e.g. `1/2`.
    pub shard: String,
    /// Whether it closed its log. If not, it died, and [`Self::executed`] is the least that it did.
    pub ended: bool,
    /// The median of its `ops/s` lines over the seconds wholly inside the window.
    pub median_operations_per_second: Option<f64>,
    /// Operations that it executed since its start.
    pub executed: u64,
    /// Operations that all clients say it acknowledged.
    pub acknowledged: u64,
    /// Its part of what all servers executed, from 0 to 1.
    pub share: f64,
    /// Mean CPU time over the seconds in the window; 100 is one core.
    pub cpu_percent_mean: Option<f64>,
    /// The most resident memory.
    pub resident_bytes_peak: Option<u64>,
}

/// What one client measured in its own window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientShare {
    /// The client's number, from 1.
    pub number: u32,
    /// Operations completed per second.
    pub operations_per_second: f64,
    /// Operations completed.
    pub operations: u64,
    /// Operations that surely took no effect.
    pub errors: u64,
    /// Mutations whose outcome nobody knows.
    pub unknown: u64,
    /// Latency of operations of every kind.
    pub latency_us: Option<crate::result::Latency>,
    /// Mean CPU time; 100 is one core.
    pub cpu_percent_mean: Option<f64>,
}

/// Computes a run's result from its folder.
pub fn compute(run: &RunFolder) -> Result<ClusterResult, ClusterError> {
    let clients = measured_clients(run)?;
    let (window, overlap) = common_window(&clients, &run.path)?;
    let completed = |window: Window| -> f64 {
        clients.iter().map(|c| completed_in(&c.result.timeline, window, &c.result)).sum()
    };
    let operations = completed(window);
    if operations <= 0.0 {
        let what = "no operation completed while all clients measured".to_owned();
        return Err(ClusterError::NothingMeasured { what, folder: run.path.clone() });
    }
    let wrong_values: u64 = clients.iter().map(|client| client.result.value_mismatches).sum();
    if wrong_values > 0 {
        return Err(ClusterError::WrongValues { count: wrong_values });
    }
    let mut warnings = Vec::new();
    let per_server = servers::server_shares(run, &clients, window, &mut warnings)?;
    let sum = Sum::of(&clients);
    let operations_per_second = ratio(operations, window.seconds());
    let debug = clients.iter().any(|client| client.result.build == Build::Debug);
    let Description { mode, servers, machines, .. } = run.description.clone();
    let mut result = ClusterResult {
        mode,
        version: RESULT_VERSION,
        build: if debug { Build::Debug } else { Build::Release },
        run_id: clients[0].result.run_id.clone(),
        servers,
        clients: run.description.clients,
        machines,
        failures: failures(run, &clients),
        interrupted: clients.iter().any(|client| client.result.interrupted),
        config: clients[0].result.config.clone(),
        window,
        overlap,
        operations,
        operations_per_second,
        operations_each_second: window.whole_seconds().map(completed).collect(),
        sum,
        hit_ratio: hit_ratio(sum.hits, sum.gets),
        // Absent medians make an absent sum.
        server_medians_sum: per_server.iter().map(|s| s.median_operations_per_second).sum(),
        per_server,
        per_client: clients.iter().map(client_share).collect(),
        bottleneck: bottleneck::find(run, &clients, window, operations_per_second)?,
        clocks: run.clocks.clone(),
        check: run.read_check()?,
        warnings,
    };
    result.warnings.extend(warnings::of(run, &clients, &result));
    Ok(result)
}

/// The clients that left a result, at least one.
fn measured_clients(run: &RunFolder) -> Result<Vec<MeasuredClient>, ClusterError> {
    let clients = run.read_clients()?;
    let Some(first) = clients.first() else {
        let what = "no client left a result".to_owned();
        return Err(ClusterError::NothingMeasured { what, folder: run.path.clone() });
    };
    let expected = &first.result.run_id;
    match clients.iter().find(|client| client.result.run_id != *expected) {
        Some(MeasuredClient { number, result }) => Err(ClusterError::ForeignClient {
            client: *number,
            run_id: result.run_id.clone(),
            expected: expected.clone(),
        }),
        None => Ok(clients),
    }
}

/// Who did not come to an end.
fn failures(run: &RunFolder, clients: &[MeasuredClient]) -> Vec<String> {
    let servers = run.servers.iter().enumerate().filter(|(_, log)| log.total.is_none());
    let silent = (1..=run.description.clients)
        .filter(|number| clients.iter().all(|client| client.number != *number));
    servers
        .map(|(index, _)| format!("server {} died", index + 1))
        .chain(silent.map(|number| format!("client {number} left no result")))
        .collect()
}

impl ClusterResult {
    /// Writes the result as JSON, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), ResultError> {
        let text = serde_json::to_string_pretty(self).expect("a result has string keys only");
        write_whole(path, &text)
            .map_err(|source| ResultError::Write { path: path.to_owned(), source })
    }
}

fn client_share(client: &MeasuredClient) -> ClientShare {
    let MeasuredClient { number, result: client } = client;
    ClientShare {
        number: *number,
        operations_per_second: client.operations_per_second,
        operations: client.operations,
        errors: client.errors,
        unknown: client.unknown,
        latency_us: client.latency_us.operations,
        cpu_percent_mean: client.resources.cpu_percent.map(|cpu| cpu.mean),
    }
}

#[cfg(test)]
pub(crate) mod tests;

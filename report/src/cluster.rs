//! The result of a whole run: several clients and servers, one figure.
//!
//! Clients do not begin and end at the same instant, so adding up their rates overstates what the
//! servers did at any one time. The total is therefore what was completed in the time in which
//! *all* clients measured, over that time. Beside it stands the figure that testbed scripts have
//! always reported, the sum of the servers' median seconds; the two should agree.
//!
//! A total that cannot be trusted is not computed: [`ClusterError`] says why.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::result::{
    Build, RESULT_VERSION, ResultError, RunResult, Timeline, hit_ratio, ratio, write_whole,
};
use crate::run_folder::{Check, Description, FolderError, RunFolder};
use crate::server_log::{Interval, ServerLog};

/// The least part of the longest window that must be common to all clients.
pub const OVERLAP_MIN: f64 = 0.9;

/// The greatest relative gap between the total and the sum of the servers' medians that passes
/// without a warning.
pub const MEDIANS_GAP_MAX: f64 = 0.05;

/// The greatest relative gap between a client's count and its timeline that passes without a
/// warning: the timeline's clock has a resolution of a millisecond.
const TIMELINE_GAP_MAX: f64 = 0.01;

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
    /// What kvs-check found; `None` if the run was not checked.
    pub check: Option<Check>,
    /// What a reader of the total should know.
    pub warnings: Vec<String>,
}

/// A span of Unix time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its first instant.
    pub start_unix_ms: u64,
    /// Its end.
    pub end_unix_ms: u64,
}

impl Window {
    /// The window that a client measured in.
    pub fn of(client: &RunResult) -> Self {
        Self { start_unix_ms: client.window_start_unix_ms, end_unix_ms: client.window_end_unix_ms }
    }

    /// Its length; 0 if it ends before it begins.
    pub fn seconds(self) -> f64 {
        self.end_unix_ms.saturating_sub(self.start_unix_ms) as f64 / 1e3
    }

    /// What two windows have in common.
    pub fn intersection(self, other: Self) -> Self {
        Self {
            start_unix_ms: self.start_unix_ms.max(other.start_unix_ms),
            end_unix_ms: self.end_unix_ms.min(other.end_unix_ms),
        }
    }

    /// Whether a server's interval lies in it from end to end.
    pub fn contains(self, interval: &Interval) -> bool {
        interval.start_unix_ms() >= self.start_unix_ms as f64
            && interval.end_unix_ms() <= self.end_unix_ms as f64
    }
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
    fn of(clients: &[RunResult]) -> Self {
        clients.iter().fold(Self::default(), |sum, client| Self {
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
    pub resident_bytes_peak: u64,
}

/// What one client measured in its own window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientShare {
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
    pub cpu_percent_mean: f64,
}

/// Why a run has no total.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Clients completed nothing.
    #[error("nothing was measured: {what}; look into {} for the reason", folder.display())]
    NothingMeasured {
        /// Who completed nothing.
        what: String,
        /// The run's folder.
        folder: PathBuf,
    },
    /// The clients' windows do not lie on each other.
    #[error("no total: all clients measured together for only {common_s:.1} s of {longest_s:.1} s \
        ({:.0}%, at least {:.0}% is needed); use a longer -secs or fewer clients",
        100.0 * ratio(*common_s, *longest_s), 100.0 * OVERLAP_MIN)]
    Overlap {
        /// Length of the common window.
        common_s: f64,
        /// Length of the longest window.
        longest_s: f64,
    },
    /// A server never wrote its first line.
    #[error("server {server} never listened; see {}", path.display())]
    NeverListened {
        /// The server's number, from 1.
        server: usize,
        /// Its log.
        path: PathBuf,
    },
    /// A server's log has no closing line.
    #[error("server {server} did not end cleanly, so its total is not known; see {}",
        path.display())]
    NotEnded {
        /// The server's number, from 1.
        server: usize,
        /// Its log.
        path: PathBuf,
    },
    /// A client speaks of a shard that no server is.
    #[error(
        "client {client} used shard {shard}, which no server of this run is; \
        were its -hosts another run's?"
    )]
    ForeignShard {
        /// The client's number, from 1.
        client: usize,
        /// The shard.
        shard: String,
    },
    /// Server and clients count differently.
    #[error(
        "no total: server {shard} executed {executed} operations, but the clients count \
        {acknowledged} acknowledged by it; did another client use this server?"
    )]
    Applied {
        /// The server's place.
        shard: String,
        /// Operations that it executed.
        executed: u64,
        /// Operations that the clients count.
        acknowledged: u64,
    },
    /// A GET answered with what cannot have been written.
    #[error(
        "no total: {count} GETs answered with a value that does not belong to their key; \
        the store or the wire is broken"
    )]
    WrongValues {
        /// How many.
        count: u64,
    },
}

/// Computes a run's result from its folder.
pub fn compute(run: &RunFolder) -> Result<ClusterResult, ClusterError> {
    let clients = run.read_clients()?;
    let (window, overlap) = common_window(&clients, &run.path)?;
    let operations: f64 =
        clients.iter().map(|client| completed_in(&client.timeline, window, client)).sum();
    if operations <= 0.0 {
        let what = "no operation completed while all clients measured".to_owned();
        return Err(ClusterError::NothingMeasured { what, folder: run.path.clone() });
    }
    let wrong_values: u64 = clients.iter().map(|client| client.value_mismatches).sum();
    if wrong_values > 0 {
        return Err(ClusterError::WrongValues { count: wrong_values });
    }
    let mut warnings = Vec::new();
    let per_server = server_shares(run, &clients, window, &mut warnings)?;
    let operations_per_second = ratio(operations, window.seconds());
    // Absent medians make an absent sum.
    let server_medians_sum: Option<f64> =
        per_server.iter().map(|server| server.median_operations_per_second).sum();
    let sum = Sum::of(&clients);
    warn_of_gaps(&clients, operations_per_second, server_medians_sum, &mut warnings);
    let debug = clients.iter().any(|client| client.build == Build::Debug);
    let Description { mode, servers, machines, .. } = run.description.clone();
    Ok(ClusterResult {
        mode,
        version: RESULT_VERSION,
        build: if debug { Build::Debug } else { Build::Release },
        run_id: clients[0].run_id.clone(),
        servers,
        clients: run.description.clients,
        machines,
        interrupted: clients.iter().any(|client| client.interrupted),
        config: clients[0].config.clone(),
        window,
        overlap,
        operations,
        operations_per_second,
        sum,
        hit_ratio: hit_ratio(sum.hits, sum.gets),
        server_medians_sum,
        per_server,
        per_client: clients.iter().map(client_share).collect(),
        check: run.read_check()?,
        warnings,
    })
}

impl ClusterResult {
    /// Writes the result as JSON, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), ResultError> {
        let text = serde_json::to_string_pretty(self).expect("a result has string keys only");
        write_whole(path, &text)
            .map_err(|source| ResultError::Write { path: path.to_owned(), source })
    }
}

/// The time in which all clients measured, and its part of the longest window.
fn common_window(clients: &[RunResult], folder: &Path) -> Result<(Window, f64), ClusterError> {
    let mut common = Window { start_unix_ms: 0, end_unix_ms: u64::MAX };
    let mut longest_s = 0.0_f64;
    for (index, client) in clients.iter().enumerate() {
        let window = Window::of(client);
        if window.seconds() <= 0.0 || client.timeline.bucket_ms == 0 {
            let what = format!("client {} has an empty window", index + 1);
            return Err(ClusterError::NothingMeasured { what, folder: folder.to_owned() });
        }
        longest_s = longest_s.max(window.seconds());
        common = common.intersection(window);
    }
    let overlap = ratio(common.seconds(), longest_s);
    if overlap < OVERLAP_MIN {
        return Err(ClusterError::Overlap { common_s: common.seconds(), longest_s });
    }
    Ok((common, overlap))
}

/// Operations of `timeline` that completed in `window`. A bucket that lies in it in part counts in
/// proportion; the last bucket is as long as the client's own window lets it be.
fn completed_in(timeline: &Timeline, window: Window, client: &RunResult) -> f64 {
    let (from, to) = (window.start_unix_ms as f64, window.end_unix_ms as f64);
    let bucket_ms = timeline.bucket_ms as f64;
    let mut completed = 0.0;
    for (index, &operations) in timeline.operations.iter().enumerate() {
        let start = timeline.start_unix_ms as f64 + index as f64 * bucket_ms;
        let mut end = start + bucket_ms;
        if index + 1 == timeline.operations.len() && client.window_end_unix_ms as f64 > start {
            end = end.min(client.window_end_unix_ms as f64);
        }
        let inside = (end.min(to) - start.max(from)).max(0.0);
        completed += operations as f64 * inside / (end - start);
    }
    completed
}

fn server_shares(
    run: &RunFolder,
    clients: &[RunResult],
    window: Window,
    warnings: &mut Vec<String>,
) -> Result<Vec<ServerShare>, ClusterError> {
    let mut shares = Vec::with_capacity(run.servers.len());
    for (index, log) in run.servers.iter().enumerate() {
        let server = index + 1;
        let path = run.path.join(format!("kvs-server-{server}.log"));
        let Some(listening) = &log.listening else {
            return Err(ClusterError::NeverListened { server, path });
        };
        let Some(total) = &log.total else { return Err(ClusterError::NotEnded { server, path }) };
        let cpu: Vec<f64> = intervals_in(log, Some(window)).map(|i| i.stats.cpu_percent).collect();
        shares.push(ServerShare {
            shard: listening.shard.clone(),
            median_operations_per_second: median_rate(log, Some(window)),
            executed: total.operations_total,
            acknowledged: 0,
            share: 0.0,
            cpu_percent_mean: (!cpu.is_empty()).then(|| cpu.iter().sum::<f64>() / cpu.len() as f64),
            resident_bytes_peak: total.resident_bytes_peak,
        });
    }
    for (index, client) in clients.iter().enumerate() {
        for acknowledged in &client.acknowledged {
            let mut known = shares.iter_mut();
            let Some(share) = known.find(|share| share.shard == acknowledged.shard) else {
                let shard = acknowledged.shard.clone();
                return Err(ClusterError::ForeignShard { client: index + 1, shard });
            };
            share.acknowledged += acknowledged.operations;
        }
    }
    let executed: u64 = shares.iter().map(|share| share.executed).sum();
    for (share, log) in shares.iter_mut().zip(&run.servers) {
        share.share = ratio(share.executed as f64, executed as f64);
        let replayed = log.total.as_ref().map_or(0, |total| total.replayed);
        compare_counts(share, replayed, clients, warnings)?;
    }
    Ok(shares)
}

/// Compares what a server executed with what the clients know of. A server may have executed more
/// than was acknowledged: where answers stayed away for good, and where a batch was sent again, whose
/// GETs are then executed anew. It may never have executed less.
fn compare_counts(
    share: &ServerShare,
    replayed: u64,
    clients: &[RunResult],
    warnings: &mut Vec<String>,
) -> Result<(), ClusterError> {
    let ServerShare { shard, executed, acknowledged, .. } = share;
    let unanswered: u64 = clients.iter().map(|client| client.unknown + client.errors).sum();
    let more = executed.checked_sub(*acknowledged);
    match more {
        Some(0) => Ok(()),
        Some(more) if more <= replayed + unanswered || clients.iter().any(|c| c.interrupted) => {
            warnings.push(format!(
                "server {shard} executed {more} operations more than were acknowledged: answers \
                 were lost or late ({replayed} operations were sent again, {unanswered} stayed \
                 unanswered)"
            ));
            Ok(())
        }
        _ => Err(ClusterError::Applied {
            shard: shard.clone(),
            executed: *executed,
            acknowledged: *acknowledged,
        }),
    }
}

fn warn_of_gaps(
    clients: &[RunResult],
    total: f64,
    medians_sum: Option<f64>,
    warnings: &mut Vec<String>,
) {
    for (index, client) in clients.iter().enumerate() {
        let counted = client.timeline.operations.iter().sum::<u64>() as f64;
        let gap = ratio((counted - client.operations as f64).abs(), client.operations as f64);
        if gap > TIMELINE_GAP_MAX {
            warnings.push(format!(
                "client {} counts {} operations, its timeline {counted}: report this as a fault",
                index + 1,
                client.operations
            ));
        }
    }
    let Some(medians_sum) = medians_sum else {
        let what = "no server wrote a whole second inside the window: use a longer -secs";
        warnings.push(what.to_owned());
        return;
    };
    let gap = ratio((medians_sum - total).abs(), total);
    if gap > MEDIANS_GAP_MAX {
        warnings.push(format!(
            "the servers' medians add up to {medians_sum:.0} op/s, {:.1}% from the total: the load \
             was not steady; use a longer -secs, and see ops.svg",
            100.0 * gap
        ));
    }
}

fn client_share(client: &RunResult) -> ClientShare {
    ClientShare {
        operations_per_second: client.operations_per_second,
        operations: client.operations,
        errors: client.errors,
        unknown: client.unknown,
        latency_us: client.latency_us.operations,
        cpu_percent_mean: client.resources.cpu_percent.mean,
    }
}

/// A log's intervals that lie wholly inside `window`; without one, those in which the server did
/// anything.
fn intervals_in(log: &ServerLog, window: Option<Window>) -> impl Iterator<Item = &Interval> {
    log.intervals.iter().filter(move |interval| match window {
        Some(window) => window.contains(interval),
        None => interval.operations_per_second > 0.0,
    })
}

/// The median of a server's `ops/s` lines over the intervals wholly inside `window`; without a
/// window, over those in which it did anything.
pub fn median_rate(log: &ServerLog, window: Option<Window>) -> Option<f64> {
    let mut rates: Vec<f64> = intervals_in(log, window).map(|i| i.operations_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    match rates.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(rates[middle]),
        _ => Some(f64::midpoint(rates[middle - 1], rates[middle])),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run_folder::tests::{START_UNIX_MS, Scratch, client, server_log, whole_run};

    fn computed(folder: &Scratch) -> Result<ClusterResult, ClusterError> {
        compute(&RunFolder::read(&folder.0)?)
    }

    fn write_client(folder: &Scratch, number: u32, result: &RunResult) {
        result.write(&folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
    }

    #[test]
    fn a_run_without_fault_has_a_total() {
        let folder = whole_run("cluster-whole");
        let result = computed(&folder).unwrap();
        assert_eq!(result.operations, 8_000.0);
        assert_eq!(result.operations_per_second, 2_000.0);
        assert_eq!(result.overlap, 1.0);
        assert_eq!(result.server_medians_sum, Some(2_000.0));
        assert_eq!(result.sum.operations, 8_000);
        assert_eq!(result.hit_ratio, 1.0);
        assert_eq!(result.per_server[0].share, 0.5);
        assert_eq!(
            (result.per_server[0].executed, result.per_server[0].acknowledged),
            (5_000, 5_000)
        );
        assert_eq!(result.per_server[0].cpu_percent_mean, Some(180.5));
        assert_eq!(result.build, Build::Release);
        assert_eq!(result.warnings, [""; 0]);
    }

    #[test]
    fn only_the_time_in_which_all_measure_counts() {
        let folder = whole_run("cluster-shifted");
        // The second client begins 250 ms later: 3.75 s in common, edges inside a bucket.
        let mut late = client(START_UNIX_MS + 250);
        late.timeline.operations = vec![200; 40];
        late.operations = 8_000;
        write_client(&folder, 2, &late);
        let result = computed(&folder).unwrap();
        assert_eq!(result.window.seconds(), 3.75);
        assert_eq!(result.overlap, 0.9375);
        assert_eq!(result.operations, 3_750.0 + 7_500.0);
        assert_eq!(result.operations_per_second, 3_000.0);
        assert_eq!(result.sum.operations, 12_000);
    }

    #[test]
    fn too_little_in_common_is_no_total() {
        let folder = whole_run("cluster-overlap");
        write_client(&folder, 2, &client(START_UNIX_MS + 400));
        assert_eq!(computed(&folder).unwrap().overlap, 0.9);
        for shift_ms in [401, 3_999, 4_000, 10_000] {
            write_client(&folder, 2, &client(START_UNIX_MS + shift_ms));
            let error = computed(&folder).unwrap_err();
            assert!(matches!(error, ClusterError::Overlap { .. }), "{shift_ms}: {error}");
        }
        let told = computed(&folder).unwrap_err().to_string();
        assert!(told.contains("0.0 s of 4.0 s") && told.contains("-secs"), "{told}");
    }

    #[test]
    fn a_last_bucket_that_reaches_past_the_window_counts_whole() {
        let mut result = client(START_UNIX_MS);
        result.window_end_unix_ms = START_UNIX_MS + 3_950;
        let window = Window::of(&result);
        assert_eq!(completed_in(&result.timeline, window, &result), 4_000.0);
        let window = Window { end_unix_ms: START_UNIX_MS + 3_925, ..window };
        assert_eq!(completed_in(&result.timeline, window, &result), 3_950.0);
    }

    #[test]
    fn counts_that_differ_are_no_total() {
        let folder = whole_run("cluster-counts");
        for executed in [4_999, 5_001] {
            let log = server_log("1/2").replace(":5000", &format!(":{executed}"));
            folder.file("kvs-server-1.log", &log);
            let error = computed(&folder).unwrap_err();
            assert!(matches!(error, ClusterError::Applied { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains("1/2") && told.contains(&executed.to_string()), "{told}");
        }
    }

    #[test]
    fn lost_answers_excuse_more_but_never_less() {
        let folder = whole_run("cluster-lost");
        write_client(&folder, 1, &RunResult { unknown: 1, ..client(START_UNIX_MS) });
        let executed = |executed: u64, replayed: u64| {
            let log = server_log("1/2").replace(":5000", &format!(":{executed}"));
            let replayed = format!("\"replayed\":{replayed},");
            folder.file("kvs-server-1.log", &log.replace("\"replayed\":0,", &replayed));
            computed(&folder).map(|result| result.warnings)
        };
        let warnings = executed(5_001, 0).unwrap();
        assert!(warnings[0].contains("1 operations more"), "{warnings:?}");
        assert!(matches!(executed(5_002, 0), Err(ClusterError::Applied { .. })));
        let warnings = executed(5_101, 100).unwrap();
        assert!(warnings[0].contains("100 operations were sent again"), "{warnings:?}");
        assert!(matches!(executed(5_102, 100), Err(ClusterError::Applied { .. })));
        assert!(matches!(executed(4_999, 100), Err(ClusterError::Applied { .. })));

        write_client(&folder, 1, &RunResult { interrupted: true, ..client(START_UNIX_MS) });
        assert!(executed(5_002, 0).is_ok());
        assert!(matches!(executed(4_999, 0), Err(ClusterError::Applied { .. })));
    }

    #[test]
    fn a_server_that_did_not_end_or_begin_is_named() {
        let folder = whole_run("cluster-server");
        let log = server_log("2/2");
        let (open, _) = log.split_once("total").unwrap();
        folder.file("kvs-server-2.log", open);
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::NotEnded { server: 2, .. }), "{error}");
        assert!(error.to_string().contains("kvs-server-2.log"), "{error}");
        folder.file("kvs-server-2.log", "error: port 8080 is taken\n");
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::NeverListened { server: 2, .. }), "{error}");
        folder.file("kvs-server-2.log", &server_log("2/3"));
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::ForeignShard { client: 1, .. }), "{error}");
    }

    #[test]
    fn unsteady_servers_are_warned_of() {
        let folder = whole_run("cluster-unsteady");
        for (rate, warned) in [("1090.00", false), ("1110.00", true)] {
            let mut log = server_log("1/2");
            for old in ["1000.00", "1010.00", "990.00"] {
                log = log.replace(&format!("ops/s {old}"), &format!("ops/s {rate}"));
            }
            folder.file("kvs-server-1.log", &log);
            let result = computed(&folder).unwrap();
            assert_eq!(result.per_server[0].median_operations_per_second, rate.parse().ok());
            let told = result.warnings.iter().any(|warning| warning.contains("from the total"));
            assert_eq!(told, warned, "{:?}", result.warnings);
        }
    }

    #[test]
    fn a_run_too_short_for_medians_is_warned_of() {
        let folder = whole_run("cluster-short");
        folder.file("kvs-server-1.log", &server_log("1/2").replace("17951832", "17951831"));
        let result = computed(&folder).unwrap();
        assert_eq!(result.server_medians_sum, None);
        assert!(result.warnings[0].contains("-secs"), "{:?}", result.warnings);
    }

    #[test]
    fn a_timeline_that_lost_operations_is_warned_of() {
        let folder = whole_run("cluster-timeline");
        write_client(&folder, 1, &RunResult { operations: 4_100, ..client(START_UNIX_MS) });
        let warnings = computed(&folder).unwrap().warnings;
        assert!(warnings[0].contains("timeline"), "{warnings:?}");
    }

    #[test]
    fn wrong_values_are_no_total() {
        let folder = whole_run("cluster-values");
        write_client(&folder, 2, &RunResult { value_mismatches: 3, ..client(START_UNIX_MS) });
        let error = computed(&folder).unwrap_err();
        assert!(matches!(error, ClusterError::WrongValues { count: 3 }), "{error}");
    }

    #[test]
    fn nothing_measured_is_told() {
        let folder = whole_run("cluster-nothing");
        let mut idle = client(START_UNIX_MS);
        idle.timeline.operations = vec![0; 40];
        write_client(&folder, 1, &idle);
        assert!(computed(&folder).is_ok());
        write_client(&folder, 2, &idle);
        assert!(matches!(computed(&folder), Err(ClusterError::NothingMeasured { .. })));
        idle.window_end_unix_ms = idle.window_start_unix_ms;
        write_client(&folder, 2, &idle);
        let error = computed(&folder).unwrap_err();
        assert!(error.to_string().contains("client 2 has an empty window"), "{error}");
    }

    #[test]
    fn one_debug_build_makes_the_run_one() {
        let folder = whole_run("cluster-debug");
        write_client(&folder, 2, &RunResult { build: Build::Debug, ..client(START_UNIX_MS) });
        assert_eq!(computed(&folder).unwrap().build, Build::Debug);
    }

    #[test]
    fn the_file_begins_with_the_mode() {
        let folder = whole_run("cluster-file");
        let path = folder.0.join("cluster.json");
        let result = computed(&folder).unwrap();
        result.write(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("{\n  \"mode\": \"dev: 4 processes on ONE machine"), "{text}");
        assert_eq!(serde_json::from_str::<ClusterResult>(&text).unwrap(), result);
    }

    #[test]
    fn a_median_is_the_middle() {
        let log = ServerLog::parse(&server_log("1/2"), Path::new("x.log")).unwrap();
        assert_eq!(median_rate(&log, None), Some(995.0));
        let window = |start, end| {
            Some(Window { start_unix_ms: START_UNIX_MS + start, end_unix_ms: START_UNIX_MS + end })
        };
        assert_eq!(median_rate(&log, window(0, 3_000)), Some(1_000.0));
        assert_eq!(median_rate(&log, window(1, 3_000)), Some(1_000.0));
        assert_eq!(median_rate(&log, window(1, 1_999)), None);
    }
}

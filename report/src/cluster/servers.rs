//! What each server did, and whether the clients agree.

use super::{ClusterError, ServerShare};
use crate::result::ratio;
use crate::run_folder::{MeasuredClient, RunFolder};
use crate::server_log::ServerLog;
use crate::warning::Warning;
use crate::window::{Window, intervals_in, median_rate};

/// What each server did, in order of their number. Complains where servers and clients disagree.
pub(super) fn server_shares(
    run: &RunFolder,
    clients: &[MeasuredClient],
    window: Window,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<ServerShare>, ClusterError> {
    let mut shares = Vec::with_capacity(run.servers.len());
    for (index, log) in run.servers.iter().enumerate() {
        shares.push(server_share(run, index + 1, log, window)?);
    }
    for MeasuredClient { number, result } in clients {
        for acknowledged in &result.acknowledged {
            let mut known = shares.iter_mut();
            let Some(share) = known.find(|share| share.shard == acknowledged.shard) else {
                let shard = acknowledged.shard.clone();
                return Err(ClusterError::ForeignShard { client: *number, shard });
            };
            share.acknowledged += acknowledged.operations;
        }
    }
    for (share, log) in shares.iter_mut().zip(&run.servers) {
        match &log.total {
            Some(total) => compare_counts(run, share, total.replayed, clients, warnings)?,
            // What it acknowledged, it executed, even if it died before it could log it.
            None => share.executed = share.executed.max(share.acknowledged),
        }
    }
    let executed: u64 = shares.iter().map(|share| share.executed).sum();
    for share in &mut shares {
        share.share = ratio(share.executed as f64, executed as f64);
    }
    Ok(shares)
}

fn server_share(
    run: &RunFolder,
    server: usize,
    log: &ServerLog,
    window: Window,
) -> Result<ServerShare, ClusterError> {
    let Some(listening) = &log.listening else {
        let path = run.path.join(format!("kvs-server-{server}.log"));
        return Err(ClusterError::NeverListened { server, path });
    };
    let (shard, servers) = (listening.shard.clone(), run.description.servers);
    if shard != format!("{server}/{servers}") {
        return Err(ClusterError::ForeignServer { server, shard, servers });
    }
    let cpu: Vec<f64> =
        intervals_in(log, Some(window)).filter_map(|i| i.stats.usage.cpu_percent).collect();
    let last = log.intervals.last().map(|interval| &interval.stats);
    let (executed, resident_bytes_peak) = match (&log.total, last) {
        (Some(total), _) => (total.operations_total, total.resident_bytes_peak),
        (None, Some(last)) => (last.operations_total, last.usage.resident_bytes_peak),
        (None, None) => (0, None),
    };
    Ok(ServerShare {
        shard,
        ended: log.total.is_some(),
        median_operations_per_second: median_rate(log, Some(window)),
        executed,
        acknowledged: 0,
        share: 0.0,
        cpu_percent_mean: (!cpu.is_empty()).then(|| cpu.iter().sum::<f64>() / cpu.len() as f64),
        resident_bytes_peak,
    })
}

/// Compares what a server executed with what the clients know of. A server may have executed more
/// than was acknowledged: where answers stayed away for good, where a batch was sent again, whose
/// GETs are then executed anew, and where a client left no result. It may never have executed less.
fn compare_counts(
    run: &RunFolder,
    share: &ServerShare,
    replayed: u64,
    clients: &[MeasuredClient],
    warnings: &mut Vec<Warning>,
) -> Result<(), ClusterError> {
    let ServerShare { shard, executed, acknowledged, .. } = share;
    let unanswered: u64 = clients.iter().map(|c| c.result.unknown + c.result.errors).sum();
    let cut_short = clients.iter().any(|client| client.result.interrupted);
    let unheard = clients.len() < run.description.clients as usize;
    match executed.checked_sub(*acknowledged) {
        Some(0) => Ok(()),
        Some(_) if unheard => Ok(()),
        Some(more) if more <= replayed + unanswered || cut_short => {
            warnings.push(Warning::new(
                format!("server {shard} executed {more} operations more than were acknowledged"),
                format!(
                    "answers were lost or late ({replayed} operations were sent again, \
                     {unanswered} stayed unanswered); see whether a host or the network was \
                     overloaded"
                ),
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

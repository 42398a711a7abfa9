//! The flags as a result tells them, so that a reader can do the run again.

use serde_json::json;

use super::super::target::address::Address;
use super::super::workload::{Distribution, Mix};
use super::{ConnectionFlags, Length, LoadFlags};

/// Each flag under its name, with the value that the run uses.
pub(super) fn flags_json(
    connection: &ConnectionFlags,
    load: &LoadFlags,
    mix: &Mix,
    distribution: Distribution,
    threads: usize,
    seed: u64,
    length: Length,
) -> serde_json::Value {
    let (secs, operations) = match length {
        Length::Time(time) => (Some(time.as_secs_f64()), None),
        Length::Operations(operations) => (None, Some(operations)),
    };
    json!({
        "target": load.target.as_ref().map(Address::to_string),
        "hosts": connection.hosts,
        "timeout_ms": connection.timeout_ms,
        "retry_secs": connection.retry_secs.0.as_secs_f64(),
        "workers": load.workers,
        "batch_size": load.batch_size,
        "depth": load.depth,
        "rate": load.rate,
        "arrivals": load.arrivals.to_string(),
        "plain": load.plain,
        "connections": load.connections,
        "threads": threads,
        "workload": mix.name(),
        "mix": load.mix.as_ref().map(Mix::name),
        "distribution": distribution.to_string(),
        "theta": load.theta,
        "keys": load.keys,
        "value_size": load.value_size.to_string(),
        "verify": load.verify,
        "seed": seed,
        "preload": load.preload,
        "warmup_secs": load.warmup_secs.0.as_secs_f64(),
        "secs": secs,
        "operations": operations,
        "cleanup": load.cleanup,
        "inflight_bytes_max": load.inflight_bytes_max,
        "dedup": load.dedup,
        "json": load.json.as_ref().map(|path| path.display().to_string()),
        "history": load.history.as_ref().map(|path| path.display().to_string()),
        "client_index": load.client_index,
        "client_count": load.client_count,
        "run_id": load.run_id,
        "mode": load.mode,
    })
}

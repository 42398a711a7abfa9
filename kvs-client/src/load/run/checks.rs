//! What would spoil a run late, found out before it begins.

use anyhow::bail;
use kvs_client::ServerInfo;

use super::super::cli::settings::Settings;
use super::super::memory::{self, Demand, ServerMemory};
use super::super::workload::Choice;

/// Finds out before the run, not after it, that the result's folder is missing.
pub(super) fn check_result_folder(settings: &Settings) -> anyhow::Result<()> {
    let Some(path) = &settings.json else { return Ok(()) };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => ".".as_ref(),
    };
    if !folder.is_dir() || path.is_dir() {
        bail!("-json {}: name a file in a folder that exists", path.display());
    }
    Ok(())
}

/// Checks that the keys fit into the servers' memory, and the batches into the client's.
pub(super) fn check_memory(settings: &Settings, servers: &[ServerInfo]) -> anyhow::Result<()> {
    let servers: Vec<ServerMemory> = servers
        .iter()
        .map(|server| ServerMemory {
            host: server.host.clone(),
            free_bytes: server.memory_free_bytes,
            keys: server.keys,
        })
        .collect();
    let written = 100.0 - settings.mix.percent(Choice::Get) - settings.mix.percent(Choice::Delete);
    let value_bytes = settings.value_size.mean() as u64;
    // Each worker holds a batch while it waits for room in the bytes in flight.
    let batch_bytes = settings.batch_size as f64 * (16.0 + value_bytes as f64 * written / 100.0);
    let replies = (settings.client.inflight_bytes_max * servers.len()) as u64;
    let demand = Demand {
        keys: if settings.preload { settings.keys } else { 0 },
        value_bytes,
        client_bytes: (batch_bytes * settings.workers as f64) as u64 + replies,
    };
    let own = resources::host_name().unwrap_or_default();
    let own_free_bytes = resources::Memory::look().map(|memory| memory.free_bytes);
    memory::check(demand, &servers, &own, own_free_bytes).map_err(anyhow::Error::msg)
}

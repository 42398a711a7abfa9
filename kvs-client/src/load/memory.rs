//! Whether a run fits into memory, asked before its keys are loaded.
//!
//! A store that outgrows its machine is killed by the system, or swaps and measures the disk. So
//! what the keys will take is compared with what the servers say is free on their machines.

use std::collections::BTreeMap;

use super::text;

/// What a server keeps for a key beside the key and the value, in bytes: index, entry header, and
/// the slack of tables that grow by doubling.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// Share of the free memory that a run may plan with: the rest is for buffers and everybody else.
const USABLE: f64 = 0.9;

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct ServerMemory {
    /// Name of its machine.
    pub(crate) host: String,
    /// Free memory of the machine, in bytes; 0 when unknown.
    pub(crate) free_bytes: u64,
    /// Keys that it holds already: they are overwritten or stay.
    pub(crate) keys: u64,
}

/// What a run will need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Keys of all servers together.
    pub(crate) keys: u64,
    /// Mean length of a value.
    pub(crate) value_bytes: u64,
    /// What the client itself takes.
    pub(crate) client_bytes: u64,
}

impl Demand {
    /// Memory of one key, in bytes.
    fn key_bytes(self) -> u64 {
        let digits = u64::from(self.keys.max(1).ilog10()) + 1;
        digits + self.value_bytes + ENTRY_OVERHEAD_BYTES
    }
}

/// Checks that the run fits.
///
/// # Errors
///
/// Which machine is too small, by how much, and which flags to change.
pub(crate) fn check(
    demand: Demand,
    servers: &[ServerMemory],
    own_host: &str,
    own_free_bytes: Option<u64>,
) -> Result<(), String> {
    let keys_per_server = demand.keys.div_ceil(servers.len() as u64);
    let mut hosts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    if let Some(free) = own_free_bytes {
        hosts.insert(own_host, (free, demand.client_bytes));
    }
    for server in servers.iter().filter(|server| server.free_bytes > 0) {
        // Keys that are there already were loaded by an earlier run, as a rule with like values.
        let new_keys = keys_per_server.saturating_sub(server.keys);
        let (free, needed) = hosts.entry(&server.host).or_insert((server.free_bytes, 0));
        *free = server.free_bytes.min(*free);
        *needed = needed.saturating_add(new_keys.saturating_mul(demand.key_bytes()));
    }
    for (host, (free, needed)) in hosts {
        if needed as f64 > free as f64 * USABLE {
            return Err(format!(
                "{} keys of {} bytes do not fit: the run needs {} on {host}, where {} are free; \
                 lower -keys, -value_size, -batch_size or -workers, or spread the servers over \
                 more machines",
                text::count(demand.keys),
                demand.value_bytes,
                text::bytes(needed),
                text::bytes(free),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn server(host: &str, free_gib: u64, keys: u64) -> ServerMemory {
        ServerMemory { host: host.to_owned(), free_bytes: free_gib * GIB, keys }
    }

    /// Some 10 GiB of keys.
    const DEMAND: Demand = Demand { keys: 50_000_000, value_bytes: 142, client_bytes: GIB };

    #[test]
    fn a_run_that_fits_passes() {
        assert_eq!(check(DEMAND, &[server("a", 12, 0)], "me", Some(2 * GIB)), Ok(()));
        let two = [server("a", 6, 0), server("b", 6, 0)];
        assert_eq!(check(DEMAND, &two, "me", Some(2 * GIB)), Ok(()));
        assert_eq!(check(DEMAND, &[server("a", 0, 0)], "me", None), Ok(()), "unknown");
    }

    #[test]
    fn a_run_that_does_not_fit_names_the_flags() {
        let error = check(DEMAND, &[server("a", 9, 0)], "me", Some(2 * GIB)).unwrap_err();
        assert!(error.contains("-keys") && error.contains("on a"), "{error}");
        let one_machine = [server("a", 6, 0), server("a", 6, 0)];
        assert!(check(DEMAND, &one_machine, "me", None).is_err(), "one machine counts once");
        let error = check(DEMAND, &[server("a", 12, 0)], "me", Some(GIB)).unwrap_err();
        assert!(error.contains("on me"), "{error}");
        let shared = check(DEMAND, &[server("me", 11, 0)], "me", Some(11 * GIB));
        assert!(shared.is_err(), "the client lives beside the server");
    }

    #[test]
    fn keys_that_are_there_already_need_no_memory() {
        assert_eq!(check(DEMAND, &[server("a", 1, 50_000_000)], "me", None), Ok(()));
        assert!(check(DEMAND, &[server("a", 1, 25_000_000)], "me", None).is_err());
    }
}

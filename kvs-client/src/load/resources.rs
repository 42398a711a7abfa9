//! What this process and its machine use, sampled about once a second.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sysinfo::{Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Traffic of one network interface over an interval.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Traffic {
    /// The interface, such as `eth0`.
    pub(crate) interface: String,
    /// Its speed; `None` when the system does not know.
    pub(crate) link_mbit: Option<u64>,
    /// Bytes received in the interval.
    pub(crate) received_bytes: u64,
    /// Bytes sent in the interval.
    pub(crate) sent_bytes: u64,
}

/// The use of one interval.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// When the interval ended.
    pub(crate) unix_ms: u64,
    /// How long it was.
    pub(crate) interval_s: f64,
    /// CPU time of this process; 100 is one core.
    pub(crate) cpu_percent: f64,
    /// Use of each core of the machine by anyone.
    pub(crate) cores_percent: Vec<f64>,
    /// Resident memory of this process.
    pub(crate) resident_bytes: u64,
    /// Threads of this process.
    pub(crate) threads: u64,
    /// Traffic of the machine by interface.
    pub(crate) network: Vec<Traffic>,
}

/// Takes samples. Where the system gives no figures, they are 0 or missing: a run does not fail
/// for want of them.
#[derive(Debug)]
pub(crate) struct ResourceSampler {
    system: Option<System>,
    networks: Option<Networks>,
    pid: Pid,
    last: Instant,
}

impl ResourceSampler {
    /// Begins the first interval.
    pub(crate) fn new() -> Self {
        let mut this = Self {
            system: System::new().ok(),
            networks: Networks::new_with_refreshed_list().ok(),
            pid: Pid::from_u32(std::process::id()),
            last: Instant::now(),
        };
        // CPU use is the difference of two readings.
        this.sample();
        this
    }

    /// Ends the interval and begins the next one.
    pub(crate) fn sample(&mut self) -> Sample {
        let now = Instant::now();
        let interval = now - std::mem::replace(&mut self.last, now);
        let (mut cpu_percent, mut resident_bytes, mut threads) = (0.0, 0, 0);
        let mut cores_percent = Vec::new();
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_processes_specifics(
                ProcessesToUpdate::Some(&[self.pid]),
                false,
                ProcessRefreshKind::nothing().with_cpu().with_memory(),
            );
            cores_percent = system.cpus().iter().map(|core| tenths(core.usage())).collect();
            if let Some(process) = system.process(self.pid) {
                cpu_percent = tenths(process.cpu_usage());
                resident_bytes = process.memory();
                // The listed tasks are those beside the main thread.
                threads = process.tasks().map_or(0, |tasks| tasks.len() as u64 + 1);
            }
        }
        Sample {
            unix_ms: unix_ms(SystemTime::now()),
            interval_s: (interval.as_secs_f64() * 1e3).round() / 1e3,
            cpu_percent,
            cores_percent,
            resident_bytes,
            threads,
            network: self.networks.as_mut().map(traffic).unwrap_or_default(),
        }
    }
}

fn traffic(networks: &mut Networks) -> Vec<Traffic> {
    networks.refresh(true);
    let mut traffic: Vec<Traffic> = networks
        .iter()
        .map(|(name, data)| Traffic {
            interface: name.to_string_lossy().into_owned(),
            link_mbit: data.transmit_link_speed().map(|bits| bits / 1_000_000),
            received_bytes: data.received(),
            sent_bytes: data.transmitted(),
        })
        .collect();
    traffic.sort_by(|a, b| a.interface.cmp(&b.interface));
    traffic
}

/// Rounds to a tenth, so that a line stays short.
fn tenths(percent: f32) -> f64 {
    (f64::from(percent) * 10.0).round() / 10.0
}

/// Memory of this machine that a process may still take, in bytes; `None` when unknown.
pub(crate) fn memory_free_bytes() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

/// Name of this machine, as its servers tell it.
pub(crate) fn host_name() -> String {
    System::host_name().unwrap_or_default()
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_shows_this_process() {
        let mut sampler = ResourceSampler::new();
        let sample = sampler.sample();
        assert!(sample.resident_bytes > 100_000, "{sample:?}");
        assert!(sample.threads >= 1, "{sample:?}");
        assert!(!sample.cores_percent.is_empty(), "{sample:?}");
        assert!(sample.network.iter().any(|traffic| traffic.interface == "lo"), "{sample:?}");
        assert!(sample.unix_ms > 1_700_000_000_000, "{sample:?}");
        assert!(memory_free_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}

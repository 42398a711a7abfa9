//! What the process and its machine are doing: CPU, memory, threads, network.

use std::time::Instant;

use serde::Serialize;
use sysinfo::{Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// What was seen between two looks, or at the second of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MachineSample {
    /// CPU time of this process; 100 is one core.
    pub cpu_percent: f64,
    /// How busy each core of the machine was, by all its processes; 100 is all the time.
    pub cores_percent: Vec<f64>,
    /// Resident memory of this process.
    pub resident_bytes: u64,
    /// The most that it ever was.
    pub resident_bytes_peak: u64,
    /// Threads of this process.
    pub threads: u64,
    /// The machine's network interfaces by name, without those that never carried anything.
    pub network: Vec<Interface>,
}

/// One network interface's traffic, of all processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// Its speed in megabits per second, where the system knows it; loopback has none.
    pub link_mbit: Option<u64>,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Looks at the process and its machine. What the system does not tell reads as zero or empty.
#[derive(Debug)]
pub struct Machine {
    system: Option<System>,
    networks: Option<Networks>,
    process: Pid,
    looked: Instant,
    cpu_ms: u64,
    resident_bytes_peak: u64,
}

impl Machine {
    /// Takes the first look, which the first sample is compared with.
    pub fn new() -> Self {
        let mut machine = Self {
            system: System::new().ok(),
            networks: Networks::new_with_refreshed_list().ok(),
            process: Pid::from_u32(std::process::id()),
            looked: Instant::now(),
            cpu_ms: 0,
            resident_bytes_peak: 0,
        };
        machine.sample();
        machine
    }

    /// What happened since the last look. Costs a few small files in `/proc` and `/sys`.
    pub fn sample(&mut self) -> MachineSample {
        let mut sample = MachineSample::default();
        self.look_at_process(&mut sample);
        self.look_at_network(&mut sample);
        sample
    }

    fn look_at_process(&mut self, sample: &mut MachineSample) {
        let Some(system) = &mut self.system else { return };
        system.refresh_cpu_usage();
        sample.cores_percent =
            system.cpus().iter().map(|core| tenths(f64::from(core.usage()))).collect();
        // Its threads are counted below; to list them costs more, the more of them there are.
        let refresh = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        let this = [self.process];
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&this), false, refresh);
        let Some(process) = system.process(self.process) else { return };
        let cpu_ms = process.accumulated_cpu_time();
        let elapsed_ms = self.looked.elapsed().as_secs_f64() * 1e3;
        self.looked = Instant::now();
        sample.cpu_percent =
            tenths(100.0 * cpu_ms.saturating_sub(self.cpu_ms) as f64 / elapsed_ms.max(1.0));
        self.cpu_ms = cpu_ms;
        sample.resident_bytes = process.memory();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        sample.threads = status_field(&status, "Threads").unwrap_or(0);
        let peak_bytes = status_field(&status, "VmHWM").map_or(0, |kibibytes| kibibytes * 1024);
        // The kernel's peak may lag behind what it says is resident now, and must not go back.
        self.resident_bytes_peak =
            self.resident_bytes_peak.max(peak_bytes).max(sample.resident_bytes);
        sample.resident_bytes_peak = self.resident_bytes_peak;
    }

    fn look_at_network(&mut self, sample: &mut MachineSample) {
        let Some(networks) = &mut self.networks else { return };
        networks.refresh(true);
        sample.network = networks
            .iter()
            .filter(|(_, traffic)| traffic.total_received() + traffic.total_transmitted() > 0)
            .map(|(name, traffic)| Interface {
                interface: name.to_string_lossy().into_owned(),
                link_mbit: traffic
                    .transmit_link_speed()
                    .map(|bits| bits / 1_000_000)
                    .filter(|mbit| *mbit > 0),
                received_bytes: traffic.received(),
                sent_bytes: traffic.transmitted(),
            })
            .collect();
        sample.network.sort_unstable_by(|a, b| a.interface.cmp(&b.interface));
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// Free and all memory of this host in bytes, within its control group; 0 when unknown.
pub fn host_memory() -> (u64, u64) {
    let Ok(mut system) = System::new() else { return (0, 0) };
    system.refresh_memory();
    let host = (system.available_memory(), system.total_memory());
    system
        .cgroup_limits()
        .map_or(host, |limits| (host.0.min(limits.free_memory), host.1.min(limits.total_memory)))
}

/// Rounded to what is worth telling; nothing when it is not a number.
fn tenths(percent: f64) -> f64 {
    if percent.is_finite() { (percent * 10.0).round() / 10.0 } else { 0.0 }
}

/// The number behind `name:` in the text of `/proc/self/status`, without its unit.
fn status_field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        value.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let mut machine = Machine::new();
        let first = machine.sample();
        assert!(first.resident_bytes > 100_000, "{first:?}");
        assert!(first.resident_bytes_peak >= first.resident_bytes, "{first:?}");
        assert!(first.threads >= 1 && !first.cores_percent.is_empty(), "{first:?}");
        let held = std::hint::black_box(vec![1_u8; 32 << 20]);
        let second = machine.sample();
        assert!(second.resident_bytes >= first.resident_bytes + (16 << 20), "{second:?}");
        drop(held);
        let third = machine.sample();
        assert!(third.resident_bytes_peak >= second.resident_bytes, "{third:?}");
    }

    #[test]
    fn work_shows_as_cpu_time() {
        let mut machine = Machine::new();
        let start = Instant::now();
        // Long enough for several of the kernel's clock ticks, which CPU time is counted in.
        while start.elapsed().as_millis() < 100 {
            std::hint::spin_loop();
        }
        assert!(machine.sample().cpu_percent > 0.0);
    }

    #[test]
    fn status_fields_are_found_by_their_whole_name() {
        let status = "Name:\tkvs\nVmHWM:\t  1234 kB\nThreads:\t7\nBroken:\n";
        assert_eq!(status_field(status, "VmHWM"), Some(1234));
        assert_eq!(status_field(status, "Threads"), Some(7));
        assert_eq!(status_field(status, "Vm"), None);
        assert_eq!(status_field(status, "Broken"), None);
        assert_eq!(status_field(status, "Absent"), None);
    }

    #[test]
    fn numbers_that_are_none_are_not_told() {
        assert_eq!([tenths(12.34), tenths(f64::NAN), tenths(f64::INFINITY)], [12.3, 0.0, 0.0]);
    }
}

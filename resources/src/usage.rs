//! CPU, memory, threads and traffic, between two looks or at the second of them.
//!
//! CPU time is what the kernel has accounted to the process since the last look, over the time since
//! then. It counts in ticks of some 10 ms, so looks that follow closely tell little.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use sysinfo::{Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::interface::link_mbit;

/// What was used between two looks, or at the second of them. Lines of logs hold its fields beside
/// their own (`#[serde(flatten)]`); those that are not known are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// CPU time of this process; 100 is one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// How busy each core of the host was, by all its processes; 100 is all the time.
    pub cores_percent: Vec<f64>,
    /// Resident memory of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// The most that it ever was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes_peak: Option<u64>,
    /// Threads of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// The host's network interfaces by name, without those that never carried anything.
    pub network: Vec<Traffic>,
}

/// One network interface's traffic between two looks, of all processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The interface's name.
    pub interface: String,
    /// Its speed in megabits per second, where the system knows it; loopback has none.
    pub link_mbit: Option<u64>,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Looks at this process and its host.
#[derive(Debug)]
pub struct Sampler {
    system: Option<System>,
    networks: Option<Networks>,
    process: Pid,
    looked: Instant,
    /// CPU time at the last look; `None` if the process was not seen then.
    cpu_ms: Option<u64>,
    resident_bytes_peak: Option<u64>,
}

impl Sampler {
    /// Takes the first look, which the first sample is compared with.
    pub fn new() -> Self {
        let mut sampler = Self {
            system: System::new().ok(),
            networks: Networks::new_with_refreshed_list().ok(),
            process: Pid::from_u32(std::process::id()),
            looked: Instant::now(),
            cpu_ms: None,
            resident_bytes_peak: None,
        };
        sampler.sample();
        sampler
    }

    /// What was used since the last look. Costs a few small files in `/proc` and `/sys`.
    pub fn sample(&mut self) -> Usage {
        let mut usage = Usage::default();
        self.look_at_process(&mut usage);
        usage.network = self.networks.as_mut().map(traffic).unwrap_or_default();
        usage
    }

    fn look_at_process(&mut self, usage: &mut Usage) {
        let Some(system) = &mut self.system else { return };
        system.refresh_cpu_usage();
        usage.cores_percent =
            system.cpus().iter().map(|core| tenths(f64::from(core.usage()))).collect();
        // Its threads are counted below; to list them costs more, the more of them there are.
        let refresh = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        let this = [self.process];
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&this), false, refresh);
        let now = Instant::now();
        let elapsed_ms = (now - std::mem::replace(&mut self.looked, now)).as_secs_f64() * 1e3;
        let process = system.process(self.process);
        let cpu_ms = process.map(sysinfo::Process::accumulated_cpu_time);
        let spent_ms = cpu_ms.zip(self.cpu_ms).map(|(now, before)| now.saturating_sub(before));
        self.cpu_ms = cpu_ms;
        usage.cpu_percent =
            spent_ms.map(|spent_ms| tenths(100.0 * spent_ms as f64 / elapsed_ms.max(1.0)));
        usage.resident_bytes = process.map(sysinfo::Process::memory).filter(|bytes| *bytes > 0);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        usage.threads = status_field(&status, "Threads");
        // The kernel's peak may lag behind what it says is resident now, and must not go back.
        let kernel_peak = status_field(&status, "VmHWM").map(|kibibytes| kibibytes * 1024);
        self.resident_bytes_peak =
            self.resident_bytes_peak.max(kernel_peak).max(usage.resident_bytes);
        usage.resident_bytes_peak = self.resident_bytes_peak;
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

fn traffic(networks: &mut Networks) -> Vec<Traffic> {
    networks.refresh(true);
    let mut traffic: Vec<Traffic> = networks
        .iter()
        .filter(|(_, data)| data.total_received() + data.total_transmitted() > 0)
        .map(|(name, data)| Traffic {
            interface: name.to_string_lossy().into_owned(),
            link_mbit: link_mbit(data),
            received_bytes: data.received(),
            sent_bytes: data.transmitted(),
        })
        .collect();
    traffic.sort_unstable_by(|a, b| a.interface.cmp(&b.interface));
    traffic
}

/// Rounded to what is worth telling. JSON has no form for what is not a number.
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
        let mut sampler = Sampler::new();
        let first = sampler.sample();
        assert!(first.resident_bytes > Some(100_000), "{first:?}");
        assert!(first.resident_bytes_peak >= first.resident_bytes, "{first:?}");
        assert!(first.threads >= Some(1) && !first.cores_percent.is_empty(), "{first:?}");
        let held = std::hint::black_box(vec![1_u8; 32 << 20]);
        let second = sampler.sample();
        let more = second.resident_bytes.unwrap() - first.resident_bytes.unwrap();
        assert!(more >= 16 << 20, "{second:?}");
        drop(held);
        let third = sampler.sample();
        assert!(third.resident_bytes_peak >= second.resident_bytes, "{third:?}");
    }

    #[test]
    fn work_shows_in_the_first_sample() {
        let mut sampler = Sampler::new();
        // Another one tells when the kernel has accounted something; to look is work, too.
        let mut watch = Sampler::new();
        while watch.sample().cpu_percent == Some(0.0) {}
        assert!(sampler.sample().cpu_percent > Some(0.0));
    }

    #[test]
    fn traffic_over_loopback_is_seen() {
        let mut sampler = Sampler::new();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        let usage = sampler.sample();
        let loopback = usage.network.iter().find(|traffic| traffic.interface == "lo");
        let loopback = loopback.expect("loopback has carried something");
        assert!(loopback.received_bytes >= 1000 && loopback.link_mbit.is_none(), "{loopback:?}");
    }

    #[test]
    fn what_is_not_known_is_left_out_and_reads_back_so() {
        let unknown = serde_json::to_string(&Usage::default()).unwrap();
        assert_eq!(unknown, r#"{"cores_percent":[],"network":[]}"#);
        assert_eq!(serde_json::from_str::<Usage>(&unknown).unwrap(), Usage::default());
        let line = concat!(
            r#"{"cpu_percent":12.5,"cores_percent":[1.0],"resident_bytes":2,"#,
            r#""resident_bytes_peak":3,"threads":4,"network":[{"interface":"lo","link_mbit":null,"#,
            r#""received_bytes":5,"sent_bytes":6}]}"#,
        );
        let usage: Usage = serde_json::from_str(line).unwrap();
        assert_eq!((usage.cpu_percent, usage.threads), (Some(12.5), Some(4)));
        assert_eq!(serde_json::to_string(&usage).unwrap(), line);
        assert!(serde_json::from_str::<Usage>(&line.replace("12.5", "\"x\"")).is_err());
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

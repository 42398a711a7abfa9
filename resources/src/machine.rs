//! The facts of a host that a reader needs to judge a figure.

use std::fs::read_to_string;

use serde::{Deserialize, Serialize};
use sysinfo::System;

/// What stands for a name that the system does not tell.
const UNKNOWN: &str = "unknown";

/// A host: its name, hardware and system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name in the network.
    pub name: String,
    /// The processor's name; its architecture where it has no name.
    pub cpu: String,
    /// The cores that a process may use: fewer than are built in where it is bound to some.
    pub cores: u32,
    /// The host's memory, whatever a control group allows of it; 0 if unknown.
    pub memory_bytes: u64,
    /// The kernel's name and release.
    pub kernel: String,
    /// The system's name, as it tells people.
    pub system: String,
    /// The clock of the first core: its base where it varies, else what it runs at. `None` where the
    /// system tells neither.
    #[serde(default)]
    pub clock_mhz: Option<u32>,
}

impl Machine {
    /// Looks at this host.
    pub fn look() -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let os_release = read_to_string("/etc/os-release").unwrap_or_default();
        // Without load a clock that varies stands below its base.
        let base_khz = read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency");
        let mut memory = System::new().ok();
        if let Some(memory) = &mut memory {
            memory.refresh_memory();
        }
        let told = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        Self {
            name: told(host_name()),
            cpu: cpuinfo_field(&cpuinfo, "model name").unwrap_or_else(System::cpu_arch),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            memory_bytes: memory.map_or(0, |memory| memory.total_memory()),
            kernel: told(System::kernel_long_version().ok()),
            system: told(pretty_name(&os_release)),
            clock_mhz: base_khz
                .ok()
                .and_then(|khz| khz.trim().parse::<u32>().ok())
                .map(|khz| khz / 1000)
                .or_else(|| Some(cpuinfo_field(&cpuinfo, "cpu MHz")?.parse::<f64>().ok()? as u32)),
        }
    }
}

/// The host's name in the network; `None` when the system does not tell.
pub fn host_name() -> Option<String> {
    System::host_name().ok().filter(|name| !name.is_empty())
}

/// The first value behind `name :` in the text of `/proc/cpuinfo`.
fn cpuinfo_field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        (field.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The system's name in the text of `/etc/os-release`, which a shell could read.
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_seen() {
        let machine = Machine::look();
        let kernel_name = read_to_string("/proc/sys/kernel/ostype").unwrap();
        let release = read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(machine.kernel, format!("{} {}", kernel_name.trim(), release.trim()));
        let name = read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(machine.name, name.trim());
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(!machine.cpu.is_empty() && !machine.system.is_empty(), "{machine:?}");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let cpuinfo = "model\t\t: 1\nmodel name\t: AMD EPYC: 7003\ncpu MHz\t\t: 2445.404\n\n\
                       processor\t: 1\nmodel name\t: another\n";
        let field = |name| cpuinfo_field(cpuinfo, name);
        assert_eq!(field("model name").as_deref(), Some("AMD EPYC: 7003"));
        assert_eq!(field("cpu MHz").as_deref(), Some("2445.404"));
        assert_eq!(field("model").as_deref(), Some("1"));
        assert_eq!(field("name"), None);
        let pretty = |text| pretty_name(text);
        assert_eq!(pretty("NAME=x\nPRETTY_NAME=\"A B 1\"\n").as_deref(), Some("A B 1"));
        assert_eq!(pretty("PRETTY_NAME=Alpine\n").as_deref(), Some("Alpine"));
        for nothing in ["", "NAME=x\n", "PRETTY_NAME=\"\"\n"] {
            assert_eq!(pretty(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_machine_reads_back_with_and_without_its_clock() {
        let text = r#"{"name":"a","cpu":"b","cores":2,"memory_bytes":3,"kernel":"c","system":"d""#;
        let bare: Machine = serde_json::from_str(&format!("{text}}}")).unwrap();
        assert_eq!((bare.cores, bare.clock_mhz), (2, None));
        let whole = format!("{text},\"clock_mhz\":2400}}");
        let read: Machine = serde_json::from_str(&whole).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), whole);
        assert!(serde_json::from_str::<Machine>(r#"{"name":"a"}"#).is_err());
    }
}

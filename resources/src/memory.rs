//! The memory that a process on this host may still take.
//!
//! The smaller counts of what the host has and what the process's control group allows: a container
//! is ended when it passes its own limit, however much the host has left.

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

/// Memory of this host, within the control group of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What can be taken without swapping.
    pub free_bytes: u64,
    /// All that there is.
    pub total_bytes: u64,
}

impl Memory {
    /// Looks; `None` when the system does not tell.
    pub fn look() -> Option<Self> {
        let mut system = System::new().ok()?;
        system.refresh_memory();
        let (free_bytes, total_bytes) = (system.available_memory(), system.total_memory());
        let this = Pid::from_u32(std::process::id());
        let (one, nothing) = (ProcessesToUpdate::Some(&[this]), ProcessRefreshKind::nothing());
        system.refresh_processes_specifics(one, false, nothing.without_tasks());
        let own_group = system.process(this).and_then(Process::cgroup_limits);
        let limits = own_group.or_else(|| system.cgroup_limits());
        let memory = limits.map_or(Self { free_bytes, total_bytes }, |limits| Self {
            free_bytes: free_bytes.min(limits.free_memory),
            total_bytes: total_bytes.min(limits.total_memory),
        });
        (memory.total_bytes > 0).then_some(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_memory_is_free_and_not_more_than_there_is() {
        let memory = Memory::look().expect("the system tells");
        assert!(memory.free_bytes > 1 << 20, "{memory:?}");
        assert!(memory.free_bytes <= memory.total_bytes, "{memory:?}");
    }
}

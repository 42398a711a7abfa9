//! The processes of this machine, as /proc tells them.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// A process as it was when it was looked at.
pub(crate) struct Process {
    /// Its number.
    pub(crate) id: Pid,
    /// Its parent's number; 0 if that is outside.
    pub(crate) parent: i32,
    /// Its command line, with spaces between the words; empty when it is dead.
    pub(crate) arguments: String,
    /// When it started, in clock ticks after boot.
    pub(crate) started: u64,
    state: String,
}

impl Process {
    /// The process with that number, if there is one.
    pub(crate) fn of(id: Pid) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{id}"));
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name, the second field, may hold spaces and parentheses.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let arguments = fs::read(folder.join("cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let parent = fields.get(1)?.parse().ok()?;
        let started = fields.get(19)?.parse().ok()?;
        Some(Self { id, parent, arguments, started, state: (*fields.first()?).to_owned() })
    }

    /// Whether it has ended, though its parent has not asked how.
    pub(crate) fn is_dead(&self) -> bool {
        self.state == "Z" || self.state == "X"
    }

    /// Whether the text stands in its command line or its environment.
    pub(super) fn bears(&self, text: &str) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.id)).unwrap_or_default();
        self.arguments.contains(text) || String::from_utf8_lossy(&environment).contains(text)
    }

    /// Whether it is of a test host itself.
    pub(super) fn is_sshd(&self) -> bool {
        self.arguments.contains("sshd") || self.arguments.contains("test-hosts _boot")
    }

    /// Its network namespace.
    pub(super) fn network(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/net", self.id)).ok()
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (child of {})", self.id, self.arguments, self.parent)
    }
}

/// All processes.
pub(crate) fn all() -> Vec<Process> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse().ok());
    numbers.filter_map(|number| Process::of(Pid::from_raw(number)?)).collect()
}

/// The children of a process, the oldest first.
pub(crate) fn children(parent: Pid) -> Vec<Process> {
    let mut children = all();
    children.retain(|process| process.parent == parent.as_raw_pid());
    children.sort_by_key(|process| process.started);
    children
}

/// Sends the signal to the process; it may have ended already.
pub(crate) fn send(id: Pid, signal: Signal) {
    let _ = kill_process(id, signal);
}

/// Whether the process has ended.
pub(crate) fn is_gone(id: Pid) -> bool {
    Process::of(id).is_none_or(|process| process.is_dead())
}

//! Why a run ends before its time.

use rustix::process::Signal;

/// What ends a run early.
#[derive(Debug)]
pub(crate) enum End {
    /// It can't go on: nothing is left to stop, or nobody would read what is told.
    Stop {
        /// The exit status: 2 for what the user typed wrongly.
        status: u8,
        /// What the user is told, a line each.
        lines: Vec<String>,
    },
    /// Something of the run failed: what still runs is stopped, and what there is is told.
    Failed(Vec<String>),
    /// The user asked to stop.
    Interrupted(Signal),
}

impl End {
    /// The user typed something wrong.
    pub(crate) fn wrong(line: impl Into<String>) -> Self {
        Self::Stop { status: 2, lines: vec![line.into()] }
    }

    /// The run can't begin, or can't go on.
    pub(crate) fn stop(line: impl Into<String>) -> Self {
        Self::Stop { status: 1, lines: vec![line.into()] }
    }

    /// Something of the run failed.
    pub(crate) fn failed(line: impl Into<String>) -> Self {
        Self::Failed(vec![line.into()])
    }
}

/// `SIGKILL` for 9.
pub(crate) fn signal_name(number: i32) -> String {
    use std::os::unix::process::ExitStatusExt;
    // The standard library knows the names, and tells them in brackets.
    let told = std::process::ExitStatus::from_raw(number).to_string();
    let name = told.split_once("(SIG").and_then(|(_, name)| name.split(')').next());
    name.map_or_else(|| format!("SIG {number}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names() {
        assert_eq!([9, 15, 2].map(signal_name), ["SIGKILL", "SIGTERM", "SIGINT"]);
        assert_eq!(signal_name(60), "SIG 60");
    }
}

//! Programs under test: started, watched, stopped, and what they wrote.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::process::{self, Process};
use super::{ends, expect, expect_one_line, read, root, wait_until};

/// A program that is to be started.
pub(crate) struct Launch {
    command: Command,
    files: [PathBuf; 2],
}

impl Launch {
    pub(super) fn new<S: AsRef<OsStr>>(
        program: &OsStr,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(String, String)],
        files: [PathBuf; 2],
    ) -> Self {
        // It ends with the tests, whatever ends them. Whoever starts the tests may ignore SIGINT,
        // and would hand that down.
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvs-lab"));
        command
            .args(["tied", "-parent", &std::process::id().to_string(), "--", "env"])
            .args(["--default-signal=INT,TERM,HUP,PIPE", "--"])
            .arg(program)
            .args(arguments)
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(File::create(&files[0]).unwrap())
            .stderr(File::create(&files[1]).unwrap())
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            if name == "CARGO" || name == "CDPATH" || name.as_encoded_bytes().starts_with(b"KVS_") {
                command.env_remove(name);
            }
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Self { command, files }
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Unsets a variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it in this folder, not in the workspace's.
    pub(crate) fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.command.current_dir(folder.into());
        self
    }

    /// Has it write its stdout there, where [`Output`] does not see it.
    pub(crate) fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Starts it in a process group of its own.
    pub(crate) fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running { child, files: self.files }
    }

    /// Runs it to its end, which must have the status.
    #[track_caller]
    pub(crate) fn ends_with(self, status: i32) -> Output {
        self.start().ends_with(status)
    }

    /// Starts the launcher, and waits until its clients run.
    #[track_caller]
    pub(crate) fn start_clients(self) -> Running {
        let running = self.start();
        running.wait_out("^client 1:");
        running
    }
}

/// A program that was started; what of its group still runs is killed when this goes away.
pub(crate) struct Running {
    child: Child,
    files: [PathBuf; 2],
}

impl Running {
    /// Its number, which is also its group's.
    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has written so far.
    pub(crate) fn output(&self) -> Output {
        Output { status: -1, out: read(&self.files[0]), err: read(&self.files[1]) }
    }

    /// Waits for a line on stdout.
    #[track_caller]
    pub(crate) fn wait_out(&self, pattern: &str) {
        self.wait(pattern, 0);
    }

    /// Waits for a line on stderr.
    #[track_caller]
    pub(crate) fn wait_err(&self, pattern: &str) {
        self.wait(pattern, 1);
    }

    #[track_caller]
    fn wait(&self, pattern: &str, file: usize) {
        let regex = regex::Regex::new(pattern).unwrap();
        let has = || read(&self.files[file]).lines().any(|line| regex.is_match(line));
        // What has ended writes no more.
        assert!(ends(|| has() || self.is_over()), "never came: {pattern}");
        assert!(has(), "it ended without a line like {pattern}");
    }

    fn is_over(&self) -> bool {
        Process::of(self.id()).is_none_or(|process| process.is_dead())
    }

    /// Waits for its child with this text in the command line.
    #[track_caller]
    pub(crate) fn child(&self, text: &str) -> Process {
        let mut found = None;
        wait_until(&format!("a child with {text}"), || {
            found = process::children(self.id()).into_iter().find(|it| it.arguments.contains(text));
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends it a signal, and to nobody else.
    pub(crate) fn signal(&self, signal: Signal) {
        process::send(self.id(), signal);
    }

    /// Sends its group a signal, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(self.id(), signal).unwrap();
    }

    /// It must end.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Output {
        let ended = ends(|| self.child.try_wait().unwrap().is_some());
        assert!(ended, "it does not end");
        let status = self.child.wait().unwrap();
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        Output { status, ..self.output() }
    }

    /// It must end, with the status.
    #[track_caller]
    pub(crate) fn ends_with(self, status: i32) -> Output {
        let output = self.ends();
        assert!(output.status == status, "status {}, not {status}", output.status);
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.id(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// What a program wrote.
pub(crate) struct Output {
    /// How it ended: 128 and the signal's number if one killed it, -1 if it runs.
    pub(crate) status: i32,
    /// Its stdout.
    pub(crate) out: String,
    /// Its stderr.
    pub(crate) err: String,
}

impl Output {
    /// Some line of stdout matches.
    #[track_caller]
    pub(crate) fn out(&self, pattern: &str) -> &Self {
        expect(&self.out, pattern);
        self
    }

    /// The first line of stdout is this.
    #[track_caller]
    pub(crate) fn first(&self, text: &str) -> &Self {
        assert_eq!(self.out.lines().next(), Some(text));
        self
    }

    /// The last line of stdout matches.
    #[track_caller]
    pub(crate) fn last(&self, pattern: &str) -> &Self {
        expect(self.out.lines().last().unwrap_or_default(), pattern);
        self
    }

    /// Some line of stderr matches.
    #[track_caller]
    pub(crate) fn err(&self, pattern: &str) -> &Self {
        expect(&self.err, pattern);
        self
    }

    /// Stderr is one line, which matches.
    #[track_caller]
    pub(crate) fn err_line(&self, pattern: &str) -> &Self {
        expect_one_line(&self.err, pattern);
        self
    }

    /// Stderr is empty.
    #[track_caller]
    pub(crate) fn quiet(&self) -> &Self {
        assert_eq!(self.err, "");
        self
    }
}

//! Real servers, which can be killed, stopped and started again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to say where it listens, on a machine that is busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A `kvs-server` process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) address: String,
    child: Child,
    port_file: PathBuf,
}

impl Process {
    /// Starts a server at this place on a port that the system chooses, and waits until it
    /// accepts connections.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub(crate) fn start(place: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvs-faults-{}-{number}.port", std::process::id());
        let port_file = std::env::temp_dir().join(name);
        let mut child = Command::new(program())
            .args(["-listen", "127.0.0.1", "-port", "0", "-shard", place, "-threads", "2"])
            .args(["-stats_secs", "0", "-port_file"])
            .arg(&port_file)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server's program starts");
        let port = await_port(&mut child, &port_file);
        Self { address: format!("127.0.0.1:{port}"), child, port_file }
    }

    /// Ends it at once, with all that it holds.
    ///
    /// # Panics
    ///
    /// When it can't be waited for.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child of ours can be waited for");
    }

    /// Tells it to end, and waits until it has: it answers what has arrived first.
    ///
    /// # Panics
    ///
    /// When it does not end well.
    pub(crate) fn end(&mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("a child of ours can be waited for");
        assert!(status.success(), "a server that is told to end ends well: {status}");
    }

    /// Makes it stand still.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child of ours takes signals");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before, and the file may not have been written.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.port_file);
    }
}

fn await_port(child: &mut Child, port_file: &Path) -> u16 {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(port_file).unwrap_or_default();
        if let Some(port) = text.lines().next().and_then(|line| line.parse().ok()) {
            return port;
        }
        if let Some(status) = child.try_wait().expect("a child of ours can be asked") {
            panic!("the server ended before it listened: {status}");
        }
        assert!(start.elapsed() < START_TIMEOUT, "a server says where it listens in time");
        // No readiness is guessed: this is the pause between two looks at the file.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The server's program, built in the profile of the test.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // A test stands in target/<profile>/deps.
        let test = std::env::current_exe().expect("a program knows its path");
        let folder = test.ancestors().nth(2).expect("tests stand in target/<profile>/deps");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Selected like this, it is what a test of the whole workspace has built already; the server
        // alone would want its dependencies with other features.
        build.args(["build", "--quiet", "--locked", "--workspace", "--bin", "kvs-server"]);
        build.args(["--test", "faults"]);
        match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => drop(build.args(["--profile", profile])),
        }
        if let Some(target) = folder.parent() {
            build.arg("--target-dir").arg(target);
        }
        let status = build.status().expect("cargo starts");
        assert!(status.success(), "the server's program is built");
        folder.join("kvs-server")
    })
}

//! What the black-box tests share: they run programs as a user does, and look at what a user sees.
//!
//! [`run`] takes a table of tests. Each gets a [`Bed`]: a folder that goes away, in which the runs'
//! logs lie and a folder with links to the binaries, so that whatever a test starts bears the
//! folder's name, in its command line or its environment. After a test nothing that bears it may be
//! left. Expectations panic, and what the programs wrote is shown with the reason.
//!
//! A test that can't run here is listed as ignored, and what was not run stands at the end.

// No file of tests uses all of it.
#![allow(dead_code, unused_imports)]

mod expect;
pub(crate) mod hosts;
mod launch;
pub(crate) mod process;

pub(crate) use expect::{expect, expect_not, expect_one_line, sum};
pub(crate) use launch::{Launch, Output, Running};

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use tempfile::TempDir;

/// For what a test waits for; far more than it takes.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// A load that is over soon; `-secs` is to be added.
pub(crate) const SMALL: &str = "-keys 2000 -workers 2 -batch_size 200 -warmup_secs 0";
/// A load that ends when it is stopped.
pub(crate) const ENDLESS: &str = "-keys 2000 -workers 2 -batch_size 200 -warmup_secs 0 -secs 600";

/// A test's name and what it does.
pub(crate) type Test = (&'static str, fn(&Bed));

/// What does not run here and why, and where a panic was.
static NOT_RUN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
static PANICKED_AT: Mutex<String> = Mutex::new(String::new());

/// Why a test cannot run here; see [`not_run`].
struct NotRun(String);

/// Ends the test, which counts as not run.
pub(crate) fn not_run(why: impl Into<String>) -> ! {
    resume_unwind(Box::new(NotRun(why.into())))
}

/// Runs the tests, one after the other, as the arguments of `cargo test` say; `begin` sets up each
/// test's bed. With a reason in `cannot`, none of them runs, and `what` is told as not run.
pub(crate) fn run(
    what: &str,
    cannot: Option<String>,
    begin: fn(&mut Bed),
    tests: &'static [Test],
) -> Conclusion {
    // What is started ends with the thread that started it.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    std::panic::set_hook(Box::new(|info| {
        *PANICKED_AT.lock().unwrap() = info.location().map(ToString::to_string).unwrap_or_default();
    }));
    let trials = tests.iter().map(|&(name, test)| {
        Trial::ignorable_test(name, move || on_bed(name, begin, test))
            .with_ignored_flag(cannot.is_some())
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let _ = std::panic::take_hook();
    if let Some(why) = cannot.filter(|_| conclusion.num_ignored > 0) {
        println!("NOT RUN: {what}: {why}");
    }
    for (name, why) in NOT_RUN.lock().unwrap().drain(..) {
        println!("NOT RUN: {name}: {why}");
    }
    conclusion
}

/// The same as a whole program.
pub(crate) fn main(what: &str, tests: &'static [Test]) -> ExitCode {
    run(what, None, |_| {}, tests).exit_code()
}

fn on_bed(name: &str, begin: fn(&mut Bed), test: fn(&Bed)) -> Result<Completion, Failed> {
    let mut bed = Bed::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        begin(&mut bed);
        test(&bed);
    }));
    // Of a test that failed, something may be left.
    let left = bed.end_what_is_left(result.is_ok());
    let mut told = match result {
        Ok(()) => String::new(),
        Err(panic) => match panic.downcast::<NotRun>() {
            Ok(reason) => {
                NOT_RUN.lock().unwrap().push((name.to_owned(), reason.0.clone()));
                return Ok(Completion::ignored_with(reason.0));
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                format!("{}: {}\n", PANICKED_AT.lock().unwrap(), text.unwrap_or("a panic"))
            }
        },
    };
    for process in left {
        let _ = writeln!(told, "left over: {process}");
    }
    if told.is_empty() { Ok(Completion::Completed) } else { Err((told + &bed.show()).into()) }
}

/// Where a test runs.
pub(crate) struct Bed {
    scratch: TempDir,
    /// Variables of all that is started.
    pub(crate) environment: Vec<(String, String)>,
    /// Network namespaces in which nothing but sshd may be left.
    pub(crate) namespaces: Vec<PathBuf>,
    /// Where programs that were started write their stdout and stderr, the newest last.
    launched: RefCell<Vec<[PathBuf; 2]>>,
}

impl Bed {
    fn new() -> Self {
        let scratch = tempfile::Builder::new().prefix("kvs-test-").tempdir().unwrap();
        let bin = scratch.path().join("bin");
        link_binaries(&bin);
        let environment = [("KVS_BIN_DIR", &bin), ("KVS_LOG_DIR", &scratch.path().join("log"))]
            .map(|(name, path)| (name.to_owned(), path.to_str().unwrap().to_owned()));
        let mut environment = Vec::from(environment);
        environment.push(("KVS_HOSTS".to_owned(), "localhost".to_owned()));
        Self { scratch, environment, namespaces: Vec::new(), launched: RefCell::default() }
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A file of the newest run.
    pub(crate) fn latest(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path("log/latest").join(name)
    }

    /// What the newest run's file holds; empty if it is not there.
    pub(crate) fn text(&self, name: impl AsRef<Path>) -> String {
        read(&self.latest(name))
    }

    /// The newest run's file, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a file into the test's folder, with the folders above it; returns its path.
    pub(crate) fn write(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The same for a program.
    pub(crate) fn script(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The launcher, with these arguments.
    pub(crate) fn launcher<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Launch {
        self.program("./run-cluster.sh", arguments)
    }

    /// Any program, by its path from the workspace's folder.
    pub(crate) fn program<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Launch {
        let mut launched = self.launched.borrow_mut();
        let files = ["out", "err"].map(|kind| self.path(format!("{kind}-{}", launched.len())));
        launched.push(files.clone());
        Launch::new(program.as_ref(), arguments, &self.environment, files)
    }

    /// One of our servers, with further flags, and its address.
    #[track_caller]
    pub(crate) fn server(&self, flags: &str) -> (Running, String) {
        let file = self.path("port");
        let flags = format!("-listen 127.0.0.1 -port 0 -port_file {} {flags}", file.display());
        let server = self.program(self.path("bin/kvs-server"), flags.split_whitespace()).start();
        wait_until("a server's port", || {
            assert!(!process::is_gone(server.id()), "a server has ended");
            !read(&file).is_empty()
        });
        (server, format!("127.0.0.1:{}", read(&file).trim()))
    }

    /// All that was started and still runs, here and in the namespaces.
    pub(crate) fn left(&self) -> Vec<process::Process> {
        let name = self.scratch.path().to_str().unwrap();
        let mut left = process::all();
        left.retain(|it| {
            let on_host =
                !it.is_sshd() && it.network().is_some_and(|n| self.namespaces.contains(&n));
            !it.is_dead() && (on_host || it.bears(name))
        });
        left
    }

    /// Kills what is left. Returns it, if `nothing_may` be and it does not end by itself.
    fn end_what_is_left(&self, nothing_may: bool) -> Vec<process::Process> {
        if nothing_may && ends(|| self.left().is_empty()) {
            return Vec::new();
        }
        let left = self.left();
        left.iter().for_each(|process| process::send(process.id, rustix::process::Signal::KILL));
        if nothing_may { left } else { Vec::new() }
    }

    /// What a reader of a failed test wants to see.
    fn show(&self) -> String {
        let mut text = String::new();
        for files in self.launched.borrow().iter().rev().take(2).rev() {
            for (kind, file) in ["out", "err"].iter().zip(files) {
                for line in read(file).lines() {
                    let _ = writeln!(text, "{kind}: {line}");
                }
            }
        }
        let logs = fs::read_dir(self.latest("")).into_iter().flatten().flatten();
        for log in logs.map(|entry| entry.path()) {
            if log.extension() == Some(OsStr::new("log")) {
                let lines = read(&log);
                let _ = writeln!(text, "{}:", log.display());
                for line in lines.lines().skip(lines.lines().count().saturating_sub(5)) {
                    let _ = writeln!(text, "{line:.200}");
                }
            }
        }
        text
    }
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where the binaries lie that are tested: KVS_BIN_DIR, else those of this build.
pub(crate) fn binaries() -> PathBuf {
    match std::env::var_os("KVS_BIN_DIR").filter(|folder| !folder.is_empty()) {
        // From the workspace's folder, as users write it.
        Some(folder) => root().join(folder),
        None => Path::new(env!("CARGO_BIN_EXE_kvs-lab")).parent().unwrap().to_owned(),
    }
}

/// Makes a folder of links to the binaries.
fn link_binaries(folder: &Path) {
    let binaries = binaries();
    fs::create_dir_all(folder).unwrap();
    for name in ["kvs-server", "kvs-client", "kvs-report", "kvs-check", "kvs-lab"] {
        let binary = binaries.join(name);
        // Only runs over ssh take a clock.
        assert!(
            binary.is_file() || name == "kvs-clock",
            "there is no {name} in {}; run: cargo build --workspace --bins",
            binaries.display()
        );
        symlink(binary, folder.join(name)).unwrap();
    }
}

/// An example of a package, built if it is not there: `cargo test --workspace` has built it.
pub(crate) fn example(package: &str, name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_kvs-lab")).with_file_name("examples").join(name);
    if !built.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = std::process::Command::new(cargo);
        cargo.args(["build", "--locked", "--quiet", "--package", package, "--example", name]);
        assert!(cargo.current_dir(root()).status().unwrap().success(), "{name} can't be built");
    }
    built
}

/// Why a file of tests does not run, unless the long tests were asked for.
pub(crate) fn unless_long(file: &str) -> Option<String> {
    let asked = std::env::var("KVS_LONG_TESTS").is_ok_and(|value| value == "1");
    (!asked).then(|| format!("it is long; run: KVS_LONG_TESTS=1 cargo test -p lab --test {file}"))
}

/// Whether the program is found where programs are looked for.
pub(crate) fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Waits for the condition; whether it came true in time.
pub(crate) fn ends(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + WAIT_MAX;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Waits for the condition, which must come true.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(ends(condition), "never came: {what}");
}

/// What the file holds; empty if it is not there.
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

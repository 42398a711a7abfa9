//! `kvs-lab profile`: where the time of one server and one client goes: flamegraphs, and a table by
//! stage.
//!
//! The binaries are built apart, with frame pointers, in `target/profile`; KVS_BIN_DIR names a
//! folder with such binaries that are built already. It needs Linux's perf and the right to use it
//! (root, or kernel.perf_event_paranoid of 1 at most), and installs perf and inferno if it can.

mod stages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use report::table::total_line;
use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::launch;
use crate::measure::seconds;
use crate::measure::table::{Table, cells, decimals};
use crate::say::say;
use crate::tied::{self, output};
use crate::workspace;

/// Samples per second: no divisor of anything that happens at round times.
const HERTZ: u32 = 499;

/// What folds and draws stacks: a tool of its own, because nothing else needs it.
const INFERNO_VERSION: &str = "0.12.8";

/// Where it is installed, in the workspace.
const TOOLS: &str = "target/tools";

/// How long a run may take until it measures.
const BEGIN_SECONDS_MAX: u64 = 60;

/// Writes images/flame-server.svg, images/flame-client.svg and results/profile.jsonl; RESULTS_DIR
/// names another folder for the table.
#[derive(clap::Args)]
pub(crate) struct Profile {
    /// Flags of the client, as one word
    #[arg(long, env = "FLAGS", allow_hyphen_values = true, default_value = "-batch_size 10000")]
    flags: String,
    /// Seconds that are sampled
    #[arg(long, env = "SECS", default_value_t = 5.0, value_parser = seconds)]
    secs: f64,
    /// Folder of the flamegraphs
    #[arg(long = "images_dir", env = "IMAGES_DIR", default_value = "images")]
    images_dir: PathBuf,
}

impl Profile {
    /// Samples a run, draws, and writes the table.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Err(why) = ready().await {
            say!("NOT RUN: profile: {why}");
            return Ok(());
        }
        let (title, columns) = ("Share of the samples by stage", "process stage share:%");
        let mut table = Table::new("profile", title, "kvs-lab profile", &[columns]).await?;
        let built = build().await?;
        let images = workspace::root().join(&self.images_dir);
        std::fs::create_dir_all(&images)?;
        let scratch = tempfile::tempdir()?;
        // A run that is sampled in the middle of its window.
        let client = format!("-secs {} {}", self.secs + 4.0, self.flags);
        let arguments = ["1".to_owned(), "1".to_owned(), String::new(), client];
        let (logs, variables) = (scratch.path().join("log"), [("KVS_BIN_DIR", built.as_os_str())]);
        let sampled = async {
            measures(&logs.join("latest/kvs-client-1.log")).await?;
            tokio::try_join!(self.sample("server", &scratch), self.sample("client", &scratch))
        };
        let ((_, result), _) =
            tokio::try_join!(launch::run(&arguments, &logs, &variables), sampled)?;
        let total = total_line(&result);
        for side in ["server", "client"] {
            let folded = fold(&scratch.path().join(side)).await?;
            let mut draw = tied::command(tool("inferno-flamegraph"));
            draw.args(["--deterministic", "--title", &format!("kvs-{side}, {}", self.flags)]);
            draw.args(["--subtitle", &total]).arg(&folded);
            let picture = output(&mut draw).await?;
            std::fs::write(images.join(format!("flame-{side}.svg")), picture)?;
            let folded = std::fs::read_to_string(folded)?;
            for (stage, share) in stages::shares(&folded, side) {
                table.row(cells![format!("kvs-{side}"), stage, decimals(100.0 * share, 1)]);
            }
        }
        table.note(format!(
            "{total}; sampled for {} s at {HERTZ} Hz in the middle of its window, with frame \
             pointers; a sample belongs to the innermost function that a stage names",
            self.secs
        ));
        table.print_and_write()?;
        let images = images.display();
        say!("{images}/flame-server.svg and {images}/flame-client.svg, to be opened in a browser");
        Ok(())
    }

    /// Samples one side's process, into a file of its name.
    async fn sample(&self, side: &str, scratch: &TempDir) -> anyhow::Result<()> {
        let name = format!("kvs-{side}");
        let pid =
            descendant(std::process::id(), &name).with_context(|| format!("no {name} runs"))?;
        let mut perf = tied::command("perf");
        perf.args(["record", "--quiet", "--call-graph", "fp", "--freq", &HERTZ.to_string()]);
        perf.arg("--output").arg(scratch.path().join(side)).args(["--pid", &pid.to_string()]);
        output(perf.args(["--", "sleep", &self.secs.to_string()])).await.context("perf failed")?;
        Ok(())
    }
}

/// Whether perf can sample here, and what draws is there; the error says why not.
async fn ready() -> anyhow::Result<()> {
    let runs =
        async |command: &str| output(tied::command("sh").args(["-c", command])).await.is_ok();
    if !runs("command -v perf").await {
        let can_install = geteuid().is_root() && runs("command -v apt-get").await;
        ensure!(can_install, "there is no perf; run: sudo apt-get install linux-perf");
        let install = "apt-get update; apt-get install --yes --no-install-recommends linux-perf";
        ensure!(runs(install).await, "perf cannot be installed; run: apt-get install linux-perf");
    }
    let samples = runs("perf record --quiet --output /dev/null -- true").await;
    ensure!(
        samples,
        "perf may not sample here; run as root, or: sudo sysctl kernel.perf_event_paranoid=1"
    );
    if !tool("inferno-flamegraph").is_file() {
        let install = format!(
            "cargo install inferno --version {INFERNO_VERSION} --locked --root {} \
             --no-default-features --features cli",
            workspace::root().join(TOOLS).display()
        );
        ensure!(runs(&install).await, "inferno cannot be installed; run: {install}");
    }
    Ok(())
}

/// Builds what a run needs, with frame pointers and line tables, beside what is not measured so.
async fn build() -> anyhow::Result<PathBuf> {
    let packages = ["--package=lab", "--package=kvs-server", "--package=kvs-client"];
    let variables = [
        ("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only"),
        ("RUSTFLAGS", "-C force-frame-pointers=yes"),
    ];
    workspace::build_in(&workspace::root().join("target/profile"), &packages, &variables).await
}

/// Waits until a client measures, which its log tells.
async fn measures(log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(BEGIN_SECONDS_MAX);
    let begun = |text: String| text.lines().any(|line| line.starts_with("measure"));
    while !std::fs::read_to_string(log).is_ok_and(begun) {
        let late = Instant::now() >= deadline;
        ensure!(!late, "the run has not begun to measure after {BEGIN_SECONDS_MAX} s");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A process of this name, among this one and all that it and its children have started.
fn descendant(pid: u32, name: &str) -> Option<u32> {
    let read = |file: String| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    if read("comm".to_owned())?.trim() == name {
        return Some(pid);
    }
    let children = read(format!("task/{pid}/children"))?;
    children.split_whitespace().find_map(|child| descendant(child.parse().ok()?, name))
}

/// The stacks that perf has sampled, in a file: a line for each that is different, with its samples
/// behind it.
async fn fold(samples: &Path) -> anyhow::Result<PathBuf> {
    let mut perf = tied::command("perf");
    let script = output(perf.args(["script", "--no-inline", "--input"]).arg(samples)).await?;
    let (stacks, folded) = (samples.with_extension("stacks"), samples.with_extension("folded"));
    std::fs::write(&stacks, script)?;
    let lines = output(tied::command(tool("inferno-collapse-perf")).arg(&stacks)).await?;
    ensure!(!lines.is_empty(), "perf took no samples");
    std::fs::write(&folded, lines)?;
    Ok(folded)
}

/// Where a program of inferno lies.
fn tool(name: &str) -> PathBuf {
    workspace::root().join(TOOLS).join("bin").join(name)
}

//! `kvs-lab check`: how fast kvs-check is, on synthetic zipfian histories of 10^7 operations on one
//! core and of 10^8 on two, by witness and by sweep. It needs 2 GB in TMPDIR.

use anyhow::{Context, ensure};
use report::statistics::Spread;
use serde::Deserialize;

use crate::measure::table::{Table, cells, cores, decimals};
use crate::say::say;
use crate::tied::{self, output};
use crate::workspace;

/// Operations of a history, and the cores that check it.
const SIZES: [(u32, u32); 2] = [(10_000_000, 1), (100_000_000, 2)];

/// What decides, and the flags that make it.
const METHODS: [(&str, &[&str]); 2] = [("witness", &[]), ("sweep", &["-no_witness"])];

/// Writes results/check.jsonl; RESULTS_DIR names another folder. KVS_BIN_DIR names one with
/// binaries that are built already, examples/synthesize_history among them.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// Checks of each kind, of which the median counts
    #[arg(long, env = "REPEATS", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
}

/// The part of `check.json` that is told.
#[derive(Deserialize)]
struct Checked {
    by_witness: u32,
    by_sweep: u32,
    seconds: f64,
    memory_bytes_peak: u64,
}

impl Check {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let columns = "operations method cores wall_time:s memory_peak:MiB rate:op/s";
        let title = "Checking every operation of a history";
        let mut table = Table::new("check", title, "kvs-lab check", &[columns]).await?;
        table.note(format!(
            "median of {}; synthetic histories of 64 workers with batches of 1,000, 10^6 zipfian \
             keys, 95% GETs",
            self.repeats
        ));
        let packages =
            ["--package", "checker", "--bin", "kvs-check", "--example", "synthesize_history"];
        let built = workspace::build(&packages).await?;
        let scratch = tempfile::tempdir()?;
        let (history, json) = (scratch.path().join("history"), scratch.path().join("check.json"));
        for (operations, cores_max) in SIZES {
            let cores = cores_max.min(cores());
            let mut synthesize = tied::command(built.join("examples/synthesize_history"));
            output(synthesize.arg(&history).arg(operations.to_string())).await?;
            for (method, flags) in METHODS {
                let (mut times, mut memory_bytes) = (Vec::new(), 0);
                for _ in 0..self.repeats {
                    let mut check = tied::command("taskset");
                    check.args(["-c", &format!("0-{}", cores - 1)]).arg(built.join("kvs-check"));
                    check
                        .args(["-threads", &cores.to_string()])
                        .args(flags)
                        .arg("-json")
                        .arg(&json);
                    let failed = || format!("{operations} operations by {method}");
                    output(check.arg(&history)).await.with_context(failed)?;
                    let found: Checked = serde_json::from_slice(&std::fs::read(&json)?)?;
                    let by = if method == "witness" { found.by_witness } else { found.by_sweep };
                    ensure!(
                        by == operations,
                        "{by} of {operations} operations were decided by {method}"
                    );
                    times.push(found.seconds);
                    memory_bytes = memory_bytes.max(found.memory_bytes_peak);
                }
                let seconds = Spread::of(&times).context("no checks")?.median;
                let mebibytes = (memory_bytes as f64 / f64::from(1 << 20)).round();
                let rate = (f64::from(operations) / seconds).round();
                say!("{operations} operations by {method}, {cores} cores: {rate} op/s");
                table.row(cells![operations, method, cores, decimals(seconds, 2), mebibytes, rate]);
            }
        }
        table.print_and_write().map(drop)
    }
}

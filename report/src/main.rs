//! `kvs-report RUN_DIR`: the total of a run and its plot.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use report::cluster::{self, Window};
use report::run_folder::RunFolder;
use report::{plots, table};

/// Computes a run's total, writes cluster.json, and draws ops.svg and ops.png, all into its folder.
#[derive(Parser)]
#[command(name = "kvs-report", version)]
struct Cli {
    /// The run's folder, e.g. log/latest
    run_dir: PathBuf,
}

fn main() -> ExitCode {
    match report_on(&flags::parse::<Cli>().run_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report_on(run_dir: &std::path::Path) -> anyhow::Result<()> {
    let run = RunFolder::read(run_dir)?;
    let result = cluster::compute(&run);
    // The plot needs the servers' logs alone: a run without a total still shows what happened.
    let window: Option<Window> = result.as_ref().ok().map(|result| result.window);
    let drawn = plots::draw(&run, window);
    let result = result?;
    drawn?;
    result.write(&run.path.join("cluster.json"))?;
    print!("{}", table::render(&result));
    Ok(())
}

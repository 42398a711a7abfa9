//! `kvs-report RUN_DIR`: the total of a run and its plot.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use report::cluster::{self, Window};
use report::page::Page;
use report::run_folder::RunFolder;
use report::{plots, table};

/// Computes a run's total, writes cluster.json and report.html, and draws pictures, all into the
/// run's folder.
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
    let pictures = plots::of_run(&run, window);
    let drawn = pictures.as_ref().map_or(&[][..], Vec::as_slice);
    let written = drawn.iter().try_for_each(|picture| picture.write(&run.path));
    let page = Page::new(&run, &result, drawn).write();
    let result = result?;
    pictures?;
    written?;
    page?;
    result.write(&run.path.join("cluster.json"))?;
    print!("{}", table::render(&result));
    anyhow::ensure!(
        result.failures.is_empty(),
        "the run is not whole, {}; see the logs in {}",
        result.failures.join(", "),
        run.path.display()
    );
    Ok(())
}

//! `kvs-report RUN_DIR`: the total of a run and its plot.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use report::cluster::{self, Window};
use report::page::Page;
use report::run_folder::RunFolder;
use report::{capacity, plots, table};

/// Computes a run's total, writes cluster.json and report.html, and draws pictures, all into the
/// run's folder.
#[derive(Parser)]
#[command(name = "kvs-report", version)]
struct Cli {
    /// The run's folder, e.g. log/latest
    run_dir: PathBuf,

    /// Also predict what 4+4 machines of the testbed would do, from this run's costs per operation
    /// on cores of this clock, into capacity.jsonl
    #[arg(long, value_name = "CLOCK_GHZ", value_parser = clock_ghz)]
    capacity: Option<f64>,
}

fn clock_ghz(text: &str) -> Result<f64, String> {
    let told: Option<f64> = text.parse().ok().filter(|ghz| (0.1..=10.0).contains(ghz));
    told.ok_or_else(|| format!("{text} is no clock in GHz; take the cores' own, e.g. 2.6"))
}

fn main() -> ExitCode {
    match report_on(&flags::parse::<Cli>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report_on(cli: &Cli) -> anyhow::Result<()> {
    let run = RunFolder::read(&cli.run_dir)?;
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
    if let Some(clock_ghz) = cli.capacity {
        let predicted =
            capacity::table(&run, &run.read_clients()?, &result, clock_ghz, &capacity::M510)
                .context("the run holds no processor times to predict from; use a longer -secs")?;
        predicted.write(&run.path.join("capacity.jsonl"))?;
        println!("{}\n", table::of_results(&predicted));
    }
    print!("{}", table::render(&result));
    anyhow::ensure!(
        result.failures.is_empty(),
        "the run is not whole, {}; see the logs in {}",
        result.failures.join(", "),
        run.path.display()
    );
    Ok(())
}

//! `kvs-report`: what a run leaves behind, told and drawn.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use report::cluster::{self, ClusterResult, Window};
use report::compare::{self, Side};
use report::metrics::{self, Metric};
use report::page::Page;
use report::require::Requirements;
use report::results::Results;
use report::run_folder::RunFolder;
use report::{capacity, live, plots, sweep, table};

/// Tells and draws what a run leaves behind.
///
///   kvs-report log/latest                        its total, report.html and pictures, into its folder
///   kvs-report log/latest -require 'ops_s>=5M,p99_us<=5000'
///   kvs-report log/a log/b                       two runs side by side, with the noise
///   kvs-report log/a1,log/a2 log/b1,log/b2       the same with repeats
///   kvs-report results/batch_sizes.jsonl         a measured table; a sweep is summed up and drawn
#[derive(Parser)]
#[command(name = "kvs-report", version, verbatim_doc_comment, after_help = figures())]
struct Cli {
    /// The run's folder, e.g. log/latest, or a results file
    run: String,

    /// A second run to compare the first one with; repeats are joined by commas
    second: Option<String>,

    /// What the run must reach, e.g. 'ops_s>=5M,p99_us<=5000': exits 1 and names what was missed.
    /// Operators are >= <= > < ==; values are in the figure's unit, with k, M or G at will
    #[arg(long, value_name = "LIST", conflicts_with = "second")]
    require: Option<Requirements>,

    /// Print only these figures of the run, joined by commas, in one line: for scripts
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = metric,
        conflicts_with = "second")]
    values: Vec<Metric>,

    /// Print only what the run is doing right now, a row per process: the launcher shows it
    #[arg(long, conflicts_with_all = ["second", "require", "values"])]
    live: bool,

    /// Also predict what 4+4 machines of the testbed would do, from this run's costs per operation
    /// on cores of this clock, into capacity.jsonl
    #[arg(long, value_name = "CLOCK_GHZ", value_parser = clock_ghz)]
    capacity: Option<f64>,
}

fn figures() -> String {
    format!("Figures of a run:\n{}", metrics::explained())
}

fn metric(name: &str) -> Result<Metric, metrics::UnknownMetric> {
    Metric::named(name.trim())
}

fn clock_ghz(text: &str) -> Result<f64, String> {
    let told: Option<f64> = text.parse().ok().filter(|ghz| (0.1..=10.0).contains(ghz));
    told.ok_or_else(|| format!("{text} is no clock in GHz; take the cores' own, e.g. 2.6"))
}

fn main() -> ExitCode {
    let cli = flags::parse::<Cli>();
    let path = PathBuf::from(&cli.run);
    let done = match &cli.second {
        Some(second) => compare_with(&cli.run, second),
        None if cli.live => print_live(&path),
        None if path.is_file() => tell_table(&path),
        None if !cli.values.is_empty() => print_values(&path, &cli.values),
        None => report_on(&path, &cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report_on(path: &Path, cli: &Cli) -> anyhow::Result<()> {
    let run = RunFolder::read(path)?;
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
    must_be_whole(&run, &result)?;
    let misses = cli.require.as_ref().map_or_else(Vec::new, |required| required.misses(&result));
    anyhow::ensure!(misses.is_empty(), "the run missed {}", misses.join("; "));
    Ok(())
}

fn must_be_whole(run: &RunFolder, result: &ClusterResult) -> anyhow::Result<()> {
    anyhow::ensure!(
        result.failures.is_empty(),
        "the run is not whole, {}; see the logs in {}",
        result.failures.join(", "),
        run.path.display()
    );
    Ok(())
}

fn print_values(path: &Path, metrics: &[Metric]) -> anyhow::Result<()> {
    let run = RunFolder::read(path)?;
    let result = cluster::compute(&run)?;
    must_be_whole(&run, &result)?;
    let value = |metric: &Metric| metric.of(&result).map_or("-".to_owned(), |v| v.to_string());
    println!("{}", metrics.iter().map(value).collect::<Vec<_>>().join(" "));
    Ok(())
}

fn print_live(path: &Path) -> anyhow::Result<()> {
    print!("{}", live::render(path)?);
    Ok(())
}

fn compare_with(first: &str, second: &str) -> anyhow::Result<()> {
    print!("{}", compare::render(&Side::read(first)?, &Side::read(second)?));
    Ok(())
}

/// Prints a measured table. A sweep's is summed up, and drawn beside its file.
fn tell_table(path: &Path) -> anyhow::Result<()> {
    let results = Results::read(path)?;
    let Some(text) = sweep::render(&results) else {
        println!("{}", table::of_results(&results));
        return Ok(());
    };
    print!("{text}");
    if let Some(curve) = sweep::curve(&results) {
        let picture = plots::of_results(&results.header.name, &results, &curve)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        picture.write(folder.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

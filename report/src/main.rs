//! `kvs-report`: what a run leaves behind, told and drawn.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use report::compare::{self, Side};
use report::live;
use report::metrics::{self, Metric};
use report::require::Requirements;
use report::tell::{self, Options};

/// Tells and draws what a run leaves behind.
///
///   kvs-report log/latest                        its total, report.html and pictures, into its folder
///   kvs-report log/latest -require 'ops_s>=5M,p99_us<=5000'
///   kvs-report log/a log/b                       two runs side by side, with the noise
///   kvs-report log/a1,log/a2 log/b1,log/b2       the same with repeats
///   kvs-report results/batch_sizes.jsonl         a measured table; a sweep is summed up and drawn
///
/// Exits 1 if a run is not whole, misses what is required, or not everything could be written; its
/// total is printed all the same.
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
    tell::ended("kvs-report", run(flags::parse()))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let (path, out) = (Path::new(&cli.run), &mut std::io::stdout());
    match &cli.second {
        Some(second) => {
            tell::print(out, &compare::render(&Side::read(&cli.run)?, &Side::read(second)?))
        }
        None if cli.live => tell::print(out, &live::render(path)?),
        None if path.is_file() => tell::results_file(path, out),
        None if !cli.values.is_empty() => tell::values(path, &cli.values, out),
        None => {
            let options = Options { require: cli.require, capacity: cli.capacity };
            Ok(tell::run(path, &options, out)?)
        }
    }
}

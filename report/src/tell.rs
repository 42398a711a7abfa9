//! What a run leaves behind, told and then drawn: what `kvs-report` prints and writes.
//!
//! The total is printed and judged first. Whatever hinders the pictures, the page or `cluster.json`
//! after that, a full disk say, is told too and makes the telling fail, but the total stands.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::capacity::{self, M510};
use crate::cluster::{self, ClusterError, ClusterResult};
use crate::metrics::Metric;
use crate::page::Page;
use crate::require::Requirements;
use crate::results::Results;
use crate::run_folder::RunFolder;
use crate::{plots, sweep, table};

/// What is asked of a run beside its total.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What it must reach.
    pub require: Option<Requirements>,
    /// The clock in GHz of the cores that it ran on: predicts a testbed into `capacity.jsonl`.
    pub capacity: Option<f64>,
}

/// What is wrong with a run or could not be written of it, the gravest first, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct TellError {
    /// Whether the run has a total all the same, which was printed.
    pub has_total: bool,
    /// What is wrong, at least one thing.
    pub faults: Vec<String>,
}

/// Prints a run's total to `out`, then writes pictures, page and `cluster.json` into its folder.
///
/// # Errors
///
/// When the run has no total, is not whole or misses what it must reach, or something could not be
/// printed or written. What can be told and written is so all the same.
pub fn run(folder: &Path, options: &Options, out: &mut impl Write) -> Result<(), TellError> {
    let mut faults = Faults(Vec::new());
    let Some(run) = faults.keep(RunFolder::read(folder)) else {
        return Err(TellError { has_total: false, faults: faults.0 });
    };
    let result = cluster::compute(&run);
    match &result {
        Ok(total) => tell(&run, total, options, out, &mut faults),
        Err(error) => drop(faults.keep(Err::<(), _>(error))),
    }
    write_files(&run, &result, &mut faults);
    match faults.0 {
        none if none.is_empty() => Ok(()),
        faults => Err(TellError { has_total: result.is_ok(), faults }),
    }
}

/// Prints figures of a run in one line; `-` for what it does not have.
///
/// # Errors
///
/// When the run has no total or is not whole, or `out` takes nothing.
pub fn values(folder: &Path, metrics: &[Metric], out: &mut impl Write) -> anyhow::Result<()> {
    let run = RunFolder::read(folder)?;
    let result = cluster::compute(&run)?;
    must_be_whole(&run, &result)?;
    let value = |metric: &Metric| metric.of(&result).map_or("-".to_owned(), |v| v.to_string());
    print(out, &format!("{}\n", metrics.iter().map(value).collect::<Vec<_>>().join(" ")))
}

/// Prints a measured table. A sweep's is summed up, and drawn beside its file.
///
/// # Errors
///
/// When the file is no table, `out` takes nothing, or the picture cannot be written.
pub fn results_file(path: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let results = Results::read(path)?;
    let Some(text) = sweep::render(&results) else {
        return print(out, &format!("{}\n", table::of_results(&results)));
    };
    let printed = print(out, &text);
    if let Some(curve) = sweep::curve(&results) {
        let picture = plots::of_results(&results.header.name, &results, &curve)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        picture.write(folder.unwrap_or(Path::new(".")))?;
    }
    printed
}

/// Prints `text` to whoever reads; who has closed the pipe has read what they wanted.
///
/// # Errors
///
/// When `out` takes it for another reason not, such as a full disk.
pub fn print(out: &mut impl Write, text: &str) -> anyhow::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            anyhow::bail!("cannot print ({error}); see where the output goes")
        }
        _ => Ok(()),
    }
}

/// How `program` ends: what is wrong stands on stderr, a line each. Where nobody reads that, the
/// status alone tells it.
pub fn ended(program: &str, done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    for line in error.to_string().lines() {
        let _ = writeln!(std::io::stderr(), "{program}: {line}");
    }
    ExitCode::FAILURE
}

/// What went wrong so far, each thing once.
struct Faults(Vec<String>);

impl Faults {
    /// The value, or the fault's text kept.
    fn keep<T, E: Display>(&mut self, done: Result<T, E>) -> Option<T> {
        let told = done.map_err(|error| error.to_string());
        if let Err(text) = &told
            && !self.0.contains(text)
        {
            self.0.push(text.clone());
        }
        told.ok()
    }
}

/// Prints what is asked of a run that has a total, and judges it.
fn tell(
    run: &RunFolder,
    result: &ClusterResult,
    options: &Options,
    out: &mut impl Write,
    faults: &mut Faults,
) {
    let predicted =
        options.capacity.and_then(|clock_ghz| faults.keep(predict(run, result, clock_ghz)));
    let prediction = predicted
        .as_ref()
        .map_or_else(String::new, |predicted| format!("{}\n\n", table::of_results(predicted)));
    faults.keep(print(out, &format!("{prediction}{}", table::render(result))));
    faults.keep(must_be_whole(run, result).and_then(|()| must_reach(result, options)));
    if let Some(predicted) = predicted {
        faults.keep(predicted.write(&run.path.join("capacity.jsonl")));
    }
}

fn predict(run: &RunFolder, result: &ClusterResult, clock_ghz: f64) -> anyhow::Result<Results> {
    capacity::table(run, &run.read_clients()?, result, clock_ghz, &M510)
        .context("the run holds no processor times to predict from; use a longer -secs")
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

fn must_reach(result: &ClusterResult, options: &Options) -> anyhow::Result<()> {
    let misses = options.require.as_ref().map_or_else(Vec::new, |required| required.misses(result));
    anyhow::ensure!(misses.is_empty(), "the run missed {}", misses.join("; "));
    Ok(())
}

/// Writes into the run's folder whatever can be written there. The pictures need the servers' logs
/// alone: a run without a total still shows what happened.
fn write_files(run: &RunFolder, result: &Result<ClusterResult, ClusterError>, faults: &mut Faults) {
    let window = result.as_ref().ok().map(|result| result.window);
    let pictures = faults.keep(plots::of_run(run, window)).unwrap_or_default();
    // Each is tried; the first that fails is told.
    let written = pictures.iter().map(|picture| picture.write(&run.path));
    faults.keep(written.fold(Ok(()), Result::and));
    faults.keep(Page::new(run, result, &pictures).write());
    if let Ok(result) = result {
        faults.keep(result.write(&run.path.join("cluster.json")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::tests::whole_run;

    /// A reader that sees what stands in the folder when the total comes.
    struct Reader<'a> {
        folder: &'a Path,
        text: String,
    }

    impl Write for Reader<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            for file in ["ops.svg", "report.html", "cluster.json", "capacity.jsonl"] {
                assert!(!self.folder.join(file).exists(), "{file} stands before the total");
            }
            self.text += std::str::from_utf8(bytes).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_total_is_told_before_anything_is_written() {
        let folder = whole_run("tell-first");
        let mut reader = Reader { folder: &folder.0, text: String::new() };
        run(&folder.0, &Options::default(), &mut reader).unwrap();
        assert!(reader.text.lines().last().unwrap().starts_with("total 2000 op/s"));
        for file in ["ops.svg", "report.html", "cluster.json"] {
            assert!(folder.0.join(file).exists(), "{file}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_once_each_and_whether_there_is_a_total() {
        let folder = whole_run("tell-wrong");
        let told = |options: &Options| run(&folder.0, options, &mut Vec::new()).unwrap_err();
        std::fs::create_dir(folder.0.join("ops.png")).unwrap();
        std::fs::create_dir(folder.0.join("cluster.json")).unwrap();
        let options = Options { require: Some("ops_s>=1G".parse().unwrap()), capacity: None };
        let error = told(&options);
        assert!(error.has_total);
        let expected = ["the run missed ops_s>=", "ops.png", "cluster.json"];
        assert_eq!(error.faults.len(), expected.len(), "{error}");
        for (fault, expected) in error.faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{expected}: {error}");
        }
        assert_eq!(error.to_string().lines().count(), expected.len());
        assert!(folder.0.join("network.svg").exists() && folder.0.join("report.html").exists());
        // Both the total and the pictures want the log.
        folder.file("kvs-client-1.log", "stats {}\nstats {}\n");
        let error = told(&options);
        assert!(!error.has_total && error.faults[0].contains("kvs-client-1.log"), "{error}");
        assert_eq!(error.faults.len(), 1, "{error}");
    }
}

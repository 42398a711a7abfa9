//! `kvs-lab sweep`: runs the cluster over lists of settings, several times each, into one table.
//!
//! A sweep has a folder, in which it can be stopped and goes on later:
//!
//! ```text
//! plan          what is swept: only a sweep over the same goes on there
//! runs.jsonl    a line for each run that is done
//! runs/         the runs' own folders
//! NAME.jsonl    the table, when all are done
//! ```

mod plan;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use report::metrics::Metric;
use report::results::Cell;
use report::sweep::REPEAT;
use report::tell;
use serde::{Deserialize, Serialize};

use super::launch::{self, Measured};
use crate::measure::table::Table;
use crate::say::say;
use crate::signals::interrupted;
use crate::workspace;
use plan::{Plan, duration, quoted};

/// What is taken from each run, beside what limited it.
const FIGURES: &str =
    "ops_s:op/s p50_us:us p99_us:us p999_us:us hit_ratio errors servers_cpu clients_cpu";

/// Runs a sweep; the arguments are read as its usage tells.
pub(crate) async fn main(arguments: &[OsString]) -> ExitCode {
    let words: Vec<String> = arguments.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let asked = words.iter().any(|word| matches!(word.as_str(), "-help" | "--help" | "-h"));
    if asked || words.is_empty() {
        say!("{}", include_str!("sweep/usage.txt").trim_end());
        return ExitCode::from(if asked { 0 } else { 2 });
    }
    let ended = match Plan::read(&words) {
        Ok(plan) => run(plan).await.map_err(|error| (1, format!("{error:#}"))),
        Err(text) => Err((2, text)),
    };
    ended.unwrap_or_else(|(status, text)| {
        eprintln!("kvs-lab sweep: {text}");
        ExitCode::from(status)
    })
}

async fn run(plan: Plan) -> anyhow::Result<ExitCode> {
    let (points, repeats) = (plan.points(), plan.repeats);
    say!("{} runs: {points} combinations, {repeats} times each", points as u64 * repeats);
    if plan.dry_run {
        say!("{}", plan.listed().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let interrupted = interrupted();
    let mut sweep = Sweep::open(plan)?;
    let folder = quoted(&sweep.folder.to_string_lossy());
    let again = format!("{} -out {folder}", sweep.plan.command);
    tokio::select! {
        done = sweep.run_all() => done?,
        _ = interrupted => {
            eprintln!("kvs-lab sweep: stopped; it goes on with: {again}");
            return Ok(ExitCode::from(130));
        }
    }
    sweep.write_table().await?;
    Ok(ExitCode::SUCCESS)
}

/// A run that is done. One that failed has no figures.
#[derive(Serialize, Deserialize)]
struct Run {
    point: usize,
    round: u64,
    folder: Option<String>,
    figures: Vec<Option<f64>>,
    limited_by: Option<String>,
}

/// A sweep under way.
struct Sweep {
    plan: Plan,
    folder: PathBuf,
    done: Vec<Run>,
}

impl Sweep {
    /// Makes the folder, or takes up a sweep that was stopped.
    fn open(plan: Plan) -> anyhow::Result<Self> {
        let folder = plan.out.clone().unwrap_or_else(|| {
            let logs = std::env::var_os("KVS_LOG_DIR").filter(|folder| !folder.is_empty());
            let logs = logs.map_or_else(|| workspace::root().join("log"), PathBuf::from);
            logs.join(jiff::Zoned::now().strftime("sweep-%Y%m%d-%H%M%S").to_string())
        });
        let cannot = || format!("cannot make the folder {}; give another -out", folder.display());
        std::fs::create_dir_all(&folder).with_context(cannot)?;
        let folder = std::fs::canonicalize(&folder).with_context(cannot)?;
        let same = (&plan.name, plan.secs, &plan.server_args, &plan.client_args, &plan.lists);
        let (same, file) = (serde_json::to_string(&same)?, folder.join("plan"));
        let (told, mut done) = (folder.display(), Vec::new());
        if let Ok(found) = std::fs::read_to_string(&file) {
            ensure!(found == same, "{told} holds a sweep over something else; give another -out");
            done = read_runs(&folder.join("runs.jsonl"))?;
            say!("going on in {told}");
        } else {
            std::fs::write(&file, same).with_context(cannot)?;
            say!("runs in {told}");
        }
        Ok(Self { plan, folder, done })
    }

    /// Does what is not done yet.
    async fn run_all(&mut self) -> anyhow::Result<()> {
        let mut left = self.plan.runs();
        let total = left.len();
        left.retain(|run| !self.done.iter().any(|done| (done.point, done.round) == *run));
        if !left.is_empty() && self.plan.warm_secs > 0 {
            say!("warming up");
            self.launch(0, self.plan.warm_secs).await.context("the first run fails")?;
        }
        let started = Instant::now();
        for (index, (point, round)) in left.iter().enumerate() {
            let summary = self.run_one(*point, *round).await?;
            let after = left.len() - index - 1;
            let seconds = after as u64 * (started.elapsed().as_secs() / (index as u64 + 1));
            let time =
                if after > 0 { format!(", {} left", duration(seconds)) } else { String::new() };
            say!("[{}/{total}] {}: {summary}{time}", total - after, self.plan.told(*point));
        }
        Ok(())
    }

    async fn launch(&self, point: usize, secs: u64) -> anyhow::Result<Measured> {
        launch::run(&self.plan.arguments(point, secs), &self.folder.join("runs"), &[]).await
    }

    /// One run, and its line in the list; what to tell of it.
    async fn run_one(&mut self, point: usize, round: u64) -> anyhow::Result<String> {
        let names = FIGURES.split(' ').filter_map(|figure| figure.split(':').next());
        let metrics = names.map(|name| Metric::named(name).expect("each is a figure of a run"));
        let (run, summary) = match self.launch(point, self.plan.secs).await {
            Ok((run, result)) => {
                let folder = run.path.file_name().map(|name| name.to_string_lossy().into_owned());
                let figures = metrics.map(|metric| metric.of(&result)).collect();
                // What it is, without the advice.
                let limit = result.bottleneck.sentence.split([';', ':', ',']).next();
                let run =
                    Run { point, round, folder, figures, limited_by: limit.map(str::to_owned) };
                (run, format!("{:.0} op/s", result.operations_per_second))
            }
            Err(error) => {
                let kept = self.folder.join(format!("failed-{point}-{round}.log"));
                std::fs::copy(self.folder.join("runs/launcher.log"), kept)?;
                let figures = metrics.map(|_| None).collect();
                let run = Run { point, round, folder: None, figures, limited_by: None };
                (run, format!("FAILED: {error:#}"))
            }
        };
        let list = self.folder.join("runs.jsonl");
        let file = File::options().create(true).append(true).open(&list);
        let line = serde_json::to_string(&run)?;
        file.and_then(|mut file| writeln!(file, "{line}"))
            .with_context(|| format!("cannot write {}", list.display()))?;
        self.done.push(run);
        Ok(summary)
    }

    /// Writes the table in the order of the points, sums it up, and fails if a run did.
    async fn write_table(mut self) -> anyhow::Result<()> {
        let plan = &self.plan;
        let swept = plan.lists.iter().map(|(name, _)| name.as_str());
        let title = format!("Throughput by {}", swept.clone().collect::<Vec<_>>().join(", "));
        let title = title.replace('_', " ");
        let columns = swept.map(|name| name.replace("value_size", "value_size:B"));
        let columns = columns.chain([format!("{REPEAT} {FIGURES} limited_by run")]);
        let columns = columns.collect::<Vec<_>>().join(" ");
        let (name, command) = (&plan.name, &plan.command);
        let mut table = Table::new_in(&self.folder, name, &title, command, &[&columns]).await;
        let failed = self.done.iter().filter(|run| run.folder.is_none()).count();
        if failed > 0 {
            table.note(format!("{failed} runs failed."));
        }
        table.note(format!(
            "Each run measured for {} s; the rounds went through all combinations in shuffled \
             order.",
            plan.secs
        ));
        self.done.sort_by_key(|run| (run.point, run.round));
        for run in self.done {
            let set = plan.point(run.point).into_iter().map(|(_, value)| cell(value));
            let figures = run.figures.into_iter().map(Cell::from);
            let words = [run.limited_by, run.folder].map(Cell::from);
            table.row(set.chain([Cell::Number(run.round as f64)]).chain(figures).chain(words));
        }
        let path = table.save()?;
        say!();
        tell::results_file(&path, &mut stdout().lock())?;
        say!("results in {}", path.display());
        if failed > 0 {
            bail!("{failed} runs failed; see {}/failed-*.log", self.folder.display());
        }
        Ok(())
    }
}

/// A value that was set: a number where it reads as JSON's.
fn cell(value: &str) -> Cell {
    serde_json::from_str(value).map_or_else(|_| value.into(), Cell::Number)
}

/// The runs of a list. Its last line may have been cut off; that run counts as not done.
fn read_runs(list: &Path) -> anyhow::Result<Vec<Run>> {
    let Ok(text) = std::fs::read_to_string(list) else { return Ok(Vec::new()) };
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    std::fs::write(list, whole)?;
    let damaged = || format!("{} is damaged; give another -out", list.display());
    whole.lines().map(|line| serde_json::from_str(line).with_context(damaged)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_line_was_cut_off_is_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("runs.jsonl");
        assert!(read_runs(&list).unwrap().is_empty());
        let line = r#"{"point":3,"round":1,"folder":"a","figures":[1.5,null],"limited_by":null}"#;
        std::fs::write(&list, format!("{line}\n{}", &line[..30])).unwrap();
        let runs = read_runs(&list).unwrap();
        assert_eq!((runs.len(), runs[0].point, &*runs[0].figures), (1, 3, &[Some(1.5), None][..]));
        assert_eq!(std::fs::read_to_string(&list).unwrap(), format!("{line}\n"));
        std::fs::write(&list, "0|1|20261121-170618|1 2|\n").unwrap();
        assert!(read_runs(&list).is_err(), "a list of another form");
    }

    #[test]
    fn values_that_read_as_numbers_are_numbers() {
        for (value, number) in [("0.99", 0.99), ("10000", 1e4), ("-1", -1.0), ("1e3", 1e3)] {
            assert_eq!(cell(value), Cell::Number(number));
        }
        for text in ["scc", "64-1024", "", "01", ".5", "inf", "NaN", "1e999"] {
            assert_eq!(cell(text), Cell::from(text));
        }
    }
}

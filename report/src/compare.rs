//! Two runs side by side: what differs between them, and whether by more than noise.
//!
//! Each side is one run, or several repeats of it. With repeats on both sides, the noise of every
//! figure is that of the repeats. With single runs only the throughput has one, from its seconds:
//! it holds what varies within a run, not what varies from run to run, and the text says so.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::{self, ClusterError, ClusterResult};
use crate::metrics::{METRICS, Metric};
use crate::run_folder::{FolderError, RunFolder};
use crate::statistics::{Sample, noise};
use crate::table::aligned;

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    /// As the user named it.
    name: String,
    runs: Vec<(RunFolder, ClusterResult)>,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A side names no run.
    #[error(
        "{name:?} names no run; give folders of runs, repeats joined by commas: \
        kvs-report log/a1,log/a2 log/b1,log/b2"
    )]
    NoRun {
        /// What the user gave.
        name: String,
    },
    /// A folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A run has no total.
    #[error("{}: {source}", path.display())]
    Total {
        /// The run's folder.
        path: PathBuf,
        /// Why.
        source: ClusterError,
    },
    /// A run is not whole, so its figures are no one's.
    #[error("{}: {failures}, so its figures cannot be compared; run again", path.display())]
    NotWhole {
        /// The run's folder.
        path: PathBuf,
        /// Who is missing.
        failures: String,
    },
}

impl Side {
    /// Reads a run, or several repeats joined by commas.
    ///
    /// # Errors
    ///
    /// See [`CompareError`]; each names the folder.
    pub fn read(name: &str) -> Result<Self, CompareError> {
        let folders: Vec<&str> = match Path::new(name).exists() {
            true => vec![name],
            false => name.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        };
        if folders.is_empty() {
            return Err(CompareError::NoRun { name: name.to_owned() });
        }
        let runs = folders.into_iter().map(|folder| read_run(Path::new(folder)));
        Ok(Self { name: name.to_owned(), runs: runs.collect::<Result<_, _>>()? })
    }

    /// Values of a figure, one a run; empty if any run does not have it.
    fn values(&self, metric: Metric) -> Vec<f64> {
        let values: Option<Vec<f64>> =
            self.runs.iter().map(|(_, result)| metric.of(result)).collect();
        values.unwrap_or_default()
    }

    /// What the noise of a figure is taken from.
    fn noise_sample(&self, metric: Metric) -> Option<Sample> {
        match &self.runs[..] {
            [(_, run)] if metric.name == "ops_s" => {
                Sample::of(run.operations_each_second.iter().copied())
            }
            _ => Sample::of(self.values(metric)),
        }
    }

    /// Everything that the first run was given and took place on, by name.
    fn facts(&self) -> Vec<(String, String)> {
        let (folder, result) = &self.runs[0];
        let description = &folder.description;
        let mut facts = vec![
            ("commit".to_owned(), description.environment.commit.clone()),
            ("build".to_owned(), format!("{:?}", result.build).to_lowercase()),
            ("servers".to_owned(), result.servers.to_string()),
            ("clients".to_owned(), result.clients.to_string()),
            ("machines".to_owned(), result.machines.to_string()),
            ("server flags".to_owned(), description.server_args.clone()),
        ];
        for host in &description.environment.hosts {
            facts.push((format!("CPU of {}", host.machine.name), host.machine.cpu.clone()));
        }
        if let Value::Object(flags) = &result.config {
            for (name, value) in flags {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                facts.push((format!("-{name}"), text));
            }
        }
        facts
    }
}

fn read_run(path: &Path) -> Result<(RunFolder, ClusterResult), CompareError> {
    let run = RunFolder::read(path)?;
    let result = cluster::compute(&run)
        .map_err(|source| CompareError::Total { path: path.to_owned(), source })?;
    if !result.failures.is_empty() {
        let (path, failures) = (path.to_owned(), result.failures.join(", "));
        return Err(CompareError::NotWhole { path, failures });
    }
    Ok((run, result))
}

/// Flags that differ by their nature: drawn anew for each run.
const DRAWN_ANEW: [&str; 5] = ["-hosts", "-seed", "-run_id", "-history", "-json"];

/// The whole text.
pub fn render(a: &Side, b: &Side) -> String {
    let count = |side: &Side| match side.runs.len() {
        1 => String::new(),
        runs => format!(" ({runs} runs)"),
    };
    let mut text = format!("A  {}{}\nB  {}{}\n", a.name, count(a), b.name, count(b));
    let (of_a, of_b) = (a.facts(), b.facts());
    let mut names: Vec<&String> = of_a.iter().chain(&of_b).map(|(name, _)| name).collect();
    names.dedup();
    for name in unique(names) {
        let fact = |facts: &[(String, String)]| {
            let found = facts.iter().find(|(other, _)| other == name);
            found.map_or("(not told)".to_owned(), |(_, value)| value.clone())
        };
        let (in_a, in_b) = (fact(&of_a), fact(&of_b));
        if in_a != in_b && !DRAWN_ANEW.contains(&name.as_str()) {
            text += &format!("differs: {name}  {}  ->  {}\n", or_empty(&in_a), or_empty(&in_b));
        }
    }
    let header = ["figure", "unit", "A", "B", "difference", "noise (95%)", "verdict"];
    let rows: Vec<Vec<String>> = METRICS.iter().filter_map(|metric| row(*metric, a, b)).collect();
    text += &format!("\n{}\n", aligned(&header, rows.into_iter()));
    for (name, side) in [("A", a), ("B", b)] {
        for (_, result) in &side.runs {
            text += &format!("{name} {}\n", result.bottleneck);
        }
    }
    if a.runs.len() < 2 || b.runs.len() < 2 {
        text += "the noise is that of the seconds within a run; repeats tell that from run to run: \
                 kvs-report a1,a2,a3 b1,b2,b3\n";
    }
    text
}

/// Each name once, in its first place.
fn unique(names: Vec<&String>) -> Vec<&String> {
    let mut unique: Vec<&String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

fn or_empty(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

/// A figure's row; `None` if a side does not have it.
fn row(metric: Metric, a: &Side, b: &Side) -> Option<Vec<String>> {
    let (of_a, of_b) = (Sample::of(a.values(metric))?, Sample::of(b.values(metric))?);
    let difference = of_b.mean - of_a.mean;
    let noise = match (a.noise_sample(metric), b.noise_sample(metric)) {
        (Some(a), Some(b)) => noise(&a, &b),
        _ => None,
    };
    let relative = |value: f64| match of_a.mean {
        0.0 => number(value),
        mean => format!("{:.1}%", 100.0 * value / mean),
    };
    let sign = if difference > 0.0 { "+" } else { "" };
    Some(vec![
        metric.name.to_owned(),
        metric.unit.to_owned(),
        number(of_a.mean),
        number(of_b.mean),
        format!("{sign}{}", relative(difference)),
        noise.map_or("-".to_owned(), |noise| format!("±{}", relative(noise))),
        verdict(metric, difference, noise).to_owned(),
    ])
}

fn verdict(metric: Metric, difference: f64, noise: Option<f64>) -> &'static str {
    match (noise, metric.more_is_better) {
        _ if difference == 0.0 => "equal",
        (None, _) => "not known: repeat the runs",
        (Some(noise), _) if difference.abs() <= noise => "within the noise",
        (Some(_), Some(more)) if more == (difference > 0.0) => "B is better",
        (Some(_), Some(_)) => "B is worse",
        (Some(_), None) => "beyond the noise",
    }
}

/// Whole numbers where they are large, three places where they are small.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1_000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::tests::{DESCRIPTION, START_UNIX_MS, Scratch, client, whole_run};

    /// A run whose clients complete so many operations in each tenth of a second.
    fn run(name: &str, tenths: [u64; 40], p99_us: f64) -> Scratch {
        let folder = whole_run(name);
        let mut result = client(START_UNIX_MS);
        result.operations = tenths.iter().sum();
        result.timeline.operations = tenths.to_vec();
        result.latency_us.operations.as_mut().unwrap().p99 = p99_us;
        for number in 1..=2 {
            result.write(&folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
        }
        folder
    }

    /// Four seconds with these rates of one client.
    fn seconds(rates: [u64; 4]) -> [u64; 40] {
        std::array::from_fn(|tenth| rates[tenth / 10] / 10)
    }

    fn compared(a: &[&Scratch], b: &[&Scratch]) -> String {
        let side = |folders: &[&Scratch]| {
            let names: Vec<String> =
                folders.iter().map(|folder| folder.0.display().to_string()).collect();
            Side::read(&names.join(",")).unwrap()
        };
        render(&side(a), &side(b))
    }

    /// The row of a figure, its words.
    fn words(text: &str, figure: &str) -> Vec<String> {
        let line = text.lines().find(|line| line.trim_start().starts_with(figure));
        let line = line.unwrap_or_else(|| panic!("no {figure} in {text}"));
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn seconds_tell_the_noise_of_single_runs() {
        let a = run("compare-a", seconds([1_000, 1_020, 980, 1_000]), 350.0);
        let b = run("compare-b", seconds([1_100, 1_120, 1_080, 1_100]), 350.0);
        let text = compared(&[&a], &[&b]);
        assert_eq!(words(&text, "ops_s")[..5], ["ops_s", "op/s", "2000", "2200", "+10.0%"]);
        assert!(text.contains("B is better") && text.contains("±2.8%"), "{text}");
        assert_eq!(words(&text, "p99_us")[6..], ["equal"], "{text}");
        assert!(text.contains("kvs-report a1,a2,a3 b1,b2,b3"), "{text}");
        let text = compared(&[&b], &[&a]);
        assert!(text.contains("-9.1%") && text.contains("B is worse"), "{text}");
        // The same means with seconds that vary more.
        let noisy = run("compare-noisy", seconds([800, 1_400, 700, 1_500]), 351.0);
        let text = compared(&[&a], &[&noisy]);
        assert!(words(&text, "ops_s").join(" ").ends_with("within the noise"), "{text}");
        let unknown = words(&text, "p99_us").join(" ");
        assert!(unknown.ends_with("- not known: repeat the runs"), "{text}");
    }

    #[test]
    fn repeats_tell_the_noise_of_every_figure() {
        let steady = |name, rate, p99_us| run(name, [rate; 40], p99_us);
        let a = [steady("compare-a1", 100, 300.0), steady("compare-a2", 102, 310.0)];
        let b = [steady("compare-b1", 101, 400.0), steady("compare-b2", 103, 410.0)];
        let text = compared(&[&a[0], &a[1]], &[&b[0], &b[1]]);
        assert!(text.contains("(2 runs)") && !text.contains("repeats tell"), "{text}");
        let ops = words(&text, "ops_s").join(" ");
        assert!(ops.contains("2020 2040 +1.0% ±6.0% within the noise"), "{text}");
        let p99 = words(&text, "p99_us").join(" ");
        assert!(p99.contains("305 405 +32.8% ±10.0% B is worse"), "{text}");
    }

    #[test]
    fn what_differs_in_the_runs_is_told() {
        let (a, b) = (run("compare-c", [100; 40], 1.0), run("compare-d", [100; 40], 1.0));
        let text = compared(&[&a], &[&b]);
        assert!(!text.contains("differs"), "{text}");
        let mut result = client(START_UNIX_MS);
        result.config["batch_size"] = 512.into();
        result.config["depth"] = 2.into();
        result.config["seed"] = 7.into();
        result.write(&b.0.join("kvs-client-1.json")).unwrap();
        let description =
            DESCRIPTION.replace("\"server_args\": \"\"", "\"server_args\": \"-store scc\"");
        b.file("run.json", &description);
        let text = compared(&[&a], &[&b]);
        for line in [
            "differs: -batch_size  10000  ->  512\n",
            "differs: -depth  (not told)  ->  2\n",
            "differs: server flags  (none)  ->  -store scc\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("seed"), "{text}");
    }

    #[test]
    fn runs_that_cannot_be_compared_are_named() {
        let folder = run("compare-e", [100; 40], 1.0);
        let error = Side::read(" , ").unwrap_err();
        assert!(error.to_string().contains("names no run"), "{error}");
        let error = Side::read("no/such").unwrap_err();
        assert!(error.to_string().contains("no/such/run.json"), "{error}");
        std::fs::remove_file(folder.0.join("kvs-client-2.json")).unwrap();
        let error = Side::read(&folder.0.display().to_string()).unwrap_err();
        assert!(error.to_string().contains("client 2 left no result, so"), "{error}");
        std::fs::remove_file(folder.0.join("kvs-client-1.json")).unwrap();
        let error = Side::read(&folder.0.display().to_string()).unwrap_err();
        assert!(matches!(error, CompareError::Total { .. }), "{error}");
    }
}

//! `kvs-lab publish`: keeps a run for REPORT.md.
//!
//! Copies the small files of the run's folder to `results/NAME`, where `make report` finds them: no
//! histories, and no pictures, which are made from them. A run that is there already is replaced.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use report::result::RunResult;
use report::results::is_name;

use crate::say::say;
use crate::workspace;

/// What `kvs-lab publish` takes.
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// The run's folder, e.g. log/latest
    run_dir: PathBuf,
    /// Its name: a-z, 0-9, _ and -
    #[arg(default_value = "run")]
    name: String,
}

impl Publish {
    /// Keeps it.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { run_dir, name } = self;
        let is_run = run_dir.join("run.json").is_file();
        ensure!(
            is_run,
            "{} is not the folder of a run; name one, e.g. log/latest",
            run_dir.display()
        );
        ensure!(is_name(&name), "'{name}' is no name: use a-z, 0-9, _ and -");
        publish(&run_dir, &workspace::root().join("results"), &name)?;
        say!("published as results/{name}; now run: make report");
        Ok(())
    }
}

fn publish(run_dir: &Path, results: &Path, name: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(results)?;
    let mut new = tempfile::Builder::new();
    let new = new.permissions(Permissions::from_mode(0o755)).prefix(".run").tempdir_in(results)?;
    for entry in std::fs::read_dir(run_dir)? {
        let (from, file) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let (to, file) = (new.path().join(&file), file.to_str().unwrap_or_default());
        let is_client = file.starts_with("kvs-client-");
        if is_client && file.ends_with(".json") {
            without_folders(RunResult::read(&from)?).write(&to)?;
        } else if matches!(file, "run.json" | "check.json" | "clocks.json")
            || (is_client || file.starts_with("kvs-server-")) && file.ends_with(".log")
        {
            std::fs::copy(from, to)?;
        }
    }
    let kept = results.join(name);
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    std::fs::rename(new.keep(), &kept).with_context(|| format!("cannot make {}", kept.display()))
}

/// Where the run's folder lay says nothing to a reader.
fn without_folders(mut result: RunResult) -> RunResult {
    for flag in ["json", "history"] {
        let path = result.config.get(flag).and_then(|value| value.as_str()).map(Path::new);
        let file = path.and_then(Path::file_name).map(|file| file.to_string_lossy().into_owned());
        if let Some(file) = file {
            result.config[flag] = file.into();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_kept_and_no_folders_told() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/run");
        let scratch = tempfile::tempdir().unwrap();
        let (run, results) = (scratch.path().join("log"), scratch.path().join("results"));
        std::fs::create_dir_all(&run).unwrap();
        for file in ["run.json", "kvs-server-1.log", "kvs-client-1.log", "kvs-client-1.json"] {
            std::fs::copy(example.join(file), run.join(file)).unwrap();
        }
        for file in ["kvs-client-1.history", "kvs-report.log", "ops.png", "cluster.json"] {
            std::fs::write(run.join(file), "").unwrap();
        }
        let path = run.join("kvs-client-1.json");
        let mut result = RunResult::read(&path).unwrap();
        result.config["json"] = "/home/me/log/kvs-client-1.json".into();
        result.write(&path).unwrap();
        publish(&run, &results, "mine").unwrap();
        // Once more: it replaces what is there.
        std::fs::write(results.join("mine/old"), "").unwrap();
        publish(&run, &results, "mine").unwrap();

        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(
            names(&results.join("mine")),
            ["kvs-client-1.json", "kvs-client-1.log", "kvs-server-1.log", "run.json"]
        );
        assert_eq!(names(&results), ["mine"]);
        let kept = RunResult::read(&results.join("mine/kvs-client-1.json")).unwrap();
        assert_eq!(kept.config["json"], "kvs-client-1.json");
        assert_eq!(kept.config["history"], serde_json::Value::Null);
        std::fs::write(&path, "{").unwrap();
        assert!(publish(&run, &results, "mine").is_err());
        assert_eq!(names(&results), ["mine"], "what is half made goes away");
    }
}

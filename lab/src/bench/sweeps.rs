//! `kvs-lab sweeps`: the sweeps of REPORT.md, each as `kvs-lab sweep` does it. Their raw runs stay
//! in `log/sweep-NAME`, their tables go to `results/`.

use std::ffi::OsString;
use std::process::ExitCode;

use super::sweep;
use crate::measure::table::{self, cores};
use crate::say::say;
use crate::workspace;

const NAMES: [&str; 7] =
    ["batch_sizes", "many_workers", "threads", "value_sizes", "depths", "connections", "stores"];

/// Writes results/NAME.jsonl; RESULTS_DIR names another folder.
#[derive(clap::Args)]
pub(crate) struct Sweeps {
    /// How often each combination runs
    #[arg(long, env = "REPEATS", default_value_t = 3)]
    repeats: u32,
    /// Measured seconds of a run
    #[arg(long, env = "SECS", default_value_t = 4)]
    secs: u32,
    /// Which ones
    #[arg(value_name = "NAME", value_parser = NAMES, default_values = NAMES)]
    names: Vec<String>,
}

impl Sweeps {
    /// Measures them anew, one after the other; the status is that of the first that fails.
    pub(crate) async fn run(self) -> ExitCode {
        for name in &self.names {
            match self.sweep(name).await {
                Ok(ExitCode::SUCCESS) => {}
                Ok(failed) => return failed,
                Err(error) => {
                    eprintln!("kvs-lab: {error:#}");
                    return ExitCode::FAILURE;
                }
            }
        }
        ExitCode::SUCCESS
    }

    async fn sweep(&self, name: &str) -> anyhow::Result<ExitCode> {
        let results = table::folder()?;
        let folder = workspace::root().join(format!("log/sweep-{name}"));
        let how = format!("-name {name} -repeats {} -secs {}", self.repeats, self.secs);
        let mut words: Vec<OsString> = how.split(' ').map(OsString::from).collect();
        words.extend(flags(name, cores()).into_iter().map(OsString::from));
        words.extend(["-out".into(), folder.clone().into()]);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let status = sweep::main(&words).await;
        if status == ExitCode::SUCCESS {
            let (file, to) = (format!("{name}.jsonl"), results.display());
            std::fs::copy(folder.join(&file), results.join(&file))?;
            say!("written to {to}/{file}; now run: make report");
        }
        Ok(status)
    }
}

/// What a sweep goes over, on so many cores.
fn flags(name: &str, cores: u32) -> Vec<String> {
    let threads = &thread_counts(cores);
    let flags: &[&str] = match name {
        "batch_sizes" => &["-batch_size", "1,10,100,1000,2000,5000,10000"],
        "many_workers" => &["-workers", "1,8,64,256,1024", "-client_args", "-batch_size 10000"],
        "threads" => &["-server_threads", threads, "-client_threads", threads],
        "value_sizes" => &["-value_size", "8,40,128,512,2048,8192", "-client_args", "-keys 100000"],
        "depths" => &["-depth", "1,2,4,8,16", "-client_args", "-workers 4 -batch_size 100"],
        "connections" => &["-connections", "1,2,4,8,16"],
        "stores" => &["-store", "partitioned,scc,mutex", "-client_args", "-batch_size 10000"],
        other => unreachable!("{other} is no sweep's name"),
    };
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

/// Powers of two below the cores, and the cores.
fn thread_counts(cores: u32) -> String {
    let powers = std::iter::successors(Some(1), |count| Some(2 * count));
    let counts = powers.take_while(|count| *count < cores).chain([cores]);
    counts.map(|count| count.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_double_up_to_the_cores() {
        assert_eq!([1, 2, 6, 8].map(thread_counts), ["1", "1,2", "1,2,4,6", "1,2,4,8"]);
    }

    #[test]
    fn each_name_has_its_lists() {
        for name in NAMES {
            assert!(flags(name, 2).len() >= 2, "{name}");
        }
        assert!(std::panic::catch_unwind(|| flags("others", 2)).is_err());
    }
}

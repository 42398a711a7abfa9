//! The check of what the clients recorded.

use std::path::{Path, PathBuf};

use super::Run;
use super::cluster::Cluster;
use super::end::End;
use super::live::{print, say};
use super::processes::{Kind, short_path};
use crate::signals::status_of;
use crate::tied;

/// Lets kvs-check decide whether the run was linearizable: its text goes to stdout, its result to
/// `check.json`. A verdict for the user, unless all is well: nothing was recorded, or the histories
/// are linearizable. With `truncated`, histories without an end are no fault.
///
/// # Errors
///
/// When the user asked to stop, or the check can't be made.
pub(super) async fn check_histories(run: &mut Run, truncated: bool) -> Result<Option<String>, End> {
    if !run.arguments.checks {
        return Ok(None);
    }
    let folder = run.folders.run.clone();
    let history = |client| folder.join(format!("kvs-client-{client}.history"));
    let size = |file: &PathBuf| file.metadata().map_or(0, |metadata| metadata.len());
    let files: Vec<PathBuf> = (1..=run.arguments.clients).map(history).collect();
    let missing = files.iter().position(|file| size(file) == 0);
    // Clients that failed before they sent anything.
    if files.iter().all(|file| size(file) == 0) {
        return Ok(None);
    }
    // Without the writes of one client, the reads of the others would look wrong.
    if let Some(index) = missing {
        return Ok(Some(format!("not checked: kvs-client {} left no history", index + 1)));
    }
    let bytes: u64 = files.iter().map(size).sum();
    say(&format!("checking {:.1} MiB of histories", bytes as f64 / f64::from(1 << 20)))?;

    let log = folder.join("kvs-check.log");
    let mut command = tied::command(run.bin.join("kvs-check"));
    command.arg("-json").arg(folder.join("check.json")).arg("-scratch").arg(&folder);
    for (client, clock) in run.cluster.iter().flat_map(Cluster::client_clocks) {
        command.arg(format!("-clock={client}:{}:{}", clock.offset_ns, clock.error_ns));
    }
    command.args(truncated.then_some("-allow_truncated")).args(&files);
    run.processes.start(Kind::Checker, "kvs-check".to_owned(), log.clone(), command, None)?;
    while run.processes.running(Kind::Checker) {
        tokio::select! {
            () = run.processes.one_ends() => {}
            signal = run.signals.next() => return Err(End::Stop {
                status: status_of(signal),
                lines: vec![format!(
                    "stopped while checking; the histories are in {}",
                    short_path(&folder)
                )],
            }),
        }
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    print(&text)?;
    let (status, ended) = run.processes.last();
    match status {
        Some(0) => {
            if !run.arguments.keeps_history {
                remove(&files);
            }
            Ok(None)
        }
        Some(1 | 2) => Ok(Some(format!("{}; see {}", verdict(&text), short_path(&log)))),
        _ => Ok(Some(ended)),
    }
}

/// One that stays costs room and harms nobody.
fn remove(files: &[impl AsRef<Path>]) {
    files.iter().for_each(|file| drop(std::fs::remove_file(file)));
}

/// What the check's text says behind `verdict`.
fn verdict(text: &str) -> &str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("verdict "));
    lines.next().map_or("the check gave no verdict", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_found() {
        assert_eq!(
            verdict("keys 7\nverdict       not linearizable: 1 keys\n"),
            "not linearizable: 1 keys"
        );
        assert_eq!(verdict("verdicts  none\n"), "the check gave no verdict");
    }
}

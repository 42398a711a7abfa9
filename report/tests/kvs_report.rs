//! `kvs-report` from end to end, on the folder of a real run of two servers and two clients.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "../examples/synthesize.rs"]
#[allow(dead_code)]
mod synthesize;

/// A copy of the run's folder that goes away when the test ends.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvs-report-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run-2x2");
        for file in std::fs::read_dir(sample).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), path.join(file.file_name())).unwrap();
        }
        Self(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kvs_report(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvs-report")).arg(folder).output().unwrap()
}

/// The one line that a failure is told in.
fn failure(folder: &Path) -> String {
    let output = kvs_report(folder);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("kvs-report: "), "{told}");
    told
}

#[test]
fn a_whole_run_has_a_table_a_total_and_a_plot() {
    let run = Copy::new("whole");
    let output = kvs_report(&run.0);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, last) = (text.lines().next().unwrap(), text.lines().last().unwrap());
    assert_eq!(first, "dev: 4 processes on ONE machine, not a cluster figure");
    assert!(last.starts_with("total ") && last.contains(" op/s (2+2 processes"), "{last}");
    assert!(last.ends_with("0 errors, DEBUG BUILD)"), "{last}");
    for file in ["cluster.json", "report.html", "ops.svg", "ops.png", "network.svg", "share.png"] {
        assert!(run.0.join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

/// Greater than any page of a run of 8 machines and 60 s may be.
const PAGE_BYTES_MAX: usize = 3_000_000;

#[test]
fn the_page_of_a_minute_on_eight_machines_is_small() {
    let run = Copy::new("eight");
    synthesize::write(&run.0, 4, 4, 60);
    let output = kvs_report(&run.0);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(run.0.join("report.html")).unwrap();
    assert_eq!(page.matches("<svg ").count(), 6);
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
}

#[test]
fn a_run_that_lacks_a_process_has_a_total_and_fails() {
    let run = Copy::new("missing");
    std::fs::remove_file(run.0.join("kvs-client-2.json")).unwrap();
    let output = kvs_report(&run.0);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("total ") && last.contains("CLIENT 2 LEFT NO RESULT"), "{last}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("not whole, client 2 left no result"), "{told}");
    assert!(run.0.join("ops.png").exists() && run.0.join("cluster.json").exists());
}

#[test]
fn a_run_without_results_is_told_and_the_plot_is_still_drawn() {
    let run = Copy::new("none");
    for number in 1..=2 {
        std::fs::remove_file(run.0.join(format!("kvs-client-{number}.json"))).unwrap();
    }
    assert!(failure(&run.0).contains("no client left a result"));
    assert!(run.0.join("ops.png").exists());
    assert!(std::fs::read_to_string(run.0.join("report.html")).unwrap().contains("No total"));
    assert!(!run.0.join("cluster.json").exists());
}

#[test]
fn a_cut_off_result_is_told() {
    let run = Copy::new("cut");
    let path = run.0.join("kvs-client-1.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(failure(&run.0).contains("is cut off"));
}

#[test]
fn a_folder_of_no_run_is_told() {
    assert!(failure(Path::new("no/such/folder")).contains("run.json"));
}

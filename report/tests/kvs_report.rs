//! `kvs-report` from end to end, on the folder of a real run of two servers and two clients.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "../examples/synthesize_run.rs"]
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
    kvs_report_with(folder, &[])
}

fn kvs_report_with(folder: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvs-report")).arg(folder).args(flags).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
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

#[test]
fn a_requirement_that_is_missed_fails_and_is_named() {
    let run = Copy::new("require");
    let output = kvs_report_with(&run.0, &["-require", "ops_s>=1, errors <= 0"]);
    assert!(output.status.success(), "{}", text(output.stderr));
    let output = kvs_report_with(&run.0, &["-require", "ops_s>=1G,p99_us<=0.5,errors<=0"]);
    assert_eq!(output.status.code(), Some(1));
    // The total is told all the same.
    assert!(text(output.stdout).lines().last().unwrap().starts_with("total "));
    let told = text(output.stderr);
    assert!(told.starts_with("kvs-report: the run missed ops_s>=1000000000: it is "), "{told}");
    assert!(told.contains("; p99_us<=0.5: it is ") && !told.contains("errors"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    for wrong in ["ops>=1", "ops_s=1", "ops_s>=", ""] {
        let output = kvs_report_with(&run.0, &["-require", wrong]);
        let told = text(output.stderr);
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{wrong}: {told}");
    }
}

#[test]
fn figures_are_printed_for_scripts() {
    let run = Copy::new("values");
    let output = kvs_report_with(&run.0, &["-values", "errors,linearizable,hit_ratio"]);
    assert_eq!(text(output.stdout), "0 - 1\n");
    let output = kvs_report_with(&run.0, &["-values", "errors,speed"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(output.stderr).contains("there is no figure \"speed\"; the figures are ops_s, "));
}

#[test]
fn what_cannot_be_written_is_told_beside_the_total() {
    let run = Copy::new("unwritable");
    let options = ["-require", "ops_s>=1"];
    assert!(kvs_report_with(&run.0, &options).status.success());
    for file in ["ops.svg", "network.png", "report.html", "cluster.json"] {
        std::fs::remove_file(run.0.join(file)).unwrap();
    }
    std::fs::create_dir(run.0.join("ops.svg")).unwrap();
    let output = kvs_report_with(&run.0, &options);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stdout).lines().last().unwrap().starts_with("total "));
    let told = text(output.stderr);
    assert!(told.starts_with("kvs-report: cannot write ") && told.contains("ops.svg: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    for file in ["network.png", "report.html", "cluster.json"] {
        assert!(run.0.join(file).exists(), "{file} is written all the same");
    }
    let output = kvs_report_with(&run.0, &["-require", "ops_s>=1G"]);
    let told = text(output.stderr);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(1), 2), "{told}");
    assert!(lines[0].starts_with("kvs-report: the run missed "), "{told}");
    assert!(lines[1].starts_with("kvs-report: cannot write "), "{told}");
}

/// Status and stderr where stdout is a pipe that nobody reads, and where it is full.
fn unread(arguments: &[&str]) -> [(Option<i32>, String); 2] {
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    [Stdio::from(closed), Stdio::from(full)].map(|stdout| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvs-report"));
        let output =
            command.args(arguments).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), text(output.stderr))
    })
}

#[test]
fn output_that_nobody_reads_ends_quietly_and_a_full_disk_is_told() {
    let run = Copy::new("unread");
    let folder = run.0.to_str().unwrap();
    let table = run.0.join("capacity.jsonl");
    assert!(kvs_report_with(&run.0, &["-capacity", "2.6"]).status.success());
    for arguments in [
        &[folder][..],
        &[folder, "-values", "ops_s"],
        &[folder, "-live"],
        &[folder, folder],
        &[table.to_str().unwrap()],
    ] {
        let [closed, (status, told)] = unread(arguments);
        assert_eq!(closed, (Some(0), String::new()), "{arguments:?}");
        assert_eq!((status, told.lines().count()), (Some(1), 1), "{arguments:?}: {told}");
        assert!(told.starts_with("kvs-report: cannot print (No space left "), "{told}");
    }
    // The verdict stays what it is, and pictures are drawn.
    std::fs::remove_file(run.0.join("ops.svg")).unwrap();
    let [(closed, told), (full, both)] = unread(&[folder, "-require", "ops_s>=1G"]);
    assert_eq!((closed, told.lines().count()), (Some(1), 1), "{told}");
    assert!(told.starts_with("kvs-report: the run missed "), "{told}");
    assert_eq!((full, both.lines().count()), (Some(1), 2), "{both}");
    assert!(run.0.join("ops.svg").exists());
    let [(closed, told), _] = unread(&["-help"]);
    assert_eq!((closed, told.as_str()), (Some(0), ""));
}

#[test]
fn two_runs_stand_side_by_side() {
    let (a, b) = (Copy::new("a"), Copy::new("b"));
    let output = kvs_report_with(&a.0, &[&b.0.display().to_string()]);
    assert!(output.status.success(), "{}", text(output.stderr));
    let told = text(output.stdout);
    assert!(told.contains("ops_s") && told.contains("equal"), "{told}");
    std::fs::remove_file(b.0.join("run.json")).unwrap();
    let output = kvs_report_with(&a.0, &[&b.0.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("run.json"));
}

#[test]
fn a_sweep_is_summed_up_and_drawn() {
    let run = Copy::new("sweep");
    let path = run.0.join("sizes.jsonl");
    let column = |name: &str| format!("{{\"name\":\"{name}\",\"unit\":\"\"}}");
    let columns = ["batch_size", "repeat", "ops_s"].map(column).join(",");
    let table = format!(
        "{{\"version\":1,\"name\":\"sizes\",\"title\":\"Sizes\",\"command\":\"kvs-lab sweep\",\
         \"environment\":{{\"cpu\":\"\",\"cores\":2,\"kernel\":\"\",\"commit\":\"\",\"date\":\"\"}},\
         \"columns\":[{columns}],\"notes\":[]}}\n[1,1,10]\n[10,1,90]\n[1,2,20]\n[10,2,110]\n\
         {{\"rows\":4}}\n"
    );
    std::fs::write(&path, &table).unwrap();
    let output = kvs_report(&path);
    let told = text(output.stdout);
    assert!(output.status.success(), "{}", text(output.stderr));
    let words: Vec<&str> = told.lines().nth(4).unwrap().split_whitespace().collect();
    assert_eq!(words[..7], ["10", "2", "0", "100", "14", "90", "110"], "{told}");
    for file in ["sizes.svg", "sizes.png"] {
        assert!(run.0.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    std::fs::write(&path, &table[..table.len() / 2]).unwrap();
    assert!(failure(&path).contains("is cut off"));
}

#[test]
fn files_of_other_versions_and_runs_are_told() {
    type Mend = fn(&str) -> String;
    let cases: [(&str, Mend, &str); 5] = [
        (
            "kvs-client-1.json",
            |text| text.replacen("\"version\": 1", "\"version\": 2", 1),
            "has version 2",
        ),
        (
            "kvs-client-2.json",
            |text| text.replacen("\"run_id\": \"", "\"run_id\": \"x", 1),
            "is of run x",
        ),
        (
            "kvs-server-1.log",
            |text| text.replacen("\"gets\":", "\"reads\":", 1),
            "missing field `gets`",
        ),
        (
            "kvs-server-2.log",
            |text| text.replacen("shard 2/2", "shard 2/4", 1),
            "calls itself shard 2/4",
        ),
        ("run.json", |text| text[..text.len() / 2].to_owned(), "cut off"),
    ];
    for (file, change, told) in cases {
        let run = Copy::new("mixed");
        let path = run.0.join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        let after = change(&before);
        assert_ne!(before, after, "{file}");
        std::fs::write(&path, after).unwrap();
        let error = failure(&run.0);
        assert!(error.contains(told) && error.contains("run again"), "{file}: {error}");
    }
    // An empty folder.
    let run = Copy::new("empty");
    for file in std::fs::read_dir(&run.0).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert!(failure(&run.0).contains("name a run's folder, e.g. log/latest"));
}

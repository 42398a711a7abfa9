//! Whole checks, from files to exit status.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use checker::event::Rule;
use checker::history::{
    Batch, Clock, Header, HistoryWriter, Key, Kind, Operation, Outcome, Value, Written,
};
use checker::{Options, Report, Verdict, check};

/// A folder of its own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kvs-check-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn check_with(paths: &[PathBuf], options: &Options) -> Report {
    check(paths, options, &|_| {}).unwrap()
}

fn check_all(paths: &[PathBuf]) -> Report {
    check_with(paths, &Options::default())
}

fn refusal(paths: &[PathBuf]) -> String {
    check(paths, &Options::default(), &|_| {}).unwrap_err().to_string()
}

fn operation(key: u64, stamp: u64, kind: Kind) -> Operation<'static> {
    let written = if kind == Kind::Get { Written::Nothing } else { Written::Own };
    Operation {
        key: Key::Number(key),
        stamp,
        kind,
        outcome: Outcome::Ok,
        read: Value::NotKnown,
        written,
        by: 0,
        sequence: Some(stamp),
        boot: 1,
    }
}

fn get(key: u64, stamp: u64, client: u32, seen: u64) -> Operation<'static> {
    Operation { read: Value::Id { client, stamp: seen }, ..operation(key, stamp, Kind::Get) }
}

/// Writes a client's history: (invocation, response, operation), each a batch of worker 0.
fn record(path: &Path, client: u32, run: u64, operations: &[(u64, u64, Operation<'_>)]) {
    let header = Header { run, client, ..Header::default() };
    let writer = HistoryWriter::create(path, &header).unwrap();
    let mut recorder = writer.recorder();
    for (inv_ns, res_ns, operation) in operations {
        let (inv_ns, res_ns, first_stamp) = (*inv_ns, *res_ns, operation.stamp);
        recorder.begin(Batch { worker: 0, inv_ns, res_ns, first_stamp });
        recorder.record(operation);
    }
    drop(recorder);
    writer.finish(Clock::default()).unwrap();
}

/// Two clients that write 50 keys in turn and read what the other wrote.
fn legal(rounds: u64) -> [Vec<(u64, u64, Operation<'static>)>; 2] {
    let mut clients = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let (writer, reader) = ((round % 2) as u32, ((round + 1) % 2) as u32);
        let (key, stamp, time) = (round / 2 % 50, 10 + 10 * round, 1000 * round);
        clients[writer as usize].push((time, time + 300, operation(key, stamp, Kind::Put)));
        let seen = get(key, stamp + 5, writer, stamp);
        clients[reader as usize].push((time + 200, time + 600, seen));
    }
    clients
}

/// Records a run of two clients after `change`.
fn run(folder: &Folder, change: impl Fn(&mut Vec<(u64, u64, Operation<'static>)>)) -> [PathBuf; 2] {
    let paths = [folder.path("client0"), folder.path("client1")];
    for (client, mut operations) in legal(2000).into_iter().enumerate() {
        change(&mut operations);
        record(&paths[client], client as u32, 5, &operations);
    }
    paths
}

#[test]
fn the_histories_of_two_clients_are_checked_together() {
    let folder = Folder::new();
    let paths = run(&folder, |_| {});
    let report = check_all(&paths);
    assert_eq!(report.verdict, Verdict::Linearizable, "{report}");
    assert_eq!((report.recorded, report.checked, report.keys), (4000, 4000, 50));
    assert_eq!((report.by_witness, report.by_sweep, report.by_search), (4000, 0, 0));
    assert!((report.interval_us_median - 0.3).abs() < 0.01, "{report}");
    assert_eq!(report.interval_us_max, 0.4);
    assert_eq!((report.restarts, report.keys_mismatched), (0, 0));
    let alone = check_all(&paths[..1]);
    assert_eq!(alone.violations[0].rule, Rule::Phantom, "the other's values are unknown");
    let sweep = check_with(&paths, &Options { use_witness: false, ..Options::default() });
    assert_eq!(sweep.verdict, Verdict::Linearizable);
    assert_eq!((sweep.by_witness, sweep.by_sweep), (0, 4000));
}

#[test]
fn a_fault_in_one_key_of_fifty_is_found_and_shrunk() {
    let folder = Folder::new();
    // The last GETs of key 7 see what was written in the round before the last on that key.
    let paths = run(&folder, |operations| {
        let stale = operations.iter_mut().rev().find(|(_, _, operation)| {
            operation.key == Key::Number(7) && operation.kind == Kind::Get
        });
        if let Some((inv, res, operation)) = stale
            && let Value::Id { client: 0, stamp } = operation.read
        {
            operation.read = Value::Id { client: 0, stamp: stamp - 1000 };
            (*inv, *res) = (*inv + 200, *res + 200);
        }
    });
    for use_witness in [true, false] {
        let report = check_with(&paths, &Options { use_witness, ..Options::default() });
        assert_eq!(report.verdict, Verdict::Violation, "{report}");
        assert_eq!((report.keys_violating, report.keys_mismatched), (1, 0));
        let violation = &report.violations[0];
        assert_eq!((violation.key.as_str(), violation.rule), ("7", Rule::Crossing));
        let shown: Vec<&str> =
            violation.operations.iter().map(|shown| shown.operation.as_str()).collect();
        assert_eq!(shown.len(), 3, "two writes and the stale read: {shown:?}");
        assert!(shown[0].starts_with("put") && shown[1].starts_with("put"), "{shown:?}");
        assert!(shown[2].starts_with("get"), "{shown:?}");
    }
}

#[test]
fn a_wrong_witness_is_a_warning() {
    let folder = Folder::new();
    let paths = run(&folder, |operations| {
        for (_, _, operation) in operations.iter_mut().filter(|(_, _, o)| o.key == Key::Number(3)) {
            operation.sequence = operation.sequence.map(|sequence| 100_000 - sequence);
        }
    });
    let report = check_all(&paths);
    assert_eq!((report.verdict, report.keys_mismatched), (Verdict::Linearizable, 1), "{report}");
    assert!(report.to_string().contains("warning"), "{report}");
    assert_eq!(report.by_sweep, 80);
}

#[test]
fn what_does_not_fit_into_memory_goes_to_disk() {
    let folder = Folder::new();
    let paths = run(&folder, |_| {});
    let small = Options {
        memory_bytes_max: 4 << 20,
        scratch: folder.path("scratch"),
        threads: 3,
        ..Options::default()
    };
    let missing = check(&paths, &Options { memory_bytes_max: 2, ..small.clone() }, &|_| {});
    assert!(missing.unwrap_err().to_string().contains("-scratch"));
    std::fs::create_dir(folder.path("scratch")).unwrap();
    let tiny = check_with(&paths, &Options { memory_bytes_max: 20_000, ..small.clone() });
    assert!(tiny.spilled_bytes > 10_000, "{}", tiny.spilled_bytes);
    assert_eq!(tiny.verdict, Verdict::Undecided, "a part does not fit, which is no pass");
    assert!(tiny.conclusion.contains("-memory_bytes_max"), "{}", tiny.conclusion);
    let enough = check_with(&paths, &Options { memory_bytes_max: 2_048_000, ..small });
    assert_eq!(enough.verdict, Verdict::Linearizable);
    let left = std::fs::read_dir(folder.path("scratch")).unwrap().count();
    assert_eq!(left, 0, "the scratch file has no name");
}

#[test]
fn parts_on_disk_say_the_same_as_parts_in_memory() {
    let folder = Folder::new();
    let path = folder.path("history");
    let operations: Vec<_> = (0..200_000)
        .map(|index| {
            let time = 10 * index;
            (time, time + 15, operation(index % 7919, index, Kind::Put))
        })
        .collect();
    record(&path, 0, 1, &operations);
    let options = |memory_bytes_max| Options { memory_bytes_max, ..Options::default() };
    let in_memory = check_with(std::slice::from_ref(&path), &options(60 << 20));
    let on_disk = check_with(std::slice::from_ref(&path), &options(3 << 20));
    assert_eq!(in_memory.spilled_bytes, 0);
    assert!(on_disk.spilled_bytes > 1 << 20, "{}", on_disk.spilled_bytes);
    for report in [&in_memory, &on_disk] {
        assert_eq!(report.verdict, Verdict::Linearizable, "{report}");
        assert_eq!((report.checked, report.keys, report.by_witness), (200_000, 7919, 200_000));
    }
}

#[test]
fn a_restart_is_a_violation_unless_it_is_allowed() {
    let folder = Folder::new();
    let path = folder.path("history");
    let later = |operation| Operation { boot: 2, ..operation };
    let missing = Operation { read: Value::Missing, ..operation(1, 3, Kind::Get) };
    record(
        &path,
        0,
        1,
        &[
            (0, 1, operation(1, 1, Kind::Put)),
            (2, 3, get(1, 2, 0, 1)),
            (4, 5, later(missing)),
            (6, 7, later(operation(1, 4, Kind::Put))),
            (8, 9, later(get(1, 5, 0, 4))),
        ],
    );
    let paths = [path];
    let report = check_all(&paths);
    assert_eq!((report.verdict, report.restarts), (Verdict::Violation, 1));
    assert!(report.conclusion.contains("-allow_restarts"), "{report}");
    let allowing = Options { allow_restarts: true, ..Options::default() };
    let report = check_with(&paths, &allowing);
    assert_eq!(report.verdict, Verdict::Linearizable, "{report}");
    assert_eq!(report.conclusion, "linearizable per server life, 1 restart");
    // A value that outlives its server is wrong all the same.
    record(&paths[0], 0, 1, &[(0, 1, operation(1, 1, Kind::Put)), (4, 5, later(get(1, 2, 0, 1)))]);
    assert_eq!(check_with(&paths, &allowing).violations[0].rule, Rule::Phantom);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = Folder::new();
    let paths = ["a", "b", "c", "d"].map(|name| folder.path(name));
    record(&paths[0], 0, 1, &[]);
    record(&paths[1], 1, 2, &[]);
    record(&paths[2], 0, 1, &[]);
    folder.write("d", "{}");
    let pair = |index: usize| [paths[0].clone(), paths[index].clone()];
    assert!(refusal(&pair(1)).contains("another run"));
    assert!(refusal(&pair(2)).contains("same client"));
    assert!(refusal(&pair(3)).contains("can't be mixed"));
    assert_eq!(check_all(&paths[..1]).verdict, Verdict::Undecided, "nothing was checked");
}

#[test]
fn clocks_that_were_measured_bring_hosts_together() {
    let folder = Folder::new();
    let paths = [folder.path("client0"), folder.path("client1")];
    // The second host was booted 10^6 ns after the first.
    let behind_ns = 1_000_000;
    for (client, mut operations) in legal(2000).into_iter().enumerate() {
        for (inv_ns, res_ns, _) in &mut operations {
            *inv_ns += behind_ns * (1 - client as u64);
            *res_ns += behind_ns * (1 - client as u64);
        }
        record(&paths[client], client as u32, 5, &operations);
    }
    assert_eq!(check_all(&paths).verdict, Verdict::Violation, "nobody tells of the clocks");
    let with = |offset_ns: i64, error_ns| {
        let clocks = [(1, Clock { offset_ns, error_ns })].into();
        check_with(&paths, &Options { clocks, ..Options::default() }).verdict
    };
    let exact = behind_ns as i64;
    assert_eq!(with(exact, 0), Verdict::Linearizable);
    assert_eq!(with(exact - 700, 0), Verdict::Violation);
    assert_eq!(with(exact - 700, 700), Verdict::Linearizable, "it may be wrong by that much");
    let clocks = [(7, Clock::default())].into();
    let options = Options { clocks, ..Options::default() };
    let refused = check(&paths, &options, &|_| {}).unwrap_err().to_string();
    assert!(refused.contains("-clock is given for client 8"), "{refused}");
}

#[test]
fn a_clock_error_widens_the_intervals() {
    let folder = Folder::new();
    let path = folder.path("history");
    record(
        &path,
        0,
        1,
        &[
            (0, 10, operation(1, 1, Kind::Put)),
            (20, 30, operation(1, 2, Kind::Put)),
            (35, 40, Operation { stamp: 3, sequence: None, ..get(1, 3, 0, 1) }),
        ],
    );
    let paths = [path];
    let with = |clock_error_ns| {
        check_with(&paths, &Options { clock_error_ns, ..Options::default() }).verdict
    };
    // The worker's own order alone forbids it too, so that a greater error does not hide it.
    assert_eq!(with(0), Verdict::Violation);
    assert_eq!(with(3), Verdict::Violation);
    let folder = Folder::new();
    let lines = |worker: u32, stamp: u64, rest: &str| {
        format!(r#"{{"client":{worker},"key":"k","stamp":{stamp},"outcome":"ok",{rest}}}"#)
    };
    let path = folder.write(
        "lines",
        &[
            lines(1, 1, r#""op":"put","written":"a","inv":0,"res":10"#),
            lines(2, 1, r#""op":"put","written":"b","inv":20,"res":30"#),
            lines(3, 1, r#""op":"get","read":"a","inv":35,"res":40"#),
        ]
        .join("\n"),
    );
    let paths = [path];
    let with = |clock_error_ns| {
        check_with(&paths, &Options { clock_error_ns, ..Options::default() }).verdict
    };
    assert_eq!(with(0), Verdict::Violation);
    assert_eq!(with(2), Verdict::Violation, "35 - 2 > 30 + 2");
    assert_eq!(with(3), Verdict::Linearizable, "35 - 3 = 30 + 2 less 1: they may overlap");
}

#[test]
fn a_cut_off_file_is_checked_only_on_request() {
    let folder = Folder::new();
    let paths = run(&folder, |_| {});
    let whole = std::fs::read(&paths[1]).unwrap();
    // All of client 1 is lost but the header, and client 0 read what it wrote.
    std::fs::write(&paths[1], &whole[..48]).unwrap();
    assert!(refusal(&paths).contains("-allow_truncated"));
    let report = check_with(&paths, &Options { allow_truncated: true, ..Options::default() });
    assert_eq!((report.verdict, report.truncated_files), (Verdict::Linearizable, 1), "{report}");
    assert_eq!(report.recorded, 2000);
}

/// The example of the format's description, and one of every kind.
const LINES: &str = r#"
{"client": 3, "key": "k17", "op": "put", "inv": 1200, "res": 1950, "outcome": "ok", "written": "3-41"}
{"client": 3, "key": "k17", "op": "get", "inv": 2000, "res": 2100, "outcome": "ok", "read": "3-41", "worker": 1, "stamp": 9}
{"client": 4, "key": "k17", "op": "cas", "inv": 2200, "res": 2300, "outcome": "ok", "read": "3-41", "written": "4-1"}
{"client": 4, "key": "k17", "op": "cas", "inv": 2400, "res": 2500, "outcome": "ok", "read": "4-1"}
{"client": 4, "key": "k17", "op": "put", "inv": 2400, "res": 2500, "outcome": "fail", "written": "4-2"}
{"client": 5, "key": "k17", "op": "delete", "inv": 2600, "res": null, "outcome": "unknown", "written": "5-1"}
{"client": 4, "key": "k17", "op": "get", "inv": 2700, "res": 2800, "outcome": "ok", "read": "5-1", "boot": "x"}

{"client": 4, "key": "n", "op": "get", "inv": 1, "res": 2, "outcome": "ok", "read": null}
{"client": 4, "key": "n", "op": "incr", "inv": 3, "res": 4, "outcome": "ok", "by": 2, "result": 2}
{"client": 4, "key": "n", "op": "incr", "inv": 3, "outcome": "unknown", "by": 2}
{"client": 4, "key": "n", "op": "get", "inv": 5, "res": 6, "outcome": "ok", "read": 4}
"#;

#[test]
fn json_lines_are_checked() {
    let folder = Folder::new();
    let path = folder.write("lines", LINES);
    let report = check_all(&[path]);
    assert_eq!(report.verdict, Verdict::Linearizable, "{report}");
    assert_eq!((report.recorded, report.keys), (11, 2));
    assert_eq!((report.failed, report.unknown), (1, 2));
    let stale = LINES.replace(r#""read": "4-1"}"#, r#""read": "3-41"}"#);
    let path = folder.write("stale", &stale);
    let report = check_all(&[path]);
    assert_eq!(report.verdict, Verdict::Violation, "{report}");
    assert!(report.to_string().contains("cas 3-41 to 4-1"), "{report}");
}

#[test]
fn json_that_says_nothing_sensible_is_refused_with_its_offset() {
    let folder = Folder::new();
    let good = LINES.lines().nth(1).unwrap();
    let put = |from: &str, to: &str| good.replacen(from, to, 1);
    let bad = [
        (put("put", "append"), "unknown variant"),
        (put("client", "klient"), "unknown field"),
        (put(r#""client": 3, "#, ""), "missing field"),
        (put("1200", "2000"), "before the invocation"),
        (put("1950", "null"), "no res"),
        (put("1950", "9999999999999999999"), "beyond 2^63"),
        (put("k17", ""), "1 to 1024"),
        (put(r#", "written": "3-41""#, ""), "which id it wrote"),
        (put("put", "get"), "wrote something"),
        (put("put", "incr"), "incr needs by"),
        (put("}", r#", "by": 1}"#), "belong to incr"),
        (put("}", r#", "read": "x"}"#), "read something"),
        (put("}", ""), "EOF"),
        (good[..40].to_owned(), "EOF"),
        ("[1]".into(), "no JSON object"),
    ];
    for (line, expected) in bad {
        let path = folder.write("lines", &format!("{good}\n{line}\n"));
        let error = refusal(&[path]);
        assert!(error.contains(expected), "{line}: {error}");
        let offset = error.split("offset ").nth(1).and_then(|rest| rest.split(':').next());
        let offset: usize = offset.unwrap().parse().unwrap();
        assert!((good.len() + 1..=good.len() + line.len() + 1).contains(&offset), "{error}");
    }
    let path = folder.write("neither", "neither JSON nor binary");
    assert!(refusal(&[path]).contains("at offset 0"));
    assert!(refusal(&[folder.path("absent")]).contains("absent"));
}

#[test]
fn a_key_that_only_the_search_could_decide_may_stay_undecided() {
    let folder = Folder::new();
    // INCRs by different numbers, all at once, with an impossible sum at the end.
    let mut lines = String::new();
    for index in 0..40 {
        let by = 1i64 << index;
        lines += &format!(
            r#"{{"client":1,"key":"n","op":"incr","inv":0,"res":100,"outcome":"ok","by":{by}}}"#
        );
        lines.push('\n');
    }
    lines += r#"{"client":1,"key":"n","op":"get","inv":200,"res":300,"outcome":"ok","read":1}"#;
    let path = folder.write("lines", &lines);
    let short = Options { search_limit: std::time::Duration::ZERO, ..Options::default() };
    let report = check_with(&[path], &short);
    assert_eq!(report.verdict, Verdict::Undecided, "{report}");
    assert_eq!((report.checked, report.keys_undecided), (0, 1));
    assert!(report.conclusion.contains("such as n"), "{report}");
}

fn kvs_check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_kvs-check")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_full_disk_under_the_programs_text_is_an_error_and_no_panic() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let folder = Folder::new();
    let [first, second] = run(&folder, |_| {});
    let mut program = Command::new(env!("CARGO_BIN_EXE_kvs-check"));
    let output = program.args([first, second]).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("standard output") && said.contains("full"), "{said}");
}

#[test]
fn the_program_tells_by_its_exit_status_what_it_found() {
    let folder = Folder::new();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let good = path(&folder.write("good", LINES));
    let json = path(&folder.path("check.json"));
    let (status, out, err) = kvs_check(&["-json", &json, "-threads=1", &good]);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("verdict       linearizable"), "{out}");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["verdict"], "linearizable");
    for field in [
        "recorded",
        "checked",
        "keys",
        "by_witness",
        "by_sweep",
        "by_search",
        "interval_us_median",
        "interval_us_max",
        "restarts",
    ] {
        assert!(report[field].is_number(), "{field}");
    }

    let stale = LINES.lines().chain([
        r#"{"client":9,"key":"k17","op":"get","inv":9000,"res":9100,"outcome":"ok","read":"3-41","boot":"x"}"#,
    ]);
    let stale = stale.collect::<Vec<_>>().join("\n").replace(r#""boot": "x""#, r#""boot":"y""#);
    let stale = path(&folder.write("stale", &stale.replace(r#","boot":"x""#, "")));
    let picture = path(&folder.path("picture.svg"));
    let (status, out, _) = kvs_check(&["-picture", &picture, "-allow_restarts", &stale]);
    assert_eq!(status, Some(1), "{out}");
    assert!(out.contains("key \"k17\"") && out.contains("get = 3-41"), "{out}");
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg"));

    let empty = path(&folder.write("empty", ""));
    assert_eq!(kvs_check(&[&empty]).0, Some(2), "nothing was checked");

    let bad = path(&folder.write("bad", "{\n"));
    let (status, out, err) = kvs_check(&[&good, &bad]);
    assert_eq!((status, out.as_str()), (Some(3), ""));
    assert!(err.starts_with("kvs-check: ") && err.contains("at offset"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert_eq!(kvs_check(&[]).0, Some(3));
    assert_eq!(kvs_check(&["-no_such_flag", &good]).0, Some(3));
    assert_eq!(kvs_check(&["-help"]).0, Some(0));
}

//! Histories of other tools, as JSON lines: each thing that such a history may say, with a legal
//! history and a twin that says it and is not legal.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use checker::{Options, Verdict, check};

/// A file that goes when it is dropped.
struct Lines(PathBuf);

impl Lines {
    fn new(text: &[u8]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvs-check-lines-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn verdict_of(text: &str) -> Verdict {
    let lines = Lines::new(text.as_bytes());
    check(std::slice::from_ref(&lines.0), &Options::default(), &|_| {}).unwrap().verdict
}

/// One operation on the key `k`: what it does, from when to when, and what else is known.
fn line(op: &str, inv: u64, res: u64, rest: &str) -> String {
    format!(r#"{{"client":1,"key":"k","op":"{op}","inv":{inv},"res":{res},"outcome":"ok"{rest}}}"#)
}

fn put(id: &str, inv: u64, res: u64) -> String {
    line("put", inv, res, &format!(r#","written":"{id}""#))
}

fn get(read: &str, inv: u64, res: u64) -> String {
    line("get", inv, res, &format!(r#","read":{read}"#))
}

fn cas(read: &str, id: &str, inv: u64, res: u64) -> String {
    line("cas", inv, res, &format!(r#","read":"{read}","written":"{id}""#))
}

fn incr(result: &str, inv: u64, res: u64) -> String {
    line("incr", inv, res, &format!(r#","by":2{result}"#))
}

/// The same operation with this outcome, and without a response.
fn with_outcome(line: &str, outcome: &str) -> String {
    let start = line.find(r#""res":"#).unwrap();
    let end = line[start..].find(',').unwrap() + start;
    let line = format!(r#"{}"res":null{}"#, &line[..start], &line[end..]);
    line.replace(r#""outcome":"ok""#, &format!(r#""outcome":"{outcome}""#))
}

fn by_worker(line: &str, stamp: u64) -> String {
    line.replace('}', &format!(r#","worker":4,"stamp":{stamp}}}"#))
}

fn on_boot(line: &str, boot: &str) -> String {
    line.replace('}', &format!(r#","boot":"{boot}"}}"#))
}

/// Checks that the first history is linearizable and the second one is not.
fn twins(legal: &[String], broken: &[String]) {
    assert_eq!(verdict_of(&legal.join("\n")), Verdict::Linearizable, "{legal:#?}");
    assert_eq!(verdict_of(&broken.join("\n")), Verdict::Violation, "{broken:#?}");
}

#[test]
fn operations_that_touch_are_concurrent() {
    let writes = [put("a", 0, 10), put("b", 20, 30)];
    let stale = |inv| [&writes[..], &[get(r#""a""#, inv, 40)]].concat();
    twins(&stale(30), &stale(31));
    let future = |res| [&writes[..], &[get(r#""b""#, 15, res)]].concat();
    twins(&future(20), &future(19));
}

#[test]
fn null_is_missing_and_absent_is_not_known() {
    let after = |rest: &str| [put("a", 0, 10), line("get", 20, 30, rest)];
    twins(&after(""), &after(r#","read":null"#));
    twins(&after(r#","read":"a""#), &after(r#","read":"nobody's""#));
}

#[test]
fn what_failed_was_not_executed() {
    let failed = with_outcome(&put("b", 11, 12), "fail");
    let read = |read| [put("a", 0, 10), failed.clone(), get(read, 20, 30)];
    twins(&read(r#""a""#), &read(r#""b""#));
    // One that failed need not say what it would have written.
    assert_eq!(verdict_of(&failed.replace(r#","written":"b""#, "")), Verdict::Linearizable);
}

#[test]
fn what_is_unknown_may_take_effect_once_and_late() {
    let unknown = with_outcome(&put("b", 11, 12), "unknown");
    let reads =
        |first, second| [put("a", 0, 10), unknown.clone(), get(first, 20, 30), get(second, 40, 50)];
    twins(&reads(r#""a""#, r#""b""#), &reads(r#""b""#, r#""a""#));
    let swap = with_outcome(&cas("a", "c", 11, 12), "unknown");
    let expects = |id: &str| [put(id, 0, 10), swap.clone(), get(r#""c""#, 20, 30)];
    twins(&expects("a"), &expects("x"));
    let delete = with_outcome(&line("delete", 11, 12, r#","written":"t""#), "unknown");
    let reads = |delete: &str, read| [put("a", 0, 10), delete.to_owned(), get(read, 20, 30)];
    twins(&reads(&delete, "null"), &reads(&delete.replace("unknown", "fail"), "null"));
}

#[test]
fn a_cas_that_did_not_match_is_a_read() {
    let read = |read: &str| {
        [put("a", 0, 10), put("b", 20, 30), line("cas", 40, 50, &format!(r#","read":"{read}""#))]
    };
    twins(&read("b"), &read("a"));
}

#[test]
fn a_get_names_a_tombstone_or_null() {
    let delete = line("delete", 20, 30, r#","written":"t""#);
    let read = |read| [put("a", 0, 10), delete.clone(), get(read, 40, 50)];
    twins(&read(r#""t""#), &read(r#""a""#));
    twins(&read("null"), &read(r#""u""#));
}

#[test]
fn an_id_is_written_once() {
    let swaps = |second| [put("a", 0, 10), cas("a", "b", 20, 30), cas(second, "c", 40, 50)];
    twins(&swaps("b"), &swaps("a"));
    twins(&[put("a", 0, 10), put("b", 20, 30)], &[put("a", 0, 10), put("a", 20, 30)]);
}

#[test]
fn counters_say_what_is_known() {
    let start = line("put", 0, 1, r#","written":5"#);
    let with = |read: &str| {
        [
            start.clone(),
            incr(r#","result":7"#, 2, 3),
            incr("", 4, 5),
            with_outcome(&incr("", 4, 5), "unknown"),
            get(read, 6, 7),
        ]
    };
    twins(&with("9"), &with("7"));
    twins(&with("11"), &with("10"));
    let fresh = |result: &str| [get("null", 0, 1), incr(result, 2, 3)];
    twins(&fresh(r#","result":2"#), &fresh(r#","result":4"#));
}

#[test]
fn a_workers_stamps_are_kept() {
    let with = |first, second| {
        [
            by_worker(&put("a", 0, 10), first),
            by_worker(&put("b", 0, 10), second),
            get(r#""b""#, 20, 30),
        ]
    };
    twins(&with(1, 2), &with(2, 1));
    twins(&with(1, 2), &with(2, 2));
    // A worker without stamps, or stamps without a worker, are no program.
    let stamped = with(2, 1).map(|line| line.replace(r#""worker":4,"#, ""));
    assert_eq!(verdict_of(&stamped.join("\n")), Verdict::Linearizable);
}

#[test]
fn operations_without_a_boot_are_of_the_only_one() {
    let with = |boot: &str| {
        [with_outcome(&put("a", 0, 10), "unknown"), on_boot(&get(r#""a""#, 20, 30), boot)]
    };
    let other = |boot: &str| [&with("x")[..], &[on_boot(&get("null", 40, 50), boot)]].concat();
    assert_eq!(verdict_of(&with("x").join("\n")), Verdict::Linearizable);
    let named = other("y").into_iter().map(|line| match line.contains("boot") {
        true => line,
        false => on_boot(&line, "x"),
    });
    let named: Vec<String> = named.collect();
    assert_eq!(verdict_of(&named.join("\n")), Verdict::Violation, "a restart");
    let lines = Lines::new(other("y").join("\n").as_bytes());
    let error = check(std::slice::from_ref(&lines.0), &Options::default(), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("names several boots"), "{error}");
}

#[test]
fn lines_may_end_and_keys_may_look_in_many_ways() {
    let lines = [put("a", 0, 10), get(r#""a""#, 20, 30)];
    assert_eq!(verdict_of(&lines.join("\r\n")), Verdict::Linearizable);
    assert_eq!(verdict_of(&format!("\n\n  \n{}\n\n", lines.join("\n \n"))), Verdict::Linearizable);
    let key = |line: &str, key: &str| line.replace(r#""key":"k""#, &format!(r#""key":"{key}""#));
    let escaped = [key(&lines[0], r"sch\u00fcssel \ud83d\ude00"), key(&lines[1], "schüssel 😀")];
    twins(&escaped, &[key(&lines[0], "a"), key(&lines[1], "ä")]);
    let nulls = r#","read":null,"by":null,"result":null,"worker":null,"stamp":null,"boot":null"#;
    let nulls = line("put", 0, 10, &format!(r#","written":"a"{nulls}"#));
    assert_eq!(verdict_of(&nulls), Verdict::Linearizable);
    let late = i64::MAX as u64;
    twins(
        &[put("a", late - 10, late - 5), get(r#""a""#, late - 1, late)],
        &[put("a", late - 10, late - 5), get("null", late - 1, late)],
    );
}

#[test]
fn a_line_that_is_cut_off_is_refused_with_its_offset() {
    let good = put("a", 0, 10);
    for cut in 1..good.len() {
        let lines = Lines::new(format!("{good}\n{}", &good[..cut]).as_bytes());
        let paths = std::slice::from_ref(&lines.0);
        let error = check(paths, &Options::default(), &|_| {}).unwrap_err().to_string();
        let offset = error.split("offset ").nth(1).and_then(|rest| rest.split(':').next());
        let offset: usize = offset.unwrap().parse().unwrap();
        assert!((good.len() + 1..=good.len() + 1 + cut).contains(&offset), "{error}");
        assert!(error.contains("line 2") && error.contains("cut off"), "{error}");
    }
    for bad in [&b"{\"client\":1,\"client\":1}\n"[..], b"{\"client\":\"\xff\"}\n", b"[]\n"] {
        let lines = Lines::new(bad);
        assert!(check(std::slice::from_ref(&lines.0), &Options::default(), &|_| {}).is_err());
    }
}

fn through_a_pipe(text: &[u8]) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvs-check"))
        .args(["-picture", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn lines_may_come_through_a_pipe() {
    let lines = |read| [put("a", 0, 10), get(read, 20, 30)].join("\n");
    assert_eq!(through_a_pipe(lines(r#""a""#).as_bytes()), Some(0));
    assert_eq!(through_a_pipe(lines("null").as_bytes()), Some(1));
    assert_eq!(through_a_pipe(b"KVSHIST2 and so on"), Some(3));
}

#[test]
fn a_verdict_stands_without_its_picture() {
    let lines = Lines::new([put("a", 0, 10), get("null", 20, 30)].join("\n").as_bytes());
    let output = Command::new(env!("CARGO_BIN_EXE_kvs-check"))
        .args(["-picture", "/no such folder/picture.svg"])
        .arg(&lines.0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("-picture"), "{text}");
}

//! What outcomes become, and whole runs whose histories are checked.

use std::path::{Path, PathBuf};

use checker::{Options, Report, Verdict, check};

use super::super::cli::Cli;
use super::super::interrupt::Interrupt;
use super::super::run::ending::Ending as RunEnding;
use super::super::run::run;
use super::super::run::tests::support::{TestServer, start_all};
use super::*;

const EXPECTED: Value = Value::Id { client: 1, stamp: 5 };
const SEEN: Value = Value::Id { client: 2, stamp: 6 };

fn told_of(kind: Kind, outcome: Result<Outcome<&[u8]>, FailureClass>) -> (Ending, Value, Written) {
    let name = |value: Option<&[u8]>| value.map_or(Value::Missing, |_| SEEN);
    let Ended { ending, read, written } = ended(Planned::new(kind, 7), outcome, EXPECTED, name);
    (ending, read, written)
}

#[test]
fn outcomes_tell_what_was_seen_and_left() {
    use Written::{Nothing, Number, Own};
    let value = &b"v"[..];
    for (kind, outcome, read, written) in [
        (Kind::Get, Outcome::Value(value), SEEN, Nothing),
        (Kind::Read, Outcome::Missing, Value::Missing, Nothing),
        (Kind::Put, Outcome::Done, Value::NotKnown, Own),
        (Kind::Insert, Outcome::Done, Value::NotKnown, Own),
        (Kind::ResetCounter, Outcome::Done, Value::NotKnown, Number(0)),
        (Kind::Delete, Outcome::Done, Value::Present, Own),
        (Kind::Delete, Outcome::Missing, Value::Missing, Own),
        (Kind::Swap, Outcome::Done, EXPECTED, Own),
        (Kind::Swap, Outcome::Mismatch(Some(value)), SEEN, Nothing),
        (Kind::Swap, Outcome::Mismatch(None), Value::Missing, Nothing),
        (Kind::Swap, Outcome::MismatchUntold, Value::NotKnown, Nothing),
        (Kind::Increment, Outcome::Counter(3), Value::NotKnown, Number(3)),
    ] {
        assert_eq!(told_of(kind, Ok(outcome)), (Ending::Ok, read, written), "{kind:?} {outcome:?}");
    }
}

#[test]
fn what_has_no_outcome_is_failed_or_unknown_and_never_ok() {
    for (kind, written) in [
        (Kind::Get, Written::Nothing),
        (Kind::Put, Written::Own),
        (Kind::Delete, Written::Own),
        (Kind::Swap, Written::Own),
        (Kind::Increment, Written::Nothing),
        (Kind::ResetCounter, Written::Number(0)),
    ] {
        let (ending, _, left) = told_of(kind, Err(FailureClass::NotApplied));
        assert_eq!((ending, left), (Ending::Fail, written), "{kind:?}");
        let (ending, read, left) = told_of(kind, Err(FailureClass::Unknown));
        assert_eq!((ending, left), (Ending::Unknown, written), "{kind:?}");
        assert_eq!(read == EXPECTED, kind == Kind::Swap, "{kind:?}");
        let is_count = kind == Kind::Increment;
        let wrong = if is_count { Outcome::Value(&b"1"[..]) } else { Outcome::Counter(1) };
        let (ending, ..) = told_of(kind, Ok(wrong));
        assert_eq!(ending, Ending::Unknown, "{kind:?}: an answer of the wrong kind");
    }
}

#[test]
fn an_incr_that_changed_nothing_has_failed() {
    let nothing = (Ending::Fail, Value::NotKnown, Written::Nothing);
    for outcome in [Outcome::NotAnInteger, Outcome::Overflow] {
        assert_eq!(told_of(Kind::Increment, Ok(outcome)), nothing, "{outcome:?}");
        let (ending, ..) = told_of(Kind::Put, Ok(outcome));
        assert_eq!(ending, Ending::Unknown, "{outcome:?} does not answer a PUT");
    }
}

#[test]
fn the_clock_is_the_one_of_all_processes() {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("the system tells its uptime");
    let seconds: f64 = uptime.split(' ').next().expect("a number").parse().expect("a number");
    let before = monotonic_ns();
    assert!(monotonic_ns() >= before);
    // The uptime counts suspended time as well.
    assert!(before as f64 / 1e9 <= seconds + 1.0, "{before} ns, up {seconds} s");
}

/// A folder that goes away when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvs-history-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    fn history(&self, client: u32) -> PathBuf {
        self.0.join(format!("{client}.history"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Client `index` of `count`, with a history; small batches, so that little escapes the check.
async fn client(
    folder: &Folder,
    hosts: &str,
    (index, count): (u32, u32),
    args: &[&str],
    interrupt: Interrupt,
) -> anyhow::Result<RunEnding> {
    let history = folder.history(index).display().to_string();
    let (index, count) = (index.to_string(), count.to_string());
    let mut all = vec!["kvs-client", "-hosts", hosts, "-keys", "200", "-workers", "4"];
    all.extend(["-batch_size", "20", "-warmup_secs", "0", "-run_id", "history"]);
    all.extend(["-client_index", &index, "-client_count", &count, "-history", &history]);
    all.extend(args);
    let cli: Cli = flags::try_parse_from(all).expect("the flags are right");
    run(cli.settings().expect("the flags go together"), interrupt).await
}

fn check_all(paths: &[PathBuf], use_witness: bool) -> Report {
    let options = Options { use_witness, ..Options::default() };
    check(paths, &options, &|_| ()).expect("the histories can be read")
}

const MIX: &str = "get=30,put=20,insert=5,del=10,cas=25,incr=10";

#[tokio::test]
async fn every_operation_of_a_run_is_recorded_and_linearizable() {
    for (name, mix, preload) in [
        ("mixed", MIX, "true"),
        ("unloaded", "get=40,put=30,del=10,incr=20", "false"),
        ("swaps", "get=20,cas=80", "true"),
    ] {
        let folder = Folder::new(name);
        let (_servers, hosts) = start_all(2, "partitioned").await;
        let preload_flag = format!("-preload={preload}");
        let args = ["-mix", mix, "-operations", "4000", "-depth", "3", &preload_flag];
        let run = |index| client(&folder, &hosts, (index, 2), &args, Interrupt::new());
        let (first, second) = tokio::join!(run(1), run(2));
        for ending in [first, second] {
            assert_eq!(ending.expect("the run has a result"), RunEnding::Clean, "{name}");
        }
        let paths = [folder.history(1), folder.history(2)];
        let report = check_all(&paths, true);
        assert_eq!(report.verdict, Verdict::Linearizable, "{name}: {report}");
        let counters = if mix.contains("incr") { 200 } else { 0 };
        let loaded = if preload == "true" { 200 + counters } else { 0 };
        assert_eq!(report.recorded, 8000 + loaded, "{name}: {report}");
        assert_eq!((report.checked, report.by_witness), (report.recorded, report.recorded));
        assert_eq!((report.unknown, report.failed, report.restarts), (0, 0, 0), "{report}");
        let alone = check_all(&paths, false);
        assert_eq!(alone.keys_violating, 0, "{name}: {alone}");

        let lost = check_all(&paths[..1], true);
        assert_eq!(lost.verdict, Verdict::Violation, "{name}: one client's writes are missing");
    }
}

#[tokio::test]
async fn a_store_that_forgets_writes_is_convicted() {
    let folder = Folder::new("forgets");
    let (servers, hosts) = start_all(1, "partitioned").await;
    let args = ["-workload", "A", "-operations", "100000"];
    let running = client(&folder, &hosts, (1, 1), &args, Interrupt::new());
    let spoiling = spoil(&servers, &hosts);
    let (ending, ()) = tokio::join!(running, spoiling);
    ending.expect("the run has a result");
    let report = check_all(&[folder.history(1)], true);
    assert_eq!(report.verdict, Verdict::Violation, "{report}");
}

/// Puts an old value back under a key while a run goes on.
async fn spoil(servers: &[TestServer], hosts: &str) {
    let other = kvs_client::Client::connect(hosts).await.expect("the server is there");
    while servers[0].service.keys() < 200 {
        tokio::task::yield_now().await;
    }
    let old = other.get("0").await.expect("the key is read").expect("the key is loaded");
    loop {
        let now = other.get("0").await.expect("the key is read").expect("the key is loaded");
        if now != old {
            break;
        }
    }
    for _ in 0..20 {
        other.put("0", &old).await.expect("the key is written");
    }
}

#[tokio::test]
async fn an_ended_server_leaves_unknown_operations_and_no_violation() {
    let folder = Folder::new("ended");
    let (servers, hosts) = start_all(2, "partitioned").await;
    let args = ["-mix", MIX, "-operations", "100000", "-retry_secs", "0", "-batch_size", "5000"];
    let running = client(&folder, &hosts, (1, 1), &args, Interrupt::new());
    let stopping = async {
        while servers[0].service.keys() < 100 {
            tokio::task::yield_now().await;
        }
        servers[0].stop();
    };
    let (ending, ()) = tokio::join!(running, stopping);
    // The server may have ended before all keys were loaded.
    let _ = ending;
    let report = check_all(&[folder.history(1)], true);
    assert_eq!(report.verdict, Verdict::Linearizable, "{report}");
    assert!(report.unknown + report.failed > 0, "{report}");
}

#[tokio::test]
async fn a_batch_that_was_never_sent_has_failed() {
    let folder = Folder::new("unsent");
    let (_servers, hosts) = start_all(2, "partitioned").await;
    let args = ["kvs-client", "-hosts", &hosts, "-history", "h", "-run_id", "7"];
    let cli: Cli = flags::try_parse_from(args).expect("the flags are right");
    let settings = cli.settings().expect("the flags go together");
    let client = kvs_client::Client::connect(&hosts).await.expect("the servers are there");
    let header = Header { run: settings.run_id, ..Header::default() };
    let writer = HistoryWriter::create(&folder.history(1), &header).expect("the file is new");
    let mut plan = Plan::new();
    let kinds = [Kind::Put, Kind::Increment, Kind::Delete, Kind::Get];
    plan.operations.extend((0..40).map(|index| Planned::new(kinds[index % 4], index as u64)));
    (plan.invoked_ns, plan.first_stamp) = (monotonic_ns(), 100);
    let lane = client.lane();
    for planned in &plan.operations {
        let boots: Vec<u64> = client.servers().iter().map(|server| server.data_id).collect();
        let boot = lane.data_id(&history_key(*planned).to_bytes());
        assert!(boots.contains(&boot), "{planned:?} belongs to the life of a server");
    }
    let mut history = WorkerHistory::new(Recorders::new(&writer, 1), &settings, 0);
    history.unsent(&plan, &lane);
    drop(history);
    writer.finish(Clock::default()).expect("the file can be written");
    let report = check_all(&[folder.history(1)], true);
    assert_eq!((report.recorded, report.failed, report.unknown), (40, 40, 0), "{report}");
}

#[tokio::test]
async fn servers_with_keys_are_refused() {
    let folder = Folder::new("refused");
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let other = kvs_client::Client::connect(&hosts).await.expect("the server is there");
    other.put("k", "v").await.expect("the key is written");
    let run = client(&folder, &hosts, (1, 1), &["-operations", "1"], Interrupt::new());
    let error = run.await.expect_err("the run is refused").to_string();
    assert!(error.contains("start the servers anew"), "{error}");
    assert!(!folder.history(1).exists());
}

#[tokio::test]
async fn a_disk_that_is_full_ends_the_run() {
    let folder = Folder::new("full");
    if !Path::new("/dev/full").exists() {
        return;
    }
    std::os::unix::fs::symlink("/dev/full", folder.history(1)).expect("a link can be made");
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let run = client(&folder, &hosts, (1, 1), &["-operations", "1"], Interrupt::new());
    let error = run.await.expect_err("the history can't be written").to_string();
    assert!(error.contains("free disk space"), "{error}");
}

//! Whole runs against servers in the same process.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/support/mod.rs"]
pub(in crate::load) mod support;

use std::path::PathBuf;

use super::super::cli::Cli;
use super::*;
use support::{Dam, TestServer, start_all};

/// A run on these hosts, and its result.
async fn run_with(hosts: &str, name: &str, args: &[&str]) -> (Ending, RunResult) {
    run_until(hosts, name, args, Interrupt::new()).await.expect("the run has a result")
}

async fn run_until(
    hosts: &str,
    name: &str,
    args: &[&str],
    interrupt: Interrupt,
) -> anyhow::Result<(Ending, RunResult)> {
    let path = result_path(name);
    let json = path.to_str().expect("the path is text").to_owned();
    let fixed =
        ["kvs-client", "-hosts", hosts, "-keys", "2000", "-workers", "4", "-batch_size", "100"];
    let warmup = if args.contains(&"-warmup_secs") { &[][..] } else { &["-warmup_secs", "0"] };
    let args = [&fixed[..], warmup, &["-json", &json], args].concat();
    let cli: Cli = flags::try_parse_from(args).expect("the flags are right");
    let ending = run(cli.settings().expect("the flags go together"), interrupt).await?;
    let result = RunResult::read(&path).expect("the result was written");
    std::fs::remove_file(&path).expect("the result is there");
    Ok((ending, result))
}

fn result_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kvs-client-{}-{name}.json", std::process::id()))
}

fn keys(servers: &[TestServer]) -> usize {
    servers.iter().map(|server| server.service.keys()).sum()
}

#[tokio::test]
async fn every_workload_is_done_to_the_last_operation() {
    for workload in ["A", "B", "C", "D", "F"] {
        let (servers, hosts) = start_all(2, "partitioned").await;
        let args = ["-workload", workload, "-operations", "5050", "-depth", "3"];
        let (ending, result) = run_with(&hosts, workload, &args).await;
        assert_eq!((ending, result.operations), (Ending::Clean, 5050), "{workload}");
        assert_eq!((result.hit_ratio, result.verified), (1.0, true), "{workload}");
        let kinds = result.gets + result.puts + result.compare_and_swaps;
        assert_eq!(kinds, 5050, "{workload}");
        assert!(result.operations_per_second > 0.0 && result.wire_bytes_received > 0);
        assert_eq!(result.timeline.operations.iter().sum::<u64>(), 5050, "{workload}");
        let acknowledged: u64 = result.acknowledged.iter().map(|server| server.operations).sum();
        assert_eq!(acknowledged, 2000 + 5050, "{workload}: the preload counts as well");
        let inserted = if workload == "D" { result.puts as usize } else { 0 };
        assert_eq!(keys(&servers), 2000 + inserted, "{workload}");
    }
}

#[tokio::test]
async fn servers_inside_the_process_execute_what_is_acknowledged() {
    let args = ["-workload", "A", "-operations", "5050", "-depth", "3"];
    let (ending, result) = run_with("mem:3", "memory", &args).await;
    assert_eq!((ending, result.operations), (Ending::Clean, 5050));
    let acknowledged: Vec<u64> =
        result.acknowledged.iter().map(|server| server.operations).collect();
    assert_eq!(acknowledged.iter().sum::<u64>(), 2000 + 5050);
    assert!(acknowledged.iter().all(|&operations| operations > 1000), "{acknowledged:?}");
    assert_eq!(result.acknowledged[2].endpoint, "mem:3/3");
    // The twin: a server that executed what nobody was answered is told apart.
    let error = compare(Ending::Clean, 7051, 7050).unwrap_err().to_string();
    assert!(error.contains("7051") && error.contains("7050"), "{error}");
    assert_eq!(compare(Ending::Faulty, 7051, 7050).unwrap(), Ending::Faulty);
}

#[tokio::test]
async fn single_operations_through_the_plain_api_are_verified_and_counted() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let mix = "get=30,put=10,insert=10,del=20,cas=20,incr=10";
    let args = ["-mix", mix, "-operations", "3000", "-plain", "-cleanup"];
    let (ending, result) = run_with(&hosts, "plain", &args).await;
    assert_eq!((ending, result.operations, result.verified), (Ending::Clean, 3000, true));
    let batches = result.latency_us.batches.expect("each operation is its own").count;
    assert_eq!(batches, 3000);
    assert_eq!(keys(&servers), 0);
    // The twin: the same run on values that nobody wrote for it.
    let client = Client::connect(&hosts).await.expect("the servers are there");
    for key in 0..2000 {
        client.put(key.to_string(), [b'x'; 128]).await.expect("the key is written");
    }
    let args = ["-preload=false", "-workload", "C", "-operations", "500", "-plain"];
    let (ending, result) = run_with(&hosts, "plain-wrong", &args).await;
    assert_eq!((ending, result.value_mismatches), (Ending::Faulty, 500));
}

#[tokio::test]
async fn counters_deletes_and_swaps_are_done_and_cleaned_up() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let mix = "get=30,put=10,insert=10,del=20,cas=20,incr=10";
    let args = ["-mix", mix, "-operations", "5000", "-value_size", "40-300", "-cleanup"];
    let (ending, result) = run_with(&hosts, "mix", &args).await;
    assert_eq!((ending, result.operations), (Ending::Clean, 5000));
    assert!(result.deletes > 0 && result.increments > 0 && result.compare_and_swaps > 0);
    assert!(result.hit_ratio < 1.0, "deleted keys are missed");
    assert_eq!(keys(&servers), 0);
}

#[tokio::test]
async fn a_timed_run_counts_its_window_only() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let args = ["-warmup_secs", "0.2", "-secs", "0.3"];
    let (ending, result) = run_with(&hosts, "timed", &args).await;
    assert_eq!((ending, result.window_s), (Ending::Clean, 0.3));
    let acknowledged = result.acknowledged[0].operations;
    assert!(result.operations > 0, "something completes in the window");
    assert!(acknowledged > result.operations + 2000, "the warm-up is acknowledged, not counted");
    assert!(result.timeline.operations.len() <= 3, "{:?}", result.timeline);
    assert!(result.wire_bytes_received > 0);
}

#[tokio::test]
async fn later_runs_on_the_same_servers_report_no_false_mismatch() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    for (index, args) in [
        &["-value_size", "20"][..],
        &["-value_size", "300", "-preload=false"],
        &["-value_size", "64"],
        &["-value_size", "64-128", "-preload=false"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("later-{index}");
        let args: Vec<&str> = args.iter().chain(&["-operations", "2000"]).copied().collect();
        let (ending, result) = run_with(&hosts, &name, &args).await;
        assert_eq!((ending, result.value_mismatches), (Ending::Clean, 0), "{name}");
    }
}

#[tokio::test]
async fn wrong_values_fail_the_run() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let client = Client::connect(&hosts).await.expect("the server is there");
    for key in 0..2000 {
        client.put(key.to_string(), [b'x'; 128]).await.expect("the key is written");
    }
    let args = ["-preload=false", "-workload", "C", "-operations", "500"];
    let (ending, result) = run_with(&hosts, "wrong", &args).await;
    assert_eq!((ending, result.value_mismatches), (Ending::Faulty, 500));
    let blind = ["-preload=false", "-workload", "C", "-operations", "500", "-verify=false"];
    let (ending, result) = run_with(&hosts, "blind", &blind).await;
    assert_eq!((ending, result.verified), (Ending::Clean, false));
}

#[tokio::test]
async fn several_clients_share_the_loading_and_wait_for_each_other() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let client = |index: &'static str| {
        let hosts = hosts.clone();
        async move {
            let place = ["-client_count", "3", "-run_id", "shared", "-client_index", index];
            let args = [&place[..], &["-operations", "1000", "-cleanup"]].concat();
            run_with(&hosts, &format!("client-{index}"), &args).await
        }
    };
    let (first, second, third) = tokio::join!(client("1"), client("2"), client("3"));
    let mut loaded = 0;
    for (ending, result) in [first, second, third] {
        assert_eq!((ending, result.hit_ratio), (Ending::Clean, 1.0));
        loaded += result.preload.expect("keys were loaded").keys;
    }
    assert_eq!((loaded, keys(&servers)), (2000, 0));
}

#[tokio::test]
async fn an_interrupt_ends_the_run_with_what_there_is() {
    let (servers, hosts) = start_all(1, "partitioned").await;
    let interrupt = Interrupt::new();
    let args = ["-secs", "3600", "-cleanup"];
    let running = run_until(&hosts, "interrupted", &args, interrupt.clone());
    let watching = async {
        // The keys are loaded, and then some more is done.
        while servers[0].service.keys() < 2000 {
            tokio::task::yield_now().await;
        }
        interrupt.raise();
    };
    let (result, ()) = tokio::join!(running, watching);
    let (ending, result) = result.expect("an interrupted run has a result");
    assert_eq!((ending, result.interrupted), (Ending::Interrupted, true));
    assert!(result.window_s < 3600.0);
    assert_eq!(keys(&servers), 2000, "the cleanup was skipped");
}

/// One of two servers falls silent, and then the run is interrupted: all that the other has
/// executed is known, and only the silent one's operations are unknown.
#[tokio::test]
async fn an_interrupt_leaves_unknown_what_was_not_answered_and_no_more() {
    let (servers, _) = start_all(2, "partitioned").await;
    let dam = Dam::before(&servers[1]).await;
    let hosts = format!("{},{}", servers[0].address, dam.address);
    let history = result_path("silent-history");
    let path = history.to_str().expect("the path is text");
    let interrupt = Interrupt::new();
    let args = ["-secs", "3600", "-workload", "A", "-depth", "2", "-history", path];
    let running = run_until(&hosts, "silent", &args, interrupt.clone());
    let executed = || servers[0].service.statistics().snapshot().operations();
    let watching = async {
        while executed() < 5000 {
            tokio::task::yield_now().await;
        }
        dam.shut();
        interrupt.raise();
    };
    let (result, ()) = tokio::join!(running, watching);
    let (ending, result) = result.expect("an interrupted run has a result");
    assert_eq!(ending, Ending::Faulty);
    assert!(result.unknown > 0, "{result:?}");
    assert_eq!(result.acknowledged[0].operations, executed(), "{result:?}");
    let silent = servers[1].service.statistics().snapshot().operations();
    assert!(result.acknowledged[1].operations < silent + result.unknown, "{result:?}");
    let options = checker::Options::default();
    let checked = checker::check(std::slice::from_ref(&history), &options, &|_| ());
    std::fs::remove_file(&history).expect("the history was written");
    let report = checked.expect("the history can be read");
    assert_eq!(report.verdict, checker::Verdict::Linearizable, "{report}");
    // The history holds reads without an answer, too.
    assert!(report.unknown >= result.unknown, "{report}");
}

#[tokio::test]
async fn what_can_not_be_run_is_refused() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let refused = async |args: &[&str]| {
        let run = run_until(&hosts, "refused", args, Interrupt::new()).await;
        run.expect_err("the run is refused").to_string()
    };
    let error = refused(&["-keys", "1000000000000"]).await;
    assert!(error.contains("do not fit") && error.contains("-keys"), "{error}");
    let error = refused(&["-json", "/nonexistent/folder/result.json"]).await;
    assert!(error.contains("a folder that exists"), "{error}");
}

#[tokio::test]
async fn operations_that_fail_make_the_run_faulty() {
    let (servers, hosts) = start_all(1, "partitioned").await;
    let args = ["-operations", "100000", "-batch_size", "10000", "-retry_secs", "0"];
    let running = run_until(&hosts, "failing", &args, Interrupt::new());
    let stopping = async {
        while servers[0].service.keys() < 2000 {
            tokio::task::yield_now().await;
        }
        servers[0].stop();
    };
    let (result, ()) = tokio::join!(running, stopping);
    // The server may have stopped before the last of the keys was acknowledged.
    match result {
        Ok((ending, result)) => {
            assert_eq!(ending, Ending::Faulty);
            assert!(result.errors + result.unknown > 0);
        }
        Err(error) => assert!(error.to_string().contains("could not be loaded"), "{error}"),
    }
}

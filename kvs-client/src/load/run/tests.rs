//! Whole runs against servers in the same process.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/support/mod.rs"]
pub(in crate::load) mod support;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use kvs_client::{Connector, Endpoint, Stream, SystemConnector};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    run_through(None, hosts, name, args, interrupt).await
}

/// The same over another connector than the system's.
async fn run_through(
    connector: Option<Arc<dyn Connector>>,
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
    let mut settings = cli.settings().expect("the flags go together");
    settings.client.connector = connector.unwrap_or(settings.client.connector);
    let ending = run(settings, interrupt).await?;
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

/// How long replies are held back in the tests of the open loop.
const STALL: Duration = Duration::from_millis(60);

/// A run on a server whose replies are held back for [`STALL`] once it has executed some
/// operations of the workload.
async fn stalled(name: &str, args: &[&str]) -> RunResult {
    let (servers, hosts) = start_all(1, "partitioned").await;
    let gate = Arc::new(Gate::default());
    let stall = async {
        while servers[0].service.counters().tally().operations() < 2000 + 300 {
            tokio::task::yield_now().await;
        }
        gate.set(true);
        let start = Instant::now();
        while start.elapsed() < STALL {
            tokio::task::yield_now().await;
        }
        gate.set(false);
    };
    let connector: Arc<dyn Connector> = Arc::new(GatedConnector(Arc::clone(&gate)));
    let run = run_through(Some(connector), &hosts, name, args, Interrupt::new());
    let (done, ()) = tokio::join!(run, stall);
    let (ending, result) = done.expect("the run has a result");
    assert_eq!(ending, Ending::Clean);
    result
}

#[tokio::test]
async fn an_open_loop_counts_the_wait_behind_a_stall_and_a_closed_one_does_not() {
    // 600 of the 2,000 operations are due in the stall, half of them in its first half.
    let args = ["-rate", "10000", "-arrivals", "fixed", "-operations", "2000"];
    let result = stalled("open", &args).await;
    let half_us = STALL.as_micros() as f64 / 2.0;
    let latency = result.latency_us.operations.expect("operations completed");
    assert_eq!(latency.count, 2000);
    assert!(latency.p95 >= half_us, "{latency:?}");
    let open_loop = result.open_loop.expect("it was an open loop");
    assert_eq!(open_loop.offered_operations_per_second, 10_000.0);
    assert!(open_loop.pacer_lateness_us.count > 0, "workers waited for arrivals");
    // The twin: four batches were on their way, and nothing else noticed.
    let args = ["-operations", "20000", "-batch_size", "10"];
    let result = stalled("closed", &args).await;
    let latency = result.latency_us.operations.expect("operations completed");
    assert!(latency.max >= half_us && latency.p50 < half_us, "{latency:?}");
    assert_eq!(result.open_loop, None);
}

#[tokio::test]
async fn an_overloaded_open_loop_ends_on_time_and_tells_its_backlog() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let args = ["-rate", "1e9", "-secs", "0.2", "-batch_size", "10"];
    let (ending, result) = run_with(&hosts, "overload", &args).await;
    assert_eq!((ending, result.window_s), (Ending::Clean, 0.2));
    let open_loop = result.open_loop.expect("it was an open loop");
    assert!(open_loop.backlog_operations > 100_000_000, "{open_loop:?}");
    let done = result.operations_per_second / open_loop.offered_operations_per_second;
    assert!(done < 0.5, "{done}");
    // The twin: what is offered slowly is done, and nothing is left.
    let args = ["-rate", "500", "-secs", "0.5"];
    let (ending, result) = run_with(&hosts, "unloaded", &args).await;
    let open_loop = result.open_loop.expect("it was an open loop");
    assert_eq!(ending, Ending::Clean);
    assert!(result.operations > 0 && open_loop.backlog_operations < 250, "{open_loop:?}");
}

/// Holds replies back while it is closed.
#[derive(Debug, Default)]
struct Gate {
    is_closed: AtomicBool,
    readers: Mutex<Vec<Waker>>,
}

impl Gate {
    fn set(&self, is_closed: bool) {
        let mut readers = self.readers.lock().expect("no holder panicked");
        self.is_closed.store(is_closed, Ordering::Relaxed);
        readers.drain(..).for_each(Waker::wake);
    }
}

#[derive(Debug)]
struct GatedConnector(Arc<Gate>);

impl Connector for GatedConnector {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (connecting, gate) = (SystemConnector.connect(endpoint), Arc::clone(&self.0));
        let gated = async move { Ok(Box::new(Gated { inner: connecting.await?, gate }) as Box<_>) };
        gated.boxed()
    }
}

struct Gated {
    inner: Box<dyn Stream>,
    gate: Arc<Gate>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        {
            let mut readers = self.gate.readers.lock().expect("no holder panicked");
            if self.gate.is_closed.load(Ordering::Relaxed) {
                readers.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Pin::new(&mut *self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_shutdown(cx)
    }
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
    let executed = || servers[0].service.counters().tally().operations();
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
    let silent = servers[1].service.counters().tally().operations();
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

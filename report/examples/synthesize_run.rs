//! Writes the folder of a run that never was: `synthesize_run FOLDER SERVERS CLIENTS SECONDS`.
//!
//! For looking at pictures and pages of runs that this machine cannot do, and for their tests.

use std::fmt::Write;
use std::path::Path;

use report::result::{
    Acknowledged, Build, Latencies, Latency, Level, Preload, RESULT_VERSION, Resources, RunResult,
    Timeline,
};
use serde_json::json;

/// When the clients begin to measure.
const START_UNIX_MS: u64 = 1_795_183_200_000;

/// Seconds before and after the measured window in which servers log too.
const BEFORE_S: u64 = 3;
const AFTER_S: u64 = 1;

/// What a server executes in a second of the window, before noise.
const RATE: f64 = 5.2e6;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, counts @ ..] = arguments.as_slice() else { panic!("name a folder") };
    let counts: Vec<u64> = counts.iter().map(|count| count.parse().expect("a count")).collect();
    let [servers, clients, seconds] = counts[..] else { panic!("servers, clients, seconds") };
    write(Path::new(folder), servers, clients, seconds);
}

/// Writes a run of as many machines as processes.
pub(crate) fn write(folder: &Path, servers: u64, clients: u64, seconds: u64) {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let put = |name: String, text: &str| {
        std::fs::write(folder.join(name), text).expect("the folder can be written to");
    };
    let machines = servers + clients;
    let mode = format!("cluster: {servers} servers and {clients} clients on {machines} machines");
    let run = json!({
        "mode": mode, "servers": servers, "clients": clients, "machines": machines,
        "server_args": "-threads 8", "client_args": format!("-batch_size 10000 -secs {seconds}"),
        "started_unix_ms": START_UNIX_MS - 5_000,
    });
    put("run.json".to_owned(), &run.to_string());
    let mut noise = Noise(1);
    let mut executed = Vec::new();
    for server in 0..servers {
        let (log, operations) = server_log(server, servers, seconds, &mut noise);
        put(format!("kvs-server-{}.log", server + 1), &log);
        executed.push(operations);
    }
    for client in 0..clients {
        let result = client_result(client, clients, seconds, &executed, &mut noise);
        put(format!("kvs-client-{}.log", client + 1), &client_log(seconds, &mut noise));
        let path = folder.join(format!("kvs-client-{}.json", client + 1));
        result.write(&path).expect("the folder can be written to");
    }
}

/// Numbers from 0 to 1 that look random and are the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }

    /// About `mean`, give or take `part` of it.
    fn about(&mut self, mean: f64, part: f64) -> f64 {
        mean * (1.0 + part * (2.0 * self.next() - 1.0))
    }
}

/// A server's log, and what it executed.
fn server_log(server: u64, servers: u64, seconds: u64, noise: &mut Noise) -> (String, u64) {
    let mut text = format!(
        "listening on 10.10.1.{}:8080 shard {}/{servers} store partitioned partitions 64 threads 8 \
         boot {:016x}\n",
        server + 1,
        server + 1,
        7 + server
    );
    let (mut executed, mut peak) = (0_u64, 0_u64);
    let heat = 1.0 + 0.02 * server as f64;
    for second in 0..BEFORE_S + seconds + AFTER_S {
        let end = START_UNIX_MS + 1_000 * (second + 1) - 1_000 * BEFORE_S;
        let busy = if second < BEFORE_S + seconds { 1.0 } else { 0.0 };
        let operations = (busy * noise.about(RATE * heat, 0.06)) as u64;
        let (gets, puts) = (operations - operations / 20, operations / 20);
        executed += operations;
        let resident = (180e6 + 4e6 * (second.min(8)) as f64) as u64;
        peak = peak.max(resident);
        let bytes = (operations as f64 * 44.0) as u64;
        let stats = json!({
            "unix_ms": end, "interval_s": 1.0, "operations": operations, "gets": gets, "hits": gets,
            "puts": puts, "deletes": 0, "compare_and_swaps": 0, "increments": 0, "refused": 0,
            "operations_total": executed, "keys": 250_000, "sessions": 4, "connections": 16,
            "cpu_percent": busy * noise.about(520.0, 0.08),
            "cores_percent": vec![noise.about(62.0, 0.1); 16], "resident_bytes": resident,
            "resident_bytes_peak": peak, "threads": 9,
            "network": [{"interface": "eth1", "link_mbit": 10_000,
                "received_bytes": bytes, "sent_bytes": 4 * bytes},
                {"interface": "lo", "link_mbit": null, "received_bytes": 100, "sent_bytes": 100}],
        });
        let _ = write!(
            text,
            "get/s {:.2}\nput/s {:.2}\nops/s {:.2}\n\nstats {stats}\n",
            gets as f64, puts as f64, operations as f64
        );
    }
    let total = json!({
        "operations_total": executed, "gets": executed - executed / 20, "hits": 0,
        "puts": executed / 20, "deletes": 0, "compare_and_swaps": 0, "increments": 0, "refused": 0,
        "replayed": 0, "keys": 250_000, "resident_bytes_peak": peak, "uptime_s": seconds + 4,
    });
    let _ = writeln!(text, "total {total}");
    (text, executed)
}

fn client_log(seconds: u64, noise: &mut Noise) -> String {
    let mut text =
        "YCSB-B, zipfian 0.99, 1,000,000 keys, values of 128 bytes (verified)\n".to_owned();
    for second in 0..seconds {
        let operations = noise.about(RATE, 0.05) as u64;
        let bytes = (operations as f64 * 44.0) as u64;
        let stats = json!({
            "phase": "measure", "operations": operations, "errors_total": 0,
            "in_flight_batches": 64, "connections": 16,
            "unix_ms": START_UNIX_MS + 1_000 * (second + 1), "interval_s": 1.0,
            "cpu_percent": noise.about(610.0, 0.06),
            "cores_percent": vec![noise.about(70.0, 0.1); 16],
            "resident_bytes": noise.about(90e6, 0.02) as u64, "threads": 9,
            "network": [{"interface": "eth1", "link_mbit": 10_000,
                "received_bytes": 4 * bytes, "sent_bytes": bytes}],
        });
        let _ = writeln!(
            text,
            "measure {second} s  {:.2} Mop/s\nstats {stats}",
            operations as f64 / 1e6
        );
    }
    text
}

fn client_result(
    client: u64,
    clients: u64,
    seconds: u64,
    executed: &[u64],
    noise: &mut Noise,
) -> RunResult {
    let executed_in_window: u64 = executed.iter().sum::<u64>() * seconds / (BEFORE_S + seconds);
    let operations_of_bucket = executed_in_window / clients / (10 * seconds);
    let buckets: Vec<u64> =
        (0..10 * seconds).map(|_| noise.about(operations_of_bucket as f64, 0.1) as u64).collect();
    let operations: u64 = buckets.iter().sum();
    let puts = operations / 20;
    let mut latency = |ms: f64| {
        let us = noise.about(1e3 * ms, 0.1);
        Latency {
            count: operations,
            min: us / 5.0,
            mean: us * 1.05,
            p50: us,
            p95: 1.6 * us,
            p99: 2.1 * us,
            p999: 3.4 * us,
            max: 9.0 * us,
        }
    };
    let latency_us = Latencies {
        batches: Some(latency(22.0)),
        operations: Some(latency(22.0)),
        get: Some(latency(22.0)),
        put: Some(latency(22.4)),
        ..Latencies::default()
    };
    let level = |mean: f64, peak: f64| Some(Level { mean, peak });
    // What does not divide goes to the first client.
    let part =
        |all: u64| if client == 0 { all - all / clients * (clients - 1) } else { all / clients };
    let acknowledged = executed.iter().enumerate().map(|(server, operations)| Acknowledged {
        endpoint: format!("10.10.1.{}:8080", server + 1),
        shard: format!("{}/{}", server + 1, executed.len()),
        operations: part(*operations),
    });
    RunResult {
        version: RESULT_VERSION,
        build: Build::current(),
        mode: "cluster".to_owned(),
        run_id: "20261121-120000".to_owned(),
        client_index: client as u32,
        client_count: clients as u32,
        seed: 42,
        config: json!({"workload": "YCSB-B", "value_size": "128", "batch_size": 10_000,
            "workers": 64, "depth": 1, "connections": 4, "theta": 0.99, "keys": 1_000_000}),
        operations,
        operations_per_second: operations as f64 / seconds as f64,
        window_s: seconds as f64,
        window_start_unix_ms: START_UNIX_MS,
        window_end_unix_ms: START_UNIX_MS + 1_000 * seconds,
        gets: operations - puts,
        puts,
        deletes: 0,
        compare_and_swaps: 0,
        increments: 0,
        hits: operations - puts,
        misses: 0,
        hit_ratio: 1.0,
        cas_mismatches: 0,
        retried: 0,
        errors: 0,
        unknown: 0,
        value_mismatches: 0,
        verified: true,
        interrupted: false,
        wire_bytes_per_operation: 88.0,
        wire_bytes_sent: operations * 20,
        wire_bytes_received: operations * 68,
        latency_us,
        acknowledged: acknowledged.collect(),
        preload: Some(Preload { keys: 250_000, seconds: 0.2, operations_per_second: 1.25e6 }),
        timeline: Timeline { start_unix_ms: START_UNIX_MS, bucket_ms: 100, operations: buckets },
        resources: Resources {
            cpu_percent: level(610.0, 640.0),
            resident_bytes: level(90e6, 92e6),
            threads: level(9.0, 9.0),
            connections: level(16.0, 16.0),
            network_received_bytes_per_s: level(9e8, 9.5e8),
            network_sent_bytes_per_s: level(2e8, 2.2e8),
        },
        open_loop: None,
    }
}

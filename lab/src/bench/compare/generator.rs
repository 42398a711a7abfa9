//! The table `compare`: one generator drives all three stores with the same work.

use report::statistics::significant;

use super::Field;
use crate::measure::table::{Table, cells};
use crate::say::say;

/// Kinds of work, and the client's flags. memcached's counters must be loaded before each run; so
/// all are.
const WORKS: [(&str, &str); 4] = [
    ("GET", "-workload C"),
    ("SET", "-mix put=100"),
    ("mixed", "-workload A"),
    ("INCR", "-mix incr=100 -preload=true -keys 100000"),
];

/// Measures the table with runs of so many seconds.
pub(super) async fn measure(field: &Field, secs: f64) -> anyhow::Result<()> {
    let columns = [
        "operations connections batch_size store ops_s:op/s min:us mean:us p50:us p95:us p99:us",
        "max:us ours_over:times note",
    ];
    let title = "One generator, three stores";
    let mut table = Table::new("compare", title, "make bench-compare", &columns).await?;
    table.note(format!(
        "kvs-client, 64 workers; 10^6 keys, values of 128 bytes, zipfian 0.99; INCR: 100,000 \
         counters; mixed: YCSB-A, half GET, half SET; one run of {secs} s each, server and client \
         on the same cores; latency is that of whole batches, of which 64 are on their way"
    ));
    table.note(
        "Ours checks beside the work that each key is of its shard, executes a retried batch once, \
         and sends a value that repeats in a reply once",
    );
    field.note_peers(&mut table);
    for connections in [1, 4] {
        for batch in [1, 100, 10_000] {
            for (work, flags) in WORKS {
                let flags = format!("-connections {connections} -batch_size {batch} {flags}");
                compare_one(field, &mut table, (work, connections, batch), secs, &flags).await?;
            }
        }
    }
    table.write().map(drop)
}

/// Adds a row for each store, all of one kind of work, connections and batch size.
async fn compare_one(
    field: &Field,
    table: &mut Table,
    (work, connections, batch): (&str, u32, u32),
    secs: f64,
    flags: &str,
) -> anyhow::Result<()> {
    let mut ours = None;
    let peers = [("redis", field.redis.as_ref()), ("memcached", field.memcached.as_ref())];
    for (name, store) in [("ours", Some(&field.ours))].into_iter().chain(peers) {
        let Some(store) = store else { continue };
        let run = field.client(store, secs, flags).await?;
        let (ops_s, latency) =
            (run.operations_per_second, run.latency_us.operations.unwrap_or_default());
        let over = ours.map(|ours: f64| significant(ours / ops_s, 3));
        ours = ours.or(Some(ops_s));
        table.row(cells![
            work,
            connections,
            batch,
            name,
            ops_s,
            latency.min,
            latency.mean,
            latency.p50,
            latency.p95,
            latency.p99,
            latency.max,
            over,
            difference(name, work, batch),
        ]);
        say!(
            "{work:<6} connections {connections}, batch {batch:>6}  {name:<10} {ops_s:>12.0} op/s  \
             p50 {:>7.0} us{}",
            latency.p50,
            over.map_or_else(String::new, |over| format!("  ours is {over} times that"))
        );
    }
    Ok(())
}

/// How a store's work differs from what the others do.
fn difference(store: &str, work: &str, batch: u32) -> Option<String> {
    let told = match (store, work, batch) {
        ("ours", _, 1) => "a call an operation; the plain API would batch them by itself",
        ("ours", _, _) => return None,
        (_, _, 1) => "a command an operation",
        ("memcached", "GET", _) => "multigets of up to 1,000 keys, as text",
        ("memcached", "mixed", _) => "multigets as text; a SET ends one",
        (_, _, _) => "a batch is a pipeline of commands",
    };
    let counters = match (store, work) {
        ("memcached", "INCR") => "; counters without sign, which must be there",
        _ => "",
    };
    Some(format!("{told}{counters}"))
}

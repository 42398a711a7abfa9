//! The same service over TCP, over a Unix socket and inside the client's process: throughput with
//! large and small batches, and the latency of one caller that does one operation at a time. One
//! server and one client on this machine.

use crate::measure::seconds;
use crate::measure::stores::Stores;
use crate::measure::table::{Table, cells};

/// Writes results/transports.jsonl; RESULTS_DIR names another folder. KVS_BIN_DIR names one with
/// binaries that are built already.
#[derive(clap::Args)]
pub(crate) struct Transports {
    /// Seconds of each run
    #[arg(long, env = "SECS", default_value_t = 4.0, value_parser = seconds)]
    secs: f64,
}

impl Transports {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let columns = [
            "transport",
            "batch_10000:op/s",
            "batch_100:op/s",
            "plain_64_callers:op/s",
            "one_caller_p50:us",
            "one_caller_p99:us",
        ];
        let mut table =
            Table::new("transports", "Transports", "kvs-lab transports", &columns).await?;
        table.note(
            "YCSB-B, 1,000,000 keys, values of 128 bytes, 64 workers; one caller: one operation at a \
             time through the plain API, a client of one thread; a server inside the process shares \
             its threads",
        );
        let stores = Stores::build().await?;
        let unix = format!("unix:{}", stores.scratch().join("socket").display());
        let listen = format!("127.0.0.1,{unix}");
        let tcp = stores.ours(&["-listen", &listen, "-stats_secs", "0"]).await?;
        for (transport, hosts) in [("tcp", &*tcp.url), ("unix", &unix), ("mem", "mem:1")] {
            let measure = async |flags: &str| {
                let flags = format!("-warmup_secs 1 -secs {} {flags}", self.secs);
                stores.client(hosts, flags.split(' ')).await
            };
            let large = measure("-batch_size 10000").await?.operations_per_second;
            let small = measure("-batch_size 100").await?.operations_per_second;
            let plain = measure("-plain -workers 64").await?.operations_per_second;
            let alone = measure("-plain -workers 1 -threads 1").await?.latency_us.operations;
            let (p50, p99) = alone.map_or((0.0, 0.0), |latency| (latency.p50, latency.p99));
            table.row(cells![transport, large, small, plain, p50, p99]);
            println!(
                "{transport:<5} batch 10000 {large:>10.0} op/s, batch 100 {small:>10.0}, \
                 64 callers {plain:>10.0}, one caller p50 {p50:>4.0} us, p99 {p99:>4.0} us"
            );
        }
        table.write().map(drop)
    }
}

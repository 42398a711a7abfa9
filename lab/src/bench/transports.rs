//! The same service over TCP, over a Unix socket and inside the client's process: throughput with
//! large and small batches, and the latency of one caller that does one operation at a time. One
//! server and one client on this machine.

use super::scenarios::{Bench, OPS_S, P50_US, P99_US, Row, each};
use crate::measure::seconds;
use crate::measure::stores::Stores;
use crate::measure::table::cells;

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
        let bench = Bench { stores: Stores::build().await?, repeats: 1, secs: self.secs };
        let unix = format!("unix:{}", bench.stores.scratch().join("socket").display());
        let tcp = bench.serve(&["-listen", &format!("127.0.0.1,{unix}")]).await?;
        let loads = [
            ("batch 10000", "-batch_size 10000"),
            ("batch 100", "-batch_size 100"),
            ("64 callers", "-plain -workers 64"),
            ("one caller", "-plain -workers 1 -threads 1"),
        ];
        let rows = [("tcp", &*tcp.url), ("unix", &unix), ("mem", "mem:1")].map(|(name, hosts)| {
            let points = loads.map(|(label, flags)| {
                bench.point(label, hosts, &format!("-preload=true -warmup_secs 1 {flags}"))
            });
            Row { cells: cells![name], points: points.into() }
        });
        let told = [
            "transports",
            "Transports",
            "transport batch_10000:op/s batch_100:op/s plain_64_callers:op/s one_caller_p50:us \
             one_caller_p99:us",
            "YCSB-B, 1,000,000 keys, values of 128 bytes, 64 workers; one caller: one operation at \
             a time through the plain API, a client of one thread; a server inside the process \
             shares its threads",
        ];
        let table = bench.measured("kvs-lab transports", told, rows, |runs| {
            [each(&runs[..3], &[OPS_S]), each(&runs[3..], &[P50_US, P99_US])].concat()
        });
        table.await?.write().map(drop)
    }
}

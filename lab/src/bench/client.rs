//! `kvs-lab client`: what a client spends on an operation, sockets and server aside (criterion):
//! its key drawn, formatted, grouped and encoded; its outcome decoded and its value checked.

use crate::measure::criterion::Medians;
use crate::measure::table::{Table, cells, decimals};
use crate::say::say;

/// Writes results/client.jsonl; RESULTS_DIR names another folder.
#[derive(clap::Args)]
pub(crate) struct Client {}

impl Client {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let columns = "batch_size generate_and_encode:ns decode_and_verify:ns";
        let title = "What a client spends on an operation";
        let mut table = Table::new("client", title, "kvs-lab client", &[columns]).await?;
        table.note(
            "generate and encode: zipfian key, its text, its value, grouped by server and \
             partition, frame assembled; decode and verify: reply decoded, each value checked, \
             operations counted",
        );
        table.note(
            "YCSB-B, 10^6 keys, values of 128 bytes, 16 partitions; 64 workers take turns, one \
             thread",
        );
        let medians = Medians::of("kvs-client", "generate", "^operation/").await?;
        for batch in [1_000_u32, 10_000] {
            let per_operation = |stage: &str| {
                let ns = medians.ns(&format!("operation/{stage}/{batch}"))?;
                anyhow::Ok(decimals(ns / f64::from(batch), 1))
            };
            let (encode, decode) = (per_operation("encode")?, per_operation("decode")?);
            say!("batch {batch}: generate and encode {encode} ns, decode and verify {decode} ns");
            table.row(cells![batch, encode, decode]);
        }
        table.print_and_write().map(drop)
    }
}

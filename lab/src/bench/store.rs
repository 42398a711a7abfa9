//! `kvs-lab store`: the stores by themselves, without network: lookups with a copy of the value
//! (criterion), memory over payload, and the longest batch while a store grows.

use anyhow::Context;
use report::statistics::significant;

use crate::measure::criterion::Medians;
use crate::measure::table::{Table, cells};
use crate::say::say;
use crate::{tied, workspace};

const KEYS: u32 = 1_000_000;

const LOOKUPS: &str =
    "lookup/(zipf|uniform)/(partitioned/64|scc/64|mutex/1) partitions/batch 10000";

/// Writes results/store.jsonl; RESULTS_DIR names another folder.
#[derive(clap::Args)]
pub(crate) struct Store {
    /// Keys that a store grows to
    #[arg(long = "growth_keys", env = "GROWTH_KEYS", default_value_t = 10_000_000)]
    growth_keys: u32,
}

impl Store {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let columns = "store lookup_zipf:ns lookup_uniform:ns memory_over_payload:times \
            growth_batch_median:ms growth_batch_max:ms";
        let mut table =
            Table::new("store", "Stores by themselves", "kvs-lab store", &[columns]).await?;
        table.note(format!(
            "lookups with a copy of the value: {KEYS} keys of 6 bytes, values of 128, batches of \
             10,000, criterion's median"
        ));
        table.note(format!(
            "memory: resident bytes over keys and values, {KEYS} keys; growth: batches of 10,000 \
             PUTs until {} keys are there",
            self.growth_keys
        ));
        let built = workspace::build(&["--package", "store", "--example", "footprint"]).await?;
        let footprint = async |keys: u32, store: &str| {
            let mut command = tied::command(built.join("examples/footprint"));
            let line = tied::output(command.args([&keys.to_string(), "64", store])).await?;
            say!("{keys} keys: {}", line.trim_end());
            Footprint::read(&line).with_context(|| format!("footprint told: {line}"))
        };
        let lookups = Medians::of("store", "store", LOOKUPS).await?;
        for store in ["partitioned", "scc", "mutex"] {
            let ns = |keys| lookups.ns(&format!("lookup/{keys}/{store}"));
            let (zipf, uniform) = (significant(ns("zipf")?, 5), significant(ns("uniform")?, 5));
            let memory = footprint(KEYS, store).await?.memory_over_payload;
            let grown = footprint(self.growth_keys, store).await?;
            let (median, max) = (grown.batch_ms_median, grown.batch_ms_max);
            table.row(cells![store, zipf, uniform, memory, median, max]);
        }
        table.print_and_write().map(drop)
    }
}

/// What the example `footprint` of the crate `store` tells of one.
#[derive(Debug, PartialEq)]
struct Footprint {
    memory_over_payload: f64,
    batch_ms_median: f64,
    batch_ms_max: f64,
}

impl Footprint {
    fn read(line: &str) -> Option<Self> {
        let before = |mark| line.split_once(mark)?.0.rsplit(' ').next()?.parse().ok();
        Some(Self {
            memory_over_payload: before(" times the payload")?,
            batch_ms_median: before(" ms, longest")?,
            batch_ms_max: before(" ms, the machine's")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "scc           250.3 bytes a key, 1.86 times the payload; batches 4.09 ms, \
        longest 725.01 ms, the machine's own pauses up to 0.31 ms";

    #[test]
    fn a_footprint_is_read_from_its_line() {
        let expected =
            Footprint { memory_over_payload: 1.86, batch_ms_median: 4.09, batch_ms_max: 725.01 };
        assert_eq!(Footprint::read(LINE), Some(expected));
        assert_eq!(Footprint::read(&LINE.replace("4.09 ms", "? ms")), None);
        assert_eq!(Footprint::read(&LINE.replace("times", "")), None);
    }
}

//! What promises cost: the throughput of the same run with and without them, in interleaved pairs,
//! one server and one client with one thread each.
//!
//! - recording: `kvs-client -history FILE`, against the same without it;
//! - exactly once: kvs-server, against its example `forgetful`, a server that looks up no session,
//!   compares no number and digest and keeps no record. Only the server's side is measured: the
//!   client numbers its frames and keeps them for resending in both. It asks for no repeats in
//!   either, as a server without sessions sends none.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use report::statistics::{Spread, ratios, significant};

use crate::measure::rounds::measured;
use crate::measure::seconds;
use crate::measure::stores::Stores;
use crate::measure::table::{Table, cells};
use crate::say::say;

/// Writes results/costs.jsonl; RESULTS_DIR names another folder. KVS_BIN_DIR names one with
/// binaries that are built already, examples/forgetful among them.
#[derive(clap::Args)]
pub(crate) struct Costs {
    /// Pairs of runs, with and without
    #[arg(long, env = "PAIRS", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seconds of each run
    #[arg(long, env = "SECS", default_value_t = 4.0, value_parser = seconds)]
    secs: f64,
    /// Batch sizes, with spaces between
    #[arg(long, env = "SIZES", value_delimiter = ' ', default_values_t = [10_000, 1024],
        value_parser = clap::value_parser!(u32).range(1..))]
    sizes: Vec<u32>,
    /// Folder for histories, which are deleted; one in /tmp if not given
    #[arg(long = "history_dir", env = "HISTORY_DIR")]
    history_dir: Option<PathBuf>,
}

impl Costs {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let columns =
            ["promise batch_size pairs ops_s:op/s ops_s_without:op/s ratio ratio_min ratio_max"];
        let title = "What recording and exactly-once cost";
        let mut table = Table::new("costs", title, "kvs-lab costs", &columns).await?;
        table.note(format!(
            "YCSB-B, 10^6 keys of 128 bytes, one server and one client, one thread each, 64 \
             workers; runs of {} s in interleaved pairs; ratio is throughput with over without; \
             exactly once is measured on the server's side alone, with -dedup off",
            self.secs
        ));
        let stores = Stores::build().await?;
        let remembering = stores.program("kvs-server")?;
        let forgetful = stores.example("kvs-server", "forgetful").await?;
        let folder = self.history_dir.as_deref().unwrap_or_else(|| stores.scratch());
        let history_dir = tempfile::tempdir_in(folder)?;
        let history = history_dir.path().join("history");
        let recorded = ["-history".as_ref(), history.as_os_str()];
        let not_repeated = ["-dedup".as_ref(), "off".as_ref()];
        for &size in &self.sizes {
            let with = (&*remembering, &recorded[..]);
            self.compare(&stores, &mut table, "recording", size, [with, (&remembering, &[])])
                .await?;
            let sides = [&*remembering, &forgetful].map(|program| (program, &not_repeated[..]));
            self.compare(&stores, &mut table, "exactly once", size, sides).await?;
        }
        table.write().map(drop)
    }

    /// Adds a row of a promise: its name, and the server's program and the client's flags with it
    /// and without it.
    async fn compare(
        &self,
        stores: &Stores,
        table: &mut Table,
        promise: &str,
        size: u32,
        sides: [(&Path, &[&OsStr]); 2],
    ) -> anyhow::Result<()> {
        say!("{promise}, batch {size}");
        let common =
            format!("-threads 1 -workers 64 -batch_size {size} -secs {} -warmup_secs 1", self.secs);
        let runs = measured(self.pairs, &["with", "without"], async |&which| {
            let (program, flags) = sides[usize::from(which == "without")];
            let server = stores.server(program, &["-threads", "1"]).await?;
            let flags = common.split(' ').map(AsRef::as_ref).chain(flags.iter().copied());
            Ok(stores.client(&server.url, flags).await?.operations_per_second.round())
        });
        let runs = runs.await?;
        let spread = |figures: &[f64]| Spread::of(figures).expect("there are pairs");
        let ratio = spread(&ratios(&runs[0], &runs[1]));
        let [with, without] = [&runs[0], &runs[1]].map(|rates| spread(rates).median);
        let [ratio, min, max] =
            [ratio.median, ratio.min, ratio.max].map(|ratio| significant(ratio, 4));
        table.row(cells![promise, size, self.pairs, with, without, ratio, min, max]);
        say!("{promise}, batch {size}: {ratio} of the throughput is left, {min} to {max}");
        Ok(())
    }
}

//! `kvs-lab ladder`: from one operation per call on one mutex to the full design, a step at a time,
//! all on this machine. Each step keeps what the one before it added.

use std::fmt;

use anyhow::Context;
use report::statistics::Spread;

use super::launch;
use crate::measure::rounds::measured;
use crate::measure::seconds;
use crate::measure::table::{Table, cells, decimals};

/// What `kvs-lab ladder` takes.
#[derive(clap::Args)]
pub(crate) struct Ladder {
    /// Rounds over all steps
    #[arg(long, env = "REPEATS", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Measured seconds of a run
    #[arg(long, env = "SECS", default_value_t = 4.0, value_parser = seconds)]
    secs: f64,
}

/// Name, servers, store, dedup, workers, depth, batch size, connections.
struct Step(&'static str, u32, &'static str, &'static str, u32, u32, u32, u32);

const STEPS: [Step; 9] = [
    Step("one operation per call, one mutex", 1, "mutex", "off", 1, 1, 1, 1),
    Step("concurrent map", 1, "scc", "off", 1, 1, 1, 1),
    Step("asynchronous calls", 1, "scc", "off", 1, 16, 1, 1),
    Step("many workers", 1, "scc", "off", 64, 16, 1, 4),
    Step("batches", 1, "scc", "off", 64, 1, 10_000, 4),
    Step("sharding", 2, "scc", "off", 64, 1, 10_000, 4),
    Step("partitioned store", 2, "partitioned", "off", 64, 1, 10_000, 4),
    Step("repeated values once", 2, "partitioned", "on", 64, 1, 10_000, 4),
    Step("the same on one server", 1, "partitioned", "on", 64, 1, 10_000, 4),
];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

const COLUMNS: &str = "step servers store workers depth batch_size batches_in_flight ops_s:op/s \
    ops_s_min:op/s ops_s_max:op/s gain:times";

impl Ladder {
    /// Measures all steps in turns, and writes the table.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let title = "From one operation per call to the full design";
        let mut table = Table::new("ladder", title, "kvs-lab ladder", &[COLUMNS]).await?;
        let logs = tempfile::tempdir()?;
        let rates = measured(self.repeats, &STEPS, async |step| {
            let (run, result) = launch::run(&step.arguments(self.secs), logs.path(), &[])
                .await
                .with_context(|| format!("the step \"{step}\" failed"))?;
            std::fs::remove_dir_all(run.path)?;
            Ok(result.operations_per_second.round())
        });
        let mut base = None;
        for (step, rates) in STEPS.iter().zip(rates.await?) {
            let Step(name, servers, store, _, workers, depth, batch, _) = *step;
            let Spread { median, min, max, .. } = Spread::of(&rates).context("no rounds")?;
            let gain = decimals(median / *base.get_or_insert(median), 1);
            let (set, flight) =
                (cells![name, servers, store, workers, depth, batch], workers * depth);
            table.row(set.into_iter().chain(cells![flight, median, min, max, gain]));
        }
        table.print_and_write().map(drop)
    }
}

impl Step {
    /// The launcher's.
    fn arguments(&self, secs: f64) -> [String; 4] {
        let Self(_, servers, store, dedup, workers, depth, batch, connections) = self;
        let client = format!(
            "-threads 1 -dedup {dedup} -workers {workers} -depth {depth} -batch_size {batch} \
             -connections {connections} -secs {secs} -warmup_secs 1"
        );
        [servers.to_string(), "1".to_owned(), format!("-store {store} -threads 1"), client]
    }
}

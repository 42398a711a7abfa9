//! Ours beside Redis and memcached, all on this machine: server and client share its cores.
//!
//! - [`targets`]: the ratios that ours has to reach, each at what the peer does best, in
//!   interleaved rounds;
//! - [`generator`]: one generator drives all three with the same work.
//!
//! A peer that is not installed is left out, and named.

mod generator;
mod redis_benchmark;
mod targets;

use anyhow::ensure;
use clap::ValueEnum;
use report::result::RunResult;

use crate::measure::seconds;
use crate::measure::stores::{Store, Stores};
use crate::measure::table::{Table, cores};
use crate::tied;

/// Keys in each store.
const KEYS: u32 = 1_000_000;

/// Bytes of a key.
const KEY_BYTES: u32 = 6;

/// Bytes of a value.
const VALUE_BYTES: u32 = 128;

/// Flags of `compare`.
#[derive(clap::Args)]
pub(crate) struct Compare {
    /// Which table; both if none is named
    #[arg(value_name = "TABLE")]
    which: Option<Which>,
    /// Rounds of the targets
    #[arg(long, env = "PAIRS", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seconds of each run for the targets
    #[arg(long, env = "SECS", default_value_t = 2.0, value_parser = seconds)]
    secs: f64,
    /// Seconds of each run for the comparison
    #[arg(long = "compare_secs", env = "COMPARE_SECS", default_value_t = 1.0,
        value_parser = seconds)]
    compare_secs: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Which {
    /// What ours has to reach
    Targets,
    /// One generator, three stores
    Compare,
}

impl Compare {
    /// Measures.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stores = Stores::build().await?;
        // Ours shares the cores as run-cluster.sh has it: one half for the server, one for the
        // client.
        let half = cores().div_ceil(2);
        let is_asked = |table| self.which.is_none_or(|which| which == table);
        // Before other stores are there.
        let memory = match is_asked(Which::Targets) {
            true => targets::memory_over_payload(&stores, self.pairs, half).await?,
            false => Vec::new(),
        };
        let field = Field::start(stores, half).await?;
        if is_asked(Which::Targets) {
            targets::measure(&field, self.pairs, self.secs, memory).await?;
        }
        if is_asked(Which::Compare) {
            generator::measure(&field, self.compare_secs).await?;
        }
        Ok(())
    }
}

/// The stores that are compared, loaded with all keys.
struct Field {
    stores: Stores,
    /// Threads of our server, and of a client that leaves it its own.
    half: u32,
    ours: Store,
    redis: Option<Store>,
    memcached: Option<Store>,
    /// What a table tells of the peers: their versions, and which are not there.
    notes: Vec<String>,
}

impl Field {
    /// Starts ours, and the peers that are installed.
    async fn start(stores: Stores, half: u32) -> anyhow::Result<Self> {
        let ours = stores.ours(&["-threads", &half.to_string()]).await?;
        load(&stores, &ours).await?;
        let (mut redis, mut memcached, mut notes) = (None, None, Vec::new());
        let mut not_run = Vec::new();
        match (version("redis-server").await, version("redis-benchmark").await) {
            (Some(told), Some(_)) => {
                redis = Some(stores.redis().await?);
                let version = told.split(' ').find_map(|word| word.strip_prefix("v="));
                notes.push(format!("Redis {}", version.unwrap_or(&told)));
            }
            (None, _) => not_run.push("redis: there is no redis-server"),
            (_, None) => not_run.push("redis: there is no redis-benchmark"),
        }
        match version("memcached").await {
            Some(told) => {
                memcached = Some(stores.memcached().await?);
                notes.push(told);
            }
            None => not_run.push("memcached: there is no memcached"),
        }
        for peer in redis.iter().chain(&memcached) {
            load(&stores, peer).await?;
        }
        for missing in not_run {
            eprintln!("NOT RUN: {missing}; run: sudo make bench-setup");
            notes.push(format!("NOT RUN: {missing}"));
        }
        Ok(Self { stores, half, ours, redis, memcached, notes })
    }

    /// A run of so many seconds on a store that is loaded.
    async fn client(&self, store: &Store, secs: f64, flags: &str) -> anyhow::Result<RunResult> {
        let flags = format!("-preload=false -warmup_secs 0.5 -secs {secs} {flags}");
        let run = drive(&self.stores, store, &flags).await?;
        let (url, found) = (&store.url, run.hit_ratio);
        ensure!(found == 1.0, "{url} found only {found} of the keys, so it did other work");
        Ok(run)
    }

    /// Writes in a table's notes what there is to know of the peers.
    fn note_peers(&self, table: &mut Table) {
        self.notes.iter().for_each(|note| table.note(note));
    }
}

/// A run with the work that all do.
async fn drive(stores: &Stores, store: &Store, flags: &str) -> anyhow::Result<RunResult> {
    let flags = format!("-keys {KEYS} -value_size {VALUE_BYTES} {flags}");
    stores.client(&store.url, flags.split(' ')).await
}

/// Loads all the keys.
async fn load(stores: &Stores, store: &Store) -> anyhow::Result<()> {
    drive(stores, store, "-workload C -warmup_secs 0 -operations 1000").await.map(drop)
}

/// What a program says of its version; `None` if it is not there.
async fn version(program: &str) -> Option<String> {
    let output = tied::command(program).arg("--version").output().await.ok()?;
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(told)
}

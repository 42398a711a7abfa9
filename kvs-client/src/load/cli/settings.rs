//! What a run is told: its flags, checked against each other, with the defaults that hang on other
//! flags filled in.

use std::path::PathBuf;
use std::time::Duration;

use kvs_client::Config;

use super::super::open_loop::Spacing;
use super::super::random::mix;
use super::super::target::address::Address;
use super::super::value::ValueSize;
use super::super::workload::{Choice, Distribution, Mix};
use super::json::flags_json;
use super::{Cli, Length};

/// Everything that a run is told, with the defaults that hang on other flags filled in.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What is driven.
    pub(crate) target: Address,
    /// How our servers are reached, and a peer as far as it goes.
    pub(crate) client: Config,
    /// Tasks that send batches.
    pub(crate) workers: usize,
    /// Operations per batch.
    pub(crate) batch_size: usize,
    /// Batches in flight per worker.
    pub(crate) depth: usize,
    /// Operations per second that arrive in an open loop; `None` in a closed one.
    pub(crate) rate: Option<f64>,
    /// How they follow each other.
    pub(crate) arrivals: Spacing,
    /// Whether workers use the plain API.
    pub(crate) plain: bool,
    /// Runtime threads.
    pub(crate) threads: usize,
    /// The operations' shares.
    pub(crate) mix: Mix,
    /// How keys are chosen.
    pub(crate) distribution: Distribution,
    /// Its skew.
    pub(crate) theta: f64,
    /// Keys loaded by all clients together.
    pub(crate) keys: u64,
    /// Sizes of values.
    pub(crate) value_size: ValueSize,
    /// Whether values are checked.
    pub(crate) verify: bool,
    /// The workload's seed.
    pub(crate) seed: u64,
    /// Whether keys are loaded.
    pub(crate) preload: bool,
    /// Run time before the window.
    pub(crate) warmup: Duration,
    /// Length of the window.
    pub(crate) length: Length,
    /// Whether the run's keys are deleted.
    pub(crate) cleanup: bool,
    /// Where the result goes.
    pub(crate) json: Option<PathBuf>,
    /// Where the history goes.
    pub(crate) history: Option<PathBuf>,
    /// Place of this client, from 0.
    pub(crate) client_index: u32,
    /// Clients of the run.
    pub(crate) client_count: u32,
    /// The run's name.
    pub(crate) run_name: String,
    /// The run's number: it stands in each value.
    pub(crate) run_id: u64,
    /// Where the run takes place.
    pub(crate) mode: String,
    /// Every flag with its value, for the result.
    pub(crate) flags: serde_json::Value,
}

impl Cli {
    /// The settings of a run.
    ///
    /// # Errors
    ///
    /// Which flags do not go together, and what to write instead.
    pub(crate) fn settings(self) -> Result<Settings, String> {
        let Self { connection, load, .. } = self;
        if load.client_index > load.client_count {
            return Err(format!(
                "-client_index is {}, but -client_count says that there are {} clients",
                load.client_index, load.client_count
            ));
        }
        load.check_history()?;
        load.check_target()?;
        let mut client = connection.config()?;
        client.connections = load.connections as usize;
        client.inflight_bytes_max = load.inflight_bytes_max;
        client.repeats = load.dedup;
        client.check().map_err(|error| error.to_string())?;

        let mix = load.mix.clone().or(load.workload.clone());
        let mix = mix.unwrap_or_else(|| Mix::ycsb("B").expect("workload B is known"));
        let distribution = load.distribution.unwrap_or_else(|| mix.distribution());
        // A thread more only hands one operation's tasks to and fro.
        let batches_in_flight = load.workers as usize * load.depth as usize;
        let threads = load.threads.map_or(cores().min(batches_in_flight), |it| it as usize);
        let seed = load.seed.unwrap_or_else(random_number);
        let run_name = load.run_id.clone().unwrap_or_else(|| format!("{:016x}", random_number()));
        let length = load.length();
        let flags = flags_json(&connection, &load, &mix, distribution, threads, seed, length);
        Ok(Settings {
            target: load.target.unwrap_or_default(),
            client,
            workers: load.workers as usize,
            batch_size: load.batch_size as usize,
            depth: load.depth as usize,
            rate: load.rate,
            arrivals: load.arrivals,
            plain: load.plain,
            threads,
            distribution,
            theta: load.theta,
            keys: load.keys,
            value_size: load.value_size,
            verify: load.verify,
            seed,
            preload: load.preload,
            warmup: load.warmup_secs.0,
            length,
            cleanup: load.cleanup,
            json: load.json,
            history: load.history,
            client_index: load.client_index - 1,
            client_count: load.client_count,
            run_id: run_number(&run_name),
            run_name,
            mode: load.mode,
            mix,
            flags,
        })
    }
}

impl Settings {
    /// Whether values can be checked, and shall be.
    pub(crate) fn verifies(&self) -> bool {
        self.verify && self.value_size.is_verifiable()
    }

    /// Whether the run uses counters.
    pub(crate) fn has_counters(&self) -> bool {
        self.mix.percent(Choice::Increment) > 0.0
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A number that differs from run to run: the standard library seeds its hash maps from the
/// system's randomness.
fn random_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// The number of the run with this name: 1 to 16 hexadecimal digits are taken as they are, other
/// text is hashed.
fn run_number(name: &str) -> u64 {
    u64::from_str_radix(name, 16).ok().filter(|_| !name.starts_with('+')).unwrap_or_else(|| {
        name.bytes().fold(mix(name.len() as u64), |hash, byte| mix(hash ^ u64::from(byte)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Result<Settings, String> {
        let args = std::iter::once("kvs-client").chain(args.iter().copied());
        flags::try_parse_from::<Cli, _>(args).map_err(|error| error.to_string())?.settings()
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let settings = settings(&[]).expect("no flag is needed");
        assert_eq!((settings.workers, settings.batch_size, settings.depth), (64, 1024, 1));
        assert_eq!(settings.mix.name(), "YCSB-B");
        assert_eq!(settings.distribution, Distribution::Zipfian);
        assert_eq!((settings.theta, settings.keys), (0.99, 1_000_000));
        assert_eq!(settings.value_size.to_string(), "128");
        assert_eq!(settings.length, Length::Time(Duration::from_secs(30)));
        assert_eq!(settings.warmup, Duration::from_secs(2));
        assert!(settings.preload && settings.verifies() && !settings.cleanup);
        assert_eq!(settings.client.connections, 4);
        assert_eq!(settings.flags["seed"], settings.seed);
    }

    #[test]
    fn a_lone_batch_in_flight_takes_one_thread() {
        let threads = |args: &[&str]| settings(args).expect("flags are right").threads;
        assert_eq!(threads(&["-workers", "1"]), 1);
        assert_eq!(threads(&["-workers", "1", "-depth", "1024"]), cores());
        assert_eq!(threads(&["-workers", "1", "-threads", "3"]), 3);
    }

    #[test]
    fn flags_reach_the_settings() {
        let settings = settings(&[
            "-hosts",
            "a:1,b:2",
            "-num_clients",
            "9",
            "-batch-size=10000",
            "-value_size",
            "64-1024",
            "-mix",
            "get=80,put=15,incr=5",
            "-operations",
            "5000",
            "-preload=false",
            "-cleanup",
            "-client_index",
            "2",
            "-client_count",
            "3",
            "-run_id",
            "beef",
            "-dedup",
            "off",
            "-warmup_secs",
            "0.5",
            "-theta",
            "0",
            "-distribution",
            "latest",
            "-seed",
            "7",
        ])
        .expect("the flags go together");
        assert_eq!((settings.client.hosts.len(), settings.client.connections), (2, 9));
        assert_eq!((settings.batch_size, settings.value_size.max), (10_000, 1024));
        assert!(settings.has_counters() && !settings.preload && settings.cleanup);
        assert_eq!(settings.length, Length::Operations(5_000));
        assert_eq!((settings.client_index, settings.client_count), (1, 3));
        assert_eq!((settings.run_id, settings.seed), (0xbeef, 7));
        assert!(!settings.client.repeats);
        assert_eq!(settings.distribution, Distribution::Latest);
        assert_eq!(settings.flags["value_size"], "64-1024");
        let latest = self::settings(&["-workload", "D"]).expect("workload D is known");
        assert_eq!(latest.distribution, Distribution::Latest);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (args, reason) in [
            (&["-workload", "YCSB-E"][..], "range scans"),
            (&["-workload", "A", "-mix", "get=100"], "mix"),
            (&["-mix", "get=50"], "add up to 50"),
            (&["-secs", "5", "-operations", "5"], "operations"),
            (&["-secs", "0"], "seconds"),
            (&["-secs", "nan"], "seconds"),
            (&["-workers", "0"], "workers"),
            (&["-theta", "5"], "skew"),
            (&["-theta", "-1"], "skew"),
            (&["-value_size", "9-8"], "8-9"),
            (&["-timeout_ms", "0"], "timeout_ms"),
            (&["-client_index", "3", "-client_count", "2"], "2 clients"),
            (&["-client_index", "0"], "client_index"),
            (&["-hosts", "nowhere"], "host:port"),
            (&["-inflight_bytes_max", "1"], "inflight_bytes_max"),
            (&["-rate", "0"], "a rate is"),
            (&["-rate", "nan"], "a rate is"),
            (&["-rate", "5", "-plain"], "plain"),
            (&["-arrivals", "monday"], "arrivals"),
            (&["-history", "h", "-value_size", "39"], "-value_size 40 or more"),
            (&["-history", "h", "-verify=false"], "-verify=false"),
            (&["-history", "h", "-cleanup"], "-cleanup"),
            (&["-history", "h", "-plain"], "-plain"),
            (&["-target", "etcd://a:1"], "redis://host:port"),
            (&["-target", "redis://a:1", "-client_count", "2"], "leave out -client_count"),
            (&["-target", "redis://a:1", "-plain"], "leave one of them out"),
        ] {
            let error = settings(args).expect_err("the flags are wrong");
            assert!(error.contains(reason), "{args:?}: {error}");
        }
    }

    #[test]
    fn values_that_are_too_short_are_not_verified() {
        assert!(!settings(&["-value_size", "39"]).unwrap().verifies());
        assert!(!settings(&["-value_size", "16-64"]).unwrap().verifies());
        assert!(!settings(&["-verify=false"]).unwrap().verifies());
        assert!(settings(&["-value_size", "40"]).unwrap().verifies());
    }

    #[test]
    fn run_names_become_numbers() {
        assert_eq!(run_number("00000000000000ff"), 255);
        assert_ne!(run_number("20261120-141502"), run_number("20261120-141503"));
        assert_ne!(run_number("+ff"), 255);
        assert_ne!(random_number(), random_number());
    }
}

//! The command line: flags of a run, and the commands for one operation.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvs_client::Config;
use serde_json::json;

use super::open_loop::Spacing;
use super::permutation::LENGTH_MAX;
use super::random::mix;
use super::target::address::Address;
use super::value::{VERIFIED_BYTES_MIN, ValueSize};
use super::workload::{Choice, Distribution, Mix};

/// Load generator for kvs-server. Without a command it runs a workload and prints what it
/// measured; with one it does a single operation.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "kvs-client", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How the servers are reached.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectionFlags {
    /// The servers in the order of their shards: host:port or unix:/path, with commas between; or
    /// mem:N for N servers inside this process
    #[arg(long, global = true, default_value = "127.0.0.1:8080", value_name = "LIST")]
    pub(crate) hosts: String,
    /// Time after which a reply counts as lost, so that its connection is made anew
    #[arg(long = "timeout_ms", global = true, default_value_t = 10_000, value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) timeout_ms: u64,
    /// How long operations are sent again after a lost connection; what is open then is unknown
    #[arg(long = "retry_secs", global = true, default_value = "10", value_name = "S",
        value_parser = Seconds::parser(0.0, 3600.0))]
    pub(crate) retry_secs: Seconds,
}

/// What a run does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadFlags {
    /// Drive another store instead of -hosts: redis://host:port or memcached://host:port. The
    /// flags -retry_secs, -inflight_bytes_max and -dedup are of our own servers only
    #[arg(long, value_name = "URL", value_parser = Address::from_str)]
    target: Option<Address>,
    /// Tasks that send batches; each waits for its own replies only
    #[arg(long, default_value_t = 64, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    workers: u32,
    /// Operations per batch; 1 with -depth 1 is the unbatched baseline
    #[arg(long = "batch_size", default_value_t = 1024, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// Batches in flight per worker
    #[arg(long, default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    depth: u32,
    /// Each worker does one operation at a time, through the library's plain API, which batches
    /// what concurrent callers ask for by itself; -batch_size and -depth do not count then
    #[arg(long, default_value = "false", value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", value_parser = switch)]
    plain: bool,
    /// Open loop: so many operations per second of this client arrive by a schedule, whether earlier
    /// ones are answered or not; a batch takes what is due, and latency counts from the intended
    /// start [default: closed loop]
    #[arg(long, value_name = "N", conflicts_with = "plain", value_parser = rate)]
    rate: Option<f64>,
    /// How the arrivals of -rate follow each other
    #[arg(long, value_enum, default_value_t = Spacing::Poisson, value_name = "NAME")]
    arrivals: Spacing,
    /// Connections per server, shared by all workers
    #[arg(long, default_value_t = 4, value_name = "N", aliases = ["clients", "num_clients"],
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Runtime threads [default: one per core, and no more than batches in flight]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,

    /// YCSB-A, B, C, D or F [default: YCSB-B]
    #[arg(long, value_name = "NAME", value_parser = Mix::ycsb, conflicts_with = "mix")]
    workload: Option<Mix>,
    /// A mix of your own, in percent: of get, put, insert, del, cas (a GET, then its CAS), incr
    #[arg(long, value_name = "get=80,put=15,incr=5", value_parser = Mix::from_str)]
    mix: Option<Mix>,
    /// How keys are chosen [default: latest with inserts, else zipfian]
    #[arg(long, value_enum, value_name = "NAME")]
    distribution: Option<Distribution>,
    /// Skew of zipfian and latest: 0 is uniform, 0.99 is YCSB's
    #[arg(long, default_value_t = 0.99, value_name = "X", allow_negative_numbers = true,
        value_parser = theta)]
    theta: f64,
    /// Keys that are loaded before the run
    #[arg(long, default_value_t = 1_000_000, value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=LENGTH_MAX))]
    keys: u64,
    /// Bytes of a value, or a range such as 64-1024; from 40 bytes on, reads are verified
    #[arg(long = "value_size", default_value = "128", value_name = "BYTES",
        value_parser = ValueSize::from_str)]
    value_size: ValueSize,
    /// Check each value that is read against its key and run
    #[arg(long, default_value = "true", value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", value_parser = switch)]
    verify: bool,
    /// Seed of the workload [default: random, and always printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Load all keys first
    #[arg(long, default_value = "true", value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", value_parser = switch)]
    preload: bool,
    /// Run time before the measurement, in seconds
    #[arg(long = "warmup_secs", default_value = "2", value_name = "S",
        value_parser = Seconds::parser(0.0, 86_400.0))]
    warmup_secs: Seconds,
    /// Length of the measurement, in seconds [default: 30]
    #[arg(long, value_name = "S", conflicts_with = "operations",
        value_parser = Seconds::parser(0.001, 604_800.0))]
    secs: Option<Seconds>,
    /// Measure this many operations instead of a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    operations: Option<u64>,
    /// Delete the run's keys at the end
    #[arg(long, default_value = "false", value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", value_parser = switch)]
    cleanup: bool,

    /// Bytes in flight to one server, requests and expected replies together
    #[arg(long = "inflight_bytes_max", default_value_t = 64 << 20, value_name = "BYTES")]
    inflight_bytes_max: usize,
    /// Send a value that repeats inside one reply once: on or off
    #[arg(long, default_value = "on", value_name = "on|off", aliases = ["repeats"],
        action = clap::ArgAction::Set, value_parser = switch)]
    dedup: bool,

    /// Write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every operation to this file, for kvs-check
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Place of this client among the run's clients, from 1
    #[arg(long = "client_index", default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    client_index: u32,
    /// Clients of the run; they share the loading of keys and start measuring together
    #[arg(long = "client_count", default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    client_count: u32,
    /// Name of the run, the same for all its clients [default: random]
    #[arg(long = "run_id", value_name = "TEXT")]
    run_id: Option<String>,
    /// Where the run takes place, for the result
    #[arg(long, default_value = report::result::MODE_SINGLE_CLIENT, value_name = "TEXT")]
    mode: String,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key
    Get {
        /// The key
        key: String,
    },
    /// Write a value
    Put {
        /// The key
        key: String,
        /// The value
        value: String,
    },
    /// Remove a key
    Delete {
        /// The key
        key: String,
    },
    /// Add to the integer that a key holds, and print the sum
    Incr {
        /// The key
        key: String,
        /// The summand
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },
    /// Write a value if the key holds the expected one
    Cas {
        /// The key
        key: String,
        /// What the key must hold
        expected: String,
        /// The value
        value: String,
    },
    /// Ask each server whether it answers
    Ping,
}

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Seconds {
    fn parser(min: f64, max: f64) -> impl Fn(&str) -> Result<Self, String> + Clone + Send + Sync {
        move |text| {
            let seconds = text.parse().ok().filter(|seconds| (min..=max).contains(seconds));
            seconds
                .map(|seconds| Self(Duration::from_secs_f64(seconds)))
                .ok_or_else(|| format!("a time is {min} to {max} seconds"))
        }
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err("write true or false, on or off".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "a rate is 0.001 to 1e9 operations per second".to_owned())
}

fn theta(text: &str) -> Result<f64, String> {
    let theta = text.parse().ok().filter(|theta| (0.0..5.0).contains(theta));
    theta.ok_or_else(|| "a skew is 0 (uniform) up to, but not including, 5".to_owned())
}

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

/// What ends the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Time.
    Time(Duration),
    /// This client's operations.
    Operations(u64),
}

impl ConnectionFlags {
    /// The client library's settings, checked.
    ///
    /// # Errors
    ///
    /// Which flag is wrong, and what it may be.
    pub(crate) fn config(&self) -> Result<Config, String> {
        let mut config = Config::new(&self.hosts).map_err(|error| format!("-hosts: {error}"))?;
        config.timeout = Duration::from_millis(self.timeout_ms);
        config.retry = self.retry_secs.0;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }
}

impl LoadFlags {
    /// Checks that a history that is asked for can tell enough.
    fn check_history(&self) -> Result<(), String> {
        if self.history.is_none() {
            return Ok(());
        }
        if !self.verify || !self.value_size.is_verifiable() {
            return Err(format!(
                "-history needs values that tell who wrote them: take -value_size \
                 {VERIFIED_BYTES_MIN} or more, and leave out -verify=false"
            ));
        }
        if self.plain {
            return Err("-history needs the stamps of batches: take -batch_size 1 -depth 1 in \
                        place of -plain"
                .to_owned());
        }
        if self.cleanup {
            return Err("-history ends with the run's keys in place: leave out -cleanup".to_owned());
        }
        Ok(())
    }
}

impl LoadFlags {
    /// Whether another store is driven than ours.
    pub(crate) fn drives_a_peer(&self) -> bool {
        self.target.is_some()
    }

    /// Checks that a peer is asked for what it can do.
    fn check_target(&self) -> Result<(), String> {
        if self.target.is_none() {
            return Ok(());
        }
        if self.client_count > 1 {
            return Err("-target drives a peer from one client, because a peer has no barrier \
                        where clients wait for each other: leave out -client_count"
                .to_owned());
        }
        if self.plain {
            return Err(
                "-plain calls our client library one operation at a time, and -target drives \
                        another store: leave one of them out, or take -batch_size 1"
                    .to_owned(),
            );
        }
        if cfg!(not(feature = "peers")) {
            return Err("-target needs the feature `peers`: build kvs-client with it".to_owned());
        }
        Ok(())
    }
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
        let length = match (load.operations, load.secs) {
            (Some(operations), _) => Length::Operations(operations),
            (None, secs) => Length::Time(secs.map_or(Duration::from_secs(30), |secs| secs.0)),
        };
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

/// Each flag under its name, with the value that the run uses.
fn flags_json(
    connection: &ConnectionFlags,
    load: &LoadFlags,
    mix: &Mix,
    distribution: Distribution,
    threads: usize,
    seed: u64,
    length: Length,
) -> serde_json::Value {
    let (secs, operations) = match length {
        Length::Time(time) => (Some(time.as_secs_f64()), None),
        Length::Operations(operations) => (None, Some(operations)),
    };
    json!({
        "target": load.target.as_ref().map(Address::to_string),
        "hosts": connection.hosts,
        "timeout_ms": connection.timeout_ms,
        "retry_secs": connection.retry_secs.0.as_secs_f64(),
        "workers": load.workers,
        "batch_size": load.batch_size,
        "depth": load.depth,
        "rate": load.rate,
        "arrivals": load.arrivals.to_string(),
        "plain": load.plain,
        "connections": load.connections,
        "threads": threads,
        "workload": mix.name(),
        "mix": load.mix.as_ref().map(Mix::name),
        "distribution": distribution.to_string(),
        "theta": load.theta,
        "keys": load.keys,
        "value_size": load.value_size.to_string(),
        "verify": load.verify,
        "seed": seed,
        "preload": load.preload,
        "warmup_secs": load.warmup_secs.0.as_secs_f64(),
        "secs": secs,
        "operations": operations,
        "cleanup": load.cleanup,
        "inflight_bytes_max": load.inflight_bytes_max,
        "dedup": load.dedup,
        "json": load.json.as_ref().map(|path| path.display().to_string()),
        "history": load.history.as_ref().map(|path| path.display().to_string()),
        "client_index": load.client_index,
        "client_count": load.client_count,
        "run_id": load.run_id,
        "mode": load.mode,
    })
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

    fn parse(args: &[&str]) -> Result<Cli, String> {
        let args = std::iter::once("kvs-client").chain(args.iter().copied());
        flags::try_parse_from::<Cli, _>(args).map_err(|error| error.to_string())
    }

    fn settings(args: &[&str]) -> Result<Settings, String> {
        parse(args)?.settings()
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
    fn commands_take_flags_on_both_sides() {
        for args in [&["-hosts", "a:1", "get", "k"][..], &["get", "-hosts", "a:1", "k"]] {
            let cli = parse(args).expect("the command is known");
            assert_eq!(cli.connection.hosts, "a:1");
            assert_eq!(cli.command, Some(Command::Get { key: "k".to_owned() }));
        }
        let incr = |args| parse(args).expect("the command is known").command;
        let by = |by| Some(Command::Incr { key: "n".to_owned(), by });
        assert_eq!(incr(&["incr", "n"]), by(1));
        assert_eq!(incr(&["incr", "n", "-5"]), by(-5));
        assert!(parse(&["incr", "n", "x"]).is_err());
        assert!(parse(&["get"]).is_err());
        assert!(parse(&["grab", "k"]).is_err());
    }

    #[test]
    fn run_names_become_numbers() {
        assert_eq!(run_number("00000000000000ff"), 255);
        assert_ne!(run_number("20261120-141502"), run_number("20261120-141503"));
        assert_ne!(run_number("+ff"), 255);
        assert_ne!(random_number(), random_number());
    }
}

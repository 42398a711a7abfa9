//! The command line: flags of a run, and the commands for one operation.
//!
//! Here are the flags as they are written. What a run makes of them, with the defaults that hang on
//! other flags, are its [`settings`]; its result tells them as [`json`]. The commands are in
//! [`command`].

pub(crate) mod command;
mod json;
pub(crate) mod settings;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvs_client::Config;

use super::open_loop::Spacing;
use super::permutation::LENGTH_MAX;
use super::target::address::Address;
use super::value::{VERIFIED_BYTES_MIN, ValueSize};
use super::workload::{Distribution, Mix};
use command::Command;

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
    /// Whether another store is driven than ours.
    pub(crate) fn drives_a_peer(&self) -> bool {
        self.target.is_some()
    }

    /// What ends the window.
    fn length(&self) -> Length {
        match (self.operations, self.secs) {
            (Some(operations), _) => Length::Operations(operations),
            (None, secs) => Length::Time(secs.map_or(Duration::from_secs(30), |secs| secs.0)),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        let args = std::iter::once("kvs-client").chain(args.iter().copied());
        flags::try_parse_from::<Cli, _>(args).map_err(|error| error.to_string())
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
}

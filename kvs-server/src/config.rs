//! The server's flags.
//!
//! Every flag is checked as it is parsed, so what stands here can be served with.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use engine::record::Record;
use model::limits::PARTITIONS_MAX;
use model::slots::Shard;
use proto::limits::BATCH_OPERATIONS_MAX;
use store::StoreKind;

use crate::order::memory::RECORD_BYTES_TOTAL;

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard it is.
    pub shard: Shard,
    /// Which store holds the keys.
    pub store_kind: StoreKind,
    /// Partitions of a shard that is made anew.
    pub partitions: u32,
    /// Threads that serve, as the hello tells them.
    pub threads: u32,
}

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The shard.
    pub shard: ShardConfig,
    /// Where to listen. May be empty: an in-process server is reached through its service.
    pub listen: Vec<ListenAddress>,
    /// TCP port of all of them; 0 takes any free one for each.
    pub port: u16,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most bytes of completion records, over all sessions.
    pub record_bytes_max: usize,
}

/// Most threads that `-threads` accepts, far above the cores of any testbed node.
pub const THREADS_MAX: i64 = 1024;
/// Most connections that `-connections_max` accepts: Linux's usual bound on descriptors.
pub const CONNECTIONS_MAX: i64 = 1 << 20;
/// Least bytes of completion records that `-record_bytes_max` accepts: room for the largest batch.
pub const RECORD_BYTES_LEAST: u64 = 2 << 20;
const _: () = assert!(
    Record::bytes_max(BATCH_OPERATIONS_MAX, BATCH_OPERATIONS_MAX) as u64 <= RECORD_BYTES_LEAST,
    "the largest batch is not refused for ever"
);
/// Most bytes of completion records that `-record_bytes_max` accepts.
pub const RECORD_BYTES_MOST: u64 = 1 << 40;
/// Fewest and most lock domains that are chosen when `-partitions` is not given.
const PARTITIONS_DEFAULT: (u32, u32) = (8, 256);
const _: () = assert!(PARTITIONS_DEFAULT.1 <= PARTITIONS_MAX);
/// Longest interval between statistics, in seconds: a day.
const STATS_SECS_MAX: f64 = 86_400.0;
/// Shortest interval between statistics, in seconds: below it, they would be the load.
const STATS_SECS_MIN: f64 = 0.01;

/// One shard of a key-value store, held in memory: a restart loses the data.
#[derive(Clone, Debug, Parser)]
#[command(name = "kvs-server", version, rename_all = "snake_case")]
pub struct Flags {
    /// Where to listen: an address, a host name, or unix:/path; several with commas between.
    /// 0.0.0.0 is every IPv4 interface, because clients run on other nodes
    #[arg(long, value_name = "ADDRESS,..", default_value = "0.0.0.0")]
    pub listen: ListenAddresses,

    /// TCP port; 8080 is what testbed scripts expect. 0 takes any free one, see -port_file
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// This server's place among the shards, as in 2/4; 1/1 owns all keys
    #[arg(long, value_name = "INDEX/COUNT", default_value_t = Shard::SOLE)]
    pub shard: Shard,

    /// Threads that serve [default: one for each core that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=THREADS_MAX))]
    pub threads: Option<u32>,

    /// Lock domains that keys are divided into. Enough that threads seldom meet in one, few
    /// enough that a batch still brings several operations to each [default: 8 for each thread,
    /// as a power of two from 8 to 256]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=PARTITIONS_MAX as i64)
    )]
    pub partitions: Option<u32>,

    /// The map that holds the keys: partitioned, scc or mutex; the first measures fastest
    #[arg(long, value_name = "NAME", default_value_t = StoreKind::Partitioned)]
    pub store: StoreKind,

    /// Most connections at once; further ones are closed. The bound on open files is raised to
    /// hold them
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX)
    )]
    pub connections_max: u32,

    /// Most bytes of completion records, which make retries harmless, over all clients; a batch
    /// beyond it is refused before it is executed, and its client tries again. 1 GiB is room for
    /// hundreds of clients of 64 workers each
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = RECORD_BYTES_TOTAL as u64,
        value_parser = clap::value_parser!(u64).range(RECORD_BYTES_LEAST..=RECORD_BYTES_MOST)
    )]
    pub record_bytes_max: u64,

    /// Seconds between the statistics on stdout; testbed scripts read one line a second. 0 is off
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = stats_interval)]
    pub stats_secs: StatsInterval,

    /// File that the bound TCP ports are written to, a line each, once connections are accepted
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

impl Flags {
    /// Threads that serve.
    pub fn threads(&self) -> u32 {
        let available = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.unwrap_or_else(|| available().min(THREADS_MAX as usize) as u32)
    }

    /// The server that these flags ask for.
    pub fn server_config(&self) -> ServerConfig {
        let threads = self.threads();
        ServerConfig {
            shard: ShardConfig {
                shard: self.shard,
                store_kind: self.store,
                partitions: self.partitions.unwrap_or_else(|| default_partitions(threads)),
                threads,
            },
            listen: self.listen.0.clone(),
            port: self.port,
            connections_max: self.connections_max as usize,
            record_bytes_max: self.record_bytes_max as usize,
        }
    }
}

/// Lock domains for a number of threads: eight each, as a power of two within 8 and 256.
pub fn default_partitions(threads: u32) -> u32 {
    let (min, max) = PARTITIONS_DEFAULT;
    threads.saturating_mul(8).clamp(min, max).next_power_of_two()
}

/// The time between two statistics; `None` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsInterval(pub Option<Duration>);

fn stats_interval(text: &str) -> Result<StatsInterval, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(StatsInterval(None)),
        Ok(secs) if (STATS_SECS_MIN..=STATS_SECS_MAX).contains(&secs) => {
            Ok(StatsInterval(Some(Duration::from_secs_f64(secs))))
        }
        _ => Err(format!("write seconds from {STATS_SECS_MIN} to {STATS_SECS_MAX}, or 0 for off")),
    }
}

/// One place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP, at an address or host name of this machine.
    Tcp(String),
    /// A Unix socket, at a path.
    Unix(PathBuf),
}

/// One or more places to listen at, written with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddresses(pub Vec<ListenAddress>);

/// Why a text is no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Nothing between two commas, or nothing at all.
    #[error("an address is empty; write e.g. 0.0.0.0, or unix:/tmp/kvs.sock")]
    Empty,
    /// `unix:` without a path.
    #[error("unix: needs a path, as in unix:/tmp/kvs.sock")]
    NoPath,
    /// A port behind the address.
    #[error("`{address}` holds a port; give it with -port")]
    Port {
        /// What was written.
        address: String,
    },
    /// Anything else.
    #[error("`{address}` is neither an IP address, nor a host name, nor unix:/path")]
    Malformed {
        /// What was written.
        address: String,
    },
}

impl FromStr for ListenAddress {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(ListenError::NoPath)
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        if text.is_empty() {
            return Err(ListenError::Empty);
        }
        // IPv6 stands in brackets where a port may follow, and users are used to that.
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Tcp(address.to_string()));
        }
        let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if text.bytes().all(is_named) {
            return Ok(Self::Tcp(text.to_owned()));
        }
        let address = text.to_owned();
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        Err(match port {
            Some(Ok(_)) => ListenError::Port { address },
            _ => ListenError::Malformed { address },
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => f.write_str(host),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddresses {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        Ok(Self(text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flags::Stop;

    fn parse(line: &str) -> Result<Flags, Stop> {
        flags::try_parse_from(format!("kvs-server {line}").split_whitespace())
    }

    fn tcp(host: &str) -> ListenAddress {
        ListenAddress::Tcp(host.to_owned())
    }

    #[test]
    fn defaults_are_what_testbed_scripts_expect() {
        let flags = parse("").unwrap();
        let config = flags.server_config();
        assert_eq!((config.listen, config.port), (vec![tcp("0.0.0.0")], 8080));
        assert_eq!(config.shard.shard, Shard::SOLE);
        assert_eq!(config.shard.store_kind, StoreKind::Partitioned);
        assert_eq!(config.shard.threads, flags.threads());
        assert_eq!((config.connections_max, config.record_bytes_max), (10_000, 1 << 30));
        assert_eq!(flags.stats_secs.0, Some(Duration::from_secs(1)));
        assert_eq!(flags.port_file, None);
    }

    #[test]
    fn flags_are_taken_over() {
        let flags = parse(
            "-listen 127.0.0.1,unix:/tmp/a-b,[::1],node-0.lan -port=0 -shard 2/4 -threads 3 \
             -partitions 7 -store mutex -connections-max 5 -record_bytes_max 3000000 -stats_secs 0.25 -port_file /tmp/p-f",
        )
        .unwrap();
        let config = flags.server_config();
        let unix = ListenAddress::Unix(PathBuf::from("/tmp/a-b"));
        assert_eq!(config.listen, [tcp("127.0.0.1"), unix, tcp("::1"), tcp("node-0.lan")]);
        assert_eq!((config.port, config.connections_max), (0, 5));
        assert_eq!(config.record_bytes_max, 3_000_000);
        assert_eq!(config.shard.shard.to_string(), "2/4");
        assert_eq!((config.shard.threads, config.shard.partitions), (3, 7));
        assert_eq!(config.shard.store_kind, StoreKind::Mutex);
        assert_eq!(flags.stats_secs.0, Some(Duration::from_millis(250)));
        assert_eq!(flags.port_file, Some(PathBuf::from("/tmp/p-f")));
        assert_eq!(parse("-stats_secs 0").unwrap().stats_secs.0, None);
    }

    #[test]
    fn what_cannot_be_served_with_is_refused_in_one_line() {
        for (line, said) in [
            ("-shard 0/2", "INDEX/COUNT"),
            ("-shard 3/2", "INDEX/COUNT"),
            ("-shard x", "INDEX/COUNT"),
            ("-shard -x", "unknown flag -x"),
            ("-port 65536", "not in 0..=65535"),
            ("-port http", "invalid digit"),
            ("-partitions 0", "0 is not in 1..=4096"),
            ("-partitions 4097", "4097 is not in 1..=4096"),
            ("-threads 0", "not in 1..=1024"),
            ("-connections_max 0", "not in 1..=1048576"),
            ("-record_bytes_max 2097151", "not in 2097152..="),
            ("-record_bytes_max 1e9", "invalid digit"),
            ("-store redis", "choose partitioned, scc or mutex"),
            ("-stats_secs -1", "unknown flag -1"),
            ("-stats_secs=-1", "or 0 for off"),
            ("-stats_secs NaN", "or 0 for off"),
            ("-stats_secs 0.001", "or 0 for off"),
            ("-listen=", "an address is empty"),
            ("-listen 1.2.3.4,", "an address is empty"),
            ("-listen unix:", "unix: needs a path"),
            ("-listen 127.0.0.1:80", "give it with -port"),
            ("-listen [::1]:80", "give it with -port"),
            ("-listen node0/eth0", "neither an IP address"),
            ("-prot 1", "did you mean -port?"),
            ("ping", "unexpected argument ping"),
        ] {
            match parse(line) {
                Err(Stop::Wrong(text)) => {
                    assert!(text.contains(said) && !text.contains('\n'), "{line}: {text}");
                }
                other => panic!("{line} is refused, not {other:?}"),
            }
        }
    }

    #[test]
    fn partitions_follow_the_threads() {
        let partitions = [1, 2, 3, 8, 16, 32, 33, 1024].map(default_partitions);
        assert_eq!(partitions, [8, 16, 32, 64, 128, 256, 256, 256]);
    }

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        for text in ["0.0.0.0", "node0", "unix:/tmp/a"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn help_names_every_flag_with_its_default() {
        let Err(Stop::Asked(help)) = parse("-help") else { panic!("-help asks for a text") };
        for flag in ["listen", "port", "shard", "threads", "partitions", "store"]
            .into_iter()
            .chain(["connections_max", "record_bytes_max", "stats_secs", "port_file"])
        {
            assert!(help.contains(&format!("\n  -{flag} <")), "{flag} stands in\n{help}");
        }
        assert_eq!(help.matches("[default: ").count(), 9, "{help}");
    }
}

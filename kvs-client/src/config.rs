//! What a client is told: where the servers are, and its bounds.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use futures::FutureExt;
use futures::future::BoxFuture;
use proto::limits::{REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::error::Error;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `host:port`; an IPv6 address stands in brackets.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
    /// One of the `count` servers that `mem:COUNT` asks for inside this process, from 1. Whoever
    /// makes them gives the client a [`Connector`] that leads to them.
    Memory {
        /// The server's place.
        index: u32,
        /// How many there are.
        count: u32,
    },
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Endpoint { text: text.to_owned() };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(refused()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let has_space = text.chars().any(char::is_whitespace);
        match port.parse::<u16>() {
            // It stands alone: see `endpoints`.
            _ if host == "mem" => Err(refused()),
            Ok(port) if port != 0 && !host.is_empty() && !is_bare_v6 && !has_space => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Memory { index, count } => write!(f, "mem:{index}/{count}"),
        }
    }
}

/// The endpoints of a list with commas between them, or of `mem:COUNT`.
fn endpoints(hosts: &str) -> Result<Vec<Endpoint>, Error> {
    let Some(count) = hosts.trim().strip_prefix("mem:") else {
        return hosts.split(',').map(|text| text.trim().parse()).collect();
    };
    match count.parse() {
        Ok(count @ 1..=MEMORY_SERVERS_MAX) => {
            Ok((1..=count).map(|index| Endpoint::Memory { index, count }).collect())
        }
        _ => Err(Error::Endpoint { text: hosts.to_owned() }),
    }
}

/// Most servers inside one process.
const MEMORY_SERVERS_MAX: u32 = 64;
/// Most servers of one client.
pub(crate) const SERVERS_MAX: usize = 1024;
/// Most connections to one server.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Least bytes in flight: the largest request with the largest reply.
pub(crate) const INFLIGHT_BYTES_MIN: usize = REQUEST_BYTES_MAX + REPLY_BYTES_MAX;

/// A stream of bytes to a server.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens streams to servers: the operating system's sockets, unless a simulation or a server inside
/// the process puts something else in their place.
pub trait Connector: Send + Sync {
    /// Opens a stream to this endpoint.
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// The operating system's sockets.
#[derive(Clone, Copy, Debug)]
pub struct SystemConnector;

impl Connector for SystemConnector {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let endpoint = endpoint.clone();
        let connect = async move {
            Ok(match endpoint {
                Endpoint::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // A batch is written whole; to hold its last segment back only adds latency.
                    stream.set_nodelay(true)?;
                    Box::new(stream) as Box<dyn Stream>
                }
                Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Endpoint::Memory { .. } => {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "servers inside the process need a Connector that leads to them",
                    ));
                }
            })
        };
        connect.boxed()
    }
}

/// Settings of a client.
#[derive(Clone)]
pub struct Config {
    /// The servers, in the order of their places.
    pub hosts: Vec<Endpoint>,
    /// Connections to each server, shared by all lanes (default 4).
    pub connections: usize,
    /// How long a call may be on its way before its connection counts as lost, 1 ms to 1 h
    /// (default 10 s).
    pub timeout: Duration,
    /// How long a batch is sent again after its connection was lost (default 10 s); what is open
    /// then is unknown.
    pub retry: Duration,
    /// Bytes in flight to one server, requests and expected replies together (default 64 MiB);
    /// lanes wait beyond it.
    pub inflight_bytes_max: usize,
    /// Whether servers may send a value that repeats inside one reply once (default true).
    pub repeats: bool,
    /// What opens streams to the servers (default [`SystemConnector`]).
    pub connector: Arc<dyn Connector>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("hosts", &self.hosts)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("inflight_bytes_max", &self.inflight_bytes_max)
            .field("repeats", &self.repeats)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults, for the servers in a comma-separated list, or for `mem:COUNT`.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] names the part that can't be read.
    pub fn new(hosts: &str) -> Result<Self, Error> {
        Ok(Self {
            hosts: endpoints(hosts)?,
            connections: 4,
            timeout: Duration::from_secs(10),
            retry: Duration::from_secs(10),
            inflight_bytes_max: 64 << 20,
            repeats: true,
            connector: Arc::new(SystemConnector),
        })
    }

    /// Checks each setting's range.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] names the first that is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, got: &dyn fmt::Debug, range| {
            Err(Error::Setting { setting, got: format!("{got:?}"), range })
        };
        if self.hosts.is_empty() || self.hosts.len() > SERVERS_MAX {
            return refuse("the number of hosts", &self.hosts.len(), "1 to 1,024");
        }
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return refuse("connections", &self.connections, "1 to 1,024 per server");
        }
        // A deadline past this would be no deadline, and timers take no greater ones.
        let hour = Duration::from_secs(3600);
        if self.timeout < Duration::from_millis(1) || self.timeout > hour {
            return refuse("timeout", &self.timeout, "1 ms to 1 h");
        }
        if self.retry > hour {
            return refuse("retry", &self.retry, "at most 1 h");
        }
        if self.inflight_bytes_max < INFLIGHT_BYTES_MIN || self.inflight_bytes_max > 1 << 40 {
            let range = "8 MiB (one largest request and reply) to 1 TiB";
            return refuse("inflight_bytes_max", &self.inflight_bytes_max, range);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_parsed_and_refused() {
        for right in ["a:1", "10.0.0.1:8080", "[::1]:8080", "unix:/tmp/s", "node-1.lan:65535"] {
            assert_eq!(right.parse::<Endpoint>().unwrap().to_string(), right);
        }
        for wrong in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:80", "unix:", "a b:1", "a:-1"] {
            let error = wrong.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains("host:port"), "{wrong}: {error}");
        }
        let config = Config::new("a:1, b:2").unwrap();
        assert_eq!(config.hosts.len(), 2);
        assert!(Config::new("a:1,,b:2").is_err());
    }

    #[test]
    fn servers_inside_the_process_are_counted() {
        let config = Config::new(" mem:2").unwrap();
        let shown: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["mem:1/2", "mem:2/2"]);
        for wrong in ["mem:", "mem:0", "mem:65", "mem:-1", "mem:2,a:1", "a:1,mem:2"] {
            let error = Config::new(wrong).unwrap_err().to_string();
            assert!(error.contains("mem:4"), "{wrong}: {error}");
        }
    }

    #[tokio::test]
    async fn the_systems_sockets_lead_to_no_server_inside_the_process() {
        let endpoint = Endpoint::Memory { index: 1, count: 1 };
        let Err(error) = SystemConnector.connect(&endpoint).await else { panic!("there is none") };
        assert!(error.to_string().contains("Connector"), "{error}");
    }

    #[test]
    fn absurd_settings_are_refused_by_name() {
        let good = Config::new("a:1").unwrap();
        assert_eq!(good.check(), Ok(()));
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 6] = [
            ("connections", |config| config.connections = 0),
            ("connections", |config| config.connections = 100_000),
            ("timeout", |config| config.timeout = Duration::ZERO),
            ("timeout", |config| config.timeout = Duration::MAX),
            ("retry", |config| config.retry = Duration::MAX),
            ("inflight_bytes_max", |config| config.inflight_bytes_max = 1),
        ];
        for (name, spoil) in cases {
            let mut config = good.clone();
            spoil(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}

//! Listeners, the limit on connections, and the end: what stands around the service.
//!
//! [`Server::bind`] takes the addresses, [`Server::run`] serves until it is told to stop. Then it
//! accepts nobody any more, lets every connection answer what it has read, and returns.

use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::Tally;
use futures::FutureExt;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::{CONNECTIONS_MAX, ServerConfig};
use crate::counters::Counters;
use crate::environment::Environment;
use crate::fatal::panic_text;
use crate::service::Service;

mod accept;
mod listener;

use accept::{Gate, accept_until};
use listener::Listener;

/// How long connections may take to end before they are cut. A batch takes milliseconds; this is
/// for a peer that does not read its replies.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that a server is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// TCP, with the port that was found.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a server could not be set up. Nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address could not be taken.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why, and what to do.
        reason: String,
        /// What the system said; `reason` tells it in our words.
        error: std::io::Error,
    },
}

/// What a server could not go on after. It answers nobody any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; its state can't be relied on, so the server stops")]
pub struct FatalError {
    what: String,
}

/// A server that holds its addresses.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    service: Arc<Service>,
    connections_max: usize,
}

impl Server {
    /// Takes all addresses of `config`, and makes an empty shard. Peers may connect from now on;
    /// they are served by [`Server::run`].
    ///
    /// # Errors
    ///
    /// When an address cannot be taken; those before it are given back.
    ///
    /// # Panics
    ///
    /// When `config.shard.partitions` is out of bounds, or `config.connections_max` is 0 or
    /// above [`CONNECTIONS_MAX`].
    pub async fn bind(
        config: ServerConfig,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, ServerError> {
        let connections_max = config.connections_max;
        assert!(
            (1..=CONNECTIONS_MAX as usize).contains(&connections_max),
            "the bound on connections is within bounds"
        );
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push(Listener::bind(address, config.port).await?);
        }
        let counters = Arc::new(Counters::default());
        let service =
            Service::in_memory(config.shard, environment, counters, config.record_bytes_max);
        Ok(Self { listeners, service: Arc::new(service), connections_max })
    }

    /// The addresses in the order of the configuration, with the ports that were found.
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// The shard.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Serves until `stop` is cancelled and every connection has ended, and returns what was done.
    /// Connections that have not ended after five seconds are cut. When the future is dropped,
    /// connections end as if `stop` had been cancelled.
    ///
    /// # Errors
    ///
    /// When something happened that it can't go on after; all connections are cut then.
    pub async fn run(self, stop: CancellationToken) -> Result<Tally, FatalError> {
        let Self { listeners, service, connections_max } = self;
        let stop = stop.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let gate = Gate::new(Arc::clone(&service), connections_max, stop.clone());
        let accepted = AssertUnwindSafe(async {
            join_all(listeners.into_iter().map(|listener| accept_until(listener, &gate))).await;
            stop.cancelled().await;
        });
        let what = tokio::select! {
            accepted = accepted.catch_unwind() => accepted.err().map(|panic| {
                format!("a listener panicked: {}", panic_text(&*panic))
            }),
            what = service.fatal().happens() => Some(what),
        };
        if let Some(what) = what {
            service.fatal().declare(&what);
            gate.cut().await;
            return Err(FatalError { what });
        }
        let connections = gate.drain(DRAIN_TIMEOUT).await;
        if connections > 0 {
            tracing::warn!(connections, "cut connections that did not end in time");
        }
        let suppressed = service.counters().broken_connections.suppressed();
        if suppressed > 0 {
            tracing::warn!(suppressed, "more connections ended in errors than were told");
        }
        match service.fatal().is_declared() {
            true => Err(FatalError { what: service.fatal().happens().await }),
            false => Ok(service.counters().tally()),
        }
    }
}

#[cfg(test)]
mod tests;

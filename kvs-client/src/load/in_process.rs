//! Servers inside the client's process: what `-hosts mem:N` asks for.
//!
//! They are whole servers, from the connection's task to the store, and batches pass through the
//! same codec; only the sockets are missing. They run on the client's own threads and end with it.

use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kvs_client::{Config, Connector, Endpoint, Stream};
use kvs_server::config::{ShardConfig, default_partitions};
use kvs_server::counters::Counters;
use kvs_server::environment::SystemEnvironment;
use kvs_server::service::Service;
use store::StoreKind;
use tokio_util::sync::CancellationToken;

use super::text;

/// Bytes that a channel holds in each direction before its writer waits: about what a socket's
/// buffers hold on the loopback.
const CHANNEL_BYTES: usize = 1 << 20;

/// The servers, in the order of their places.
#[derive(Clone, Debug)]
pub(crate) struct InProcess {
    services: Arc<[Arc<Service>]>,
    stop: CancellationToken,
}

impl InProcess {
    /// Makes the servers that `config` asks for, each empty and told that `threads` serve, and
    /// leads the client to them. `None` when the hosts are others.
    pub(crate) fn install(config: &mut Config, threads: usize) -> Option<Self> {
        let is_memory = |host: &Endpoint| matches!(host, Endpoint::Memory { .. });
        if !config.hosts.iter().all(is_memory) {
            return None;
        }
        let service = |host: &Endpoint| {
            let Endpoint::Memory { index, count } = host else { unreachable!("as checked above") };
            let shard = format!("{index}/{count}").parse();
            let threads = threads as u32;
            let config = ShardConfig {
                shard: shard.expect("an endpoint names a shard"),
                store_kind: StoreKind::Partitioned,
                partitions: default_partitions(threads),
                threads,
            };
            Arc::new(Service::new(config, Arc::new(SystemEnvironment), Arc::default()))
        };
        let services = config.hosts.iter().map(service).collect();
        let servers = Self { services, stop: CancellationToken::new() };
        config.connector = Arc::new(servers.clone());
        Some(servers)
    }

    /// Operations that all servers executed.
    pub(crate) fn executed(&self) -> u64 {
        self.services.iter().map(|service| executed(service.counters())).sum()
    }

    /// A line for each server: what it executed in its life, and the keys that it holds.
    pub(crate) fn table(&self) -> String {
        let line = |(index, service): (usize, &Arc<Service>)| {
            format!(
                "server mem:{}/{} executed {} operations, preload and warm-up included; it holds \
                 {} keys\n",
                index + 1,
                self.services.len(),
                text::count(executed(service.counters())),
                text::count(service.keys() as u64),
            )
        };
        self.services.iter().enumerate().map(line).collect()
    }
}

fn executed(counters: &Counters) -> u64 {
    counters.tally().operations()
}

impl Connector for InProcess {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let Endpoint::Memory { index, .. } = endpoint else {
            unreachable!("the client's hosts are all inside the process")
        };
        let service = Arc::clone(&self.services[*index as usize - 1]);
        let (ours, theirs) = tokio::io::duplex(CHANNEL_BYTES);
        let peer = "the same process".to_owned();
        let stop = self.stop.clone();
        tokio::spawn(kvs_server::connection::serve(theirs, peer, service, stop));
        async move { Ok(Box::new(ours) as Box<dyn Stream>) }.boxed()
    }
}

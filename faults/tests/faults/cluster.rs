//! Servers in the process, each behind a proxy, and what clients see through them.

use std::sync::Arc;
use std::time::Duration;

use kvs_client::{Client, Config};
use kvs_server::environment::SystemEnvironment;

use crate::history::History;
use crate::plan::{Injected, Plan};
use crate::proxy::Proxy;
use crate::server::Server;
use crate::workload::Load;

/// Servers, each behind a proxy of its own.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) injected: Arc<Injected>,
}

impl Cluster {
    pub(crate) async fn start(count: u32, store: &str, plan: &Plan) -> Self {
        let mut servers = Vec::new();
        for index in 1..=count {
            let shard = format!("{index}/{count}");
            servers.push(Server::start(&shard, store, Arc::new(SystemEnvironment)).await);
        }
        Self::of(servers, plan).await
    }

    /// The same of servers that there are already.
    pub(crate) async fn of(servers: Vec<Server>, plan: &Plan) -> Self {
        let injected = Arc::new(Injected::default());
        let mut proxies = Vec::new();
        for (index, server) in (1..).zip(&servers) {
            let plan = Plan { seed: plan.seed + index, ..plan.clone() };
            proxies.push(Proxy::on_a_free_port(&server.address, plan, Arc::clone(&injected)).await);
        }
        Self { servers, proxies, injected }
    }

    /// Settings that lead through the proxies, with a timeout shorter than their silence.
    pub(crate) fn config(&self) -> Config {
        let hosts: Vec<&str> = self.proxies.iter().map(|proxy| proxy.address.as_str()).collect();
        let mut config = Config::new(&hosts.join(",")).expect("addresses");
        config.connections = 2;
        config.timeout = Duration::from_millis(200);
        config.retry = Duration::from_secs(60);
        config
    }

    /// A client that reaches the servers themselves.
    pub(crate) async fn direct_client(&self) -> Client {
        let hosts: Vec<&str> = self.servers.iter().map(|server| server.address.as_str()).collect();
        Client::connect(&hosts.join(",")).await.expect("the servers are there")
    }

    /// Runs loads through the proxies at once, then reads every key without them.
    pub(crate) async fn run(&self, loads: &[Load]) -> History {
        let runs = loads.iter().map(|load| async {
            let mut config = self.config();
            config.retry = load.retry.unwrap_or(config.retry);
            let client = connect(config).await;
            load.run(&client).await
        });
        let mut history = History::default();
        for seen in futures::future::join_all(runs).await {
            history.add(seen);
        }
        history.add(loads[0].read_all(&self.direct_client().await).await);
        history
    }
}

/// Connects, as often as it takes: the first hello may be hit.
pub(crate) async fn connect(config: Config) -> Client {
    for _ in 0..1000 {
        if let Ok(client) = Client::connect_with(config.clone()).await {
            return client;
        }
    }
    panic!("one of a thousand attempts to connect comes through");
}

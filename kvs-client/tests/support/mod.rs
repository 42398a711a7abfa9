//! Servers inside the test's process, on ports that the system chooses.

use std::sync::Arc;

use kvs_server::config::ShardConfig;
use kvs_server::connection;
use kvs_server::counters::Counters;
use kvs_server::environment::SystemEnvironment;
use kvs_server::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A server that ends when it is dropped.
pub struct TestServer {
    /// Where it listens.
    pub address: String,
    /// What it serves.
    pub service: Arc<Service>,
    stop: CancellationToken,
}

impl TestServer {
    /// A server of this shard, with this store, on a free port.
    pub async fn start(shard: &str, store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, shard, store)
    }

    /// A server on this listener.
    pub fn on(listener: TcpListener, shard: &str, store: &str) -> Self {
        let config = ShardConfig {
            shard: shard.parse().expect("a shard"),
            store_kind: store.parse().expect("a store"),
            partitions: 8,
            threads: 1,
        };
        let environment = Arc::new(SystemEnvironment);
        let service = Arc::new(Service::new(config, environment, Arc::new(Counters::default())));
        let address = listener.local_addr().expect("a bound listener").to_string();
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&service), stop.clone()));
        Self { address, service, stop }
    }

    /// Ends the server: connections close, and its memory is gone.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = accepted.expect("a connection");
        stream.set_nodelay(true).expect("a TCP socket");
        tokio::spawn(connection::serve(
            stream,
            peer.to_string(),
            Arc::clone(&service),
            stop.clone(),
        ));
    }
}

/// Servers of all `count` shards, and their addresses as a list of hosts.
pub async fn start_all(count: u32, store: &str) -> (Vec<TestServer>, String) {
    let mut servers = Vec::new();
    for index in 1..=count {
        servers.push(TestServer::start(&format!("{index}/{count}"), store).await);
    }
    let hosts: Vec<&str> = servers.iter().map(|server| server.address.as_str()).collect();
    let hosts = hosts.join(",");
    (servers, hosts)
}

/// What stands between clients and a server, and lets nothing through any more once it is shut. The
/// connections stay open.
pub struct Dam {
    /// Where clients connect to.
    pub address: String,
    shut: CancellationToken,
}

impl Dam {
    /// A dam in front of a server.
    pub async fn before(server: &TestServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener").to_string();
        let (shut, upstream) = (CancellationToken::new(), server.address.clone());
        let token = shut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (token, upstream) = (token.clone(), upstream.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(upstream).await.expect("the server is up");
                    let flow = tokio::io::copy_bidirectional(&mut client, &mut server);
                    if token.run_until_cancelled(flow).await.is_none() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, shut }
    }

    /// Holds back all that comes from now on.
    pub fn shut(&self) {
        self.shut.cancel();
    }
}

//! Servers inside the process, on any network.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use kvs_server::config::ShardConfig;
use kvs_server::connection;
use kvs_server::counters::Counters;
use kvs_server::environment::Environment;
use kvs_server::order::Order;
use kvs_server::service::Service;
use proto::buffers::BufferPool;
use proto::codec::{Request, Response, ServerCodec};
use tarpc::server::BaseChannel;
use tokio::net::TcpStream;
use tokio_util::codec::Framed;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::network::{Network, System};

/// Partitions of the servers here: few, so that keys share them.
pub(crate) const PARTITIONS: u32 = 4;

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: String,
    _stop: DropGuard,
}

/// What this shard with this store is made of.
///
/// # Panics
///
/// When shard or store have no such form.
pub(crate) fn config(shard: &str, store: &str) -> ShardConfig {
    ShardConfig {
        shard: shard.parse().expect("a shard"),
        store_kind: store.parse().expect("a store"),
        partitions: PARTITIONS,
        threads: 1,
    }
}

/// An empty shard, with this store.
///
/// # Panics
///
/// As for [`config`].
pub(crate) fn service(shard: &str, store: &str, environment: Arc<dyn Environment>) -> Arc<Service> {
    let counters = Arc::new(Counters::default());
    Arc::new(Service::new(config(shard, store), environment, counters))
}

/// Serves all who connect, until the listener fails.
pub(crate) async fn serve<N: Network, O: Order>(
    listener: N::Listener,
    service: Arc<Service<O>>,
    stop: CancellationToken,
) {
    while let Ok(stream) = N::accept(&listener).await {
        let peer = "a test's client".to_owned();
        N::spawn(connection::serve(stream, peer, Arc::clone(&service), stop.clone()));
    }
}

impl Server {
    /// A server of a shard on a port that the system chooses.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub(crate) async fn start(shard: &str, store: &str, environment: Arc<dyn Environment>) -> Self {
        Self::of(service(shard, store, environment)).await
    }

    /// The same of a shard that there is already.
    ///
    /// # Panics
    ///
    /// As for [`start`](Self::start).
    pub(crate) async fn of<O: Order>(service: Arc<Service<O>>) -> Self {
        Self::listening(|listener, stop| serve::<System, O>(listener, service, stop)).await
    }

    /// A server that does with each connection what `serve_one` does.
    ///
    /// # Panics
    ///
    /// As for [`start`](Self::start).
    pub(crate) async fn with<F>(serve_one: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::listening(|listener, stop| async move {
            while let Ok(stream) = System::accept(&listener).await {
                let (serving, stop) = (serve_one(stream), stop.clone());
                tokio::spawn(async move { stop.run_until_cancelled(serving).await });
            }
        })
        .await
    }

    async fn listening<F>(
        serve: impl FnOnce(<System as Network>::Listener, CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = System.bind("127.0.0.1:0").await.expect("a free port");
        let address = System::address(&listener);
        let stop = CancellationToken::new();
        let serving = serve(listener, stop.clone());
        let token = stop.clone();
        tokio::spawn(async move { token.run_until_cancelled(serving).await });
        Self { address, _stop: stop.drop_guard() }
    }
}

/// A peer of a test's own server: its requests come, its answers go.
pub(crate) struct Peer(BaseChannel<Request, Response, Framed<TcpStream, ServerCodec>>);

impl Peer {
    /// The peer at the other end of a connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let transport = Framed::new(stream, ServerCodec::new(BufferPool::default()));
        Self(BaseChannel::with_defaults(transport))
    }

    /// The next request with its id; `None` when the peer has left.
    pub(crate) async fn next(&mut self) -> Option<(u64, Request)> {
        let tracked = self.0.next().await?.ok()?;
        Some((tracked.request.id, tracked.request.message))
    }

    /// Answers a request; `None` when the peer has left.
    pub(crate) async fn answer(&mut self, request_id: u64, response: Response) -> Option<()> {
        self.0.send(tarpc::Response { request_id, message: Ok(response) }).await.ok()
    }
}

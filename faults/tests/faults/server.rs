//! Servers inside the process, on any network.

use std::sync::Arc;

use kvs_server::connection;
use kvs_server::environment::Environment;
use kvs_server::service::{Service, ServiceConfig};
use kvs_server::statistics::Statistics;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::network::Network;

/// Lock domains of the servers here: few, so that keys share them.
pub(crate) const PARTITIONS: u32 = 4;

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: String,
    _stop: DropGuard,
}

/// An empty shard at this place, with this store.
///
/// # Panics
///
/// When place or store have no such form.
pub(crate) fn service(place: &str, store: &str, environment: Arc<dyn Environment>) -> Arc<Service> {
    let config = ServiceConfig {
        place: place.parse().expect("a place"),
        store_kind: store.parse().expect("a store"),
        partitions: PARTITIONS,
        threads: 1,
    };
    Arc::new(Service::new(config, environment, Arc::new(Statistics::default())))
}

/// Serves all who connect, until the listener fails.
pub(crate) async fn serve<N: Network>(
    listener: N::Listener,
    service: Arc<Service>,
    stop: CancellationToken,
) {
    while let Ok(stream) = N::accept(&listener).await {
        let peer = "a test's client".to_owned();
        N::spawn(connection::serve(stream, peer, Arc::clone(&service), stop.clone()));
    }
}

impl Server {
    /// A server on a port that the system chooses.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub(crate) async fn start(place: &str, store: &str, environment: Arc<dyn Environment>) -> Self {
        let network = crate::network::System;
        let listener = network.bind("127.0.0.1:0").await.expect("a free port");
        let address = crate::network::System::address(&listener);
        let service = service(place, store, environment);
        let stop = CancellationToken::new();
        let serving = serve::<crate::network::System>(listener, Arc::clone(&service), stop.clone());
        let token = stop.clone();
        tokio::spawn(async move { token.run_until_cancelled(serving).await });
        Self { address, _stop: stop.drop_guard() }
    }
}

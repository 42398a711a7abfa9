//! What all lanes of a client share: its servers, the map that it routes by, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use proto::buffers::BufferPool;
use proto::codec::WireBytes;

use crate::batcher::{Batch, EncoderPool};
use crate::config::{Config, Endpoint};
use crate::connection::Link;
use crate::error::Error;
use crate::router::Router;

/// Stamps of this process: no two operations share one. A batch takes a whole range at once.
static STAMPS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) retry: Duration,
    pub(crate) wire: Arc<WireBytes>,
    /// Buffers that requests are built in.
    pub(crate) requests: BufferPool,
    /// What batches are encoded with.
    pub(crate) encoders: EncoderPool,
    hosts: Vec<Endpoint>,
    router: ArcSwap<Router>,
    /// Held while the map is fetched, so that all who need it fetch it once.
    fetching: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(crate) fn new(
        links: Vec<Arc<Link>>,
        config: &Config,
        wire: Arc<WireBytes>,
    ) -> Result<Self, Error> {
        let lives: Vec<_> = links.iter().map(|link| link.life()).collect();
        let hellos: Vec<_> = lives.iter().map(|life| &life.hello).collect();
        let router = Router::new(&config.hosts, &hellos)?;
        Ok(Self {
            links,
            retry: config.retry,
            wire,
            requests: BufferPool::default(),
            encoders: EncoderPool::default(),
            hosts: config.hosts.clone(),
            router: ArcSwap::from_pointee(router),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    /// The map that new batches are routed by.
    pub(crate) fn router(&self) -> Arc<Router> {
        self.router.load_full()
    }

    /// The server that owns a key, by the map.
    #[inline]
    pub(crate) fn server_of(&self, key: &[u8]) -> usize {
        let router = self.router.load();
        router.targets()[router.group_of(key) as usize].server
    }

    /// Asks the servers for their slots, unless that was done since `stale` was the map.
    pub(crate) async fn fetch_map(&self, stale: &Arc<Router>) -> Arc<Router> {
        let _fetching = self.fetching.lock().await;
        let known = self.router();
        if !Arc::ptr_eq(&known, stale) {
            return known;
        }
        let hellos = join_all(self.links.iter().map(Link::ask_hello)).await;
        match Router::new(&self.hosts, &hellos.iter().collect::<Vec<_>>()) {
            Ok(router) => {
                let router = Arc::new(router);
                self.router.store(Arc::clone(&router));
                router
            }
            // What contradicts itself in the middle of a change is asked again.
            Err(_) => known,
        }
    }

    pub(crate) fn batch(&self, operations_max: usize) -> Batch {
        let first_stamp = STAMPS.fetch_add(operations_max as u64, Ordering::Relaxed);
        self.batch_at(first_stamp, operations_max)
    }

    /// A batch of operations whose stamps begin here.
    pub(crate) fn batch_at(&self, first_stamp: u64, operations_max: usize) -> Batch {
        let outcome_bytes = self.links.iter().map(|link| link.outcome_bytes()).max().unwrap_or(0);
        let encoders = self.encoders.take();
        Batch::new(self.router(), first_stamp, operations_max, outcome_bytes, encoders)
    }
}

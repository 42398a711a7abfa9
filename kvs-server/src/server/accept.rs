//! The accept loop: one per listener, and nothing but `stop` ends it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::Listener;
use crate::connection;
use crate::log_limit::LogLimit;
use crate::service::Service;

/// First pause after a failed accept. Most failures, such as a peer that left while it waited,
/// are gone at once.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest pause. Running out of descriptors lasts until connections close.
const BACKOFF_MAX: Duration = Duration::from_millis(1000);

/// What every new connection passes and is served with.
#[derive(Debug)]
pub(super) struct Gate {
    service: Arc<Service>,
    /// One permit per connection that may be open.
    places: Arc<Semaphore>,
    /// The connections' tasks.
    tasks: TaskTracker,
    /// Asks connections to end when they have answered.
    stop: CancellationToken,
    /// Ends them at once.
    cut: CancellationToken,
}

impl Gate {
    pub(super) fn new(
        service: Arc<Service>,
        connections_max: usize,
        stop: CancellationToken,
    ) -> Self {
        let places = Arc::new(Semaphore::new(connections_max));
        let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
        Self { service, places, tasks, stop, cut }
    }

    /// Waits for the last connection to end, and cuts those that have not after `timeout`; says
    /// how many. To be called when nobody is admitted any more.
    pub(super) async fn drain(&self, timeout: Duration) -> usize {
        self.tasks.close();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        self.cut().await
    }

    /// Ends all connections at once, and says how many there were.
    pub(super) async fn cut(&self) -> usize {
        let connections = self.tasks.len();
        self.cut.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        connections
    }

    /// Serves a connection in a task of its own, if there is a place; says whether there was.
    pub(super) fn admit<T>(&self, stream: T, peer: String) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return false };
        let service = Arc::clone(&self.service);
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        self.tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                () = connection::serve(stream, peer, service, stop) => {}
                () = cut.cancelled() => {}
            }
        });
        true
    }
}

/// Where connections come from.
pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, with the peer's name for the log. Loses none when it is dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, String)>>;
}

impl Accept for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, String)> {
        let (stream, peer) = tokio::net::TcpListener::accept(self).await?;
        // Replies are written whole; to wait for more would only delay them.
        stream.set_nodelay(true)?;
        Ok((stream, peer.to_string()))
    }
}

impl Accept for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, String)> {
        let (stream, _) = tokio::net::UnixListener::accept(self).await?;
        Ok((stream, "unix".to_owned()))
    }
}

/// Admits connections until the gate's `stop`; then the listener is closed.
pub(super) async fn accept_until(listener: Listener, gate: &Gate) {
    match listener {
        Listener::Tcp(mut listener) => accept_all(&mut listener, gate).await,
        // The file, declared last, goes first: nobody finds one without a listener behind it.
        Listener::Unix(mut listener, _file) => accept_all(&mut listener, gate).await,
    }
}

pub(super) async fn accept_all<A: Accept>(listener: &mut A, gate: &Gate) {
    let (failed, refused) = (LogLimit::default(), LogLimit::default());
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = BACKOFF_MIN;
                if !gate.admit(stream, peer.clone())
                    && let Some(suppressed) = refused.pass(Instant::now())
                {
                    tracing::warn!(
                        %peer, suppressed,
                        "closed a connection beyond the bound; raise -connections_max"
                    );
                }
            }
            Err(error) => {
                if let Some(suppressed) = failed.pass(Instant::now()) {
                    tracing::warn!(%error, suppressed, "cannot accept a connection; trying again");
                }
                tokio::select! {
                    () = gate.stop.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

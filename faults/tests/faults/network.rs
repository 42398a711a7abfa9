//! The network that servers, proxies and clients meet on: the operating system's, or a simulation's.

use std::fmt::Debug;
use std::future::Future;
use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;
use kvs_client::{Connector, Endpoint, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

/// Where streams come from.
pub(crate) trait Network: Copy + Debug + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What accepts connections.
    type Listener: Send + 'static;

    /// Listens at `host:port`.
    fn bind(self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Where a listener was bound, as `host:port`.
    fn address(listener: &Self::Listener) -> String;

    /// The next connection.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Connects to `host:port`.
    fn connect(self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Starts a task.
    fn spawn(task: impl Future<Output = ()> + Send + 'static);
}

/// TCP of the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Network for System {
    type Stream = tokio::net::TcpStream;
    type Listener = tokio::net::TcpListener;

    async fn bind(self, address: &str) -> io::Result<Self::Listener> {
        tokio::net::TcpListener::bind(address).await
    }

    fn address(listener: &Self::Listener) -> String {
        listener.local_addr().expect("a bound listener has an address").to_string()
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect(self, address: &str) -> io::Result<Self::Stream> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

/// A network inside one `turmoil` simulation; names of hosts are addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simulated;

impl Network for Simulated {
    type Stream = turmoil::net::TcpStream;
    type Listener = turmoil::net::TcpListener;

    async fn bind(self, address: &str) -> io::Result<Self::Listener> {
        turmoil::net::TcpListener::bind(address).await
    }

    fn address(listener: &Self::Listener) -> String {
        listener.local_addr().expect("a bound listener has an address").to_string()
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        Ok(listener.accept().await?.0)
    }

    async fn connect(self, address: &str) -> io::Result<Self::Stream> {
        turmoil::net::TcpStream::connect(address).await
    }

    /// On the host's own set of tasks, which drops them in the order of their start when the host
    /// is killed. A runtime drops its own in an order that depends on the tasks' ids, which count
    /// through the process.
    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        tokio::task::spawn_local(task);
    }
}

impl Connector for Simulated {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let address = endpoint.to_string();
        async move { Ok(Box::new(Network::connect(Self, &address).await?) as Box<dyn Stream>) }
            .boxed()
    }
}

//! A server that does nothing for retries, to measure what exactly-once costs a server: no session is
//! looked up for a batch, no number and digest compared, no record kept.
//!
//!     cargo run --release --package kvs-server --example forgetful -- -port 0 -port_file PORT_FILE
//!
//! It takes the flags of `kvs-server`, listens at TCP addresses alone, writes no statistics, and runs
//! until it is killed. Values that repeat inside a reply are always sent in full, as a session's wish
//! goes with the session: measure it against clients that do not wish it.

use std::error::Error;
use std::fs;
use std::sync::Arc;

use engine::{Change, Engine, Refused, Tally};
use kvs_server::config::{Flags, ListenAddress};
use kvs_server::connection;
use kvs_server::environment::SystemEnvironment;
use kvs_server::order::memory::Memory;
use kvs_server::order::{Answer, Order, Request};
use kvs_server::service::Service;
use store::AnyStore;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// Applies batches whatever their origin is.
struct Forgetful(Memory);

impl Order for Forgetful {
    type Store = AnyStore;

    fn engine(&self) -> &Engine<AnyStore> {
        self.0.engine()
    }

    fn submit<R: Request>(&self, request: R) -> Answer<R> {
        match self.0.submit(OfNobody(request)) {
            Answer::Now(OfNobody(request)) => Answer::Now(request),
            Answer::Later(_) => unreachable!("the order in memory answers at once"),
        }
    }
}

/// A request whose batch comes from nowhere.
struct OfNobody<R>(R);

impl<R: Request> Request for OfNobody<R> {
    type Replies = R::Replies;

    fn parts(&mut self) -> (Change<'_>, &mut R::Replies) {
        let (mut change, replies) = self.0.parts();
        if let Change::Batch(batch) = &mut change {
            batch.origin = None;
        }
        (change, replies)
    }

    fn end(&mut self, result: Result<Tally, Refused>) {
        self.0.end(result);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = flags::parse::<Flags>();
    // As the program does: one thread serves without the cost of handing tasks over to others.
    let mut builder = match flags.threads() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(flags.threads() as usize).enable_all().build()?.block_on(serve(&flags))
}

async fn serve(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let config = flags.server_config();
    let mut listeners = Vec::new();
    for address in &config.listen {
        let ListenAddress::Tcp(host) = address else {
            return Err(format!("cannot listen on {address}; name TCP addresses").into());
        };
        listeners.push(TcpListener::bind((&**host, config.port)).await?);
    }
    let store = AnyStore::new(config.shard.store_kind, config.shard.partitions);
    let service = Arc::new(Service::with_order(
        config.shard,
        Arc::new(SystemEnvironment),
        Arc::default(),
        store,
        |engine, environment, fatal| {
            Forgetful(Memory::new(engine, environment, fatal, config.record_bytes_max))
        },
    ));
    if let Some(path) = &flags.port_file {
        let port = |listener: &TcpListener| Ok(format!("{}\n", listener.local_addr()?.port()));
        fs::write(path, listeners.iter().map(port).collect::<std::io::Result<String>>()?)?;
    }
    futures::future::try_join_all(listeners.iter().map(|listener| accept(listener, &service)))
        .await?;
    Ok(())
}

async fn accept(listener: &TcpListener, service: &Arc<Service<Forgetful>>) -> std::io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (service, stop) = (Arc::clone(service), CancellationToken::new());
        tokio::spawn(connection::serve(stream, peer.to_string(), service, stop));
    }
}

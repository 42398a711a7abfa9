use std::io::{self, ErrorKind};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use model::slots::Shard;
use store::StoreKind;
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::accept::{Accept, Gate, accept_all};
use super::*;
use crate::config::ShardConfig;
use crate::environment::SeededEnvironment;

fn config(listen: &str, connections_max: usize) -> ServerConfig {
    ServerConfig {
        shard: ShardConfig {
            shard: Shard::SOLE,
            store_kind: StoreKind::Mutex,
            partitions: 1,
            threads: 1,
        },
        listen: listen.split(' ').map(|address| address.parse().unwrap()).collect(),
        port: 0,
        connections_max,
        record_bytes_max: 1 << 20,
    }
}

async fn bind(config: ServerConfig) -> Result<Server, ServerError> {
    Server::bind(config, Arc::new(SeededEnvironment::new(1))).await
}

/// A server at work, and what the tests need to know of it.
struct Running {
    addresses: Vec<BoundAddress>,
    service: Arc<Service>,
    stop: CancellationToken,
    task: JoinHandle<Result<Tally, FatalError>>,
}

impl Running {
    async fn start(config: ServerConfig) -> Self {
        let server = bind(config).await.unwrap();
        let stop = CancellationToken::new();
        Self {
            addresses: server.addresses(),
            service: Arc::clone(server.service()),
            stop: stop.clone(),
            task: tokio::spawn(server.run(stop)),
        }
    }

    async fn connect(&self) -> TcpStream {
        let BoundAddress::Tcp(address) = self.addresses[0] else { panic!("a TCP address") };
        TcpStream::connect(address).await.unwrap()
    }

    /// Waits until so many connections are served.
    async fn serves(&self, connections: u64) {
        while self.service.counters().connections() != connections {
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) -> Tally {
        self.stop.cancel();
        self.task.await.unwrap().expect("nothing fatal has happened")
    }
}

/// Whether the peer closed the connection, orderly or not.
async fn is_closed<T: AsyncRead + Unpin>(mut stream: T) -> bool {
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

/// A directory that is removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kvs-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[tokio::test]
async fn tcp_and_unix_are_served_at_once_and_end_in_good_order() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let server = Running::start(config(&format!("127.0.0.1 {}", unix(&path)), 8)).await;
    assert!(server.addresses[0].to_string().starts_with("127.0.0.1:"));
    assert_eq!(server.addresses[1].to_string(), unix(&path));
    let tcp = server.connect().await;
    let local = UnixStream::connect(&path).await.unwrap();
    server.serves(2).await;
    let service = Arc::clone(&server.service);
    let (done, closed, closed_too) = tokio::join!(server.end(), is_closed(tcp), is_closed(local));
    assert_eq!(done, Tally::default());
    assert!(closed && closed_too);
    assert_eq!(service.counters().connections(), 0);
    assert!(!path.exists(), "a clean end removes the socket file");
}

#[tokio::test]
async fn without_an_address_a_server_waits_for_its_end() {
    let config = ServerConfig { listen: Vec::new(), ..config("127.0.0.1", 1) };
    let server = Running::start(config).await;
    assert!(server.addresses.is_empty());
    server.end().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_places_are_free_again() {
    let server = Running::start(config("127.0.0.1", 2)).await;
    let first = server.connect().await;
    let second = server.connect().await;
    server.serves(2).await;
    assert!(is_closed(server.connect().await).await, "the third finds no place");
    drop(first);
    server.serves(1).await;
    // The count falls just before the place is free.
    loop {
        let third = server.connect().await;
        tokio::select! {
            () = server.serves(2) => break,
            true = is_closed(third) => {}
        }
    }
    drop(second);
    server.end().await;
}

#[tokio::test]
async fn a_dropped_server_ends_its_connections() {
    let server = Running::start(config("127.0.0.1", 2)).await;
    let connection = server.connect().await;
    server.serves(1).await;
    server.task.abort();
    assert!(is_closed(connection).await);
}

#[tokio::test]
async fn a_taken_port_is_said_so() {
    let holder = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = holder.local_addr().unwrap().port();
    let error = bind(ServerConfig { port, ..config("127.0.0.1", 1) }).await.unwrap_err();
    let expected = format!(
        "cannot listen on 127.0.0.1:{port}: address already in use; choose another with -port, or \
         stop the process that holds it"
    );
    assert_eq!(error.to_string(), expected);
    // The same address is free once it is let go.
    drop(holder);
    bind(ServerConfig { port, ..config("127.0.0.1", 1) }).await.unwrap();
}

#[tokio::test]
async fn addresses_that_cannot_be_taken_name_the_mend() {
    let scratch = Scratch::new();
    let file = scratch.0.join("file");
    std::fs::write(&file, "kept").unwrap();
    let long = scratch.0.join("x".repeat(200));
    for (listen, said) in [
        // Reserved for documentation (RFC 5737), so no interface has it.
        ("192.0.2.1".to_owned(), "no interface of this machine has this address"),
        (unix(&file), "a file that is no socket stands there"),
        (unix(&scratch.0.join("absent/socket")), "there is no such directory"),
        (unix(&long), "choose another path"),
    ] {
        let error = bind(config(&listen, 1)).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {listen}")), "{error}");
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    // A listener of the standard library leaves its file behind, as a killed server does.
    drop(StdUnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = bind(config(&unix(&path), 1)).await.unwrap();
    UnixStream::connect(&path).await.expect("the new server listens");
    let error = bind(config(&unix(&path), 1)).await.unwrap_err().to_string();
    assert!(error.contains("address already in use; choose another path"), "{error}");
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_successors_socket_file_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let server = bind(config(&unix(&path), 1)).await.unwrap();
    std::fs::rename(&path, scratch.0.join("moved")).unwrap();
    let _successor = StdUnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

#[tokio::test]
async fn what_is_fatal_cuts_all_connections_and_ends_the_server() {
    let server = Running::start(config("127.0.0.1", 2)).await;
    let mut connection = server.connect().await;
    server.serves(1).await;
    server.service.fatal().declare("the disk is gone");
    server.service.fatal().declare("what followed");
    let error = server.task.await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("the disk is gone; "), "{error}");
    assert_eq!(connection.read(&mut [0; 1]).await.unwrap_or(0), 0, "nothing is said any more");
    assert_eq!(server.service.counters().connections(), 0);
}

/// What happens while it ends is as fatal.
#[tokio::test]
async fn what_is_fatal_is_told_though_the_server_was_stopped_before() {
    let server = Running::start(config("127.0.0.1", 2)).await;
    let _connection = server.connect().await;
    server.serves(1).await;
    server.stop.cancel();
    server.service.fatal().declare("too late");
    let error = server.task.await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("too late; "), "{error}");
}

/// Fails a number of times, hands out one connection, and then has no more.
struct Script {
    failures: Vec<ErrorKind>,
    connection: Option<DuplexStream>,
}

impl Accept for Script {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, String)> {
        if let Some(failure) = self.failures.pop() {
            return Err(failure.into());
        }
        match self.connection.take() {
            Some(connection) => Ok((connection, "script".to_owned())),
            None => std::future::pending().await,
        }
    }
}

/// A gate with one place, and the token that stops it.
fn gate() -> (Gate, Arc<Service>, CancellationToken) {
    let environment = Arc::new(SeededEnvironment::new(1));
    let config = config("127.0.0.1", 1).shard;
    let service = Arc::new(Service::new(config, environment, Arc::default()));
    let stop = CancellationToken::new();
    (Gate::new(Arc::clone(&service), 1, stop.clone()), service, stop)
}

#[tokio::test]
async fn failed_accepts_do_not_end_the_listener() {
    let (gate, service, stop) = gate();
    let (stream, peer) = tokio::io::duplex(1024);
    let failures = vec![ErrorKind::ConnectionAborted, ErrorKind::Other];
    let mut script = Script { failures, connection: Some(stream) };
    let served = async {
        while service.counters().connections() == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(accept_all(&mut script, &gate), served);
    assert!(script.failures.is_empty() && script.connection.is_none());
    assert!(is_closed(peer).await);
}

#[tokio::test]
async fn a_listener_that_only_fails_still_stops() {
    let (gate, _, stop) = gate();
    let mut script = Script { failures: vec![ErrorKind::Other; 1000], connection: None };
    let stopped = async {
        tokio::task::yield_now().await;
        stop.cancel();
    };
    tokio::join!(accept_all(&mut script, &gate), stopped);
    assert!(script.failures.len() > 900, "it pauses between failures");
}

#[tokio::test(start_paused = true)]
async fn connections_that_do_not_end_are_cut_and_counted() {
    let (gate, _, _stop) = gate();
    assert_eq!(gate.drain(DRAIN_TIMEOUT).await, 0, "nobody is connected");
    let (stream, peer) = tokio::io::duplex(1024);
    assert!(gate.admit(stream, "peer".to_owned()));
    // Nobody asks the connection to stop, as if it could not hear it.
    assert_eq!(gate.drain(DRAIN_TIMEOUT).await, 1);
    assert!(is_closed(peer).await);
}

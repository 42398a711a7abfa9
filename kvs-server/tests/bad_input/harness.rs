//! A server in this process, peers that send it raw bytes, and a bystander.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvs_server::config::ShardConfig;
use kvs_server::connection;
use kvs_server::environment::SeededEnvironment;
use kvs_server::order::memory::RECORD_BYTES_TOTAL;
use kvs_server::service::Service;
use model::operation::Action;
use model::outcome::Outcome;
use model::session::{SessionId, SessionOptions};
use proto::codec::{ClientCodec, Request, Response};
use proto::control::{ControlRequest, ControlResponse, Hello};
use proto::frame::{CONNECTION_ERROR_ID, FRAME_HEADER_BYTES, VERSIONS, kind};
use proto::reply::Reply;
use tarpc::ClientMessage;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Lane};

/// Bytes of a frame's length field, which it does not count itself.
pub(crate) const LENGTH_BYTES: usize = size_of::<u32>();

/// Lock domains of every server here.
const PARTITIONS: u32 = 8;

/// How long a test waits before it says that an answer is missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub(crate) async fn patiently<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("this did not happen: {what}"))
}

/// A server on a free port, in tasks of this runtime.
pub(crate) struct Server {
    pub(crate) service: Arc<Service>,
    pub(crate) environment: Arc<SeededEnvironment>,
    address: SocketAddr,
    stop: CancellationToken,
    /// Ends connections at once.
    cut: CancellationToken,
    acceptor: JoinHandle<()>,
}

impl Server {
    /// A server that owns every key.
    pub(crate) async fn start() -> Self {
        Self::start_at("1/1").await
    }

    /// A server that is this one of some shards.
    pub(crate) async fn start_at(shard: &str) -> Self {
        Self::start_with(shard, RECORD_BYTES_TOTAL).await
    }

    /// The same with another bound on the bytes of completion records.
    pub(crate) async fn start_with(shard: &str, record_bytes_max: usize) -> Self {
        let environment = Arc::new(SeededEnvironment::new(7));
        let counters = Arc::default();
        let config = config(shard);
        let service = Service::in_memory(config, environment.clone(), counters, record_bytes_max);
        let service = Arc::new(service);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let accepting = accept(listener, Arc::clone(&service), stop.clone(), cut.clone());
        let acceptor = tokio::spawn(accepting);
        Self { service, environment, address, stop, cut, acceptor }
    }

    /// A new connection that has sent nothing yet.
    pub(crate) async fn connect(&self) -> Peer {
        self.connect_from(TcpSocket::new_v4().unwrap()).await
    }

    /// A new connection over a socket that the test has set up.
    pub(crate) async fn connect_from(&self, socket: TcpSocket) -> Peer {
        let stream = socket.connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer::over(stream)
    }

    /// A new connection with a session and a lane.
    pub(crate) async fn client(&self) -> Client {
        Client::begin(self.connect().await).await
    }

    /// Waits until so many connections are open.
    pub(crate) async fn connections_become(&self, expected: u64) {
        let counters = self.service.counters();
        let become_so = async {
            while counters.connections() != expected {
                tokio::task::yield_now().await;
            }
        };
        patiently(&format!("{expected} connections are open"), become_so).await;
    }

    /// Asks the server to end: what was taken is answered, and what comes is refused.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the server, which must have served everybody without a panic. Nobody expects anything
    /// of it any more.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        self.cut.cancel();
        self.ends().await;
    }

    /// Waits for the end of a server that was told to stop, and of all its connections.
    pub(crate) async fn ends(self) {
        patiently("the server ends", self.acceptor).await.expect("no connection panicked");
        let counters = self.service.counters();
        assert_eq!(counters.connections(), 0, "every connection was released");
        assert_eq!(counters.panics(), 0, "no connection panicked");
        assert!(!self.service.fatal().is_declared(), "nothing fatal has happened");
    }
}

/// What every server here is made of.
pub(crate) fn config(shard: &str) -> ShardConfig {
    ShardConfig {
        shard: shard.parse().unwrap(),
        store_kind: "partitioned".parse().unwrap(),
        partitions: PARTITIONS,
        threads: 1,
    }
}

async fn accept(
    listener: TcpListener,
    service: Arc<Service>,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = stop.cancelled() => break,
        };
        stream.set_nodelay(true).unwrap();
        let (service, stop, cut) = (Arc::clone(&service), stop.clone(), cut.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection::serve(stream, peer.to_string(), service, stop) => {}
                () = cut.cancelled() => {}
            }
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended.expect("a connection's task does not panic, whatever its peer sends");
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = frame_header(body.len() as u32, kind, id);
    bytes.extend_from_slice(body);
    bytes
}

/// The bytes of a frame's header that announces a body of this length.
pub(crate) fn frame_header(body_bytes: u32, kind: u8, id: u64) -> Vec<u8> {
    let announced = (FRAME_HEADER_BYTES - LENGTH_BYTES) as u32 + body_bytes;
    let mut bytes = announced.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[VERSIONS.least, kind, 0, 0]);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes
}

/// The bytes of a control request's frame.
pub(crate) fn control_frame(id: u64, message: ControlRequest) -> Vec<u8> {
    let context = tarpc::context::current();
    let request = tarpc::Request { context, id, message: Request::Control(message) };
    let mut bytes = BytesMut::new();
    let mut codec = ClientCodec::new(Arc::default());
    codec.encode(ClientMessage::Request(request), &mut bytes).unwrap();
    bytes.to_vec()
}

/// One frame from the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) id: u64,
    /// Header and body.
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// The batch reply that it is.
    pub(crate) fn batch_reply(self) -> Reply {
        assert_eq!(self.kind, kind::BATCH_REPLY, "a batch reply");
        Reply::decode(self.bytes).expect("a well-formed reply")
    }

    /// The control response that it is.
    pub(crate) fn control_response(self) -> ControlResponse {
        assert_eq!(self.kind, kind::CONTROL_REPLY, "a control reply");
        let mut codec = ClientCodec::new(Arc::default());
        let response = codec.decode(&mut BytesMut::from(&self.bytes[..])).unwrap().unwrap();
        match response.message.unwrap() {
            Response::Control(response) => response,
            Response::Batch(_) => unreachable!("the kind was checked"),
        }
    }
}

/// The far end of a connection, for better or worse.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    next_id: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, next_id: 1 }
    }

    /// A request id that this peer has not used yet.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        patiently("the server takes bytes", self.stream.write_all(bytes)).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Says that no more bytes come, and goes on listening.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The server's next frame; `None` when it has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        patiently("the server answers or closes", self.read_frame()).await
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        match self.stream.read(&mut bytes[..1]).await {
            Ok(0) => return None,
            // A server that closes with bytes of ours unread resets the connection.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            read => assert_eq!(read.unwrap(), 1),
        }
        self.stream.read_exact(&mut bytes[1..]).await.unwrap();
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let [version, kind, reserved @ ..] = *bytes[4..].first_chunk::<4>().unwrap();
        assert_eq!(reserved, [0, 0], "the reserved bytes are zeros");
        let id = u64::from_le_bytes(bytes[8..].try_into().unwrap());
        bytes.resize(LENGTH_BYTES + length, 0);
        self.stream.read_exact(&mut bytes[FRAME_HEADER_BYTES..]).await.unwrap();
        Some(Frame { version, kind, id, bytes: bytes.into() })
    }

    /// The answer to the request with this id.
    pub(crate) async fn answer_to(&mut self, id: u64) -> Frame {
        let frame = self.receive().await.expect("the connection is open");
        assert_eq!(frame.id, id, "the answer is to this request: {frame:?}");
        assert_eq!(frame.version, VERSIONS.least, "in the version that was asked in");
        frame
    }

    /// Sends a batch's body and waits for the reply.
    pub(crate) async fn batch(&mut self, body: &[u8]) -> Reply {
        let id = self.new_id();
        self.send(&frame(kind::BATCH_REQUEST, id, body)).await;
        self.answer_to(id).await.batch_reply()
    }

    /// Sends a control request and waits for the response.
    pub(crate) async fn ask(&mut self, message: ControlRequest) -> ControlResponse {
        let id = self.new_id();
        self.send(&control_frame(id, message)).await;
        self.answer_to(id).await.control_response()
    }

    /// Asks whether the server is there.
    pub(crate) async fn ping(&mut self) {
        let response = self.ask(ControlRequest::Ping).await;
        assert!(matches!(response, ControlResponse::Pong { .. }), "{response:?}");
    }

    /// Opens a session.
    pub(crate) async fn open_session(&mut self) -> (SessionId, Hello) {
        let open_session = Some(SessionOptions { send_repeats_once: false });
        match self.ask(ControlRequest::Hello { versions: VERSIONS, open_session }).await {
            ControlResponse::Hello(hello) => (hello.session.expect("the session"), *hello),
            other => panic!("a hello is answered by a hello, not {other:?}"),
        }
    }

    /// The server says what was wrong with the connection, in these words, and closes it.
    pub(crate) async fn is_told_and_closed(&mut self, words: &str) {
        self.is_told_in_version(VERSIONS.least, words).await;
    }

    /// The same in a frame of this version.
    pub(crate) async fn is_told_in_version(&mut self, version: u8, words: &str) {
        let frame = self.receive().await.expect("the server says why");
        let expected = (version, kind::ERROR, CONNECTION_ERROR_ID);
        assert_eq!((frame.version, frame.kind, frame.id), expected);
        let text = std::str::from_utf8(&frame.bytes[FRAME_HEADER_BYTES..]);
        let text = text.expect("the reason is UTF-8");
        assert!(text.contains(words), "`{text}` says `{words}`");
        assert!(self.receive().await.is_none(), "nothing follows the reason");
    }
}

/// A correct client on a connection of its own that reads what it writes, without a pause.
pub(crate) struct Bystander {
    rounds: watch::Receiver<u64>,
    stop: CancellationToken,
    task: JoinHandle<Client>,
}

/// Keys that a bystander holds from its beginning to its end.
pub(crate) const BYSTANDER_KEYS: usize = 2;

impl Bystander {
    pub(crate) async fn start(server: &Server) -> Self {
        let mut client = server.client().await;
        let keys = [client.lane.owned_key("bystander:a"), client.lane.owned_key("bystander:b")];
        round(&mut client, &keys, 0).await;
        let stop = CancellationToken::new();
        let (tell, rounds) = watch::channel(0);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !stopped.is_cancelled() {
                number += 1;
                round(&mut client, &keys, number).await;
                tell.send_replace(number);
            }
            client
        });
        Self { rounds, stop, task }
    }

    /// Three more rounds that begin from now on are served well.
    pub(crate) async fn goes_on(&mut self) {
        let target = *self.rounds.borrow() + 4;
        let served = self.rounds.wait_for(|rounds| *rounds >= target);
        patiently("the bystander is served", served).await.expect("the bystander is served well");
    }

    /// Three more rounds, then no more; hands on the client.
    pub(crate) async fn finish(mut self) -> Client {
        self.goes_on().await;
        self.stop.cancel();
        self.task.await.expect("the bystander was served well")
    }
}

async fn round(client: &mut Client, [register, counter]: &[Vec<u8>; 2], number: u64) {
    let value = number.to_string();
    let put = Action::Put { value: value.as_bytes() };
    assert_eq!(client.one(register, put).await, Outcome::Done);
    assert_eq!(client.get(register).await, Some(value.into_bytes()));
    let counted = client.one(counter, Action::Increment { by: 1 }).await;
    assert_eq!(counted, Outcome::Counter(number as i64 + 1));
    client.forget_replies();
}

impl Lane {
    /// A key that begins like this and belongs to the server.
    pub(crate) fn owned_key(&self, start: &str) -> Vec<u8> {
        (0..)
            .map(|number| format!("{start}{number}").into_bytes())
            .find(|key| self.owns(key))
            .expect("every server owns keys")
    }

    /// A key that begins like this and belongs to another server.
    pub(crate) fn foreign_key(&self, start: &str) -> Vec<u8> {
        (0..)
            .map(|number| format!("{start}{number}").into_bytes())
            .find(|key| !self.owns(key))
            .expect("other servers own keys")
    }
}

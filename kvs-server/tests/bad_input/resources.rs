//! Peers that cost a server memory or patience: what they announce, do not read, or do not send.
//!
//! Memory is measured in a process that runs nothing but the one test.

use std::process::Command;
use std::sync::Arc;

use kvs_server::connection;
use model::limits::VALUE_BYTES_MAX;
use model::operation::{Action, Operation};
use model::outcome::Outcome;
use proto::control::ControlRequest;
use proto::frame::{FRAME_HEADER_BYTES, kind};
use proto::limits::FRAME_BYTES_MAX;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Lane, increment, put};
use crate::harness::{
    BYSTANDER_KEYS, Bystander, LENGTH_BYTES, Peer, Server, control_frame, frame, frame_header,
    patiently,
};

const MIB: u64 = 1 << 20;

/// Runs a test in a process of its own, so that what others allocate is not measured with it.
fn alone(name: &str, test: impl Future<Output = ()>) {
    const ALONE: &str = "KVS_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(test);
    }
    let name = format!("resources::{name}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let ran = command.args(["--exact", &name]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}{errors}");
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// What it has touched.
    resident: u64,
    /// What it has set aside, touched or not.
    reserved: u64,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        Self { resident: field("VmRSS:"), reserved: field("VmSize:") }
    }

    fn growth_since(self, earlier: Self) -> Self {
        Self {
            resident: self.resident.saturating_sub(earlier.resident),
            reserved: self.reserved.saturating_sub(earlier.reserved),
        }
    }
}

/// So many connections, all of which have been served once.
async fn connect_many(server: &Server, count: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = server.connect().await;
        peer.ping().await;
        peers.push(peer);
    }
    peers
}

#[test]
fn bytes_that_are_announced_and_never_come_take_no_memory() {
    alone("bytes_that_are_announced_and_never_come_take_no_memory", async {
        let server = Server::start().await;
        let mut others = Bystander::start(&server).await;
        let mut client = server.client().await;
        let mut peers = connect_many(&server, 200).await;
        let before = Memory::now();
        let mut bytes = control_frame(70, ControlRequest::Ping);
        bytes.extend(frame_header(FRAME_BYTES_MAX as u32, kind::BATCH_REQUEST, 71));
        for peer in &mut peers {
            // The ping is answered when the header after it, of the same segment, has been read.
            peer.send(&bytes).await;
            peer.answer_to(70).await;
        }
        others.goes_on().await;
        let growth = Memory::now().growth_since(before);
        // They announce 800 MiB.
        assert!(growth.resident < 16 * MIB && growth.reserved < 100 * MIB, "{growth:?}");

        // All are still served, the guilty ones too once the bytes have come.
        let reply = client.apply(&[increment(b"n")]).await;
        assert_eq!(reply.outcome(0), Some(Outcome::Counter(1)));
        let body = greatest_body(&client);
        peers[0].send(&body).await;
        assert_eq!(peers[0].answer_to(71).await.batch_reply().refusal(), None);
        peers[1].send(&vec![0; FRAME_BYTES_MAX]).await;
        assert!(peers[1].answer_to(71).await.batch_reply().refusal().is_some());
        peers[1].ping().await;
        drop(peers);
        server.connections_become(2).await;
        others.finish().await;
        server.finish().await;
    });
}

/// A correct body of the greatest length there is.
fn greatest_body(client: &Client) -> Vec<u8> {
    let key = client.lane.owned_key("great");
    let value = vec![b'v'; VALUE_BYTES_MAX];
    let operation =
        |bytes: usize| Operation { key: &key, action: Action::Put { value: &value[..bytes] } };
    let mut operations = vec![operation(VALUE_BYTES_MAX); 3];
    let missing = FRAME_BYTES_MAX - client.lane.body(&operations).len();
    operations.push(operation(missing - 100));
    let short = FRAME_BYTES_MAX - client.lane.body(&operations).len();
    operations[3] = operation(missing - 100 + short);
    let body = client.lane.body(&operations);
    assert_eq!(body.len(), FRAME_BYTES_MAX);
    body
}

#[test]
fn frames_over_the_limit_from_many_are_refused_and_take_no_memory() {
    alone("frames_over_the_limit_from_many_are_refused_and_take_no_memory", async {
        let server = Server::start().await;
        let mut others = Bystander::start(&server).await;
        let mut peers = connect_many(&server, 200).await;
        let before = Memory::now();
        for peer in &mut peers {
            peer.send(&frame_header(FRAME_BYTES_MAX as u32 + 1, kind::BATCH_REQUEST, 1)).await;
        }
        let announced = FRAME_HEADER_BYTES - LENGTH_BYTES + FRAME_BYTES_MAX + 1;
        let words = format!("a frame of {announced} bytes is announced");
        for peer in &mut peers {
            peer.is_told_and_closed(&words).await;
        }
        others.goes_on().await;
        let growth = Memory::now().growth_since(before);
        assert!(growth.resident < 16 * MIB && growth.reserved < 100 * MIB, "{growth:?}");
        server.connections_become(1).await;
        for peer in &mut connect_many(&server, 200).await {
            peer.ping().await;
        }
        others.finish().await;
        server.finish().await;
    });
}

#[test]
fn half_a_frame_and_silence_holds_what_arrived() {
    alone("half_a_frame_and_silence_holds_what_arrived", async {
        let server = Server::start().await;
        let mut others = Bystander::start(&server).await;
        let mut peers = connect_many(&server, 100).await;
        let before = Memory::now();
        let mut bytes = frame_header(FRAME_BYTES_MAX as u32, kind::BATCH_REQUEST, 1);
        bytes.resize(50_000, 0);
        for peer in &mut peers {
            peer.send(&bytes).await;
        }
        others.goes_on().await;
        let growth = Memory::now().growth_since(before);
        // 5 MB have arrived, in buffers that are at most doubled ahead of the bytes; 400 MiB are
        // announced.
        assert!(growth.resident < 32 * MIB && growth.reserved < 100 * MIB, "{growth:?}");
        assert_eq!(server.service.keys(), BYSTANDER_KEYS);
        drop(peers);
        server.connections_become(1).await;
        others.finish().await;
        server.finish().await;
    });
}

/// A peer that sends requests whose replies are large, and reads none: the server soon reads no
/// more of them, and keeps no more than one reply beside what the system's buffers hold.
#[test]
fn a_peer_that_reads_no_replies_is_not_read_from() {
    alone("a_peer_that_reads_no_replies_is_not_read_from", async {
        const REQUESTS: u64 = 300;
        let server = Server::start().await;
        let mut others = Bystander::start(&server).await;
        let mut writer = server.client().await;
        writer.put(b"large", &vec![b'v'; VALUE_BYTES_MAX]).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut deaf = Client::begin(server.connect_from(socket).await).await;
        let before = Memory::now();
        // Each is answered with the mebibyte that stands there. Nobody else sends CASes.
        let action = Action::CompareAndSwap { expected: None, value: b"" };
        let mut bytes = Vec::new();
        for id in 0..REQUESTS {
            let body = deaf.lane.body(&[Operation { key: b"large", action }]);
            bytes.extend(frame(kind::BATCH_REQUEST, id, &body));
            deaf.lane.header.number += 1;
        }
        deaf.peer.send(&bytes).await;
        let served = || server.service.counters().tally().compare_and_swaps;
        let begin = async {
            while served() == 0 {
                others.goes_on().await;
            }
        };
        patiently("the deaf peer's requests are being served", begin).await;
        for _ in 0..20 {
            others.goes_on().await;
        }
        // The system's send buffer takes up to 4 MiB.
        assert!(served() <= 16, "{} of {REQUESTS} were served", served());
        let growth = Memory::now().growth_since(before);
        assert!(growth.resident < 64 * MIB && growth.reserved < 100 * MIB, "{growth:?}");
        assert_eq!(server.service.counters().connections(), 3);
        // When it leaves, what it held is released, and what it sent is not served any more.
        drop(deaf);
        server.connections_become(2).await;
        assert!(served() <= 16, "{} of {REQUESTS} were served", served());
        others.finish().await;
        server.finish().await;
    });
}

#[tokio::test]
async fn a_peer_that_reads_late_gets_every_reply() {
    const REQUESTS: u64 = 40;
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = Client::begin(server.connect_from(socket).await).await;
    let value = vec![b'v'; VALUE_BYTES_MAX];
    slow.put(b"large", &value).await;
    let mut bytes = Vec::new();
    for id in 0..REQUESTS {
        let body = slow.lane.body(&[Operation { key: b"large", action: Action::Get }]);
        bytes.extend(frame(kind::BATCH_REQUEST, id, &body));
    }
    slow.peer.send(&bytes).await;
    others.goes_on().await;
    for id in 0..REQUESTS {
        let reply = slow.peer.answer_to(id).await.batch_reply();
        assert_eq!(reply.outcome(0), Some(Outcome::Value(&value[..])));
    }
    others.finish().await;
    server.finish().await;
}

#[test]
fn idle_connections_cost_little_and_hold_up_nobody() {
    alone("idle_connections_cost_little_and_hold_up_nobody", async {
        let server = Server::start().await;
        let mut others = Bystander::start(&server).await;
        let before = Memory::now();
        let mut idle = Vec::new();
        for _ in 0..500 {
            idle.push(server.connect().await);
        }
        server.connections_become(501).await;
        others.goes_on().await;
        let growth = Memory::now().growth_since(before);
        assert!(growth.resident < 32 * MIB, "64 KiB a connection: {growth:?}");
        // One of them wakes up, the others leave.
        let mut client = Client::begin(idle.pop().unwrap()).await;
        client.put(b"k", b"v").await;
        drop(idle);
        server.connections_become(2).await;
        others.finish().await;
        server.finish().await;
    });
}

/// A connection that is dropped with its task, as a server does that cannot wait any longer, is
/// counted no more.
#[tokio::test]
async fn a_connection_that_is_cut_is_released() {
    let server = Server::start().await;
    let (far, near) = tokio::io::duplex(1024);
    let service = Arc::clone(&server.service);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(connection::serve(near, "test".to_owned(), service, stop));
    let mut peer = Peer::over(far);
    peer.ping().await;
    server.connections_become(1).await;
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    server.connections_become(0).await;
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_sends_byte_by_byte_is_served() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    for count in 1..=3 {
        let id = client.peer.new_id();
        let bytes =
            frame(kind::BATCH_REQUEST, id, &client.lane.body(&[increment(b"n"), put(b"k", b"v")]));
        for byte in bytes {
            client.peer.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
        let reply = client.peer.answer_to(id).await.batch_reply();
        client.lane.header.number += 1;
        let outcomes = [reply.outcome(0), reply.outcome(1)];
        assert!(outcomes.contains(&Some(Outcome::Counter(count))), "{outcomes:?}");
        others.goes_on().await;
    }
    others.finish().await;
    server.finish().await;
}

/// Through a pipe that holds one byte, no read and no write moves more than that.
#[tokio::test]
async fn a_client_behind_a_pipe_of_one_byte_is_served() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let (far, near) = tokio::io::duplex(1);
    let service = Arc::clone(&server.service);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(connection::serve(near, "test".to_owned(), service, stop));
    let mut peer = Peer::over(far);
    let (session, hello) = peer.open_session().await;
    let lane = Lane::new(session, &hello);
    let reply = peer.batch(&lane.body(&[put(b"k", b"value")])).await;
    assert_eq!(reply.outcome(0), Some(Outcome::Done));
    peer.send(&frame(kind::CONTROL_REQUEST, 1, &[99])).await;
    peer.is_told_and_closed("can't be decoded").await;
    patiently("the connection ends", serving).await.unwrap();
    others.goes_on().await;
    let mut other = others.finish().await;
    assert_eq!(other.get(b"k").await.as_deref(), Some(&b"value"[..]));
    server.finish().await;
}

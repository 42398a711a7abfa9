//! Bytes that are not frames of this protocol, or not ones that a server takes.

use kvs_server::environment::{Environment, SeededEnvironment};
use model::session::SessionOptions;
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::{FRAME_HEADER_BYTES, VERSIONS, VersionSpan, kind};
use proto::limits::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::put;
use crate::harness::{
    BYSTANDER_KEYS, Bystander, LENGTH_BYTES, Server, control_frame, frame, frame_header, patiently,
};

/// Sends each of these on a connection of its own; each is told what was wrong, and closed.
async fn each_is_told_and_closed<T: AsRef<str>>(cases: &[(Vec<u8>, T)]) {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    for (bytes, words) in cases {
        let mut peer = server.connect().await;
        peer.send(bytes).await;
        peer.is_told_and_closed(words.as_ref()).await;
        others.goes_on().await;
    }
    others.finish().await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS);
    server.finish().await;
}

/// What is said to a peer of this version.
fn of_version(got: u8) -> String {
    format!("the peer sent protocol version {got}, this side speaks versions {VERSIONS}")
}

/// The length of a frame that announces a body of so many bytes.
fn announced(body_bytes: usize) -> String {
    let bytes = FRAME_HEADER_BYTES - LENGTH_BYTES + body_bytes;
    format!("a frame of {bytes} bytes is announced")
}

#[tokio::test]
async fn other_protocols_are_told_to_be_of_another_version() {
    let words = "is it a kvs program of the same version?".to_owned();
    let mut tls_hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    tls_hello.extend([0x5a; 506]);
    let cases = [
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), words.clone()),
        (tls_hello, words.clone()),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n".to_vec(), words),
        (vec![0; 16], of_version(0)),
        (vec![0xff; 1000], of_version(255)),
    ];
    each_is_told_and_closed(&cases).await;
}

/// A hello, as programs of version 1 send it.
fn hello_of_version_1(id: u64) -> Vec<u8> {
    // The variant, that a session is wanted, and that repeats are to be sent once.
    let mut hello = frame(kind::CONTROL_REQUEST, id, &[0, 1, 1]);
    hello[LENGTH_BYTES] = 1;
    hello
}

/// Programs of version 1 read no frame of another version, so they are told in one of theirs.
#[tokio::test]
async fn a_hello_of_version_1_gets_one_error_that_it_can_read() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut old = server.connect().await;
    old.send(&[hello_of_version_1(1), hello_of_version_1(2)].concat()).await;
    old.is_told_in_version(1, &of_version(1)).await;
    others.goes_on().await;
    // After a correct frame too; what came before is answered.
    let mut changed = server.connect().await;
    changed.ping().await;
    changed.send(&[control_frame(7, ControlRequest::Ping), hello_of_version_1(8)].concat()).await;
    changed.answer_to(7).await.control_response();
    changed.is_told_in_version(1, &of_version(1)).await;
    others.goes_on().await;
    others.finish().await;
    assert_eq!(
        server.service.engine().sessions().count(),
        1,
        "none was opened but the bystander's"
    );
    server.finish().await;
}

/// The frames are of a version that both speak, and the hello within asks for another.
#[tokio::test]
async fn a_hello_without_a_common_version_is_refused_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut peer = server.connect().await;
    let open_session = Some(SessionOptions { send_repeats_once: false });
    let newer = VERSIONS.most + 1;
    for (least, most) in [(newer, newer), (newer, u8::MAX), (0, VERSIONS.least - 1), (newer, 1)] {
        let versions = VersionSpan { least, most };
        let hello = ControlRequest::Hello { versions, open_session };
        let words = format!("speaks versions {VERSIONS}, the client {least} to {most}");
        match peer.ask(hello).await {
            ControlResponse::Refused(why) => assert!(why.contains(&words), "{why}"),
            other => panic!("there is no common version: {other:?}"),
        }
    }
    assert_eq!(server.service.engine().sessions().count(), 0);
    for (least, most) in [(VERSIONS.least, newer), (0, VERSIONS.most), (0, u8::MAX)] {
        let versions = VersionSpan { least, most };
        match peer.ask(ControlRequest::Hello { versions, open_session }).await {
            ControlResponse::Hello(hello) => assert_eq!(hello.version, VERSIONS.most),
            other => panic!("there is a common version: {other:?}"),
        }
    }
    server.finish().await;
}

/// The length of a TLS record can stand where our version does, and its first message where our
/// kind does; then the length of that message gives it away.
#[tokio::test]
async fn a_tls_hello_that_looks_like_a_batch_is_refused_by_its_length() {
    const REST: u8 = 0xfe;
    let kind = kind::BATCH_REQUEST;
    let mut tls_hello = vec![0x16, 3, 1, 1, VERSIONS.least, kind, 0, 0, REST, 3, 3];
    tls_hello.extend([0x5a; REST as usize - 2]);
    each_is_told_and_closed(&[(tls_hello, "a frame of 16843542 bytes is announced")]).await;
}

#[tokio::test]
async fn random_bytes_are_told_what_is_wrong() {
    let random = SeededEnvironment::new(1);
    let cases: Vec<(Vec<u8>, &str)> = (0..100)
        .map(|_| {
            let mut bytes: Vec<u8> =
                (0..32).flat_map(|_| random.random_u64().to_le_bytes()).collect();
            // Past the version, the kind is next, and so on.
            let words = ["version", "kind", "reserved bytes"][(random.random_u64() % 3) as usize];
            bytes[4] = if words == "version" { bytes[4] | 4 } else { VERSIONS.least };
            bytes[5] = if words == "kind" { bytes[5] | 8 } else { kind::BATCH_REQUEST };
            bytes[6] |= 1;
            (bytes, words)
        })
        .collect();
    each_is_told_and_closed(&cases).await;
}

/// The bytes behind a wrong frame are read, too, so that closing does not reset the connection and
/// take the reason away with it.
#[tokio::test]
async fn a_connection_that_is_told_what_is_wrong_is_closed_and_not_reset() {
    let server = Server::start().await;
    for rest in [0, 1, 100_000, FRAME_BYTES_MAX] {
        let mut peer = server.connect().await;
        let mut bytes = frame(kind::CONTROL_REQUEST, 1, &[99]);
        bytes.resize(bytes.len() + rest, 0);
        peer.send(&bytes).await;
        let told = patiently("the reason comes", peer.receive()).await.expect("the reason");
        assert_eq!(told.kind, kind::ERROR);
        let end = patiently("the end comes", peer.stream.read(&mut [0; 1])).await;
        assert_eq!(end.expect("it is closed, not reset"), 0, "{rest} bytes behind");
    }
    server.finish().await;
}

/// A peer that goes on sending is cut off.
#[tokio::test]
async fn a_peer_that_does_not_stop_is_read_for_a_while_only() {
    let server = Server::start().await;
    let mut peer = server.connect().await;
    peer.send(&frame(kind::CONTROL_REQUEST, 1, &[99])).await;
    let flood = async { while peer.stream.write_all(&[0; 65_536]).await.is_ok() {} };
    patiently("the server stops reading", flood).await;
    server.connections_become(0).await;
    server.finish().await;
}

#[tokio::test]
async fn more_garbage_than_buffers_hold_is_told_what_is_wrong() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut peer = server.connect().await;
    // The server closes without having read it all, so the rest cannot be sent.
    let _ = peer.stream.write_all(&vec![0xaa; 32 << 20]).await;
    peer.is_told_and_closed("protocol version 170").await;
    others.goes_on().await;
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn headers_that_lie_are_told_which_part() {
    let good = frame(kind::BATCH_REQUEST, 1, &[0; 64]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let lengths = |length: [u8; 4]| [&length, &good[LENGTH_BYTES..]].concat();
    let of_kind = |kind: u8| (with(5, kind), format!("unexpected kind {kind}"));
    let (batch, control) = (FRAME_BYTES_MAX + 1, CONTROL_BYTES_MAX + 1);
    let cases = [
        (with(4, 0), of_version(0)),
        (with(4, VERSIONS.most + 1), of_version(VERSIONS.most + 1)),
        of_kind(0),
        of_kind(7),
        of_kind(255),
        of_kind(kind::BATCH_REPLY),
        of_kind(kind::CONTROL_REPLY),
        of_kind(kind::ERROR),
        (with(6, 1), "reserved bytes".to_owned()),
        (with(7, 0x80), "reserved bytes".to_owned()),
        (with(0, 11), "a frame of 11 bytes is announced; 12 to".to_owned()),
        (lengths([0; 4]), "a frame of 0 bytes is announced".to_owned()),
        (lengths([0xff; 4]), "a frame of 4294967295 bytes is announced".to_owned()),
        (frame_header(batch as u32, kind::BATCH_REQUEST, 1), announced(batch)),
        (frame_header(control as u32, kind::CONTROL_REQUEST, 1), announced(control)),
        (frame(kind::CANCEL, 1, &[0]), format!("{}; 12 to 12", announced(1))),
    ];
    each_is_told_and_closed(&cases).await;
}

#[tokio::test]
async fn what_came_before_garbage_is_answered() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let mut bytes = frame(kind::BATCH_REQUEST, 71, &client.lane.body(&[put(b"k", b"v")]));
    bytes.extend(control_frame(72, ControlRequest::Ping));
    bytes.extend([0xee; 100]);
    bytes.extend(frame(kind::BATCH_REQUEST, 73, &client.lane.body(&[put(b"never", b"v")])));
    client.peer.send(&bytes).await;
    assert_eq!(client.peer.answer_to(71).await.batch_reply().refusal(), None);
    client.peer.answer_to(72).await.control_response();
    client.peer.is_told_and_closed("protocol version 238").await;
    others.goes_on().await;
    let mut other = others.finish().await;
    assert_eq!(other.get(b"k").await.as_deref(), Some(&b"v"[..]));
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + 1, "nothing after the garbage is applied");
    server.finish().await;
}

/// A batch cut off at each of its bytes, by a peer that leaves politely, and one that just leaves.
#[tokio::test]
async fn a_truncated_frame_is_not_applied() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let whole =
        frame(kind::BATCH_REQUEST, 5, &client.lane.body(&[put(b"k1", b"v"), put(b"k2", b"v")]));
    for cut in 1..whole.len() {
        let mut polite = server.connect().await;
        polite.send(&whole[..cut]).await;
        polite.end().await;
        polite.is_told_and_closed(&format!("the connection ended {cut} bytes into a frame")).await;
        let mut rude = server.connect().await;
        rude.send(&whole[..cut]).await;
    }
    server.connections_become(2).await;
    others.goes_on().await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS);
    // Another connection may send the same batch of the same lane: it was never taken.
    let mut peer = server.connect().await;
    peer.send(&whole).await;
    peer.end().await;
    assert_eq!(peer.answer_to(5).await.batch_reply().refusal(), None);
    assert!(peer.receive().await.is_none(), "a peer that ends between frames is just let go");
    client.lane.header.number += 1;
    assert_eq!(client.get(b"k1").await.as_deref(), Some(&b"v"[..]));
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_truncated_frame_may_be_completed_later() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let whole = frame(kind::BATCH_REQUEST, 5, &client.lane.body(&[put(b"k", b"v")]));
    for part in [&whole[..3], &whole[3..20], &whole[20..whole.len() - 1]] {
        client.peer.send(part).await;
        others.goes_on().await;
        assert_eq!(server.service.keys(), BYSTANDER_KEYS);
    }
    client.peer.send(&whole[whole.len() - 1..]).await;
    assert_eq!(client.peer.answer_to(5).await.batch_reply().refusal(), None);
    others.finish().await;
    server.finish().await;
}

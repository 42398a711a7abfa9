//! Bytes that are not frames of this protocol, or not ones that a server takes.

use kvs_server::environment::{Environment, SeededEnvironment};
use proto::control::ControlRequest;
use proto::limits::FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::put;
use crate::harness::{
    BATCH_REPLY, BATCH_REQUEST, BYSTANDER_KEYS, Bystander, CANCEL, CONTROL_REPLY, CONTROL_REQUEST,
    ERROR, Server, control_frame, frame, frame_header, patiently,
};

/// Sends each of these on a connection of its own; each is told what was wrong, and closed.
async fn each_is_told_and_closed(cases: &[(Vec<u8>, &str)]) {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    for (bytes, words) in cases {
        let mut peer = server.connect().await;
        peer.send(bytes).await;
        peer.is_told_and_closed(words).await;
        others.goes_on().await;
    }
    others.finish().await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS);
    server.finish().await;
}

#[tokio::test]
async fn other_protocols_are_told_to_be_of_another_version() {
    let words = "is it a kvs program of the same version?";
    let mut tls_hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    tls_hello.extend([0x5a; 506]);
    let cases = [
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), words),
        (tls_hello, words),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n".to_vec(), words),
        (vec![0; 16], "protocol version 0, expected 1"),
        (vec![0xff; 1000], "protocol version 255, expected 1"),
    ];
    each_is_told_and_closed(&cases).await;
}

/// The length of a TLS record can stand where our version does, and its first message where our
/// kind does; then the length of that message gives it away.
#[tokio::test]
async fn a_tls_hello_that_looks_like_a_batch_is_refused_by_its_length() {
    let mut tls_hello = vec![0x16, 3, 1, 1, 1, 1, 0, 0, 0xfd, 3, 3];
    tls_hello.extend([0x5a; 251]);
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
            bytes[4] = if words == "version" { bytes[4] | 2 } else { 1 };
            bytes[5] = if words == "kind" { bytes[5] | 8 } else { 1 };
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
        let mut bytes = frame(CONTROL_REQUEST, 1, &[99]);
        bytes.resize(bytes.len() + rest, 0);
        peer.send(&bytes).await;
        let told = patiently("the reason comes", peer.receive()).await.expect("the reason");
        assert_eq!(told.kind, ERROR);
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
    peer.send(&frame(CONTROL_REQUEST, 1, &[99])).await;
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
    let good = frame(BATCH_REQUEST, 1, &[0; 64]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let batch_bytes_max = FRAME_BYTES_MAX as u32;
    let over = format!("a frame of {} bytes is announced", 12 + FRAME_BYTES_MAX + 1);
    let cases = [
        (with(4, 0), "protocol version 0, expected 1"),
        (with(4, 2), "protocol version 2, expected 1"),
        (with(5, 0), "unexpected kind 0"),
        (with(5, 7), "unexpected kind 7"),
        (with(5, 255), "unexpected kind 255"),
        (with(5, BATCH_REPLY), "unexpected kind 4"),
        (with(5, CONTROL_REPLY), "unexpected kind 5"),
        (with(5, ERROR), "unexpected kind 6"),
        (with(6, 1), "reserved bytes"),
        (with(7, 0x80), "reserved bytes"),
        (with(0, 11), "a frame of 11 bytes is announced; 12 to"),
        ([&[0; 4], &good[4..]].concat(), "a frame of 0 bytes is announced"),
        ([&[0xff; 4], &good[4..]].concat(), "a frame of 4294967295 bytes is announced"),
        (frame_header(batch_bytes_max + 1, BATCH_REQUEST, 1), &over),
        (frame_header((64 << 10) + 1, CONTROL_REQUEST, 1), "a frame of 65549 bytes"),
        (frame(CANCEL, 1, &[0]), "a frame of 13 bytes is announced; 12 to 12"),
    ];
    each_is_told_and_closed(&cases).await;
}

#[tokio::test]
async fn what_came_before_garbage_is_answered() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let mut bytes = frame(BATCH_REQUEST, 71, &client.lane.body(&[put(b"k", b"v")]));
    bytes.extend(control_frame(72, ControlRequest::Ping));
    bytes.extend([0xee; 100]);
    bytes.extend(frame(BATCH_REQUEST, 73, &client.lane.body(&[put(b"never", b"v")])));
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
    let whole = frame(BATCH_REQUEST, 5, &client.lane.body(&[put(b"k1", b"v"), put(b"k2", b"v")]));
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
    client.lane.header.sequence += 1;
    assert_eq!(client.get(b"k1").await.as_deref(), Some(&b"v"[..]));
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_truncated_frame_may_be_completed_later() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let whole = frame(BATCH_REQUEST, 5, &client.lane.body(&[put(b"k", b"v")]));
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

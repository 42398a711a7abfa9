//! Control messages that can't be read or granted, cancellations, and request ids used twice.

use model::outcome::Outcome;
use model::slots::Shard;
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::{FRAME_HEADER_BYTES, VERSIONS, kind};
use proto::limits::CONTROL_BYTES_MAX;

use crate::client::{increment, put};
use crate::harness::{
    BYSTANDER_KEYS, Bystander, LENGTH_BYTES, Server, control_frame, frame, frame_header,
};

/// Places of the requests among [`ControlRequest`]'s variants.
const HELLO: u8 = 0;
const PING: u8 = 1;
const BARRIER: u8 = 2;
const CLOSE_LANE: u8 = 3;
const CLOSE_SESSION: u8 = 4;

#[tokio::test]
async fn control_messages_that_cannot_be_read_end_their_connection() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let undecodable = "a control message can't be decoded";
    let four_gigabytes = [BARRIER, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, b'n'];
    let cases: [(&[u8], &str); 13] = [
        (&[], undecodable),
        (&[CLOSE_SESSION + 1], undecodable),
        (&[99], undecodable),
        (&[HELLO], undecodable),
        (&[HELLO, 2], undecodable),
        (&[HELLO, 2, 2], undecodable),
        (&[HELLO, 2, 2, 2], undecodable),
        (&[HELLO, 2, 2, 1, 2], undecodable),
        (&[HELLO, 2, 2, 0, 0], "1 bytes follow it"),
        (&[PING, 0], "1 bytes follow it"),
        (&[CLOSE_LANE, 1], undecodable),
        (&[BARRIER, 1, 2, 0xff, 0xfe, 0, 1], undecodable),
        (&four_gigabytes, undecodable),
    ];
    for (body, words) in cases {
        let mut peer = server.connect().await;
        peer.ping().await;
        peer.send(&frame(kind::CONTROL_REQUEST, 5, body)).await;
        peer.is_told_and_closed(words).await;
        others.goes_on().await;
    }
    // A name of a megabyte makes a message over the limit; its length is enough to refuse it.
    let mut peer = server.connect().await;
    peer.send(&frame_header(1 << 20, kind::CONTROL_REQUEST, 1)).await;
    let least = FRAME_HEADER_BYTES - LENGTH_BYTES;
    let (bytes, most) = (least + (1 << 20), least + CONTROL_BYTES_MAX);
    let words = format!("a frame of {bytes} bytes is announced; {least} to {most}");
    peer.is_told_and_closed(&words).await;
    others.finish().await;
    server.finish().await;
}

fn barrier(name: &str, participant: u32, participants: u32) -> ControlRequest {
    ControlRequest::Barrier { run_id: 7, name: name.to_owned(), participant, participants }
}

#[tokio::test]
async fn absurd_barriers_are_refused_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut peer = server.connect().await;
    let long = "n".repeat(60_000);
    let index = "the index counts from 0 and stays below the number of participants";
    let cases = [
        (barrier("start", 0, 0), index),
        (barrier("start", 3, 3), index),
        (barrier("start", 0, u32::MAX), index),
        (barrier("start", u32::MAX, u32::MAX), index),
        (barrier("start", 0, 65_537), "at most 65536"),
        (barrier(&long, 0, 1), "name is too long"),
    ];
    for (request, words) in cases {
        let response = peer.ask(request).await;
        assert!(
            matches!(&response, ControlResponse::Refused(why) if why.contains(words)),
            "{response:?} says {words}"
        );
        others.goes_on().await;
    }
    // None of them left a trace in the barrier that they named.
    for participant in 0..3 {
        let response = peer.ask(barrier("start", participant, 3)).await;
        assert_eq!(response, ControlResponse::Barrier { arrived: participant + 1 });
    }
    let response = peer.ask(barrier("start", 0, 4)).await;
    assert!(matches!(&response, ControlResponse::Refused(why) if why.contains("expects 3")));
    let response = peer.ask(barrier("greatest", 65_535, 65_536)).await;
    assert_eq!(response, ControlResponse::Barrier { arrived: 1 });
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn control_calls_are_answered() {
    let server = Server::start().await;
    let mut peer = server.connect().await;
    peer.ping().await;
    let (session, hello) = peer.open_session().await;
    let engine = server.service.engine();
    assert_eq!((hello.data_id, session.data_id), (engine.data_id(), hello.data_id));
    assert_eq!((hello.keys, hello.shard, hello.version), (0, Shard::SOLE, VERSIONS.most));
    assert_eq!((hello.epoch, hello.slots), (1, Shard::SOLE.first_slots().ranges()));
    assert_eq!(hello.partitions, engine.partitions().count());
    let hello = ControlRequest::Hello { versions: VERSIONS, open_session: None };
    match peer.ask(hello).await {
        ControlResponse::Hello(hello) => assert_eq!(hello.session, None),
        other => panic!("a hello is answered by a hello, not {other:?}"),
    }
    assert_eq!(peer.ask(ControlRequest::Ping).await, {
        ControlResponse::Pong { data_id: engine.data_id() }
    });
    assert_eq!((engine.sessions().count(), server.service.counters().connections()), (1, 1));
    server.finish().await;
}

/// A cancellation never comes between a batch's effects and its reply: requests are served in
/// turn, so by the time that one is read, what it names has been answered or has yet to come.
#[tokio::test]
async fn cancellations_disturb_nothing() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let mut bytes = Vec::new();
    for id in [0, 1, 77, u64::MAX] {
        bytes.extend(frame(kind::CANCEL, id, &[]));
    }
    for id in 100..150 {
        // Before the request, after it, and again.
        bytes.extend(frame(kind::CANCEL, id, &[]));
        bytes.extend(frame(kind::BATCH_REQUEST, id, &client.lane.body(&[increment(b"n")])));
        bytes.extend(frame(kind::CANCEL, id, &[]));
        bytes.extend(frame(kind::CANCEL, id, &[]));
        client.lane.header.number += 1;
    }
    client.peer.send(&bytes).await;
    for (count, id) in (1..).zip(100..150) {
        let reply = client.peer.answer_to(id).await.batch_reply();
        assert_eq!(reply.outcome(0), Some(Outcome::Counter(count)));
    }
    client.peer.ping().await;
    others.goes_on().await;
    assert_eq!(client.get(b"n").await.as_deref(), Some(&b"50"[..]));
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_flood_of_cancellations_is_read_through() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut peer = server.connect().await;
    let flood: Vec<u8> = (0..100_000).flat_map(|id| frame(kind::CANCEL, id, &[])).collect();
    let (_, ()) = tokio::join!(peer.send(&flood), others.goes_on());
    peer.ping().await;
    others.goes_on().await;
    others.finish().await;
    server.finish().await;
}

/// The ids are the peer's own business: each request with one has its answer, in turn, even under
/// the id that the server uses for connections.
#[tokio::test]
async fn request_ids_that_are_used_twice_are_answered_twice() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    for id in [5, 0, u64::MAX] {
        let mut bytes = Vec::new();
        for key in [b"a", b"b"] {
            bytes.extend(frame(kind::BATCH_REQUEST, id, &client.lane.body(&[put(key, b"v")])));
            bytes.extend(control_frame(id, ControlRequest::Ping));
            client.lane.header.number += 1;
        }
        client.peer.send(&bytes).await;
        for _ in 0..2 {
            assert_eq!(client.peer.answer_to(id).await.batch_reply().refusal(), None);
            client.peer.answer_to(id).await.control_response();
        }
        others.goes_on().await;
    }
    client.peer.ping().await;
    others.finish().await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + 2);
    server.finish().await;
}

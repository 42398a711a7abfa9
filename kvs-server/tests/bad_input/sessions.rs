//! Batches that are well-formed, but not this session's, lane's or number's turn.

use engine::LANES_MAX;
use engine::record::Record;
use kvs_server::order::memory::{LEASE, RECORD_BYTES_MAX, SESSIONS_MAX};
use model::operation::{Action, Operation};
use model::outcome::Outcome;
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};
use proto::batch::{BatchHeader, with_header};
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::{VERSIONS, kind};
use proto::limits::BATCH_OPERATIONS_MAX;

use crate::batches::NUMBER;
use crate::client::{Client, get, increment, put};
use crate::harness::{BYSTANDER_KEYS, Bystander, Frame, Peer, Server, control_frame, frame};

/// A client whose lane has applied numbers 1 and 2, and holds the reply to the first.
async fn client_at_three(server: &Server) -> Client {
    let mut client = server.client().await;
    client.put(b"k", b"first").await;
    client.lane.header.lowest_open = 2;
    client.put(b"k", b"second").await;
    client
}

#[tokio::test]
async fn batches_out_of_place_are_refused_by_reason_and_the_lane_goes_on() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = client_at_three(&server).await;
    let header = client.lane.header;
    let session = header.session;
    let elsewhere = SessionId { data_id: session.data_id ^ 1, ..session };
    let unknown = SessionId { number: session.number ^ 1, ..session };
    let cases = [
        (BatchHeader { epoch: 2, ..header }, Refusal::StaleEpoch, "epoch 1, the batch 2", 3),
        (BatchHeader { epoch: 0, ..header }, Refusal::StaleEpoch, "epoch 1, the batch 0", 3),
        (BatchHeader { shard: 2, ..header }, Refusal::NoSuchShard, "no shard 2", 3),
        (BatchHeader { shard: 0, ..header }, Refusal::NoSuchShard, "but shard 1", 3),
        (BatchHeader { session: elsewhere, ..header }, Refusal::OtherData, "earlier life", 3),
        (BatchHeader { session: unknown, ..header }, Refusal::SessionExpired, "not known", 3),
        (BatchHeader { number: 4, ..header }, Refusal::OutOfTurn, "has not arrived", 3),
        (BatchHeader { number: u64::MAX, ..header }, Refusal::OutOfTurn, "has not arrived", 3),
        (BatchHeader { lane: 9, ..header }, Refusal::OutOfTurn, "has not arrived", 1),
        (BatchHeader { number: 2, ..header }, Refusal::DifferentBytes, "other bytes", 2),
        (
            BatchHeader { number: 1, lowest_open: 1, ..header },
            Refusal::RecordGone,
            "the client said that it holds the reply",
            1,
        ),
    ];
    for (wrong, reason, words, number) in cases {
        let body = client.lane.body_with(&wrong, &[put(b"k", b"wrong"), put(b"new", b"wrong")]);
        assert_eq!(client.is_refused(&body, reason, words).await, number, "{words}");
        assert_eq!(server.service.keys(), BYSTANDER_KEYS + 1, "{words}");
        others.goes_on().await;
    }
    assert_eq!(client.get(b"k").await.as_deref(), Some(&b"second"[..]));
    others.finish().await;
    server.finish().await;
}

/// Reads have no number of their own: they name the one that they follow.
#[tokio::test]
async fn reads_out_of_place_are_refused_by_reason_and_the_lane_goes_on() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = client_at_three(&server).await;
    let header = client.lane.after();
    let session = header.session;
    let elsewhere = SessionId { data_id: session.data_id ^ 1, ..session };
    let unknown = SessionId { number: session.number ^ 1, ..session };
    let cases = [
        (BatchHeader { number: 3, ..header }, Refusal::OutOfTurn, "has not arrived", 3),
        (BatchHeader { number: u64::MAX, ..header }, Refusal::OutOfTurn, "has not arrived", 3),
        (BatchHeader { lane: 9, ..header }, Refusal::OutOfTurn, "has not arrived", 1),
        (BatchHeader { number: 1, ..header }, Refusal::Passed, "before these reads came", 1),
        (BatchHeader { number: 0, lowest_open: 1, ..header }, Refusal::Passed, "before these", 0),
        (BatchHeader { epoch: 2, ..header }, Refusal::StaleEpoch, "epoch 1, the batch 2", 2),
        (BatchHeader { shard: 2, ..header }, Refusal::NoSuchShard, "no shard 2", 2),
        (BatchHeader { session: elsewhere, ..header }, Refusal::OtherData, "earlier life", 2),
        (BatchHeader { session: unknown, ..header }, Refusal::SessionExpired, "not known", 2),
        (BatchHeader { lowest_open: 4, ..header }, Refusal::Malformed, "lowest open number", 2),
    ];
    for (wrong, reason, words, number) in cases {
        let body = client.lane.body_with(&wrong, &[get(b"k")]);
        assert_eq!(client.is_refused(&body, reason, words).await, number, "{words}");
        others.goes_on().await;
    }
    // As often as they like, over any connection, in lanes that never were, and while a record is
    // wanted: they leave nothing behind.
    let record_bytes = || server.service.engine().sessions().record_bytes();
    let mut elsewhere = server.connect().await;
    others.finish().await;
    let before = record_bytes();
    for right in [
        header,
        BatchHeader { lowest_open: 3, ..header },
        BatchHeader { lane: 9, number: 0, lowest_open: 1, ..header },
    ] {
        let body = client.lane.body_with(&right, &[get(b"k"), get(b"none")]);
        for peer in [&mut client.peer, &mut elsewhere] {
            let reply = peer.batch(&body).await;
            assert_eq!((reply.refusal(), reply.is_recorded()), (None, false));
            let mut outcomes = [reply.outcome(0), reply.outcome(1)];
            outcomes.sort_by_key(|outcome| *outcome == Some(Outcome::Missing));
            let expected = [Outcome::Value(&b"second"[..]), Outcome::Missing];
            assert_eq!(outcomes, expected.map(Some));
        }
    }
    assert_eq!(record_bytes(), before);
    let second = BatchHeader { number: 2, ..client.lane.header };
    let again = client.lane.body_with(&second, &[put(b"k", b"second")]);
    assert!(client.peer.batch(&again).await.is_recorded(), "its record is still there");
    client.put(b"k", b"third").await;
    server.finish().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_again_takes_effect_once() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let body = client.lane.body(&[increment(b"n")]);
    let first = client.apply_body(&body).await;
    assert_eq!((first.outcome(0), first.is_recorded()), (Some(Outcome::Counter(1)), false));
    // Also over another connection, as after a loss of the first.
    let mut elsewhere = server.connect().await;
    for peer in [&mut client.peer, &mut elsewhere] {
        let again = peer.batch(&body).await;
        assert_eq!((again.outcome(0), again.is_recorded()), (Some(Outcome::Counter(1)), true));
    }
    assert_eq!(client.get(b"n").await.as_deref(), Some(&b"1"[..]));
    others.goes_on().await;
    others.finish().await;
    server.finish().await;
}

/// Everything before the operations may differ from what was sent first, as after a change of the
/// map; nothing of the operations may.
#[tokio::test]
async fn a_retry_may_have_another_header_but_no_other_operations() {
    let server = Server::start().await;
    let mut client = client_at_three(&server).await;
    let header = client.lane.header;
    let swap = Action::CompareAndSwap { expected: None, value: b"v" };
    let operations =
        [put(b"n", b"5"), increment(b"n"), get(b"n"), Operation { key: b"n", action: swap }];
    let body = client.lane.body(&operations);
    let first = client.apply_body(&body).await;
    let told = |outcome| Some(outcome);
    let mismatch = told(Outcome::Mismatch(Some(&b"6"[..])));
    assert_eq!(first.outcome(3), mismatch, "there was room for the value");
    for changed in [
        header,
        BatchHeader { epoch: 7, ..header },
        BatchHeader { lowest_open: 1, ..header },
        BatchHeader { lowest_open: 3, ..header },
        BatchHeader { first_stamp: 0, ..header },
    ] {
        let again = client.peer.batch(&with_header(&body, &changed)).await;
        assert_eq!((again.refusal(), again.is_recorded()), (None, true));
        let outcomes: Vec<_> = (0..4).map(|index| again.outcome(index)).collect();
        let expected =
            [told(Outcome::Done), told(Outcome::Counter(6)), None, told(Outcome::MismatchUntold)];
        assert_eq!(outcomes, expected);
    }
    for others in [&operations[..3], &operations[1..], &[put(b"n", b"7")]] {
        let body = client.lane.body_with(&header, others);
        client.is_refused(&body, Refusal::DifferentBytes, "other bytes").await;
    }
    assert_eq!(client.get(b"n").await.as_deref(), Some(&b"6"[..]));
    server.finish().await;
}

#[tokio::test]
async fn an_expired_session_is_refused_and_those_in_use_are_not() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    client.put(b"k", b"v").await;
    // Twice a part of a lease: too long for the client, which the bystander is not.
    for _ in 0..2 {
        server.environment.advance(LEASE * 2 / 3);
        others.goes_on().await;
    }
    for _ in 0..2 {
        let body = client.lane.body(&[put(b"k", b"wrong")]);
        client.is_refused(&body, Refusal::SessionExpired, "its lease has ended").await;
        let reads = client.lane.body(&[get(b"k")]);
        client.is_refused(&reads, Refusal::SessionExpired, "its lease has ended").await;
    }
    let close = ControlRequest::CloseLane { session: client.lane.header.session, lane: 1 };
    let refused = client.peer.ask(close).await;
    assert!(matches!(&refused, ControlResponse::Refused(why) if why.contains("lease")));
    // The connection may open a new session.
    let mut client = Client::begin(client.peer).await;
    assert_eq!(client.get(b"k").await.as_deref(), Some(&b"v"[..]));
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_session_that_is_used_once_per_lease_lives() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for _ in 0..3 {
        client.one(b"n", Action::Increment { by: 1 }).await;
        server.environment.advance(LEASE);
    }
    assert_eq!(client.one(b"n", Action::Increment { by: 1 }).await, Outcome::Counter(4));
    server.finish().await;
}

#[tokio::test]
async fn closed_lanes_and_sessions_take_nothing_more() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    client.put(b"k", b"v").await;
    let BatchHeader { session, lane, .. } = client.lane.header;
    // A second close, and that of a lane that never was, change nothing.
    for lane in [lane, lane, 77] {
        let closed = client.peer.ask(ControlRequest::CloseLane { session, lane }).await;
        assert_eq!(closed, ControlResponse::Closed);
    }
    for (lane, number) in [(lane, 2), (lane, 1), (77, 1)] {
        let header = BatchHeader { lane, number, ..client.lane.header };
        let body = client.lane.body_with(&header, &[put(b"k", b"wrong")]);
        client.is_refused(&body, Refusal::LaneClosed, "the lane was closed").await;
        let after = BatchHeader { number: number - 1, ..header };
        let body = client.lane.body_with(&after, &[get(b"k")]);
        client.is_refused(&body, Refusal::LaneClosed, "the lane was closed").await;
    }
    others.goes_on().await;
    client.lane.header = BatchHeader { lane: 2, number: 1, ..client.lane.header };
    assert_eq!(client.get(b"k").await.as_deref(), Some(&b"v"[..]), "another lane goes on");

    let elsewhere = SessionId { data_id: session.data_id ^ 1, ..session };
    let closed = client.peer.ask(ControlRequest::CloseSession { session: elsewhere }).await;
    assert_eq!(closed, ControlResponse::Closed);
    client.get(b"k").await;
    for _ in 0..2 {
        let closed = client.peer.ask(ControlRequest::CloseSession { session }).await;
        assert_eq!(closed, ControlResponse::Closed);
        let body = client.lane.body(&[put(b"k", b"wrong")]);
        client.is_refused(&body, Refusal::SessionExpired, "not known").await;
    }
    others.goes_on().await;
    let mut other = others.finish().await;
    assert_eq!(other.get(b"k").await.as_deref(), Some(&b"v"[..]));
    server.finish().await;
}

/// Sends many frames at once, and returns the answers in turn.
async fn pipelined(peer: &mut Peer, frames: impl Iterator<Item = Vec<u8>>) -> Vec<Frame> {
    let mut answers = Vec::new();
    let frames: Vec<Vec<u8>> = frames.collect();
    for some in frames.chunks(256) {
        peer.send(&some.concat()).await;
        for _ in some {
            answers.push(peer.receive().await.expect("the connection is open"));
        }
    }
    answers
}

#[tokio::test]
async fn a_session_has_so_many_lanes_and_no_more() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    client.put(b"k", b"v").await;
    let session = client.lane.header.session;
    let close = |lane: u32| control_frame(lane.into(), ControlRequest::CloseLane { session, lane });
    let answers = pipelined(&mut client.peer, (2..=LANES_MAX as u32 + 1).map(close)).await;
    let mut responses = answers.into_iter().map(Frame::control_response);
    assert!(responses.by_ref().take(LANES_MAX - 1).all(|it| it == ControlResponse::Closed));
    let refused = responses.next().unwrap();
    assert!(matches!(&refused, ControlResponse::Refused(why) if why.contains("lanes")));
    let header = BatchHeader { lane: u32::MAX, number: 1, ..client.lane.header };
    let body = client.lane.body_with(&header, &[put(b"k", b"wrong")]);
    client.is_refused(&body, Refusal::Throttled, "a bound on sessions or lanes").await;
    // Reads need no lane.
    let header = BatchHeader { number: 0, ..header };
    let body = client.lane.body_with(&header, &[get(b"k")]);
    let reply = client.peer.batch(&body).await;
    assert_eq!(reply.outcome(0), Some(Outcome::Value(&b"v"[..])));
    others.goes_on().await;
    assert_eq!(client.get(b"k").await.as_deref(), Some(&b"v"[..]), "the old lane goes on");
    client.put(b"k", b"w").await;
    others.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_server_has_so_many_sessions_and_no_more() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut greedy = server.connect().await;
    let open_session = Some(SessionOptions { send_repeats_once: true });
    let hello = |id| control_frame(id, ControlRequest::Hello { versions: VERSIONS, open_session });
    let answers = pipelined(&mut greedy, (1..=SESSIONS_MAX as u64).map(hello)).await;
    let refused = |frame: &Frame| {
        let response = Frame { bytes: frame.bytes.clone(), ..*frame }.control_response();
        matches!(response, ControlResponse::Refused(why) if why.contains("a bound on sessions"))
    };
    // One is the bystander's.
    let (last, opened) = answers.split_last().unwrap();
    assert!(refused(last) && !opened.iter().any(refused));
    others.goes_on().await;
    // They make room when their lease has ended.
    for _ in 0..2 {
        server.environment.advance(LEASE * 2 / 3);
        others.goes_on().await;
    }
    let mut client = Client::begin(greedy).await;
    client.put(b"k", b"v").await;
    assert_eq!(server.service.engine().sessions().count(), 2);
    others.finish().await;
    server.finish().await;
}

/// A client that never says that it holds replies fills its session's records, and is then refused
/// before anything is executed, until it says so.
#[tokio::test]
async fn completion_records_are_bounded() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut hoarder = server.client().await;
    let many = vec![increment(b"n"); BATCH_OPERATIONS_MAX];
    let records_max = RECORD_BYTES_MAX / Record::bytes_max(BATCH_OPERATIONS_MAX, 1);
    let mut body = hoarder.lane.body(&many);
    for number in 1..=records_max as u64 {
        body[NUMBER..NUMBER + 8].copy_from_slice(&number.to_le_bytes());
        hoarder.apply_body(&body).await;
    }
    let body = hoarder.lane.body(&many);
    hoarder.is_refused(&body, Refusal::Throttled, "completion records").await;
    others.goes_on().await;
    let applied = records_max * BATCH_OPERATIONS_MAX;
    let count = Some(applied.to_string().into_bytes());
    assert_eq!(hoarder.get(b"n").await, count);
    hoarder.forget_replies();
    // Reads say so too, but are not heard: only a batch that takes room makes some.
    assert_eq!(hoarder.get(b"n").await, count);
    let sessions = server.service.engine().sessions();
    assert!(sessions.record_bytes() > records_max * 9 * BATCH_OPERATIONS_MAX);
    hoarder.apply(&many).await;
    assert!(sessions.record_bytes() < 2 * Record::bytes_max(BATCH_OPERATIONS_MAX, 1));
    others.finish().await;
    server.finish().await;
}

/// Many clients that each stay within their own bound fill the server's. Others are then refused
/// before anything is executed, and go on when there is room again.
#[tokio::test]
async fn completion_records_of_all_sessions_are_bounded() {
    const ALL_BYTES_MAX: usize = 4 << 20;
    let server = Server::start_with("1/1", ALL_BYTES_MAX).await;
    let many = vec![increment(b"n"); BATCH_OPERATIONS_MAX];
    let mut hoarders = Vec::new();
    for _ in 0..ALL_BYTES_MAX / Record::bytes_max(BATCH_OPERATIONS_MAX, 1) {
        let mut hoarder = server.client().await;
        hoarder.apply(&many).await;
        hoarders.push(hoarder);
    }
    let applied = hoarders.len() * BATCH_OPERATIONS_MAX;
    let mut late = server.client().await;
    let body = late.lane.body(&many);
    late.is_refused(&body, Refusal::Throttled, "-record_bytes_max").await;
    assert!(server.service.engine().sessions().record_bytes() <= ALL_BYTES_MAX);
    let seen = late.one(b"n", Action::Increment { by: 0 }).await;
    assert_eq!(seen, Outcome::Counter(applied as i64), "a small one has room");

    // Who says that it holds its replies goes on, and who leaves makes room.
    let mut first = hoarders.swap_remove(0);
    first.forget_replies();
    first.apply(&many).await;
    late.is_refused(&late.lane.body(&many), Refusal::Throttled, "-record_bytes_max").await;
    let session = first.lane.header.session;
    first.peer.ask(ControlRequest::CloseSession { session }).await;
    late.apply(&many).await;
    server.finish().await;
}

/// Two connections may send one lane's batches; the lane still takes each number once.
#[tokio::test]
async fn one_lane_over_two_connections_takes_each_number_once() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut twin = server.connect().await;
    for number in 1..=50_u64 {
        let body = client.lane.body(&[increment(b"n"), get(b"n")]);
        let bytes = frame(kind::BATCH_REQUEST, number, &body);
        tokio::join!(client.peer.send(&bytes), twin.send(&bytes));
        let replies = [client.peer.receive().await, twin.receive().await]
            .map(|answer| answer.expect("the connection is open").batch_reply());
        let recorded = replies.iter().filter(|reply| reply.is_recorded()).count();
        assert_eq!(recorded, 1);
        let count = number.to_string();
        for reply in &replies {
            assert_eq!(reply.outcome(0), Some(Outcome::Counter(number as i64)));
            let read = (!reply.is_recorded()).then_some(Outcome::Value(count.as_bytes()));
            assert_eq!(reply.outcome(1), read, "a record holds no values");
        }
        client.lane.header.number += 1;
    }
    server.finish().await;
}

//! The wire, byte by byte: what is written here is what programs of this protocol version send.
//!
//! A change that makes one of these tests fail is a new version of the protocol.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use model::operation::{Action, Operation};
use model::operations::{Group, Operations};
use model::outcome::{Outcome, Replies, Shape};
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};
use model::slots::Shard;
use proto::batch::{self, BatchHeader, Decoded, GroupEncoder, Placement};
use proto::buffers::BufferPool;
use proto::codec::{ClientCodec, Request, Response, ServerCodec};
use proto::control::{ControlRequest, ControlResponse, Hello};
use proto::frame::{CONNECTION_ERROR_ID, FRAME_HEADER_BYTES, FrameError, VERSIONS, kind};
use proto::reply::{self, Reply, ReplyBuilder, ReplyHeader};
use tarpc::{ClientMessage, ServerError, context};
use tokio_util::codec::{Decoder, Encoder};

/// Keys that start with `a` are in partition 2, all others in partition 300; `c` is not owned.
struct ByFirstLetter;

impl Placement for ByFirstLetter {
    fn place(&self, key: &[u8]) -> (u32, bool) {
        (if key[0] == b'a' { 2 } else { 300 }, key != b"c")
    }

    fn hash(&self, key: &[u8]) -> u64 {
        key.len() as u64
    }
}

const BATCH_HEADER: BatchHeader = BatchHeader {
    session: SessionId { data_id: 0x0807_0605_0403_0201, number: 0x1817_1615_1413_1211 },
    shard: 0x5453_5251,
    lane: 0x2423_2221,
    epoch: 0x3433_3231,
    number: 6,
    lowest_open: 5,
    first_stamp: 0x4847_4645_4443_4241,
};

#[rustfmt::skip]
const BATCH: &[u8] = &[
    1, 2, 3, 4, 5, 6, 7, 8,                         // identity of the shard's data
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // number of the session
    0x51, 0x52, 0x53, 0x54,                         // shard
    0x21, 0x22, 0x23, 0x24,                         // lane
    0x31, 0x32, 0x33, 0x34,                         // epoch
    0, 0, 0, 0,                                     // zero
    6, 0, 0, 0, 0, 0, 0, 0,                         // number in the lane
    5, 0, 0, 0, 0, 0, 0, 0,                         // lowest open number
    0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, // first stamp
    7, 0, 0, 0,                                     // operations
    2, 0, 0, 0,                                     // groups
    2, 0, 0, 0,  4, 0, 0, 0,                        // partition 2, 4 operations
    0x2c, 0x01, 0, 0,  3, 0, 0, 0,                  // partition 300, 3 operations
    // Group of partition 2.
    0, 0, 2, b'a', b'1',                            // GET, stamp + 0, key "a1"
    1, 3, 2, b'a', b'2', 3, b'n', b'e', b'w',       // PUT, stamp + 3, key "a2", value "new"
    2, 0xac, 0x02, 1, b'a',                         // DELETE, stamp + 300, key "a"
    3, 0, 1, b'a', 10,                              // CAS, the same stamp, key "a", argument of 10:
    4, 0, 0, 0,                                     //   length 3 plus 1,
    b'o', b'l', b'd', b'n', b'e', b'w',             //   "old", then "new"
    // Group of partition 300: stamps count from the first stamp again.
    3, 1, 1, b'b', 7,                               // CAS, stamp + 1, key "b", argument of 7:
    0, 0, 0, 0, b'n', b'e', b'w',                   //   missing, then "new"
    3, 0, 1, b'b', 4,                               // CAS, key "b", argument of 4:
    1, 0, 0, 0,                                     //   length 0 plus 1, then another empty value
    4, 1, 1, b'c',                                  // INCR, stamp + 1, key "c"
    0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //   by -2
];

/// The same with their stamps, counted from the first stamp; four in the first group.
const OPERATIONS: [(u64, &[u8], Action<'static>); 7] = [
    (0, b"a1", Action::Get),
    (3, b"a2", Action::Put { value: b"new" }),
    (303, b"a", Action::Delete),
    (303, b"a", Action::CompareAndSwap { expected: Some(b"old"), value: b"new" }),
    (1, b"b", Action::CompareAndSwap { expected: None, value: b"new" }),
    (1, b"b", Action::CompareAndSwap { expected: Some(b""), value: b"" }),
    (2, b"c", Action::Increment { by: -2 }),
];

#[test]
fn a_batch_is_written_and_read() {
    let mut encoders = [GroupEncoder::default(), GroupEncoder::default()];
    for (index, (stamp_offset, key, action)) in OPERATIONS.into_iter().enumerate() {
        encoders[index / 4].push(stamp_offset, &Operation { key, action });
    }
    let body = batch::assemble(&BATCH_HEADER, &[(2, &encoders[0]), (300, &encoders[1])]);
    assert_eq!(&body[..], BATCH);

    let (mut groups, mut entries) = (Vec::new(), Vec::new());
    let decoded = batch::decode(BATCH, &ByFirstLetter, &mut groups, &mut entries).unwrap();
    assert_eq!(decoded, Decoded { header: BATCH_HEADER, mutations: 6, is_owned: false });
    assert_eq!(batch::read_header(BATCH), Some(BATCH_HEADER));
    let counts = BATCH.windows(8).position(|bytes| bytes == [7, 0, 0, 0, 2, 0, 0, 0]).unwrap();
    assert_eq!(batch::operation_bytes(BATCH), &BATCH[counts..]);
    let expected = [Group { partition: 2, operations: 4 }, Group { partition: 300, operations: 3 }];
    assert_eq!(groups, expected);
    let operations = Operations::new(BATCH, &entries);
    assert_eq!(operations.len(), OPERATIONS.len());
    for (index, (_, key, action)) in OPERATIONS.into_iter().enumerate() {
        assert_eq!(operations.get(index), Operation { key, action });
        assert_eq!(operations.hash(index), key.len() as u64);
    }
}

const REPLY_HEADER: ReplyHeader = ReplyHeader {
    data_id: 0x0807_0605_0403_0201,
    number: 0x1817_1615_1413_1211,
    epoch: 0x3433_3231,
};

#[rustfmt::skip]
const REPLY: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,   // room for the frame header
    1, 2, 3, 4, 5, 6, 7, 8,                            // identity of the shard's data
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,    // the number that is answered
    0x31, 0x32, 0x33, 0x34,                            // epoch
    0,                                                 // status: applied
    3,                                                 // flags: apply sequences; from a record
    0, 0,                                              // zero
    13, 0, 0, 0,                                       // operations
    2, 0, 0, 0,                                        // groups
    9, 0, 0, 0, 0, 0, 0, 0,                            // apply sequence of the first group
    0, 0, 0, 0, 1, 0, 0, 0,                            // apply sequence of the second: 2^32
    0, 3, b'o', b'n', b'e',                            // value "one"
    2,                                                 // missing
    1, 2,                                              // repeats the value 2 operations back
    1, 3,                                              // repeats the same one, now 3 back
    3,                                                 // done
    4, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // counter -2
    5, 3, b'c', b'u', b'r',                            // mismatch, the value is "cur"
    6,                                                 // mismatch, the key is missing
    7,                                                 // mismatch, the value is left out
    8,                                                 // not an integer
    9,                                                 // overflow
    10,                                                // deferred
    0, 0,                                              // an empty value
];

/// `None` is a deferred read.
const OUTCOMES: [Option<Outcome<&[u8]>>; 13] = [
    Some(Outcome::Value(b"one")),
    Some(Outcome::Missing),
    Some(Outcome::Value(b"one")),
    Some(Outcome::Value(b"one")),
    Some(Outcome::Done),
    Some(Outcome::Counter(-2)),
    Some(Outcome::Mismatch(Some(b"cur"))),
    Some(Outcome::Mismatch(None)),
    Some(Outcome::MismatchUntold),
    Some(Outcome::NotAnInteger),
    Some(Outcome::Overflow),
    None,
    Some(Outcome::Value(b"")),
];

#[test]
fn a_reply_is_written_and_read() {
    let mut builder = ReplyBuilder::default();
    let shape = Shape {
        operations: OUTCOMES.len(),
        groups: 2,
        has_sequences: true,
        is_recorded: true,
        send_repeats_once: true,
    };
    builder.prepare(BytesMut::new(), REPLY_HEADER);
    builder.begin(&shape);
    for outcome in OUTCOMES {
        match outcome {
            Some(outcome) => assert!(builder.outcome(5, outcome)),
            None => builder.not_kept(),
        }
    }
    builder.apply_sequence(0, 9);
    builder.apply_sequence(1, 1 << 32);
    assert_eq!(&builder.finish()[..], REPLY);

    let reply = Reply::decode(Bytes::from_static(REPLY)).unwrap();
    assert_eq!(reply.header(), &REPLY_HEADER);
    assert_eq!((reply.refusal(), reply.is_recorded()), (None, true));
    assert_eq!((reply.groups(), reply.len()), (2, OUTCOMES.len()));
    assert!(reply.has_deferred());
    let sequences = [0, 1].map(|group| reply.apply_sequence(group));
    assert_eq!(sequences, [Some(9), Some(1 << 32)]);
    for (index, outcome) in OUTCOMES.into_iter().enumerate() {
        assert_eq!(reply.outcome(index), outcome);
    }
}

#[rustfmt::skip]
const PLAIN_REPLY: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0, // room for the frame header
    1, 2, 3, 4, 5, 6, 7, 8,                          // identity of the shard's data
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,  // the number that is answered
    0x31, 0x32, 0x33, 0x34,                          // epoch
    0,  0,  0, 0,                                    // applied, no flags, zero
    2, 0, 0, 0,                                      // operations
    1, 0, 0, 0,                                      // groups, without apply sequences
    0, 3, b'o', b'n', b'e',                          // value "one"
    0, 3, b'o', b'n', b'e',                          // in full once more
];

#[test]
fn a_reply_without_sequences_and_repeats_is_written_and_read() {
    let mut builder = ReplyBuilder::default();
    let shape = Shape {
        operations: 2,
        groups: 1,
        has_sequences: false,
        is_recorded: false,
        send_repeats_once: false,
    };
    builder.prepare(BytesMut::new(), REPLY_HEADER);
    builder.begin(&shape);
    builder.outcome(5, Outcome::Value(b"one"));
    builder.outcome(5, Outcome::Value(b"one"));
    assert_eq!(&builder.finish()[..], PLAIN_REPLY);
    let reply = Reply::decode(Bytes::from_static(PLAIN_REPLY)).unwrap();
    assert_eq!((reply.is_recorded(), reply.apply_sequence(0)), (false, None));
    assert!(!reply.has_deferred());
    assert_eq!([0, 1].map(|index| reply.outcome(index)), [Some(Outcome::Value(&b"one"[..])); 2]);
}

#[rustfmt::skip]
const REFUSED: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0, // room for the frame header
    1, 2, 3, 4, 5, 6, 7, 8,                          // identity of the shard's data
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,  // the number that is expected
    0x31, 0x32, 0x33, 0x34,                          // epoch
    5,                                               // status: out of turn
    0,                                               // flags
    0, 0,                                            // zero
    0, 0, 0, 0,                                      // operations
    0, 0, 0, 0,                                      // groups
    b'w', b'a', b'i', b't',                          // the server's words
];

#[test]
fn a_refused_reply_is_written_and_read() {
    assert_eq!(&reply::refuse(&REPLY_HEADER, Refusal::OutOfTurn, "wait")[..], REFUSED);
    let reply = Reply::decode(Bytes::from_static(REFUSED)).unwrap();
    assert_eq!(reply.header(), &REPLY_HEADER);
    assert_eq!(reply.refusal(), Some((Refusal::OutOfTurn, "wait")));
    assert!(reply.is_empty());
}

#[test]
fn codes_of_refusals_stay() {
    let refusals = [
        Refusal::Malformed,
        Refusal::StaleEpoch,
        Refusal::OtherData,
        Refusal::SessionExpired,
        Refusal::OutOfTurn,
        Refusal::DifferentBytes,
        Refusal::RecordGone,
        Refusal::Throttled,
        Refusal::LaneClosed,
        Refusal::Stopping,
        Refusal::Passed,
        Refusal::NotOwned,
        Refusal::NoSuchShard,
    ];
    let codes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
    assert_eq!(refusals.map(|refusal| refusal as u8), codes);
}

// Frames.

const REQUEST_ID: u64 = 0x0807_0605_0403_0201;

#[test]
fn kinds_of_frames_stay() {
    let of_clients = [kind::BATCH_REQUEST, kind::CONTROL_REQUEST, kind::CANCEL];
    let of_servers = [kind::BATCH_REPLY, kind::CONTROL_REPLY, kind::ERROR];
    assert_eq!((of_clients, of_servers), ([1, 2, 3], [4, 5, 6]));
}

/// Whether the client writes the message as these bytes and the server reads it from them.
#[track_caller]
fn assert_request(message: &Request, golden: &[u8]) {
    let (context, id) = (context::current(), REQUEST_ID);
    let request = tarpc::Request { context, id, message: message.clone() };
    let mut bytes = BytesMut::new();
    let mut client = ClientCodec::new(Arc::default());
    client.encode(ClientMessage::Request(request), &mut bytes).unwrap();
    assert_eq!(&bytes[..], golden, "{message:?}");
    match ServerCodec::new(BufferPool::default()).decode(&mut bytes).unwrap() {
        Some(ClientMessage::Request(read)) => {
            assert_eq!((read.id, &read.message), (REQUEST_ID, message));
        }
        other => panic!("not a request: {other:?}"),
    }
    assert!(bytes.is_empty());
}

/// Whether the server writes the response as these bytes; returns what the client reads from them.
#[track_caller]
fn assert_response(
    message: Result<Response, ServerError>,
    golden: &[u8],
) -> Result<Response, ServerError> {
    let mut bytes = BytesMut::new();
    let response = tarpc::Response { request_id: REQUEST_ID, message };
    ServerCodec::new(BufferPool::default()).encode(response, &mut bytes).unwrap();
    assert_eq!(&bytes[..], golden);
    let read = ClientCodec::new(Arc::default()).decode(&mut bytes).unwrap().unwrap();
    assert_eq!(read.request_id, REQUEST_ID);
    assert!(bytes.is_empty());
    read.message
}

#[rustfmt::skip]
const BATCH_FRAME: &[u8] = &[
    16, 0, 0, 0,            // 16 bytes follow
    2,                      // version
    1,                      // kind: batch request
    0, 0,                   // zero
    1, 2, 3, 4, 5, 6, 7, 8, // request id
    b'b', b'o', b'd', b'y', // the body, as it is
];

#[test]
fn a_batch_frame_is_written_and_read() {
    assert_request(&Request::Batch(Bytes::from_static(b"body")), BATCH_FRAME);
}

#[rustfmt::skip]
const CANCEL_FRAME: &[u8] = &[
    12, 0, 0, 0,            // 12 bytes follow
    2,                      // version
    3,                      // kind: cancel
    0, 0,                   // zero
    1, 2, 3, 4, 5, 6, 7, 8, // request id
];

#[test]
fn a_cancellation_is_written_and_read() {
    let trace_context = context::current().trace_context;
    let cancel = ClientMessage::Cancel { trace_context, request_id: REQUEST_ID };
    let mut bytes = BytesMut::new();
    ClientCodec::new(Arc::default()).encode(cancel, &mut bytes).unwrap();
    assert_eq!(&bytes[..], CANCEL_FRAME);
    let read = ServerCodec::new(BufferPool::default()).decode(&mut bytes).unwrap();
    assert!(
        matches!(read, Some(ClientMessage::Cancel { request_id, .. }) if request_id == REQUEST_ID)
    );
}

#[rustfmt::skip]
const REPLY_FRAME_HEADER: &[u8] = &[
    48, 0, 0, 0,            // 48 bytes follow
    2,                      // version
    4,                      // kind: batch reply
    0, 0,                   // zero
    1, 2, 3, 4, 5, 6, 7, 8, // request id
];

#[test]
fn a_reply_frame_is_written_and_read() {
    let golden = [REPLY_FRAME_HEADER, &REFUSED[FRAME_HEADER_BYTES..]].concat();
    let read = assert_response(Ok(Response::Batch(BytesMut::from(REFUSED))), &golden);
    assert_eq!(read.unwrap(), Response::Batch(BytesMut::from(&golden[..])));
}

#[rustfmt::skip]
const ERROR_FRAME: &[u8] = &[
    16, 0, 0, 0,            // 16 bytes follow
    2,                      // version
    6,                      // kind: error
    0, 0,                   // zero
    1, 2, 3, 4, 5, 6, 7, 8, // request id
    b'b', b'u', b's', b'y', // UTF-8 text
];

#[test]
fn an_error_is_written_and_read() {
    let error = ServerError::new(std::io::ErrorKind::WouldBlock, "busy".to_owned());
    let read = assert_response(Err(error), ERROR_FRAME);
    assert_eq!(read.unwrap_err().detail, "busy");
}

/// The frame of a control message.
fn control_frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = 12 + body.len() as u8;
    // The length, the version, the kind, zero, the request id.
    let header = [length, 0, 0, 0, 2, kind, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    [&header, body].concat()
}

#[test]
fn control_requests_are_written_and_read() {
    let (session, versions) = (SessionId { data_id: 5, number: 300 }, VERSIONS);
    let options = SessionOptions { send_repeats_once: true };
    let barrier = ControlRequest::Barrier {
        run_id: 300,
        name: "start".to_owned(),
        participant: 1,
        participants: 4,
    };
    // The variant's number, then its fields; `0xac, 0x02` is 300.
    let requests: [(ControlRequest, &[u8]); 6] = [
        // Versions 2 to 2, then the session: none, or one with repeats sent once.
        (ControlRequest::Hello { versions, open_session: None }, &[0, 2, 2, 0]),
        (ControlRequest::Hello { versions, open_session: Some(options) }, &[0, 2, 2, 1, 1]),
        (ControlRequest::Ping, &[1]),
        (barrier, &[2, 0xac, 0x02, 5, b's', b't', b'a', b'r', b't', 1, 4]),
        (ControlRequest::CloseLane { session, lane: 7 }, &[3, 5, 0xac, 0x02, 7]),
        (ControlRequest::CloseSession { session }, &[4, 5, 0xac, 0x02]),
    ];
    for (request, body) in requests {
        assert_request(&Request::Control(request), &control_frame(kind::CONTROL_REQUEST, body));
    }
}

#[rustfmt::skip]
const HELLO: &[u8] = &[
    0,                               // hello
    2,                               // version of the protocol
    5,                               // identity of the shard's data
    1, 5, 0xac, 0x02,                // a session: its data's identity, its number 300
    0xac, 0x02,                      // lease, in milliseconds
    2, 4,                            // shard 2/4
    1,                               // epoch
    2,                               // runs of slots:
    7, 7,                            //   slot 7
    0x80, 0x20, 0xff, 0x3f,          //   slots 4,096 to 8,191
    64,                              // partitions
    3, b's', b'c', b'c',             // store
    0xac, 0x02,                      // keys
    6,                               // free memory
    7,                               // all memory
    5, b'n', b'o', b'd', b'e', b'1', // host
    8,                               // threads
    5, b'0', b'.', b'1', b'.', b'0', // version of the program
];

#[test]
fn control_responses_are_written_and_read() {
    let hello = Hello {
        version: 2,
        data_id: 5,
        session: Some(SessionId { data_id: 5, number: 300 }),
        session_lease_ms: 300,
        shard: Shard::new(2, 4).unwrap(),
        epoch: 1,
        slots: vec![(7, 7), (4096, 8191)],
        partitions: 64,
        store: "scc".to_owned(),
        keys: 300,
        memory_free_bytes: 6,
        memory_total_bytes: 7,
        host: "node1".to_owned(),
        threads: 8,
        program: "0.1.0".to_owned(),
    };
    let responses: [(ControlResponse, &[u8]); 5] = [
        (ControlResponse::Hello(Box::new(hello)), HELLO),
        (ControlResponse::Pong { data_id: 5 }, &[1, 5]),
        (ControlResponse::Barrier { arrived: 300 }, &[2, 0xac, 0x02]),
        (ControlResponse::Closed, &[3]),
        (ControlResponse::Refused("no".to_owned()), &[4, 2, b'n', b'o']),
    ];
    for (response, body) in responses {
        let written = Ok(Response::Control(response.clone()));
        let read = assert_response(written, &control_frame(kind::CONTROL_REPLY, body));
        assert_eq!(read.unwrap(), Response::Control(response));
    }
}

// Programs of other versions.

/// The first frame of a program of version 1, which no longer exists.
#[rustfmt::skip]
const HELLO_1: &[u8] = &[
    15, 0, 0, 0,            // 15 bytes follow
    1,                      // version
    2,                      // kind: control request
    0, 0,                   // zero
    1, 2, 3, 4, 5, 6, 7, 8, // request id
    0, 1, 1,                // hello; opens a session; sends repeats once
];

/// An error of the whole connection, as version 1 reads it.
#[rustfmt::skip]
const CONNECTION_ERROR_1: &[u8] = &[
    16, 0, 0, 0,            // 16 bytes follow
    1,                      // version
    6,                      // kind: error
    0, 0,                   // zero
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // the whole connection
    b'b', b'u', b's', b'y', // UTF-8 text
];

/// What a server makes of a peer's first bytes, and the version of its error, which says `busy`.
fn greet(first: &[u8]) -> (Result<bool, FrameError>, u8) {
    let (mut codec, mut out) = (ServerCodec::new(BufferPool::default()), BytesMut::new());
    let decoded = codec.decode(&mut BytesMut::from(first)).map(|request| request.is_some());
    let error = ServerError::new(std::io::ErrorKind::Other, "busy".to_owned());
    let response = tarpc::Response { request_id: CONNECTION_ERROR_ID, message: Err(error) };
    codec.encode(response, &mut out).unwrap();
    let version = std::mem::replace(&mut out[4], 1);
    assert_eq!(&out[..], CONNECTION_ERROR_1, "versions differ in nothing else");
    (decoded, version)
}

#[test]
fn a_hello_of_version_1_is_refused_so_that_its_program_can_read_why() {
    let (refused, error_version) = greet(HELLO_1);
    let error = refused.unwrap_err();
    assert!(matches!(error, FrameError::Version { got: 1 }), "{error}");
    let text = error.to_string();
    assert!(text.contains("version 1,") && text.contains("versions 2 to 2;"), "{text}");
    assert_eq!(error_version, 1);
}

#[test]
fn other_peers_are_answered_in_this_version() {
    let mut hello = HELLO_1.to_vec();
    hello[4] = 7;
    for (first, version) in [(&hello[..], 7), (b"GET / HTTP/1.1\r\n", b'/'), (&[0xa5; 64], 0xa5)] {
        let (refused, error_version) = greet(first);
        let error = refused.unwrap_err();
        assert!(matches!(error, FrameError::Version { got } if got == version), "{error}");
        assert_eq!(error_version, 2);
    }
    // Those of this version, and those who have said nothing.
    assert!(matches!(greet(&control_frame(kind::CONTROL_REQUEST, &[0, 2, 2, 0])), (Ok(true), 2)));
    assert!(matches!(greet(&[]), (Ok(false), 2)));
}

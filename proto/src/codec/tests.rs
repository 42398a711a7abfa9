use bytes::BufMut;
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};
use model::slots::Shard;
use proptest::collection::vec;
use proptest::prelude::*;
use tarpc::context;

use super::*;
use crate::control::Hello;
use crate::frame::{VERSIONS, VersionSpan};
use crate::limits::DETAIL_BYTES_MAX;
use crate::reply::{self, ReplyHeader};
use crate::testing::{config, damaged, damages};

fn client() -> ClientCodec {
    ClientCodec::new(Arc::default())
}

fn server() -> ServerCodec {
    ServerCodec::new(BufferPool::default())
}

/// What a client sends, comparable.
#[derive(Clone, Debug, PartialEq)]
enum Sent {
    Request(u64, Request),
    Cancel(u64),
}

impl Sent {
    fn from_message(message: ClientMessage<Request>) -> Self {
        match message {
            ClientMessage::Request(request) => Self::Request(request.id, request.message),
            ClientMessage::Cancel { request_id, .. } => Self::Cancel(request_id),
            other => panic!("an unexpected message: {other:?}"),
        }
    }

    fn into_message(self) -> ClientMessage<Request> {
        let context = context::current();
        match self {
            Self::Request(id, message) => {
                ClientMessage::Request(tarpc::Request { context, id, message })
            }
            Self::Cancel(request_id) => {
                ClientMessage::Cancel { trace_context: context.trace_context, request_id }
            }
        }
    }
}

/// What a server answers, comparable.
#[derive(Clone, Debug, PartialEq)]
struct Answered {
    id: u64,
    answer: Answer,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Batch(Vec<u8>),
    Control(ControlResponse),
    Error(String),
}

impl Answered {
    fn from_response(response: tarpc::Response<Response>) -> Self {
        let answer = match response.message {
            Ok(Response::Batch(frame)) => Answer::Batch(frame[FRAME_HEADER_BYTES..].to_vec()),
            Ok(Response::Control(control)) => Answer::Control(control),
            Err(error) => Answer::Error(error.detail),
        };
        Self { id: response.request_id, answer }
    }

    fn into_response(self) -> tarpc::Response<Response> {
        let message = match self.answer {
            Answer::Batch(body) => {
                let mut frame = BytesMut::zeroed(FRAME_HEADER_BYTES);
                frame.put_slice(&body);
                Ok(Response::Batch(frame))
            }
            Answer::Control(control) => Ok(Response::Control(control)),
            Answer::Error(detail) => Err(ServerError::new(io::ErrorKind::Other, detail)),
        };
        tarpc::Response { request_id: self.id, message }
    }
}

fn sent_bytes(messages: &[Sent]) -> BytesMut {
    let (mut codec, mut bytes) = (client(), BytesMut::new());
    for message in messages {
        codec.encode(message.clone().into_message(), &mut bytes).expect("the message is small");
    }
    bytes
}

fn answered_bytes(answers: &[Answered]) -> BytesMut {
    let (mut codec, mut bytes) = (server(), BytesMut::new());
    for answer in answers {
        codec.encode(answer.clone().into_response(), &mut bytes).expect("the answer is small");
    }
    bytes
}

/// All items of a stream whose bytes arrive in pieces of these lengths, over and over.
fn decode_stream<D: Decoder<Error = FrameError>>(
    mut codec: D,
    bytes: &[u8],
    pieces: &[usize],
) -> Result<Vec<D::Item>, FrameError> {
    let (mut buffer, mut rest, mut items) = (BytesMut::new(), bytes, Vec::new());
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*pieces.next().expect("there are some")));
        buffer.extend_from_slice(piece);
        rest = after;
        while let Some(item) = codec.decode(&mut buffer)? {
            items.push(item);
        }
    }
    while let Some(item) = codec.decode_eof(&mut buffer)? {
        items.push(item);
    }
    Ok(items)
}

fn requests_in(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Sent>, FrameError> {
    let messages = decode_stream(server(), bytes, pieces)?;
    Ok(messages.into_iter().map(Sent::from_message).collect())
}

fn answers_in(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Answered>, FrameError> {
    let responses = decode_stream(client(), bytes, pieces)?;
    Ok(responses.into_iter().map(Answered::from_response).collect())
}

/// A frame made by hand.
fn raw_frame(kind: u8, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32_le(12 + body.len() as u32);
    frame.put_slice(&[VERSIONS.least, kind, 0, 0]);
    frame.put_u64_le(77);
    frame.put_slice(body);
    frame
}

fn ping() -> BytesMut {
    sent_bytes(&[Sent::Request(77, Request::Control(ControlRequest::Ping))])
}

/// How many bytes of a frame had arrived when its stream ended.
fn cut_off_at<T>(outcome: &Result<T, FrameError>) -> Option<usize> {
    match outcome {
        Err(FrameError::CutOff { got }) => Some(*got),
        _ => None,
    }
}

// Random streams.

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..100), 1 => vec(any::<u8>(), 1000..3000)]
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<(u64, u64)>().prop_map(|(data_id, number)| SessionId { data_id, number })
}

fn control_request() -> impl Strategy<Value = ControlRequest> {
    prop_oneof![
        Just(ControlRequest::Ping),
        (any::<(u8, u8)>(), proptest::option::of(any::<bool>())).prop_map(
            |((least, most), send_repeats_once)| ControlRequest::Hello {
                versions: VersionSpan { least, most },
                open_session: send_repeats_once
                    .map(|send_repeats_once| SessionOptions { send_repeats_once }),
            }
        ),
        (any::<(u64, u32, u32)>(), ".{0,40}").prop_map(
            |((run_id, participant, participants), name)| ControlRequest::Barrier {
                run_id,
                name,
                participant,
                participants,
            }
        ),
        (session(), any::<u32>())
            .prop_map(|(session, lane)| ControlRequest::CloseLane { session, lane }),
        session().prop_map(|session| ControlRequest::CloseSession { session }),
    ]
}

fn control_response() -> impl Strategy<Value = ControlResponse> {
    let slots = vec(any::<(u16, u16)>(), 0..20);
    let hello = (any::<[u64; 5]>(), any::<[u32; 3]>(), proptest::option::of(session()), ".{0,20}");
    prop_oneof![
        any::<u64>().prop_map(|data_id| ControlResponse::Pong { data_id }),
        any::<u32>().prop_map(|arrived| ControlResponse::Barrier { arrived }),
        Just(ControlResponse::Closed),
        ".{0,40}".prop_map(ControlResponse::Refused),
        (any::<u8>(), slots, hello).prop_map(|(version, slots, (longs, words, session, text))| {
            ControlResponse::Hello(Box::new(Hello {
                version,
                data_id: longs[0],
                session,
                session_lease_ms: longs[1],
                shard: Shard::new(words[0] % 5 + 1, 5).unwrap(),
                epoch: words[1],
                slots,
                partitions: words[2],
                store: text.clone(),
                keys: longs[2],
                memory_free_bytes: longs[3],
                memory_total_bytes: longs[4],
                host: text.clone(),
                threads: words[0],
                program: text,
            }))
        }),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let request = prop_oneof![
        body().prop_map(|body| Request::Batch(Bytes::from(body))),
        control_request().prop_map(Request::Control),
    ];
    prop_oneof![
        4 => (any::<u64>(), request).prop_map(|(id, request)| Sent::Request(id, request)),
        1 => any::<u64>().prop_map(Sent::Cancel),
    ]
}

fn answered() -> impl Strategy<Value = Answered> {
    let answer = prop_oneof![
        body().prop_map(Answer::Batch),
        control_response().prop_map(Answer::Control),
        ".{0,40}".prop_map(Answer::Error),
    ];
    (0..CONNECTION_ERROR_ID, answer).prop_map(|(id, answer)| Answered { id, answer })
}

/// Lengths of pieces: often single bytes, sometimes several frames at once.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        Just(vec![usize::MAX]),
        vec(prop_oneof![1..20usize, 1..5000usize], 1..20),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests_survive_however_their_bytes_arrive(
        messages in vec(sent(), 0..8),
        pieces in pieces(),
    ) {
        let bytes = sent_bytes(&messages);
        prop_assert_eq!(requests_in(&bytes, &pieces).unwrap(), messages);
    }

    #[test]
    fn answers_survive_however_their_bytes_arrive(
        answers in vec(answered(), 0..8),
        pieces in pieces(),
    ) {
        let bytes = answered_bytes(&answers);
        prop_assert_eq!(answers_in(&bytes, &pieces).unwrap(), answers);
    }

    #[test]
    fn a_stream_cut_off_inside_a_frame_is_an_error(message in sent(), answer in answered()) {
        let bytes = sent_bytes(&[message]);
        for length in 1..bytes.len() {
            let end = requests_in(&bytes[..length], &[usize::MAX]);
            prop_assert_eq!(cut_off_at(&end), Some(length));
        }
        let bytes = answered_bytes(&[answer]);
        for length in 1..bytes.len() {
            let end = answers_in(&bytes[..length], &[usize::MAX]);
            prop_assert_eq!(cut_off_at(&end), Some(length));
        }
    }

    #[test]
    fn damaged_streams_do_not_panic_and_do_not_depend_on_how_they_arrive(
        messages in vec(sent(), 1..4),
        answers in vec(answered(), 1..4),
        damages in damages(),
        pieces in pieces(),
    ) {
        let told = |error: FrameError| error.to_string();
        let bytes = damaged(&sent_bytes(&messages), &damages);
        let whole = requests_in(&bytes, &[usize::MAX]).map_err(told);
        prop_assert_eq!(requests_in(&bytes, &pieces).map_err(told), whole);
        let bytes = damaged(&answered_bytes(&answers), &damages);
        let whole = answers_in(&bytes, &[usize::MAX]).map_err(told);
        prop_assert_eq!(answers_in(&bytes, &pieces).map_err(told), whole);
    }

    #[test]
    fn garbage_is_refused(
        garbage in vec(any::<u8>(), 1..200),
        kind in kind::BATCH_REQUEST..=kind::ERROR,
        pieces in pieces(),
    ) {
        prop_assert!(requests_in(&garbage, &pieces).is_err());
        prop_assert!(answers_in(&garbage, &pieces).is_err());
        // Garbage that gets further: a right header, then a body of another kind's shape.
        let frame = raw_frame(kind, &garbage);
        let _ = requests_in(&frame, &pieces);
        let _ = answers_in(&frame, &pieces);
    }
}

// Reject twins by name.

#[test]
fn garbage_bytes_are_another_version() {
    let error = requests_in(b"GET / HTTP/1.1\r\n\r\n", &[1]).unwrap_err();
    assert!(matches!(error, FrameError::Version { got: b'/' }), "{error}");
    assert!(error.to_string().contains("same version"), "{error}");
}

#[test]
fn another_version_is_refused() {
    for version in [0, VERSIONS.least - 1, VERSIONS.most + 1, 255] {
        let mut frame = ping();
        frame[VERSION_AT] = version;
        let error = requests_in(&frame, &[usize::MAX]).unwrap_err();
        assert!(matches!(error, FrameError::Version { got } if got == version));
    }
}

#[test]
fn each_side_takes_its_own_kinds_only() {
    const SERVER_KINDS: [u8; 3] = [kind::BATCH_REQUEST, kind::CONTROL_REQUEST, kind::CANCEL];
    const CLIENT_KINDS: [u8; 3] = [kind::BATCH_REPLY, kind::CONTROL_REPLY, kind::ERROR];
    for kind in 0..=u8::MAX {
        let frame = raw_frame(kind, &[]);
        let unexpected =
            |error: FrameError| matches!(error, FrameError::Kind { kind: got } if got == kind);
        let taken_by_server = !requests_in(&frame, &[usize::MAX]).is_err_and(unexpected);
        assert_eq!(taken_by_server, SERVER_KINDS.contains(&kind), "{kind}");
        let taken_by_client = !answers_in(&frame, &[usize::MAX]).is_err_and(unexpected);
        assert_eq!(taken_by_client, CLIENT_KINDS.contains(&kind), "{kind}");
    }
}

#[test]
fn reserved_bytes_are_zero() {
    for offset in [6, 7] {
        let mut frame = ping();
        frame[offset] = 1;
        let error = requests_in(&frame, &[usize::MAX]).unwrap_err();
        assert!(matches!(error, FrameError::Reserved));
    }
}

#[test]
fn the_end_between_frames_is_no_error() {
    assert_eq!(requests_in(&[], &[1]).unwrap(), []);
    assert_eq!(requests_in(&ping(), &[1]).unwrap().len(), 1);
    let error = requests_in(&ping()[..5], &[1]).unwrap_err();
    assert!(matches!(error, FrameError::CutOff { got: 5 }));
}

#[test]
fn control_messages_with_trailing_bytes_are_refused() {
    let refused = |outcome: Result<(), FrameError>, part: &str| {
        let error = outcome.unwrap_err();
        assert!(matches!(error, FrameError::Control(_)));
        assert!(error.to_string().contains(part), "{error}");
    };
    let request = postcard::to_stdvec(&ControlRequest::Ping).unwrap();
    let frame = raw_frame(kind::CONTROL_REQUEST, &[&request[..], &[0, 0]].concat());
    refused(requests_in(&frame, &[9]).map(drop), "2 bytes follow");
    let response = postcard::to_stdvec(&ControlResponse::Closed).unwrap();
    let frame = raw_frame(kind::CONTROL_REPLY, &[&response[..], &[0]].concat());
    refused(answers_in(&frame, &[9]).map(drop), "1 bytes follow");
    // No such variant, an empty body, a string longer than the message.
    for body in [&[99][..], &[], &[4, 0xff, 0xff, 0xff, 0xff, 0x0f, b'x']] {
        refused(answers_in(&raw_frame(kind::CONTROL_REPLY, body), &[9]).map(drop), "decoded");
    }
}

#[test]
fn a_hello_of_a_shard_that_is_none_is_refused() {
    let shard = Shard::new(2, 4).unwrap();
    let hello = Hello::of(shard, 5, 64);
    assert_eq!((hello.version, hello.data_id, hello.partitions), (VERSIONS.least, 5, 64));
    assert_eq!((hello.shard, &hello.slots[..]), (shard, &[(4096, 8191)][..]));
    let body = postcard::to_stdvec(&ControlResponse::Hello(Box::new(hello))).unwrap();
    let at = body.windows(2).position(|bytes| bytes == [2, 4]).unwrap();
    for (index, count, is_shard) in
        [(2, 4, true), (4, 4, true), (0, 4, false), (5, 4, false), (0, 0, false), (1, 0, false)]
    {
        let mut body = body.clone();
        body[at..at + 2].copy_from_slice(&[index, count]);
        let read = answers_in(&raw_frame(kind::CONTROL_REPLY, &body), &[9]);
        assert_eq!(read.is_ok(), is_shard, "{index}/{count}");
        assert!(read.err().is_none_or(|error| matches!(error, FrameError::Control(_))));
    }
}

#[test]
fn a_control_message_over_the_limit_is_not_sent() {
    let refused = |bytes: usize| tarpc::Response {
        request_id: 1,
        message: Ok(Response::Control(ControlResponse::Refused("x".repeat(bytes)))),
    };
    let mut out = BytesMut::new();
    // The variant's number and the text's length take four bytes.
    let error = server().encode(refused(CONTROL_BYTES_MAX - 3), &mut out).unwrap_err();
    assert!(matches!(error, FrameError::Length { .. }));
    assert!(out.is_empty());
    server().encode(refused(CONTROL_BYTES_MAX - 4), &mut out).unwrap();
    assert_eq!(answers_in(&out, &[1 << 12]).unwrap().len(), 1);
}

#[test]
fn errors_are_of_one_request_or_of_the_connection() {
    let error = |id, text: &str| {
        answers_in(&answered_bytes(&[Answered { id, answer: Answer::Error(text.into()) }]), &[7])
    };
    let answer = Answer::Error("too busy".into());
    assert_eq!(error(5, "too busy").unwrap(), [Answered { id: 5, answer }]);
    let ended = error(CONNECTION_ERROR_ID, "too many connections").unwrap_err();
    assert!(matches!(&ended, FrameError::Peer(text) if text == "too many connections"), "{ended}");
    // A long text is cut between characters, so that the frame is taken.
    let long = format!("x{}", "\u{fc}".repeat(DETAIL_BYTES_MAX));
    let answer = Answer::Error(long[..DETAIL_BYTES_MAX - 1].to_owned());
    assert_eq!(error(5, &long).unwrap(), [Answered { id: 5, answer }]);
    let frame = raw_frame(kind::ERROR, &[0xff]);
    assert!(matches!(answers_in(&frame, &[7]).unwrap_err(), FrameError::Control(_)));
}

// Memory.

#[test]
fn a_body_shares_the_memory_that_it_arrived_in() {
    let mut buffer = sent_bytes(&[Sent::Request(1, Request::Batch(Bytes::from(vec![7; 1000])))]);
    let address = buffer[FRAME_HEADER_BYTES..].as_ptr();
    let item = server().decode(&mut buffer).unwrap().unwrap();
    let Sent::Request(1, Request::Batch(body)) = Sent::from_message(item) else {
        panic!("it was a batch");
    };
    assert_eq!((body.as_ptr(), body.len()), (address, 1000));
}

#[test]
fn a_reply_becomes_the_buffer_that_is_sent_and_the_old_one_is_spare() {
    let header = ReplyHeader { data_id: 1, number: 2, epoch: 3 };
    let reply = || reply::refuse(&header, Refusal::Throttled, "try again later");
    let spare = BufferPool::default();
    let mut codec = ServerCodec::new(spare.clone());
    let answer = |frame| tarpc::Response { request_id: 9, message: Ok(Response::Batch(frame)) };

    let mut out = BytesMut::with_capacity(5_000);
    let first = reply();
    let (address, length) = (first.as_ptr(), first.len());
    codec.encode(answer(first), &mut out).unwrap();
    assert_eq!((out.as_ptr(), out.len()), (address, length));
    assert_eq!(spare.take().capacity(), 5_000);
    assert_eq!(spare.take().capacity(), 0, "it is taken");

    // Behind unsent bytes the reply is copied, and its own buffer is spare.
    let second = reply();
    let capacity = second.capacity();
    codec.encode(answer(second), &mut out).unwrap();
    assert_eq!(out.len(), 2 * length);
    assert_eq!(spare.take().capacity(), capacity);
    let answers = answers_in(&out, &[usize::MAX]).unwrap();
    assert_eq!(answers[0], answers[1]);
    let frame = BytesMut::from(&out[..length]).freeze();
    let decoded = crate::reply::Reply::decode(frame).unwrap();
    assert_eq!(decoded.refusal(), Some((Refusal::Throttled, "try again later")));
}

/// Frames of these many bytes of body, as a client reads them that gets `step` bytes at a time:
/// their bodies, and the addresses of their buffers.
fn read_in_steps(sizes: &[usize], step: usize, pool: &BufferPool) -> Vec<(Vec<u8>, *const u8)> {
    let mut codec = ClientCodec::with_buffers(Arc::default(), pool.clone());
    let fill = |size: usize| (0..size).map(|at| (at * 7 / 3) as u8).collect();
    let sent: Vec<Answered> =
        (sizes.iter()).map(|size| Answered { id: 1, answer: Answer::Batch(fill(*size)) }).collect();
    let sent = answered_bytes(&sent);
    let mut source = BytesMut::with_capacity(64 << 10);
    let mut read = Vec::new();
    let mut at = 0;
    while read.len() < sizes.len() {
        source.reserve(1);
        let room = source.capacity() - source.len();
        let end = sent.len().min(at + step.min(room));
        source.extend_from_slice(&sent[at..end]);
        at = end;
        while let Some(response) = codec.decode(&mut source).unwrap() {
            let Ok(Response::Batch(frame)) = response.message else { panic!("a batch was sent") };
            let address = frame.as_ptr();
            let bytes = pool.share(frame);
            read.push((bytes[FRAME_HEADER_BYTES..].to_vec(), address));
        }
    }
    assert!(source.is_empty());
    for (size, (body, _)) in sizes.iter().zip(&read) {
        assert!(*body == fill(*size), "a body of {size} bytes");
    }
    read
}

#[test]
fn large_replies_arrive_whole_and_use_one_buffer_again() {
    let pool = BufferPool::default();
    let sizes = [300_000, 10, 300_100, 299_000, 65_000, 66_000, 0, 301_000, 40];
    for step in [1000, 4096, 70_000, usize::MAX] {
        let read = read_in_steps(&sizes, step, &pool);
        // The first frame may be announced by anyone, so it gets no memory in advance.
        assert_eq!(read[2].1, read[3].1, "{step} bytes at a time");
        assert_eq!(read[3].1, read[7].1, "{step} bytes at a time");
    }
    let small = read_in_steps(&[1000; 20], 500, &BufferPool::default());
    assert_eq!(small.len(), 20);
}

// What the codec tells besides.

#[test]
fn a_client_counts_the_bytes_that_cross_the_wire() {
    let wire = Arc::<WireBytes>::default();
    let mut codec = ClientCodec::new(wire.clone());
    let mut out = BytesMut::new();
    codec.encode(Sent::Cancel(1).into_message(), &mut out).unwrap();
    codec
        .encode(
            Sent::Request(2, Request::Batch(Bytes::from_static(b"body"))).into_message(),
            &mut out,
        )
        .unwrap();
    assert_eq!((wire.sent(), wire.received()), (16 + 20, 0));
    let mut input = answered_bytes(&[
        Answered { id: 1, answer: Answer::Batch(vec![0; 32]) },
        Answered { id: 2, answer: Answer::Error("no".to_owned()) },
    ]);
    while codec.decode(&mut input).unwrap().is_some() {}
    assert_eq!((wire.sent(), wire.received()), (16 + 20, 48 + 18));
}

#[test]
fn requests_are_named_and_handlers_get_the_deadline_of_the_server() {
    use tarpc::RequestName;
    assert_eq!(Request::Batch(Bytes::new()).name(), "batch");
    assert_eq!(Request::Control(ControlRequest::Ping).name(), "control");
    let earliest = Instant::now() + HANDLER_DEADLINE;
    let item = server().decode(&mut ping()).unwrap().unwrap();
    let ClientMessage::Request(request) = item else { panic!("a ping is a request") };
    assert!((earliest..=Instant::now() + HANDLER_DEADLINE).contains(&request.context.deadline));
}

//! What the interface of orders allows, shown by two that are no product: one applies at once and
//! answers late, as a journal does; one applies late, as a replicated log does. Both give nothing
//! until they are told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::Engine;
use futures::FutureExt;
use futures::future::BoxFuture;
use kvs_client::{Client, Config, Connector, Endpoint, Outcome, Stream};
use kvs_server::config::ShardConfig;
use kvs_server::connection::{self, WAITING_BYTES_MAX, WAITING_MAX};
use kvs_server::counters::Counters;
use kvs_server::environment::SystemEnvironment;
use kvs_server::order::memory::{Memory, RECORD_BYTES_TOTAL};
use kvs_server::order::{Answer, Order, Request};
use kvs_server::service::Service;
use model::operation::{Action, Operation};
use model::session::{SessionId, SessionOptions};
use model::slot::slot_of;
use proto::batch::{BatchHeader, GroupEncoder, assemble};
use proto::codec::{ClientCodec, Request as Message, Response};
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::VERSIONS;
use proto::reply::Reply;
use store::{AnyStore, StoreKind};
use tarpc::ClientMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

/// What no step of a test takes, short of a hang.
const HANG: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 4;

/// When an order does what it puts off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    Answers,
    Applies,
}

/// Puts off what it is asked from the moment on at which it is shut.
struct LateOrder {
    memory: Arc<Memory>,
    late: Late,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    put_off: VecDeque<Box<dyn FnOnce() + Send>>,
}

impl Order for LateOrder {
    type Store = AnyStore;

    fn engine(&self) -> &Engine<AnyStore> {
        self.memory.engine()
    }

    fn submit<R: Request>(&self, request: R) -> Answer<R> {
        let mut state = self.state.lock().unwrap();
        if !state.is_shut {
            return self.memory.submit(request);
        }
        let (sender, receiver) = oneshot::channel();
        let memory = Arc::clone(&self.memory);
        let answer = move |answer| match answer {
            // Who has left waits no longer.
            Answer::Now(request) => drop(sender.send(request)),
            Answer::Later(_) => unreachable!("memory answers at once"),
        };
        state.put_off.push_back(match self.late {
            Late::Answers => {
                let applied = memory.submit(request);
                Box::new(move || answer(applied))
            }
            Late::Applies => Box::new(move || answer(memory.submit(request))),
        });
        Answer::Later(receiver)
    }
}

impl LateOrder {
    fn shut(&self) {
        self.state.lock().unwrap().is_shut = true;
    }

    /// How much is put off.
    fn put_off(&self) -> usize {
        self.state.lock().unwrap().put_off.len()
    }

    /// Waits until so much is put off.
    async fn puts_off(&self, expected: usize) {
        let become_so = async {
            while self.put_off() != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, become_so).await.expect("requests arrive");
    }

    /// Does what was put off first.
    fn release_one(&self) {
        let first = self.state.lock().unwrap().put_off.pop_front().expect("something is put off");
        first();
    }

    /// Does all that was put off, and puts off nothing more.
    fn open(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_shut = false;
        state.put_off.drain(..).for_each(|first| first());
    }
}

fn service(late: Late) -> Arc<Service<LateOrder>> {
    let config = ShardConfig {
        shard: "1/1".parse().unwrap(),
        store_kind: StoreKind::Partitioned,
        partitions: PARTITIONS,
        threads: 1,
    };
    let store = AnyStore::new(config.store_kind, config.partitions);
    let counters = Arc::new(Counters::default());
    Arc::new(Service::with_order(
        config,
        Arc::new(SystemEnvironment),
        counters,
        store,
        |engine, environment, fatal| {
            let memory = Arc::new(Memory::new(engine, environment, fatal, RECORD_BYTES_TOTAL));
            LateOrder { memory, late, state: Mutex::default() }
        },
    ))
}

/// A connection to the service inside this process, with little room on the way.
fn connect(service: &Arc<Service<LateOrder>>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let stop = CancellationToken::new();
    tokio::spawn(connection::serve(theirs, "a test".to_owned(), Arc::clone(service), stop));
    ours
}

struct ToService(Arc<Service<LateOrder>>);

impl Connector for ToService {
    fn connect(&self, _: &Endpoint) -> BoxFuture<'static, std::io::Result<Box<dyn Stream>>> {
        let stream = connect(&self.0);
        async move { Ok(Box::new(stream) as Box<dyn Stream>) }.boxed()
    }
}

async fn client(service: &Arc<Service<LateOrder>>) -> Client {
    let mut config = Config::new("nowhere:1").unwrap();
    config.connections = 1;
    config.connector = Arc::new(ToService(Arc::clone(service)));
    Client::connect_with(config).await.unwrap()
}

#[tokio::test]
async fn answers_come_in_order_and_not_before_the_order_gives_them() {
    for late in [Late::Answers, Late::Applies] {
        let service = service(late);
        let client = client(&service).await;
        let mut lane = client.lane();
        service.order().shut();
        for round in 0..8 {
            let mut batch = lane.batch(3);
            batch.increment("n", 1).unwrap();
            batch.get("n").unwrap();
            batch.put(format!("k{round}"), "v").unwrap();
            lane.submit(batch).await;
        }
        service.order().puts_off(8).await;
        // A journal's batches have taken effect by now, a replicated log's have not.
        let keys = if late == Late::Answers { 9 } else { 0 };
        assert_eq!(service.keys(), keys, "{late:?}");
        for round in 1..=8_i64 {
            assert!(lane.next().now_or_never().is_none(), "{late:?}: no answer is given yet");
            service.order().release_one();
            let completed = tokio::time::timeout(HANG, lane.next()).await.unwrap().unwrap();
            let outcome = |index| completed.outcomes.get(index).unwrap();
            assert_eq!(outcome(0), Outcome::Counter(round), "{late:?}");
            assert_eq!(outcome(1), Outcome::Value(round.to_string().as_bytes()), "{late:?}");
        }
        assert_eq!(service.keys(), 9);
        service.order().open();
        assert_eq!(client.increment("n", 1).await, Ok(9));
        assert_eq!(service.counters().tally().operations(), 25, "what was answered was counted");
    }
}

/// A control call waits for its turn among the answers of its connection.
#[tokio::test]
async fn a_session_that_opens_late_is_answered_after_what_was_asked_before() {
    let service = service(Late::Applies);
    let mut peer = RawPeer::greet(&service).await;
    service.order().shut();
    let put = peer.put("k", b"v");
    peer.send(Message::Batch(put)).await;
    peer.send(hello(true)).await;
    peer.send(Message::Control(ControlRequest::Ping)).await;
    service.order().puts_off(2).await;
    assert_eq!(service.engine().sessions().count(), 1);
    service.order().open();
    assert!(matches!(peer.receive().await, Response::Batch(_)));
    assert!(matches!(peer.receive().await, Response::Control(ControlResponse::Hello(_))));
    assert!(matches!(peer.receive().await, Response::Control(ControlResponse::Pong { .. })));
    assert_eq!(service.engine().sessions().count(), 2);
}

fn hello(opens_session: bool) -> Message {
    let open_session = opens_session.then_some(SessionOptions { send_repeats_once: false });
    Message::Control(ControlRequest::Hello { versions: VERSIONS, open_session })
}

/// A client that sends without waiting for answers.
struct RawPeer {
    stream: DuplexStream,
    codec: ClientCodec,
    unread: BytesMut,
    session: SessionId,
    number: u64,
    requests: u64,
}

impl RawPeer {
    async fn greet(service: &Arc<Service<LateOrder>>) -> Self {
        let mut peer = Self {
            stream: connect(service),
            codec: ClientCodec::new(Arc::default()),
            unread: BytesMut::new(),
            session: SessionId { data_id: 0, number: 0 },
            number: 0,
            requests: 0,
        };
        peer.send(hello(true)).await;
        let Response::Control(ControlResponse::Hello(hello)) = peer.receive().await else {
            panic!("a hello is answered by one")
        };
        peer.session = hello.session.unwrap();
        peer
    }

    /// A batch that writes one key; numbered one after the other.
    fn put(&mut self, key: &str, value: &[u8]) -> Bytes {
        self.number += 1;
        let header = BatchHeader {
            session: self.session,
            shard: 1,
            lane: 1,
            epoch: 1,
            number: self.number,
            lowest_open: 1,
            first_stamp: 1,
        };
        let mut encoder = GroupEncoder::default();
        let action = Action::Put { value };
        encoder.push(0, &Operation { key: key.as_bytes(), action });
        assemble(&header, &[(slot_of(key.as_bytes()) % PARTITIONS, &encoder)])
    }

    fn frame(&mut self, message: Message) -> BytesMut {
        self.requests += 1;
        let (context, id) = (tarpc::context::current(), self.requests);
        let request = tarpc::Request { context, id, message };
        let mut bytes = BytesMut::new();
        self.codec.encode(ClientMessage::Request(request), &mut bytes).unwrap();
        bytes
    }

    async fn send(&mut self, message: Message) {
        let bytes = self.frame(message);
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn receive(&mut self) -> Response {
        let receive = async {
            loop {
                if let Some(response) = self.codec.decode(&mut self.unread).unwrap() {
                    return response.message.unwrap();
                }
                assert!(self.stream.read_buf(&mut self.unread).await.unwrap() > 0);
            }
        };
        tokio::time::timeout(HANG, receive).await.expect("an answer comes")
    }
}

/// A peer that sends on and on while nothing is answered is not read for ever: neither by the bytes
/// of its requests, nor by their number.
#[tokio::test]
async fn answers_that_are_waited_for_are_bounded() {
    for late in [Late::Answers, Late::Applies] {
        for value_bytes in [1, 1 << 20] {
            let service = service(late);
            let mut peer = RawPeer::greet(&service).await;
            service.order().shut();
            let value = vec![b'v'; value_bytes];
            let most = if value_bytes == 1 { WAITING_MAX } else { WAITING_BYTES_MAX >> 20 };
            let total = most + 200;
            let frames: Vec<BytesMut> = (0..total)
                .map(|_| {
                    let body = peer.put("k", &value);
                    peer.frame(Message::Batch(body))
                })
                .collect();
            let RawPeer { stream, codec, unread, .. } = peer;
            let (mut reader, mut writer) = tokio::io::split(stream);
            let sender = tokio::spawn(async move {
                for frame in frames {
                    writer.write_all(&frame).await.unwrap();
                }
                writer
            });
            service.order().puts_off(most).await;
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                service.order().put_off(),
                most,
                "{late:?}, {value_bytes}: it stops reading"
            );
            assert!(value_bytes == 1 || !sender.is_finished(), "the peer waits");
            service.order().open();
            let (mut codec, mut unread) = (codec, unread);
            let all = async {
                for number in 1..=total as u64 {
                    let response = loop {
                        if let Some(response) = codec.decode(&mut unread).unwrap() {
                            break response.message.unwrap();
                        }
                        assert!(reader.read_buf(&mut unread).await.unwrap() > 0);
                    };
                    let Response::Batch(frame) = response else { panic!("a batch's reply") };
                    let reply = Reply::decode(frame.freeze()).unwrap();
                    assert_eq!((reply.refusal(), reply.header().number), (None, number));
                }
            };
            tokio::time::timeout(HANG, all).await.expect("all are answered, in order");
            sender.await.unwrap();
        }
    }
}

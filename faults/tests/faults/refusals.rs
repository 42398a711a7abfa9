//! What a server refuses, and what the client makes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use kvs_client::{Client, Config, FailureClass, Lane, Outcome};
use kvs_server::environment::SeededEnvironment;
use kvs_server::service::{EPOCH, Service};
use proto::batch::{BatchHeader, GroupEncoder, SessionId, assemble, read_header};
use proto::codec::{BufferPool, ClientCodec, Request, Response, ServerCodec};
use proto::control::{ControlRequest, ControlResponse, SessionOptions};
use proto::operation::{Action, Operation};
use proto::reply::{Refusal, Reply, ReplyHeader, refuse};
use proto::shard_map::{PartitionMap, Place, slot_of};
use tarpc::server::BaseChannel;
use tokio::net::TcpStream;
use tokio::sync::{Notify, RwLock};
use tokio_util::codec::Framed;

use crate::cluster::connect;
use crate::network::{Network, System};
use crate::plan::{Fault, Injected, Plan};
use crate::proxy::Proxy;
use crate::server::{PARTITIONS, Server, service};

/// More than a session lives unused.
const PAST_THE_LEASE: Duration = Duration::from_secs(121);
/// What no step of a test takes, short of a hang.
const HANG: Duration = Duration::from_secs(60);

/// A batch that adds 1 to `c0`.
fn increment(session: SessionId, lane: u32, sequence: u64, lowest_open: u64, by: i64) -> Bytes {
    let key = b"c0";
    let partition = PartitionMap::new(Place::SOLE, PARTITIONS).partition_of(slot_of(key));
    let mut encoder = GroupEncoder::default();
    encoder.push(0, &Operation { key, action: Action::Increment { by } });
    let header =
        BatchHeader { session, lane, epoch: EPOCH, sequence, lowest_open, first_stamp: sequence };
    assemble(&header, &[(partition.expect("it owns all slots"), &encoder)])
}

/// A peer that sends what it likes.
struct RawClient(tarpc::client::Channel<Request, Response>);

impl RawClient {
    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server is there");
        let transport = Framed::new(stream, ClientCodec::new(Arc::default()));
        let client = tarpc::client::new(tarpc::client::Config::default(), transport);
        tokio::spawn(client.dispatch);
        Self(client.client)
    }

    async fn call(&self, request: Request) -> Response {
        self.0.call(tarpc::context::current(), request).await.expect("an answer")
    }

    async fn open_session(&self) -> SessionId {
        let open_session = Some(SessionOptions { send_repeats_once: true });
        let hello = self.call(Request::Control(ControlRequest::Hello { open_session })).await;
        match hello {
            Response::Control(ControlResponse::Hello(hello)) => hello.session.expect("a session"),
            other => panic!("a hello is answered by one: {other:?}"),
        }
    }

    async fn batch(&self, body: Bytes) -> Reply {
        match self.call(Request::Batch(body)).await {
            Response::Batch(frame) => Reply::decode(frame.freeze()).expect("a reply"),
            other => panic!("a batch is answered by a batch's reply: {other:?}"),
        }
    }

    async fn refusal(&self, body: Bytes) -> Option<Refusal> {
        self.batch(body).await.refusal().map(|(refusal, _)| refusal)
    }
}

#[tokio::test]
async fn what_breaks_the_rules_of_a_lane_is_refused_by_type() {
    let environment = Arc::new(SeededEnvironment::new(1));
    let server = Server::start("1/1", "partitioned", Arc::clone(&environment) as _).await;
    let client = RawClient::connect(&server.address).await;
    let session = client.open_session().await;

    let reply = client.batch(increment(session, 1, 1, 1, 5)).await;
    assert_eq!(reply.outcome(0), Outcome::Counter(5));
    let again = client.batch(increment(session, 1, 1, 1, 5)).await;
    assert_eq!(again.outcome(0), Outcome::Counter(5), "the record answers");
    let other_bytes = increment(session, 1, 1, 1, 6);
    assert_eq!(client.refusal(other_bytes).await, Some(Refusal::DifferentBytes));
    let too_high = client.batch(increment(session, 1, 3, 1, 5)).await;
    assert_eq!(too_high.refusal().map(|(refusal, _)| refusal), Some(Refusal::OutOfTurn));
    assert_eq!(too_high.header().sequence, 2, "it says which number it expects");
    assert_eq!(client.refusal(increment(session, 1, 2, 2, 5)).await, None);
    let acknowledged = increment(session, 1, 1, 1, 5);
    assert_eq!(client.refusal(acknowledged).await, Some(Refusal::RecordGone));

    let other_boot = SessionId { boot_id: session.boot_id ^ 1, ..session };
    assert_eq!(client.refusal(increment(other_boot, 1, 3, 3, 5)).await, Some(Refusal::WrongBoot));
    let never_opened = SessionId { number: session.number ^ 1, ..session };
    let refusal = client.refusal(increment(never_opened, 1, 1, 1, 5)).await;
    assert_eq!(refusal, Some(Refusal::SessionExpired));
    environment.advance(PAST_THE_LEASE);
    for _ in 0..2 {
        let refusal = client.refusal(increment(session, 1, 3, 3, 5)).await;
        assert_eq!(refusal, Some(Refusal::SessionExpired), "it is never made anew");
    }

    let session = client.open_session().await;
    let close = Request::Control(ControlRequest::CloseLane { session, lane: 9 });
    assert_eq!(client.call(close).await, Response::Control(ControlResponse::Closed));
    assert_eq!(client.refusal(increment(session, 9, 1, 1, 5)).await, Some(Refusal::LaneClosed));
    let reply = client.batch(increment(session, 1, 1, 1, 0)).await;
    assert_eq!(reply.outcome(0), Outcome::Counter(10), "what was refused had no effect");
}

/// What a scripted server does with a batch.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// What a server does.
    Execute,
    Refuse(Refusal),
    /// Executes it and cuts the connection.
    ExecuteAndCut,
    /// Cuts the connection.
    Cut,
    /// Keeps it, and does not answer.
    Hold,
}

/// A server that follows a script and, when that ends, does what is right.
struct Scripted {
    address: String,
    environment: Arc<SeededEnvironment>,
    service: Arc<Service>,
    held: Arc<Mutex<Vec<Bytes>>>,
    door: Arc<Door>,
}

/// Who wants to open a session must pass here.
#[derive(Default)]
struct Door {
    asked: Notify,
    lock: RwLock<()>,
}

impl Scripted {
    async fn start(steps: &[Step]) -> Self {
        let environment = Arc::new(SeededEnvironment::new(1));
        let service = service("1/1", "partitioned", Arc::clone(&environment) as _);
        let listener = System.bind("127.0.0.1:0").await.expect("a free port");
        let address = System::address(&listener);
        let (held, door) = (Arc::default(), Arc::<Door>::default());
        let script = Arc::new(Mutex::new(VecDeque::from(steps.to_vec())));
        let scripted = Self {
            address,
            environment,
            service: Arc::clone(&service),
            held: Arc::clone(&held),
            door: Arc::clone(&door),
        };
        tokio::spawn(async move {
            while let Ok(stream) = System::accept(&listener).await {
                let (service, script) = (Arc::clone(&service), Arc::clone(&script));
                tokio::spawn(follow(stream, service, script, Arc::clone(&held), Arc::clone(&door)));
            }
        });
        scripted
    }

    async fn client(&self, retry: Duration) -> Client {
        self.client_with(|config| config.retry = retry).await
    }

    async fn client_with(&self, change: impl FnOnce(&mut Config)) -> Client {
        let mut config = Config::new(&self.address).expect("an address");
        config.timeout = Duration::from_millis(200);
        config.connections = 1;
        change(&mut config);
        connect(config).await
    }
}

async fn follow(
    stream: TcpStream,
    service: Arc<Service>,
    script: Arc<Mutex<VecDeque<Step>>>,
    held: Arc<Mutex<Vec<Bytes>>>,
    door: Arc<Door>,
) {
    let transport = Framed::new(stream, ServerCodec::new(BufferPool::default()));
    let mut channel = BaseChannel::<Request, Response, _>::with_defaults(transport);
    while let Some(Ok(tracked)) = channel.next().await {
        let request_id = tracked.request.id;
        let message = match tracked.request.message {
            Request::Control(request) => {
                if matches!(request, ControlRequest::Hello { open_session: Some(_) }) {
                    door.asked.notify_one();
                    drop(door.lock.read().await);
                }
                Response::Control(service.control(request))
            }
            Request::Batch(body) => {
                let step = script.lock().unwrap().pop_front().unwrap_or(Step::Execute);
                match step {
                    Step::Execute => Response::Batch(service.batch(&body).0),
                    Step::Refuse(refusal) => {
                        let header = ReplyHeader {
                            boot_id: service.boot_id(),
                            sequence: read_header(&body).expect("a batch").sequence,
                            epoch: EPOCH,
                        };
                        Response::Batch(refuse(&header, refusal, "as the script says"))
                    }
                    Step::ExecuteAndCut => {
                        drop(service.batch(&body));
                        return;
                    }
                    Step::Cut => return,
                    Step::Hold => {
                        held.lock().unwrap().push(body);
                        continue;
                    }
                }
            }
        };
        if channel.send(tarpc::Response { request_id, message: Ok(message) }).await.is_err() {
            return;
        }
    }
}

async fn submit_increment(lane: &mut Lane) {
    let mut batch = lane.batch(1);
    batch.increment("c0", 1).expect("a short key");
    lane.submit(batch).await;
}

async fn next(lane: &mut Lane) -> Result<Outcome<Bytes>, FailureClass> {
    let completed = tokio::time::timeout(HANG, lane.next()).await.expect("a lane goes on");
    let outcomes = completed.expect("a batch is in flight").outcomes;
    outcomes.shared(0).map_err(|failure| failure.class())
}

/// The first INCR meets the script; the second shows what the first has done.
#[tokio::test]
async fn the_client_turns_each_refusal_into_its_class() {
    use FailureClass::{NotApplied, Unknown};
    use Refusal::{
        DifferentBytes, LaneClosed, Malformed, OutOfTurn, RecordGone, SessionExpired, StaleEpoch,
        Stopping, Throttled, WrongBoot,
    };
    use Step::{Cut, ExecuteAndCut, Refuse};
    let cases: [(&[Step], Result<i64, FailureClass>, i64); 19] = [
        (&[], Ok(1), 2),
        (&[Cut], Ok(1), 2),
        (&[ExecuteAndCut], Ok(1), 2),
        (&[Cut, ExecuteAndCut, Cut], Ok(1), 2),
        (&[Refuse(Throttled)], Ok(1), 2),
        (&[Refuse(OutOfTurn), Refuse(Stopping)], Ok(1), 2),
        (&[Refuse(SessionExpired)], Ok(1), 2),
        (&[Refuse(WrongBoot)], Ok(1), 2),
        (&[Refuse(Malformed)], Err(NotApplied), 1),
        (&[Refuse(StaleEpoch)], Err(NotApplied), 1),
        (&[Refuse(DifferentBytes)], Err(Unknown), 1),
        (&[Refuse(RecordGone)], Err(Unknown), 1),
        (&[Refuse(LaneClosed)], Err(Unknown), 1),
        (&[Cut, Refuse(SessionExpired)], Err(Unknown), 1),
        (&[ExecuteAndCut, Refuse(SessionExpired)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(Malformed)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(DifferentBytes)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(Throttled)], Ok(1), 2),
        (&[ExecuteAndCut, Refuse(OutOfTurn)], Ok(1), 2),
    ];
    for (steps, first, second) in cases {
        let server = Scripted::start(steps).await;
        let client = server.client(HANG).await;
        let mut lane = client.lane();
        submit_increment(&mut lane).await;
        assert_eq!(next(&mut lane).await, first.map(Outcome::Counter), "{steps:?}");
        submit_increment(&mut lane).await;
        assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(second)), "{steps:?}");
    }
}

/// Two batches are on their way on a connection that the server has not read. On the next one the
/// first is refused, so that the second needs another number; the old copy must come to nothing.
#[tokio::test]
async fn a_copy_of_a_batch_that_got_another_number_is_refused() {
    let steps = [Step::Hold, Step::Hold, Step::Refuse(Refusal::Malformed)];
    let server = Scripted::start(&steps).await;
    let client = server.client(HANG).await;
    let mut lane = client.lane();
    submit_increment(&mut lane).await;
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Err(FailureClass::Unknown));
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(1)));
    assert_copies_are_refused(&server);
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(2)));
}

/// A batch that was reported as not applied is on its way when its number is given to another.
#[tokio::test]
async fn a_copy_of_a_batch_that_was_given_up_is_refused() {
    let server = Scripted::start(&[Step::Refuse(Refusal::Throttled), Step::Hold]).await;
    let client = server.client(Duration::ZERO).await;
    let mut lane = client.lane();
    submit_increment(&mut lane).await;
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Err(FailureClass::NotApplied));
    assert_eq!(next(&mut lane).await, Err(FailureClass::NotApplied));
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(1)));
    assert_copies_are_refused(&server);
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(2)));
}

fn assert_copies_are_refused(server: &Scripted) {
    let held = std::mem::take(&mut *server.held.lock().unwrap());
    assert!(!held.is_empty(), "the script kept copies");
    for body in held {
        let reply = Reply::decode(server.service.batch(&body).0.freeze()).expect("a reply");
        let refusal = reply.refusal().map(|(refusal, _)| refusal);
        assert_eq!(refusal, Some(Refusal::LaneClosed));
    }
}

/// A lane is left alone while it opens a session that another lane needs, too.
#[tokio::test]
async fn a_lane_that_is_left_alone_does_not_hold_up_others() {
    let server = Scripted::start(&[]).await;
    let client = server
        .client_with(|config| {
            config.connections = 2;
            config.timeout = HANG;
        })
        .await;
    let (mut one, mut other) = (client.lane(), client.lane());
    server.door.asked.notified().await;
    server.environment.advance(PAST_THE_LEASE);
    let shut = server.door.lock.write().await;
    submit_increment(&mut one).await;
    tokio::select! {
        completed = next(&mut one) => panic!("its session has ended: {completed:?}"),
        () = server.door.asked.notified() => {}
    }
    drop(shut);
    submit_increment(&mut other).await;
    assert_eq!(next(&mut other).await, Ok(Outcome::Counter(1)));
    assert_eq!(next(&mut one).await, Ok(Outcome::Counter(2)));
}

/// A lane that must be closed and whose session has ended meanwhile goes on in a new session.
#[tokio::test]
async fn a_lane_that_was_given_up_survives_the_end_of_its_session() {
    let environment = Arc::new(SeededEnvironment::new(1));
    let server = Server::start("1/1", "partitioned", Arc::clone(&environment) as _).await;
    let injected = Arc::new(Injected::default());
    let plan = Plan::of(&[Fault::DropReply], 1, 1);
    let proxy = Proxy::on_a_free_port(&server.address, plan, Arc::clone(&injected)).await;
    let mut config = Config::new(&proxy.address).expect("an address");
    config.retry = Duration::from_millis(50);
    let client = connect(config).await;
    let mut lane = client.lane();
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Err(FailureClass::Unknown));
    environment.advance(PAST_THE_LEASE);
    injected.pause(true);
    let submitted = tokio::time::timeout(HANG, submit_increment(&mut lane)).await;
    submitted.expect("a lane goes on");
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(2)));
}

//! What a server refuses, and what the client makes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::{Change, Ownership};
use kvs_client::{Client, Config, Failure, FailureClass, Lane, Outcome};
use kvs_server::environment::SeededEnvironment;
use kvs_server::errand::Errand;
use kvs_server::order::{Answer, Order};
use kvs_server::service::Service;
use model::operation::{Action, Operation};
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};
use model::slot::slot_of;
use model::slots::{Partitions, SlotSet};
use proto::batch::{BatchHeader, GroupEncoder, assemble, read_header};
use proto::codec::{ClientCodec, Request, Response};
use proto::control::{ControlRequest, ControlResponse};
use proto::frame::VERSIONS;
use proto::reply::{Reply, ReplyHeader, refuse};
use tokio::net::TcpStream;
use tokio::sync::{Notify, RwLock};
use tokio_util::codec::Framed;

use crate::cluster::connect;
use crate::plan::{Fault, Injected, Plan};
use crate::proxy::Proxy;
use crate::server::{PARTITIONS, Peer, Server, service};

/// More than a session lives unused.
const PAST_THE_LEASE: Duration = Duration::from_secs(121);
/// What no step of a test takes, short of a hang.
const HANG: Duration = Duration::from_secs(60);

/// The key of all tests here.
const KEY: &[u8] = b"c0";

/// A batch of one operation on `c0`.
fn batch_of(header: &BatchHeader, action: Action<'_>) -> Bytes {
    let mut encoder = GroupEncoder::default();
    encoder.push(0, &Operation { key: KEY, action });
    assemble(header, &[(Partitions::new(PARTITIONS).of(slot_of(KEY)), &encoder)])
}

fn header(session: SessionId, lane: u32, number: u64, lowest_open: u64) -> BatchHeader {
    BatchHeader { session, shard: 1, lane, epoch: 1, number, lowest_open, first_stamp: number }
}

/// A batch that adds to `c0`.
fn increment(session: SessionId, lane: u32, number: u64, lowest_open: u64, by: i64) -> Bytes {
    batch_of(&header(session, lane, number, lowest_open), Action::Increment { by })
}

/// A batch that reads `c0` after the batch of this number.
fn read(session: SessionId, lane: u32, after: u64) -> Bytes {
    batch_of(&header(session, lane, after, 1), Action::Get)
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
        let hello = self
            .call(Request::Control(ControlRequest::Hello { versions: VERSIONS, open_session }))
            .await;
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
    assert_eq!(reply.outcome(0), Some(Outcome::Counter(5)));
    let again = client.batch(increment(session, 1, 1, 1, 5)).await;
    assert_eq!(again.outcome(0), Some(Outcome::Counter(5)), "the record answers");
    let other_bytes = increment(session, 1, 1, 1, 6);
    assert_eq!(client.refusal(other_bytes).await, Some(Refusal::DifferentBytes));
    let too_high = client.batch(increment(session, 1, 3, 1, 5)).await;
    assert_eq!(too_high.refusal().map(|(refusal, _)| refusal), Some(Refusal::OutOfTurn));
    assert_eq!(too_high.header().number, 2, "it says which number it expects");
    assert_eq!(client.refusal(increment(session, 1, 2, 2, 5)).await, None);
    let acknowledged = increment(session, 1, 1, 1, 5);
    assert_eq!(client.refusal(acknowledged).await, Some(Refusal::RecordGone));

    let reply = client.batch(read(session, 1, 2)).await;
    assert_eq!(reply.outcome(0), Some(Outcome::Value(&b"10"[..])));
    let too_early = client.batch(read(session, 1, 3)).await;
    assert_eq!(too_early.refusal().map(|(refusal, _)| refusal), Some(Refusal::OutOfTurn));
    assert_eq!(too_early.header().number, 3, "reads take no number");
    assert_eq!(client.refusal(read(session, 1, 1)).await, Some(Refusal::Passed));

    let other_data = SessionId { data_id: session.data_id ^ 1, ..session };
    assert_eq!(client.refusal(increment(other_data, 1, 3, 3, 5)).await, Some(Refusal::OtherData));
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
    let unchanged = Some(Outcome::Counter(10));
    assert_eq!(reply.outcome(0), unchanged, "what was refused had no effect");
}

/// What is sent to the wrong shard, or by an old map, is refused and takes no number; what was
/// applied before is told all the same.
#[tokio::test]
async fn what_is_routed_wrongly_is_refused_by_type() {
    let service = service("1/1", "partitioned", Arc::new(SeededEnvironment::new(1)));
    let server = Server::of(Arc::clone(&service)).await;
    let client = RawClient::connect(&server.address).await;
    let session = client.open_session().await;
    let first = increment(session, 1, 1, 1, 5);
    assert_eq!(client.refusal(first.clone()).await, None);

    let next = header(session, 1, 2, 1);
    let add = Action::Increment { by: 5 };
    let other_shard = batch_of(&BatchHeader { shard: 2, ..next }, add);
    assert_eq!(client.refusal(other_shard).await, Some(Refusal::NoSuchShard));
    for epoch in [0, 2] {
        let reply = client.batch(batch_of(&BatchHeader { epoch, ..next }, add)).await;
        assert_eq!(reply.refusal().map(|(refusal, _)| refusal), Some(Refusal::StaleEpoch));
        assert_eq!(reply.header().epoch, 1, "it says which epoch it knows");
    }
    own(&service, 2, SlotSet::empty());
    assert_eq!(client.refusal(batch_of(&next, add)).await, Some(Refusal::StaleEpoch));
    let by_the_map = BatchHeader { epoch: 2, ..next };
    for action in [add, Action::Get] {
        let number = if action == Action::Get { 1 } else { 2 };
        let body = batch_of(&BatchHeader { number, ..by_the_map }, action);
        assert_eq!(client.refusal(body).await, Some(Refusal::NotOwned), "{action:?}");
    }
    let again = client.batch(first).await;
    assert_eq!(again.outcome(0), Some(Outcome::Counter(5)), "the record answers");

    let mut slots = SlotSet::empty();
    slots.insert(slot_of(KEY)..=slot_of(KEY));
    own(&service, 3, slots);
    let reply = client.batch(batch_of(&BatchHeader { epoch: 3, ..next }, add)).await;
    assert_eq!(reply.outcome(0), Some(Outcome::Counter(10)), "what was refused had no effect");
}

/// Gives a shard these slots.
fn own(service: &Service, epoch: u32, slots: SlotSet) {
    let errand = Errand::new(Change::Own(Ownership { epoch, slots }));
    let Answer::Now(errand) = service.order().submit(errand) else {
        panic!("the order in memory answers at once")
    };
    assert_eq!(errand.result, Ok(()));
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

/// What a scripted server has been told and has seen.
struct Stage {
    environment: Arc<SeededEnvironment>,
    service: Arc<Service>,
    script: Mutex<VecDeque<Step>>,
    held: Mutex<Vec<Bytes>>,
    door: Door,
}

/// Who wants to open a session must pass here.
#[derive(Default)]
struct Door {
    asked: Notify,
    lock: RwLock<()>,
}

/// A server that follows a script and, when that ends, does what is right.
struct Scripted {
    server: Server,
    stage: Arc<Stage>,
}

impl Scripted {
    async fn start(steps: &[Step]) -> Self {
        let environment = Arc::new(SeededEnvironment::new(1));
        let service = service("1/1", "partitioned", Arc::clone(&environment) as _);
        let script = Mutex::new(steps.iter().copied().collect());
        let (held, door) = Default::default();
        let stage = Arc::new(Stage { environment, service, script, held, door });
        let set = Arc::clone(&stage);
        let server = Server::with(move |stream| {
            let stage = Arc::clone(&set);
            async move { follow(stream, &stage).await.unwrap_or_default() }
        });
        Self { server: server.await, stage }
    }

    async fn client(&self, retry: Duration) -> Client {
        self.client_with(|config| config.retry = retry).await
    }

    async fn client_with(&self, change: impl FnOnce(&mut Config)) -> Client {
        let mut config = Config::new(&self.server.address).expect("an address");
        config.timeout = Duration::from_millis(200);
        config.connections = 1;
        change(&mut config);
        connect(config).await
    }
}

/// Serves one peer, until it leaves or the script cuts its connection.
async fn follow(stream: TcpStream, stage: &Stage) -> Option<()> {
    let Stage { service, script, held, door, .. } = stage;
    let mut peer = Peer::new(stream);
    loop {
        let (request_id, request) = peer.next().await?;
        let response = match request {
            Request::Control(request) => {
                if matches!(request, ControlRequest::Hello { open_session: Some(_), .. }) {
                    door.asked.notify_one();
                    drop(door.lock.read().await);
                }
                service.control(request).now()
            }
            Request::Batch(body) => {
                let step = script.lock().unwrap().pop_front().unwrap_or(Step::Execute);
                match step {
                    Step::Execute => service.batch(body, None).0.now(),
                    Step::Refuse(refusal) => {
                        let header = ReplyHeader {
                            data_id: service.engine().data_id(),
                            number: read_header(&body).expect("a batch").number,
                            epoch: 1,
                        };
                        Response::Batch(refuse(&header, refusal, "as the script says"))
                    }
                    Step::ExecuteAndCut => {
                        drop(service.batch(body, None));
                        return None;
                    }
                    Step::Cut => return None,
                    Step::Hold => {
                        held.lock().unwrap().push(body);
                        continue;
                    }
                }
            }
        };
        peer.answer(request_id, response).await?;
    }
}

async fn submit_increment(lane: &mut Lane) {
    let mut batch = lane.batch(1);
    batch.increment(KEY, 1).expect("a short key");
    lane.submit(batch).await;
}

async fn next(lane: &mut Lane) -> Result<Outcome<Bytes>, FailureClass> {
    let completed = tokio::time::timeout(HANG, lane.next()).await.expect("a lane goes on");
    let outcomes = completed.expect("a batch is in flight").outcomes;
    outcomes.shared(0).map_err(|failure| failure.class())
}

async fn submit_read(lane: &mut Lane) {
    let mut batch = lane.batch(1);
    batch.get(KEY).expect("a short key");
    lane.submit(batch).await;
}

/// The first INCR meets the script; the second shows what the first has done.
#[tokio::test]
async fn the_client_turns_each_refusal_into_its_class() {
    use FailureClass::{NotApplied, Unknown};
    use Refusal::{
        DifferentBytes, LaneClosed, Malformed, NoSuchShard, NotOwned, OtherData, OutOfTurn, Passed,
        RecordGone, SessionExpired, StaleEpoch, Stopping, Throttled,
    };
    use Step::{Cut, ExecuteAndCut, Refuse};
    let cases: [(&[Step], Result<i64, FailureClass>, i64); 24] = [
        (&[], Ok(1), 2),
        (&[Cut], Ok(1), 2),
        (&[ExecuteAndCut], Ok(1), 2),
        (&[Cut, ExecuteAndCut, Cut], Ok(1), 2),
        (&[Refuse(Throttled)], Ok(1), 2),
        (&[Refuse(OutOfTurn), Refuse(Stopping)], Ok(1), 2),
        (&[Refuse(SessionExpired)], Ok(1), 2),
        (&[Refuse(OtherData)], Ok(1), 2),
        (&[Refuse(StaleEpoch)], Ok(1), 2),
        (&[Refuse(NotOwned), Refuse(StaleEpoch)], Ok(1), 2),
        (&[Refuse(Malformed)], Err(NotApplied), 1),
        (&[Refuse(NoSuchShard)], Err(NotApplied), 1),
        (&[Refuse(DifferentBytes)], Err(Unknown), 1),
        (&[Refuse(RecordGone)], Err(Unknown), 1),
        (&[Refuse(LaneClosed)], Err(Unknown), 1),
        (&[Refuse(Passed)], Err(Unknown), 1),
        (&[Cut, Refuse(SessionExpired)], Err(Unknown), 1),
        (&[ExecuteAndCut, Refuse(SessionExpired)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(Malformed)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(NoSuchShard)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(DifferentBytes)], Err(Unknown), 2),
        (&[ExecuteAndCut, Refuse(Throttled)], Ok(1), 2),
        (&[ExecuteAndCut, Refuse(OutOfTurn)], Ok(1), 2),
        (&[ExecuteAndCut, Refuse(OtherData)], Ok(1), 2),
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

/// A read follows an INCR and meets the script. It has no effect, so it is repeated where that can
/// help, and it is never unknown but for want of an answer.
#[tokio::test]
async fn the_client_turns_each_refusal_of_reads_into_its_class() {
    use FailureClass::NotApplied;
    use Refusal::{
        Malformed, NoSuchShard, NotOwned, OtherData, OutOfTurn, Passed, SessionExpired, StaleEpoch,
        Stopping, Throttled,
    };
    use Step::{Cut, Execute, ExecuteAndCut, Refuse};
    let cases: [(&[Step], Result<(), FailureClass>); 13] = [
        (&[], Ok(())),
        (&[Cut], Ok(())),
        (&[ExecuteAndCut], Ok(())),
        (&[Refuse(Passed)], Ok(())),
        (&[Cut, Refuse(Passed), Cut], Ok(())),
        (&[Refuse(Throttled)], Ok(())),
        (&[Refuse(OutOfTurn), Refuse(Stopping)], Ok(())),
        (&[Refuse(SessionExpired)], Ok(())),
        (&[Refuse(OtherData)], Ok(())),
        (&[Refuse(StaleEpoch), Refuse(NotOwned)], Ok(())),
        (&[Refuse(NotOwned), Cut], Ok(())),
        (&[Refuse(Malformed)], Err(NotApplied)),
        (&[Refuse(NoSuchShard)], Err(NotApplied)),
    ];
    for (steps, expected) in cases {
        let server = Scripted::start(&[&[Execute], steps].concat()).await;
        let client = server.client(HANG).await;
        let mut lane = client.lane();
        submit_increment(&mut lane).await;
        assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(1)), "{steps:?}");
        submit_read(&mut lane).await;
        let expected = expected.map(|()| Outcome::Value(Bytes::from_static(b"1")));
        assert_eq!(next(&mut lane).await, expected, "{steps:?}");
        submit_increment(&mut lane).await;
        assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(2)), "{steps:?}");
    }
}

/// A server that goes on refusing what is routed to it is given up when the time for that is over,
/// and nothing has happened.
#[tokio::test]
async fn what_finds_no_owner_in_time_is_not_applied() {
    for refusal in [Refusal::StaleEpoch, Refusal::NotOwned] {
        let server = Scripted::start(&vec![Step::Refuse(refusal); 10_000]).await;
        let client = server.client(Duration::from_millis(100)).await;
        let mut lane = client.lane();
        submit_increment(&mut lane).await;
        submit_read(&mut lane).await;
        for _ in 0..2 {
            let completed = tokio::time::timeout(HANG, lane.next()).await.expect("it is given up");
            let outcomes = completed.expect("a batch is in flight").outcomes;
            let failure = outcomes.get(0).expect_err("every batch is refused");
            assert!(matches!(failure, Failure::WrongShard { .. }), "{refusal:?}: {failure}");
            assert_eq!(failure.class(), FailureClass::NotApplied);
        }
        let left = std::mem::take(&mut *server.stage.script.lock().unwrap()).len();
        assert!((9000..=9998).contains(&left), "it asks again, with pauses: {left} steps are left");
        submit_increment(&mut lane).await;
        assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(1)), "{refusal:?}");
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

/// Two batches are on their way on a connection that the server has not read. On the next one it does
/// not own the key of the first, until the time for retries is over, and the second gets its number.
#[tokio::test]
async fn a_copy_of_a_batch_behind_one_that_found_no_owner_is_refused() {
    let steps =
        [&[Step::Hold, Step::Hold][..], &[Step::Refuse(Refusal::NotOwned); 10_000]].concat();
    let server = Scripted::start(&steps).await;
    let client = server.client(Duration::from_millis(300)).await;
    let mut lane = client.lane();
    submit_increment(&mut lane).await;
    let mut batch = lane.batch(1);
    batch.increment(KEY, 10).expect("a short key");
    lane.submit(batch).await;
    let first = next(&mut lane).await;
    assert_eq!(first, Err(FailureClass::NotApplied));
    server.stage.script.lock().unwrap().clear();
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(10)));
    let held = std::mem::take(&mut *server.stage.held.lock().unwrap());
    for body in held {
        drop(server.stage.service.batch(body, None));
    }
    submit_increment(&mut lane).await;
    assert_eq!(next(&mut lane).await, Ok(Outcome::Counter(11)));
}

fn assert_copies_are_refused(server: &Scripted) {
    let held = std::mem::take(&mut *server.stage.held.lock().unwrap());
    assert!(!held.is_empty(), "the script kept copies");
    for body in held {
        let (reply, _) = server.stage.service.batch(body, None);
        let Response::Batch(frame) = reply.now() else { panic!("a batch has a batch's reply") };
        let reply = Reply::decode(frame.freeze()).expect("a reply");
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
    server.stage.door.asked.notified().await;
    server.stage.environment.advance(PAST_THE_LEASE);
    let shut = server.stage.door.lock.write().await;
    submit_increment(&mut one).await;
    tokio::select! {
        completed = next(&mut one) => panic!("its session has ended: {completed:?}"),
        () = server.stage.door.asked.notified() => {}
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

use proto::batch::{GroupEncoder, SessionId, assemble};
use proto::control::SessionOptions;
use proto::operation::{Action, Operation};
use proto::reply::Reply;

use super::*;
use crate::environment::SeededEnvironment;

/// A service with one session, driven without sockets.
struct Bench {
    service: Service,
    environment: Arc<SeededEnvironment>,
    session: SessionId,
}

impl Bench {
    fn new(place: &str, store_kind: &str) -> Self {
        let environment = Arc::new(SeededEnvironment::new(7));
        let config = ServiceConfig {
            place: place.parse().unwrap(),
            store_kind: store_kind.parse().unwrap(),
            partitions: 4,
            threads: 1,
        };
        let statistics = Arc::new(Statistics::default());
        let shared: Arc<dyn Environment> = environment.clone();
        let service = Service::new(config, shared, statistics);
        let options = SessionOptions { send_repeats_once: true };
        let session = service.sessions.open(options, &*environment).unwrap();
        Self { service, environment, session }
    }

    fn header(&self, lane: u32, sequence: u64) -> BatchHeader {
        BatchHeader {
            session: self.session,
            lane,
            epoch: EPOCH,
            sequence,
            lowest_open: 1,
            first_stamp: 100,
        }
    }

    /// Groups operations by partition as a client does. Foreign keys go to partition 0.
    fn body(&self, header: &BatchHeader, operations: &[Operation<'_>]) -> Bytes {
        let mut groups: Vec<GroupEncoder> = Vec::new();
        groups.resize_with(self.service.partitions() as usize, GroupEncoder::default);
        for (index, operation) in operations.iter().enumerate() {
            let partition = self.service.partition_of(operation.key).unwrap_or(0);
            groups[partition as usize].push(index as u64, operation);
        }
        let used: Vec<(u32, &GroupEncoder)> =
            (0u32..).zip(&groups).filter(|(_, group)| !group.is_empty()).collect();
        assemble(header, &used)
    }

    fn send(&mut self, body: &Bytes) -> Reply {
        let (reply, _) = self.service.batch(body);
        Reply::decode(reply.freeze()).expect("a well-formed reply")
    }

    fn apply(&mut self, sequence: u64, operations: &[Operation<'_>]) -> Reply {
        let body = self.body(&self.header(1, sequence), operations);
        self.send(&body)
    }
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Operation<'a> {
    Operation { key, action: Action::Put { value } }
}

fn get(key: &[u8]) -> Operation<'_> {
    Operation { key, action: Action::Get }
}

fn increment(key: &[u8]) -> Operation<'_> {
    Operation { key, action: Action::Increment { by: 1 } }
}

fn refusal(reply: &Reply) -> Option<Refusal> {
    reply.refusal().map(|(refusal, _)| refusal)
}

#[test]
fn a_batch_is_applied_and_counted() {
    for store in ["partitioned", "scc", "mutex"] {
        let mut bench = Bench::new("1/1", store);
        let reply = bench.apply(1, &[put(b"a", b"1"), get(b"a"), increment(b"a"), get(b"a")]);
        assert_eq!(refusal(&reply), None);
        let outcomes: Vec<_> = (0..4).map(|index| reply.outcome(index)).collect();
        let expected = [
            Outcome::Done,
            Outcome::Value(&b"1"[..]),
            Outcome::Counter(2),
            Outcome::Value(&b"2"[..]),
        ];
        assert_eq!(outcomes, expected, "{store}");
        assert_eq!(reply.apply_sequence(0).is_some(), store != "scc");
        let totals = bench.service.statistics.snapshot();
        assert_eq!(totals.operations(), 4);
    }
}

#[test]
fn a_retried_batch_takes_effect_once_and_says_what_it_did() {
    let mut bench = Bench::new("1/1", "partitioned");
    let operations = [increment(b"n"), get(b"n"), put(b"k", b"v")];
    let body = bench.body(&bench.header(1, 1), &operations);
    let first = bench.send(&body);
    let again = bench.send(&body);
    assert!(!first.is_recorded());
    assert!(again.is_recorded());
    let all = |reply: &Reply| -> Vec<String> {
        (0..reply.len()).map(|index| format!("{:?}", reply.outcome(index))).collect()
    };
    // Each mutation's outcome is what it was; reads are to be sent again.
    for (first, again) in all(&first).iter().zip(all(&again)) {
        assert!(*first == again || again == "NotRecorded", "{first} became {again}");
    }
    assert_eq!(all(&again).iter().filter(|outcome| *outcome == "NotRecorded").count(), 1);
    assert_eq!(again.apply_sequence(0), first.apply_sequence(0));
    let count = bench.apply(2, &[get(b"n")]);
    assert_eq!(count.outcome(0), Outcome::Value(&b"1"[..]));
    assert_eq!(bench.service.statistics.snapshot().operations(), 4);
}

#[test]
fn what_is_not_expected_is_refused_without_effect() {
    let mut bench = Bench::new("1/1", "partitioned");
    bench.apply(1, &[put(b"k", b"v")]);
    let write = [put(b"k", b"wrong")];
    let header = bench.header(1, 2);
    let wrong_boot = SessionId { boot_id: header.session.boot_id + 1, ..header.session };
    let unknown = SessionId { number: header.session.number + 1, ..header.session };
    let cases = [
        (BatchHeader { sequence: 3, ..header }, Refusal::OutOfTurn),
        (BatchHeader { sequence: 1, ..header }, Refusal::DifferentBytes),
        (BatchHeader { epoch: EPOCH + 1, ..header }, Refusal::StaleEpoch),
        (BatchHeader { session: wrong_boot, ..header }, Refusal::WrongBoot),
        (BatchHeader { session: unknown, ..header }, Refusal::SessionExpired),
        (BatchHeader { lane: 2, sequence: 2, ..header }, Refusal::OutOfTurn),
    ];
    for (header, expected) in cases {
        let body = bench.body(&header, &write);
        assert_eq!(refusal(&bench.send(&body)), Some(expected));
    }
    let out_of_turn = bench.body(&BatchHeader { sequence: 9, ..header }, &write);
    assert_eq!(bench.send(&out_of_turn).header().sequence, 2, "the expected number is named");
    // No refusal consumed a number, and none had an effect.
    let reply = bench.apply(2, &[get(b"k")]);
    assert_eq!(reply.outcome(0), Outcome::Value(&b"v"[..]));
}

#[test]
fn an_expired_session_stays_expired() {
    let mut bench = Bench::new("1/1", "partitioned");
    let body = bench.body(&bench.header(1, 1), &[increment(b"n")]);
    bench.send(&body);
    bench.environment.advance(LEASE * 2);
    assert_eq!(refusal(&bench.send(&body)), Some(Refusal::SessionExpired));
    assert_eq!(refusal(&bench.send(&body)), Some(Refusal::SessionExpired));
}

#[test]
fn a_malformed_batch_has_no_effect_at_all() {
    let mut bench = Bench::new("1/1", "partitioned");
    let good = bench.body(&bench.header(1, 1), &[put(b"a", b"1"), put(b"b", b"2")]);
    for cut in 0..good.len() {
        let reply = bench.send(&good.slice(..cut));
        assert_eq!(refusal(&reply), Some(Refusal::Malformed), "cut at {cut}");
    }
    let mut trailing = good.to_vec();
    trailing.push(0);
    assert_eq!(refusal(&bench.send(&trailing.into())), Some(Refusal::Malformed));
    assert_eq!(bench.service.keys(), 0);
    assert_eq!(refusal(&bench.send(&good)), None);
    assert_eq!(bench.service.keys(), 2);
}

#[test]
fn a_foreign_key_refuses_its_operation_alone() {
    let mut bench = Bench::new("1/2", "partitioned");
    let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let operations: Vec<_> = keys.iter().map(|key| put(key.as_bytes(), b"v")).collect();
    let reply = bench.apply(1, &operations);
    let refused = (0..100).filter(|&index| reply.outcome(index) == Outcome::WrongShard).count();
    let owned = keys.iter().filter(|key| bench.service.partition_of(key.as_bytes()).is_some());
    let owned = owned.count();
    assert!((20..80).contains(&owned), "both servers own keys");
    assert_eq!(refused, 100 - owned);
    assert_eq!(bench.service.keys(), owned);
    assert_eq!(bench.service.statistics.snapshot().operations(), owned as u64);
}

#[test]
fn values_that_do_not_fit_are_deferred_and_not_counted() {
    let mut bench = Bench::new("1/1", "partitioned");
    let value = vec![7; 1 << 20];
    let other = vec![8; 1 << 20];
    bench.apply(1, &[put(b"a", &value)]);
    bench.apply(2, &[put(b"b", &other)]);
    // Each value differs, so that repeats can't hide that the reply is full.
    let keys: Vec<Vec<u8>> = (0..8).map(|number| format!("k{number}").into_bytes()).collect();
    for (index, key) in keys.iter().enumerate() {
        let mut value = value.clone();
        value[0] = index as u8;
        let reply = bench.apply(3 + index as u64, &[put(key, &value)]);
        assert_eq!(reply.outcome(0), Outcome::Done);
    }
    let before = bench.service.statistics.snapshot().operations();
    let gets: Vec<_> = keys.iter().map(|key| get(key)).collect();
    let reply = bench.apply(11, &gets);
    let deferred = (0..8).filter(|&index| reply.outcome(index) == Outcome::Deferred).count();
    assert!((1..8).contains(&deferred), "{deferred} of 8 MiB did not fit");
    let counted = bench.service.statistics.snapshot().operations() - before;
    assert_eq!(counted, 8 - deferred as u64);
}

#[test]
fn a_barrier_opens_when_all_have_come() {
    let bench = Bench::new("1/1", "partitioned");
    let arrive = |participant, participants| {
        bench.service.control(ControlRequest::Barrier {
            run_id: 5,
            name: "start".to_owned(),
            participant,
            participants,
        })
    };
    assert_eq!(arrive(0, 3), ControlResponse::Barrier { arrived: 1 });
    assert_eq!(arrive(0, 3), ControlResponse::Barrier { arrived: 1 });
    assert_eq!(arrive(2, 3), ControlResponse::Barrier { arrived: 2 });
    assert_eq!(arrive(1, 3), ControlResponse::Barrier { arrived: 3 });
    assert!(matches!(arrive(0, 4), ControlResponse::Refused(_)));
    assert!(matches!(arrive(3, 3), ControlResponse::Refused(_)));
}

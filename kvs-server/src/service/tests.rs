use model::operation::{Action, Operation};
use model::outcome::Outcome;
use model::slot::slot_of;
use model::slots::{Shard, SlotSet};
use proto::batch::{BatchHeader, GroupEncoder, assemble, with_header};
use proto::reply;

use super::*;
use crate::environment::SeededEnvironment;

/// A service with one session, driven without sockets.
struct Bench {
    service: Arc<Service>,
    environment: Arc<SeededEnvironment>,
    session: SessionId,
}

impl Bench {
    fn new(shard: &str, store_kind: &str) -> Self {
        let environment = Arc::new(SeededEnvironment::new(7));
        let config = ShardConfig {
            shard: shard.parse().unwrap(),
            store_kind: store_kind.parse().unwrap(),
            partitions: 4,
            threads: 3,
        };
        let service = Service::new(config, environment.clone(), Arc::default());
        let service = Arc::new(service);
        let hello = greet(&service, VERSIONS, true).unwrap();
        Self { service, environment, session: hello.session.expect("a session was asked for") }
    }

    fn header(&self, lane: u32, number: u64) -> BatchHeader {
        BatchHeader {
            session: self.session,
            shard: self.service.config.shard.index(),
            lane,
            epoch: 1,
            number,
            lowest_open: 1,
            first_stamp: 100,
        }
    }

    /// Groups operations by partition as a client does.
    fn body(&self, header: &BatchHeader, operations: &[Operation<'_>]) -> Bytes {
        let partitions = self.service.engine().partitions();
        let mut groups: Vec<GroupEncoder> = Vec::new();
        groups.resize_with(partitions.count() as usize, GroupEncoder::default);
        for (index, operation) in operations.iter().enumerate() {
            let partition = partitions.of(slot_of(operation.key));
            groups[partition as usize].push(index as u64, operation);
        }
        let used: Vec<(u32, &GroupEncoder)> =
            (0u32..).zip(&groups).filter(|(_, group)| !group.is_empty()).collect();
        assemble(header, &used)
    }

    fn send(&self, body: &Bytes) -> reply::Reply {
        let (reply, _) = self.service.batch(body.clone(), None);
        let Response::Batch(reply) = reply.now() else { panic!("a batch has a batch's reply") };
        reply::Reply::decode(reply.freeze()).expect("a well-formed reply")
    }

    /// Sends operations in lane 1: mutations under this number, reads after it.
    fn apply(&self, number: u64, operations: &[Operation<'_>]) -> reply::Reply {
        self.send(&self.body(&self.header(1, number), operations))
    }

    /// The value of a key, read after this number of lane 1.
    fn get(&self, after: u64, key: &[u8]) -> Option<Vec<u8>> {
        match self.apply(after, &[get(key)]).outcome(0) {
            Some(Outcome::Value(value)) => Some(value.to_vec()),
            Some(Outcome::Missing) => None,
            other => panic!("a GET has a value or none, not {other:?}"),
        }
    }

    fn own(&self, epoch: u32, slots: SlotSet) -> ControlResponse {
        control(self.service.send(Change::Own(Ownership { epoch, slots }), |_, result| {
            answer(result, ControlResponse::Closed)
        }))
    }

    fn operations(&self) -> u64 {
        self.service.counters().tally().operations()
    }
}

fn control(reply: Reply) -> ControlResponse {
    match reply.now() {
        Response::Control(response) => response,
        Response::Batch(_) => panic!("a control call has no batch's reply"),
    }
}

fn greet(service: &Arc<Service>, versions: VersionSpan, opens: bool) -> Result<Hello, String> {
    let open_session = opens.then_some(SessionOptions { send_repeats_once: true });
    match control(service.control(ControlRequest::Hello { versions, open_session })) {
        ControlResponse::Hello(hello) => Ok(*hello),
        ControlResponse::Refused(why) => Err(why),
        other => panic!("a hello is answered or refused, not {other:?}"),
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

fn put_if_absent<'a>(key: &'a [u8], value: &'a [u8]) -> Operation<'a> {
    Operation { key, action: Action::CompareAndSwap { expected: None, value } }
}

fn refusal(reply: &reply::Reply) -> Option<Refusal> {
    reply.refusal().map(|(refusal, _)| refusal)
}

fn outcomes(reply: &reply::Reply) -> Vec<Option<Outcome<&[u8]>>> {
    (0..reply.len()).map(|index| reply.outcome(index)).collect()
}

#[test]
fn a_batch_is_applied_and_counted() {
    for store in ["partitioned", "scc", "mutex"] {
        let bench = Bench::new("1/1", store);
        let reply = bench.apply(1, &[put(b"a", b"1"), get(b"a"), increment(b"a"), get(b"a")]);
        assert_eq!(refusal(&reply), None);
        let expected = [
            Outcome::Done,
            Outcome::Value(&b"1"[..]),
            Outcome::Counter(2),
            Outcome::Value(&b"2"[..]),
        ];
        assert_eq!(outcomes(&reply), expected.map(Some), "{store}");
        assert_eq!(reply.apply_sequence(0).is_some(), store != "scc");
        assert_eq!((reply.header().number, reply.header().epoch), (1, 1));
        let tally = bench.service.counters().tally();
        assert_eq!((tally.operations(), tally.gets, tally.hits), (4, 2, 2));
    }
}

#[test]
fn a_retried_batch_takes_effect_once_and_says_what_it_did() {
    let bench = Bench::new("1/1", "partitioned");
    let operations = [increment(b"n"), get(b"n"), put(b"k", b"v")];
    let body = bench.body(&bench.header(1, 1), &operations);
    let first = bench.send(&body);
    let again = bench.send(&body);
    assert!(!first.is_recorded() && !first.has_deferred());
    assert!(again.is_recorded() && again.has_deferred());
    // Each mutation's outcome is what it was; reads are to be sent again.
    for (first, again) in outcomes(&first).iter().zip(outcomes(&again)) {
        let is_read = matches!(first, Some(Outcome::Value(_)));
        assert!(if is_read { again.is_none() } else { again == *first }, "{first:?} {again:?}");
    }
    assert_eq!(outcomes(&again).iter().filter(|outcome| outcome.is_none()).count(), 1);
    assert_eq!(again.apply_sequence(0), first.apply_sequence(0));
    assert_eq!(bench.get(1, b"n").as_deref(), Some(&b"1"[..]));
    assert_eq!(bench.operations(), 4);
    assert_eq!(bench.service.counters().tally().replayed, 3);
}

/// A digest stands for the operations alone.
#[test]
fn a_retry_may_come_under_another_header_but_not_with_other_operations() {
    let bench = Bench::new("1/1", "partitioned");
    bench.apply(1, &[increment(b"n")]);
    let header = bench.header(1, 2);
    let body = bench.body(&header, &[increment(b"n"), put(b"k", b"v")]);
    bench.send(&body);
    let numbers = BatchHeader { epoch: 9, lowest_open: 2, first_stamp: 7, ..header };
    for changed in [header, BatchHeader { epoch: 0, ..header }, numbers] {
        let again = bench.send(&with_header(&body, &changed));
        assert_eq!((refusal(&again), again.is_recorded()), (None, true), "{changed:?}");
        assert!(outcomes(&again).contains(&Some(Outcome::Counter(2))));
    }
    let others: [&[Operation<'_>]; 4] = [
        &[increment(b"n"), put(b"k", b"w")],
        &[increment(b"n"), put(b"k", b"v"), get(b"k")],
        &[increment(b"n")],
        &[put(b"k", b"v")],
    ];
    for operations in others {
        let other = bench.send(&bench.body(&header, operations));
        assert_eq!(refusal(&other), Some(Refusal::DifferentBytes));
    }
    // Another lane's number is another number.
    let elsewhere = bench.send(&with_header(&body, &BatchHeader { lane: 2, number: 1, ..header }));
    assert_eq!((refusal(&elsewhere), elsewhere.is_recorded()), (None, false));
    assert_eq!(bench.get(2, b"n").as_deref(), Some(&b"3"[..]));
}

#[test]
fn what_is_not_expected_is_refused_without_effect() {
    let bench = Bench::new("1/1", "partitioned");
    bench.apply(1, &[put(b"k", b"v")]);
    let write = [put(b"k", b"wrong")];
    let header = bench.header(1, 2);
    let other_data = SessionId { data_id: header.session.data_id + 1, ..header.session };
    let unknown = SessionId { number: header.session.number + 1, ..header.session };
    let cases = [
        (BatchHeader { number: 3, ..header }, Refusal::OutOfTurn),
        (BatchHeader { number: 1, ..header }, Refusal::DifferentBytes),
        (BatchHeader { epoch: 2, ..header }, Refusal::StaleEpoch),
        (BatchHeader { epoch: 0, ..header }, Refusal::StaleEpoch),
        (BatchHeader { shard: 0, ..header }, Refusal::NoSuchShard),
        (BatchHeader { shard: 2, ..header }, Refusal::NoSuchShard),
        (BatchHeader { session: other_data, ..header }, Refusal::OtherData),
        (BatchHeader { session: unknown, ..header }, Refusal::SessionExpired),
        (BatchHeader { lane: 2, number: 2, ..header }, Refusal::OutOfTurn),
        (BatchHeader { number: 0, ..header }, Refusal::Malformed),
    ];
    for (header, expected) in cases {
        let reply = bench.send(&bench.body(&header, &write));
        assert_eq!(refusal(&reply), Some(expected));
        assert_eq!(reply.header().data_id, bench.service.engine().data_id());
    }
    let out_of_turn = bench.body(&BatchHeader { number: 9, ..header }, &write);
    assert_eq!(bench.send(&out_of_turn).header().number, 2, "the expected number is named");
    assert_eq!(bench.service.engine().sessions().count(), 1);
    // No refusal consumed a number, and none had an effect.
    assert_eq!(bench.get(1, b"k").as_deref(), Some(&b"v"[..]));
    assert_eq!(refusal(&bench.apply(2, &write)), None);
}

#[test]
fn reads_run_after_exactly_the_number_that_they_name_and_use_none() {
    let bench = Bench::new("1/1", "partitioned");
    let reads = |after, lowest_open| {
        let header = BatchHeader { lowest_open, ..bench.header(1, after) };
        bench.send(&bench.body(&header, &[get(b"k")]))
    };
    assert_eq!(reads(0, 1).outcome(0), Some(Outcome::Missing), "also in a lane that is not there");
    let early = reads(1, 1);
    assert_eq!((refusal(&early), early.header().number), (Some(Refusal::OutOfTurn), 1));
    bench.apply(1, &[put(b"k", b"v")]);
    let record_bytes = bench.service.engine().sessions().record_bytes();
    for lowest_open in [1, 1, 2] {
        let reply = reads(1, lowest_open);
        assert_eq!(reply.outcome(0), Some(Outcome::Value(&b"v"[..])));
        assert_eq!((reply.is_recorded(), reply.header().number), (false, 1), "they run each time");
    }
    assert_eq!(bench.service.engine().sessions().record_bytes(), record_bytes);
    let early = reads(2, 1);
    assert_eq!((refusal(&early), early.header().number), (Some(Refusal::OutOfTurn), 2));
    let passed = reads(0, 1);
    assert_eq!((refusal(&passed), passed.header().number), (Some(Refusal::Passed), 0));
    assert_eq!(refusal(&reads(1, 3)), Some(Refusal::Malformed), "nobody holds the reply to that");
    assert_eq!(refusal(&reads(1, 0)), Some(Refusal::Malformed));
    // What reads say of replies is not taken at their word: the record is there.
    assert!(bench.apply(1, &[put(b"k", b"v")]).is_recorded());
    assert_eq!(refusal(&bench.apply(2, &[increment(b"n")])), None, "reads used no number");
    assert_eq!(refusal(&reads(1, 1)), Some(Refusal::Passed));
    assert_eq!(reads(2, 3).outcome(0), Some(Outcome::Value(&b"v"[..])));
    // A mutation may not say so of itself.
    let header = BatchHeader { lowest_open: 4, ..bench.header(1, 3) };
    let body = bench.body(&header, &[increment(b"n")]);
    assert_eq!(refusal(&bench.send(&body)), Some(Refusal::Malformed));
}

#[test]
fn an_expired_session_stays_expired() {
    let bench = Bench::new("1/1", "partitioned");
    let body = bench.body(&bench.header(1, 1), &[increment(b"n")]);
    bench.send(&body);
    bench.environment.advance(LEASE * 2);
    assert_eq!(refusal(&bench.send(&body)), Some(Refusal::SessionExpired));
    assert_eq!(refusal(&bench.send(&body)), Some(Refusal::SessionExpired));
    assert_eq!(refusal(&bench.apply(1, &[get(b"n")])), Some(Refusal::SessionExpired));
}

#[test]
fn a_malformed_batch_has_no_effect_at_all() {
    let bench = Bench::new("1/1", "partitioned");
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
fn a_foreign_key_refuses_its_batch_as_a_whole() {
    let bench = Bench::new("1/2", "partitioned");
    let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let owns =
        |key: &&String| bench.service.engine().ownership().slots.contains(slot_of(key.as_bytes()));
    let (own, foreign): (Vec<&String>, Vec<&String>) = keys.iter().partition(owns);
    assert!((20..80).contains(&own.len()), "both servers own keys");
    fn puts<'a>(keys: &[&'a String]) -> Vec<Operation<'a>> {
        keys.iter().map(|key| put(key.as_bytes(), b"v")).collect()
    }
    let foreigner = foreign[..1].to_vec();
    for batch in [[own.clone(), foreign.clone()].concat(), [own.clone(), foreigner].concat()] {
        let reply = bench.apply(1, &puts(&batch));
        assert_eq!(refusal(&reply), Some(Refusal::NotOwned));
        assert_eq!(refusal(&bench.apply(0, &[get(batch[batch.len() - 1].as_bytes())])), {
            Some(Refusal::NotOwned)
        });
    }
    assert_eq!((bench.service.keys(), bench.operations()), (0, 0), "nothing of it was applied");
    assert_eq!(bench.service.engine().sessions().record_bytes(), 0);
    let reply = bench.apply(1, &puts(&own));
    assert_eq!((refusal(&reply), reply.is_recorded()), (None, false), "no number was used");
    assert_eq!((bench.service.keys(), bench.operations()), (own.len(), own.len() as u64));
}

#[test]
fn slots_that_change_hands_are_judged_anew_and_records_are_answered_first() {
    let bench = Bench::new("1/1", "partitioned");
    let body = bench.body(&bench.header(1, 1), &[increment(b"n"), get(b"n")]);
    bench.send(&body);
    assert_eq!(bench.own(2, SlotSet::empty()), ControlResponse::Closed);
    let again = bench.send(&body);
    assert_eq!((refusal(&again), again.is_recorded()), (None, true), "whatever the map says");
    assert!(outcomes(&again).contains(&Some(Outcome::Counter(1))));
    let with_map = |epoch, number, operations: &[Operation<'_>]| {
        bench.send(&bench.body(&BatchHeader { epoch, ..bench.header(1, number) }, operations))
    };
    let next = [increment(b"n")];
    for (epoch, expected) in
        [(1, Refusal::StaleEpoch), (2, Refusal::NotOwned), (3, Refusal::StaleEpoch)]
    {
        let reply = with_map(epoch, 2, &next);
        assert_eq!((refusal(&reply), reply.header().epoch), (Some(expected), 2));
        assert_eq!(refusal(&with_map(epoch, 1, &[get(b"n")])), Some(expected));
    }
    // An older map, or the same once more, changes nothing.
    for epoch in [1, 2] {
        let refused = bench.own(epoch, Shard::SOLE.first_slots());
        assert!(matches!(refused, ControlResponse::Refused(_)), "{refused:?}");
    }
    assert_eq!(refusal(&with_map(2, 2, &next)), Some(Refusal::NotOwned));
    assert_eq!(greet(&bench.service, VERSIONS, false).unwrap().slots, []);
    // Its own slot back, and no other.
    let mut slots = SlotSet::empty();
    slots.insert(slot_of(b"n")..=slot_of(b"n"));
    assert_eq!(bench.own(5, slots.clone()), ControlResponse::Closed);
    assert_eq!(refusal(&with_map(2, 2, &next)), Some(Refusal::StaleEpoch));
    assert_eq!(refusal(&with_map(5, 2, &[increment(b"n"), put(b"k", b"v")])), {
        Some(Refusal::NotOwned)
    });
    let reply = with_map(5, 2, &next);
    assert_eq!((refusal(&reply), reply.header().epoch), (None, 5));
    assert_eq!(reply.outcome(0), Some(Outcome::Counter(2)), "the keys stayed");
    let hello = greet(&bench.service, VERSIONS, false).unwrap();
    assert_eq!((hello.epoch, hello.slots), (5, slots.ranges()));
}

/// A bench whose keys hold a mebibyte each, all different, so that repeats can't hide that a reply
/// is full; and the keys.
fn with_large_values(count: u8) -> (Bench, Vec<Vec<u8>>) {
    let bench = Bench::new("1/1", "partitioned");
    let mut value = vec![7; 1 << 20];
    let keys: Vec<Vec<u8>> = (0..count).map(|number| format!("k{number}").into_bytes()).collect();
    for (index, key) in keys.iter().enumerate() {
        value[0] = index as u8;
        let reply = bench.apply(index as u64 + 1, &[put(key, &value)]);
        assert_eq!(reply.outcome(0), Some(Outcome::Done));
    }
    (bench, keys)
}

#[test]
fn values_that_do_not_fit_are_deferred_and_not_counted() {
    let (bench, keys) = with_large_values(8);
    let before = bench.operations();
    let gets: Vec<_> = keys.iter().map(|key| get(key)).collect();
    let reply = bench.apply(8, &gets);
    let deferred = outcomes(&reply).iter().filter(|outcome| outcome.is_none()).count();
    assert!((1..8).contains(&deferred) && reply.has_deferred(), "{deferred} MiB did not fit");
    assert_eq!(bench.operations() - before, 8 - deferred as u64);
    assert_eq!(bench.service.counters().tally().deferred, deferred as u64);
    let small = bench.apply(8, &gets[..2]);
    assert!(!small.has_deferred(), "two MiB fit");
}

#[test]
fn mutations_are_never_deferred() {
    let (bench, keys) = with_large_values(8);
    let before = bench.service.counters().tally();
    let swaps: Vec<_> = keys.iter().map(|key| put_if_absent(key, b"new")).collect();
    let gets = keys.iter().map(|key| get(key));
    let others = keys.iter().flat_map(|key| [increment(key), put(key, b"1"), increment(key)]);
    let operations: Vec<_> = gets.chain(swaps.iter().copied()).chain(others).collect();
    let body = bench.body(&bench.header(1, 9), &operations);
    let first = bench.send(&body);
    let count = |reply: &reply::Reply, outcome| {
        outcomes(reply).into_iter().filter(|found| *found == outcome).count()
    };
    let untold = count(&first, Some(Outcome::MismatchUntold));
    let deferred = count(&first, None);
    assert!(
        untold > 0 && deferred > 0,
        "{untold} mismatches are untold, {deferred} reads deferred"
    );
    assert!((1..16).contains(&(16 - untold - deferred)), "some values are told");
    assert_eq!(count(&first, Some(Outcome::NotAnInteger)), 8);
    assert_eq!(count(&first, Some(Outcome::Done)), 8);
    assert_eq!(count(&first, Some(Outcome::Counter(2))), 8);
    let done = bench.service.counters().tally().since(&before);
    assert_eq!((done.compare_and_swaps, done.puts, done.increments), (8, 8, 16));
    assert_eq!((done.gets, done.deferred), (8 - deferred as u64, deferred as u64));
    // The record has no values at all.
    let again = bench.send(&body);
    assert!(again.is_recorded());
    assert_eq!((count(&again, Some(Outcome::MismatchUntold)), count(&again, None)), (8, 8));
    assert_eq!(count(&again, Some(Outcome::Counter(2))), 8);
    // With room, the value is told.
    let told = bench.apply(10, &swaps);
    assert_eq!(count(&told, Some(Outcome::Mismatch(Some(b"2")))), 8);
}

#[test]
fn a_barrier_opens_when_all_have_come() {
    let bench = Bench::new("1/1", "partitioned");
    let arrive = |participant, participants| {
        control(bench.service.control(ControlRequest::Barrier {
            run_id: 5,
            name: "start".to_owned(),
            participant,
            participants,
        }))
    };
    assert_eq!(arrive(0, 3), ControlResponse::Barrier { arrived: 1 });
    assert_eq!(arrive(0, 3), ControlResponse::Barrier { arrived: 1 });
    assert_eq!(arrive(2, 3), ControlResponse::Barrier { arrived: 2 });
    assert_eq!(arrive(1, 3), ControlResponse::Barrier { arrived: 3 });
    assert!(matches!(arrive(0, 4), ControlResponse::Refused(_)));
    assert!(matches!(arrive(3, 3), ControlResponse::Refused(_)));
}

#[test]
fn a_hello_tells_who_answers() {
    let bench = Bench::new("2/4", "partitioned");
    let hello = greet(&bench.service, VERSIONS, false).unwrap();
    assert_eq!((hello.version, hello.session), (VERSIONS.most, None));
    assert_eq!((hello.data_id, hello.shard.to_string()), {
        (bench.service.engine().data_id(), "2/4".to_owned())
    });
    assert_eq!((hello.slots, hello.epoch, hello.partitions), (vec![(4096, 8191)], 1, 4));
    assert_eq!((&hello.store[..], hello.keys, hello.threads), ("partitioned", 0, 3));
    assert_eq!(hello.session_lease_ms, LEASE.as_millis() as u64);
    let first = greet(&bench.service, VERSIONS, true).unwrap().session.unwrap();
    let second = greet(&bench.service, VERSIONS, true).unwrap().session.unwrap();
    assert_eq!((first.data_id, second.data_id), (hello.data_id, hello.data_id));
    assert_ne!(first.number, second.number);
    assert_eq!(bench.service.engine().sessions().count(), 3);
}

#[test]
fn versions_are_agreed_upon_or_both_spans_are_named() {
    let bench = Bench::new("1/1", "mutex");
    let span = |least, most| VersionSpan { least, most };
    let VersionSpan { least, most } = VERSIONS;
    for common in [span(least, most), span(0, most), span(least, u8::MAX), span(0, u8::MAX)] {
        assert_eq!(greet(&bench.service, common, false).unwrap().version, most);
    }
    let sessions = bench.service.engine().sessions().count();
    // The last one is no span at all.
    for foreign in [span(0, least - 1), span(most + 1, most + 7), span(most + 1, least - 1)] {
        let why = greet(&bench.service, foreign, true).unwrap_err();
        assert!(why.contains(&format!("versions {VERSIONS}, the client {foreign}")), "{why}");
    }
    assert_eq!(bench.service.engine().sessions().count(), sessions, "none was opened");
}

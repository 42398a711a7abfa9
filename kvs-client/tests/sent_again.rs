//! What the client sends again: reads without a value, what met a server that does not own its key
//! any more, and what a stopping server refused. Order and exactly-once hold all the same.

#![allow(unreachable_pub)]

#[allow(dead_code)]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::{Change, Ownership};
use futures::FutureExt;
use kvs_client::{Client, Config, Failure, FailureClass, Lane, Outcome, Outcomes};
use kvs_server::errand::Errand;
use kvs_server::order::{Answer, Order};
use model::slot::slot_of;
use model::slots::SlotSet;
use support::{TestServer, start_all};

/// Partitions of a test's server.
const PARTITIONS: u32 = 8;
/// A reply holds three of these and no fourth.
const LARGE_BYTES: usize = 1 << 20;

/// Five keys of one partition, so that a reply has their values in the order of the reads.
fn large_keys() -> Vec<String> {
    let names = (0..).map(|number| format!("large{number}"));
    names.filter(|key| slot_of(key.as_bytes()).is_multiple_of(PARTITIONS)).take(5).collect()
}

fn large(fill: usize) -> Vec<u8> {
    vec![fill as u8; LARGE_BYTES]
}

/// A server that holds a large value of its own for each key, and a client that does not know how
/// large they are.
async fn with_large_values(keys: &[String]) -> (Vec<TestServer>, Client) {
    let (servers, hosts) = start_all(1, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    for (index, key) in keys.iter().enumerate() {
        client.put(key, large(index)).await.unwrap();
    }
    let mut config = Config::new(&hosts).unwrap();
    config.connections = 1;
    (servers, Client::connect_with(config).await.unwrap())
}

/// All but the last have their values, some of them by a second read.
fn assert_all_but_the_last_are_read(outcomes: &Outcomes) {
    for index in 0..4 {
        let is_right = outcomes.get(index) == Ok(Outcome::Value(&large(index)[..]));
        assert!(is_right, "read {index} has its value");
    }
    assert!(outcomes.has_new_stamps(), "the fourth value did not fit and was asked for again");
}

/// The last read, which had no room in the reply and which a PUT follows, does not see that.
fn assert_last_read_keeps_its_turn(outcomes: &Outcomes) {
    match outcomes.get(4) {
        Ok(Outcome::Value(value)) => assert!(value == large(4), "the value before the PUT"),
        Err(failure) => {
            assert!(matches!(failure, Failure::NotRead { .. }), "{failure}");
            assert_eq!(failure.class(), FailureClass::NotApplied);
        }
        Ok(other) => panic!("a read has a value: {other:?}"),
    }
}

#[tokio::test]
async fn a_read_that_is_repeated_does_not_see_a_later_batch_of_its_lane() {
    let keys = large_keys();
    for (writes, is_answered) in [(true, false), (true, true), (false, false), (false, true)] {
        let (_servers, client) = with_large_values(&keys).await;
        let mut lane = client.lane();
        let mut reads = lane.batch(5);
        keys.iter().for_each(|key| reads.get(key).unwrap());
        lane.submit(reads).await;
        if is_answered {
            // It comes after the reads on the same connection, so their reply is at hand, and they
            // are repeated before the next batch is answered.
            client.get("another").await.unwrap();
        }
        let mut next = lane.batch(1);
        match writes {
            true => next.put(&keys[4], "new").unwrap(),
            false => next.get("another").unwrap(),
        }
        lane.submit(next).await;
        assert_eq!(lane.in_flight(), 2);
        assert!(lane.next().now_or_never().is_none(), "some values did not fit");
        let outcomes = lane.next().await.unwrap().outcomes;
        assert_all_but_the_last_are_read(&outcomes);
        let next = lane.next().await.unwrap().outcomes;
        if writes {
            assert_last_read_keeps_its_turn(&outcomes);
            assert_eq!(next.get(0), Ok(Outcome::Done));
            assert_eq!(client.get(&keys[4]).await.unwrap().as_deref(), Some(&b"new"[..]));
        } else {
            assert!(outcomes.get(4) == Ok(Outcome::Value(&large(4)[..])), "nothing follows it");
            assert_eq!(next.get(0), Ok(Outcome::Missing));
        }
    }
}

#[tokio::test]
async fn a_read_that_is_repeated_does_not_see_a_later_operation_of_its_batch() {
    let keys = large_keys();
    for writes in [true, false] {
        let (_servers, client) = with_large_values(&keys).await;
        let mut batch = client.batch(6);
        keys.iter().for_each(|key| batch.get(key).unwrap());
        match writes {
            true => batch.put(&keys[4], "new").unwrap(),
            false => batch.put("another", "new").unwrap(),
        }
        let outcomes = client.run(batch).await;
        assert_all_but_the_last_are_read(&outcomes);
        assert_eq!(outcomes.get(5), Ok(Outcome::Done));
        if writes {
            assert_last_read_keeps_its_turn(&outcomes);
            assert_eq!(client.get(&keys[4]).await.unwrap().as_deref(), Some(&b"new"[..]));
        } else {
            assert!(outcomes.get(4) == Ok(Outcome::Value(&large(4)[..])), "nothing follows it");
        }
    }
}

/// What stands before a read is no reason not to repeat it.
#[tokio::test]
async fn a_read_that_is_repeated_sees_what_its_lane_wrote_before() {
    let keys = large_keys();
    let (_servers, client) = with_large_values(&keys).await;
    let mut lane = client.lane();
    let mut batch = lane.batch(6);
    batch.put(&keys[4], large(9)).unwrap();
    keys.iter().for_each(|key| batch.get(key).unwrap());
    lane.submit(batch).await;
    let mut next = lane.batch(1);
    next.increment("another", 1).unwrap();
    lane.submit(next).await;
    let outcomes = lane.next().await.unwrap().outcomes;
    assert!(outcomes.has_new_stamps(), "some values did not fit and were asked for again");
    for (index, fill) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 9)] {
        let is_right = outcomes.get(index) == Ok(Outcome::Value(&large(fill)[..]));
        assert!(is_right, "read {index} has its value");
    }
}

/// Gives a shard these slots.
fn own(server: &TestServer, epoch: u32, slots: impl Iterator<Item = u32>) {
    let mut set = SlotSet::empty();
    slots.for_each(|slot| set.insert(slot..=slot));
    let errand = Errand::new(Change::Own(Ownership { epoch, slots: set }));
    let Answer::Now(errand) = server.service.order().submit(errand) else {
        panic!("the order in memory answers at once")
    };
    assert_eq!(errand.result, Ok(()));
}

/// Slots of two shards, of which every third moves between them.
struct Slots([SlotSet; 2]);

impl Slots {
    fn of(servers: &[TestServer]) -> Self {
        let slots = |index: usize| servers[index].service.engine().ownership().slots.clone();
        Self([slots(0), slots(1)])
    }

    fn moves(slot: u32) -> bool {
        slot.is_multiple_of(3)
    }

    /// The slots of the shard at `index` while the moving ones belong to that at `owner`.
    fn while_owned_by(&self, owner: usize, index: usize) -> impl Iterator<Item = u32> {
        (0..model::slot::SLOTS).filter(move |&slot| match Self::moves(slot) {
            true => owner == index,
            false => self.0[index].contains(slot),
        })
    }
}

/// INCRs of one key, in the order of their worker: the data that each belongs to, and its count.
type Counts = Vec<(u64, i64)>;

/// Adds 1 to the worker's own keys and to a shared one until `batches` are done, four in flight.
async fn count_in_a_lane(mut lane: Lane, keys: &[String], batches: u32) -> Vec<Counts> {
    let mut counts = vec![Counts::new(); keys.len()];
    let (mut left, mut tickets) = (batches, VecDeque::new());
    while left > 0 || !tickets.is_empty() {
        while left > 0 && tickets.len() < 4 {
            let mut batch = lane.batch(2 * keys.len());
            // Each key twice, so that order inside a batch shows as well.
            keys.iter().chain(keys).for_each(|key| batch.increment(key, 1).unwrap());
            tickets.push_back(lane.submit(batch).await);
            left -= 1;
        }
        let completed = lane.next().await.expect("batches are in flight");
        assert_eq!(Some(completed.ticket), tickets.pop_front());
        for index in 0..2 * keys.len() {
            match completed.outcomes.get(index) {
                Ok(Outcome::Counter(count)) => {
                    let counted = (completed.outcomes.data_id(index), count);
                    counts[index % keys.len()].push(counted);
                }
                other => panic!("{} is counted: {other:?}", keys[index % keys.len()]),
            }
        }
    }
    counts
}

/// All counts of one key in one data must be those from 1 on, each once.
fn assert_each_counts_once(counts: impl IntoIterator<Item = (u64, i64)>, what: &str) -> usize {
    let mut by_data: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for (data_id, count) in counts {
        by_data.entry(data_id).or_default().push(count);
    }
    for counts in by_data.values_mut() {
        counts.sort_unstable();
        assert!(counts.iter().copied().eq(1..=counts.len() as i64), "{what}: {counts:?}");
    }
    by_data.len()
}

/// In one data, a worker's counts of a key ascend.
fn assert_ascending(counts: &Counts, what: &str) {
    let mut last: BTreeMap<u64, i64> = BTreeMap::new();
    for (data_id, count) in counts {
        let before = last.insert(*data_id, *count);
        assert!(before.is_none_or(|before| before < *count), "{what}: {counts:?}");
    }
}

const LANES: usize = 3;
const CALLERS: usize = 8;
const BATCHES: u32 = 300;

/// Slots move from the first shard to the second and back, without their data, while lanes and plain
/// callers count in them. A new owner of a key counts from where its own data left off.
#[tokio::test]
async fn a_client_with_an_old_map_fetches_the_new_one_and_goes_on() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let slots = Slots::of(&servers);
    let client = Client::connect(&hosts).await.unwrap();
    let shared = || (0..6).map(|number| format!("shared{number}"));
    let keys_of = |worker: String| -> Vec<String> {
        (0..6).map(|number| format!("{worker}:{number}")).chain(shared()).collect()
    };
    let lane_keys: Vec<_> = (0..LANES).map(|lane| keys_of(format!("lane{lane}"))).collect();
    let caller_keys: Vec<_> = (0..CALLERS).map(|caller| format!("caller{caller}")).collect();
    let all_keys = || lane_keys.iter().flatten().chain(&caller_keys);
    for is_moving in [true, false] {
        let some = all_keys().any(|key| Slots::moves(slot_of(key.as_bytes())) == is_moving);
        assert!(some, "some keys move and some stay");
    }
    let working = AtomicUsize::new(LANES + CALLERS);

    let counting = futures::future::join_all(lane_keys.iter().map(|keys| {
        let (lane, working) = (client.lane(), &working);
        async move {
            let counts = count_in_a_lane(lane, keys, BATCHES).await;
            working.fetch_sub(1, Ordering::Relaxed);
            counts
        }
    }));
    let calling = futures::future::join_all(caller_keys.iter().map(|key| {
        let (client, working) = (client.clone(), &working);
        async move {
            let mut counts = Vec::new();
            for _ in 0..BATCHES {
                counts.push(client.increment(key, 1).await.unwrap());
            }
            working.fetch_sub(1, Ordering::Relaxed);
            counts
        }
    }));
    let executed = || -> u64 {
        servers.iter().map(|server| server.service.counters().tally().operations()).sum()
    };
    let moving = async {
        let mut moves = 0;
        while working.load(Ordering::Relaxed) > 0 {
            let (from, to) = (moves % 2, (moves + 1) % 2);
            let epoch = moves as u32 + 2;
            own(&servers[from], epoch, slots.while_owned_by(to, from));
            // For a while nobody owns them, and some ask for them in vain.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            own(&servers[to], epoch, slots.while_owned_by(to, to));
            moves += 1;
            let before = executed();
            while executed() < before + 1000 && working.load(Ordering::Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        }
        moves
    };
    let (counted, called, moves) = tokio::join!(counting, calling, moving);
    assert!(moves >= 2, "slots have moved there and back");

    let mut datas_max = 0;
    let mut by_key: BTreeMap<&str, Counts> = BTreeMap::new();
    for (lane, (keys, counts)) in lane_keys.iter().zip(&counted).enumerate() {
        for (key, counts) in keys.iter().zip(counts) {
            assert_eq!(counts.len(), 2 * BATCHES as usize);
            assert_ascending(counts, &format!("{key} in lane {lane}"));
            by_key.entry(key).or_default().extend(counts);
        }
    }
    for (key, counts) in &by_key {
        datas_max = datas_max.max(assert_each_counts_once(counts.iter().copied(), key));
    }
    assert_eq!(datas_max, 2, "some keys were counted in both data");
    for (key, counts) in caller_keys.iter().zip(&called) {
        // A plain call does not tell its data: the counts are two runs from 1 on, interleaved.
        let (mut ends, mut total) = ([0, 0], 0);
        for count in counts {
            let end = ends.iter_mut().find(|end| **end + 1 == *count);
            *end.unwrap_or_else(|| panic!("{key}: {counts:?}")) = *count;
            total += 1;
        }
        assert_eq!(ends[0] + ends[1], total);
    }
    let applied: u64 = (LANES * 12 * 2 * BATCHES as usize + CALLERS * BATCHES as usize) as u64;
    assert_eq!(executed(), applied, "each was executed once");
}

/// The twin: nobody takes the slots over.
#[tokio::test]
async fn what_has_no_owner_is_not_applied_when_the_time_for_retries_is_over() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let slots = Slots::of(&servers);
    let mut config = Config::new(&hosts).unwrap();
    config.retry = Duration::from_millis(100);
    let client = Client::connect_with(config).await.unwrap();
    let key_at = |server: usize, moves: bool| {
        let mut names = (0..).map(|number| format!("k{number}"));
        let fits = |key: &String| {
            client.server_of(key) == server && Slots::moves(slot_of(key.as_bytes())) == moves
        };
        names.find(fits).expect("there are many")
    };
    let (lost, kept, other) = (key_at(0, true), key_at(0, false), key_at(1, true));
    own(&servers[0], 2, slots.while_owned_by(1, 0));

    let mut lane = client.lane();
    for _ in 0..4 {
        let mut batch = lane.batch(4);
        batch.increment(&lost, 1).unwrap();
        batch.increment(&kept, 1).unwrap();
        batch.increment(&other, 1).unwrap();
        batch.get(&lost).unwrap();
        lane.submit(batch).await;
    }
    for count in 1..=4 {
        let outcomes = lane.next().await.unwrap().outcomes;
        for index in [0, 3] {
            let failure = outcomes.get(index).expect_err("nobody owns it");
            assert!(matches!(failure, Failure::WrongShard { .. }), "{failure}");
            assert_eq!(failure.class(), FailureClass::NotApplied);
        }
        assert_eq!(outcomes.get(1), Ok(Outcome::Counter(count)), "a key beside it");
        assert_eq!(outcomes.get(2), Ok(Outcome::Counter(count)), "another server's");
    }
    let error = client.increment(&lost, 1).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::NotApplied, "{error}");
    assert_eq!(client.increment(&kept, 1).await, Ok(5));
    let executed = servers.iter().map(|server| server.service.counters().tally().operations());
    assert_eq!(executed.sum::<u64>(), 9, "nothing else was applied");

    own(&servers[1], 2, slots.while_owned_by(1, 1));
    assert_eq!(client.increment(&lost, 1).await, Ok(1), "its new owner counts from the start");
    assert_eq!(client.server_of(&lost), 1);
}

/// Reads that had no room in the reply are on their way again when their slots move, and another
/// caller fetches the new map. What is given after them waits until they have found the new owner.
#[tokio::test]
async fn what_is_given_later_does_not_overtake_a_read_on_its_way_to_a_new_owner() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let slots = Slots::of(&servers);
    let mut config = Config::new(&hosts).unwrap();
    config.connections = 1;
    let client = Client::connect_with(config).await.unwrap();
    let keys_where = |moves: bool| {
        let names = (0..).map(|number| format!("k{number}"));
        let client = client.clone();
        names.filter(move |key| {
            let slot = slot_of(key.as_bytes());
            let is_first = client.server_of(key) == 0 && slot.is_multiple_of(PARTITIONS);
            is_first && Slots::moves(slot) == moves
        })
    };
    let mut keys: Vec<String> = keys_where(false).take(4).collect();
    keys.extend(keys_where(true).take(1));
    let kept = keys_where(false).nth(4).expect("there are many");
    for (index, key) in keys.iter().enumerate() {
        Client::connect(&hosts).await.unwrap().put(key, large(index)).await.unwrap();
    }
    let mut lane = client.lane();
    let mut reads = lane.batch(5);
    keys.iter().for_each(|key| reads.get(key).unwrap());
    lane.submit(reads).await;
    // It comes after the reads on the same connection, so their reply is at hand.
    client.increment(&kept, 1).await.unwrap();
    assert!(lane.next().now_or_never().is_none(), "some are asked for again");
    own(&servers[0], 2, slots.while_owned_by(1, 0));
    own(&servers[1], 2, slots.while_owned_by(1, 1));
    assert_eq!(client.increment(&kept, 1).await, Ok(2));
    assert_eq!(client.server_of(&keys[4]), 1, "the new map is known");
    let mut write = lane.batch(1);
    write.put(&keys[4], "later").unwrap();
    lane.submit(write).await;
    let outcomes = lane.next().await.unwrap().outcomes;
    match outcomes.get(4) {
        // Slots move without their data here.
        Ok(Outcome::Missing) => {}
        other => panic!("the read comes before the PUT: {other:?}"),
    }
    assert_eq!(lane.next().await.unwrap().outcomes.get(0), Ok(Outcome::Done));
}

/// In the middle of a change nobody owns a key. What shares a batch with it keeps its turn.
#[tokio::test]
async fn what_is_given_later_does_not_overtake_what_waits_beside_a_key_without_owner() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let slots = Slots::of(&servers);
    own(&servers[0], 2, slots.while_owned_by(1, 0));
    let mut config = Config::new(&hosts).unwrap();
    config.connections = 1;
    let client = Client::connect_with(config).await.unwrap();
    let key_where = |moves: bool| {
        let mut names = (0..).map(|number| format!("k{number}"));
        let fits = |key: &String| {
            let slot = slot_of(key.as_bytes());
            slots.0[0].contains(slot) && Slots::moves(slot) == moves
        };
        names.find(fits).expect("there are many")
    };
    let (kept, moved) = (key_where(false), key_where(true));
    client.put(&kept, "before").await.unwrap();
    let mut lane = client.lane();
    let in_a_lane = async {
        let mut reads = lane.batch(2);
        reads.get(&kept).unwrap();
        reads.get(&moved).unwrap();
        lane.submit(reads).await;
        let mut write = lane.batch(1);
        write.put(&kept, "later").unwrap();
        lane.submit(write).await;
        let read = lane.next().await.unwrap().outcomes;
        assert_eq!(read.get(0), Ok(Outcome::Value(&b"before"[..])));
        assert_eq!(read.get(1), Ok(Outcome::Missing));
        assert_eq!(lane.next().await.unwrap().outcomes.get(0), Ok(Outcome::Done));
    };
    let taking_over = async {
        for _ in 0..3 {
            // On the same connection, so what was submitted before has met the server.
            client.get(&kept).await.unwrap();
        }
        own(&servers[1], 2, slots.while_owned_by(1, 1));
    };
    tokio::join!(in_a_lane, taking_over);
    assert_eq!(client.get(&kept).await.unwrap().as_deref(), Some(&b"later"[..]));
}

#[tokio::test]
async fn what_a_stopping_server_refuses_is_not_applied() {
    let server = TestServer::start("1/1", "partitioned").await;
    let mut config = Config::new(&server.address).unwrap();
    config.retry = Duration::ZERO;
    config.connections = 1;
    let client = Client::connect_with(config).await.unwrap();
    let mut lane = client.lane();
    let increment = async |lane: &mut Lane| {
        let mut batch = lane.batch(1);
        batch.increment("n", 1).unwrap();
        lane.submit(batch).await;
    };
    increment(&mut lane).await;
    assert_eq!(lane.next().await.unwrap().outcomes.get(0), Ok(Outcome::Counter(1)));
    server.stop();
    for _ in 0..4 {
        increment(&mut lane).await;
    }
    let alone = client.increment("n", 1);
    let refused = async {
        for _ in 0..4 {
            let outcomes = lane.next().await.unwrap().outcomes;
            let failure = outcomes.get(0).expect_err("the server is ending");
            assert!(failure.to_string().contains("the server is ending"), "{failure}");
            assert_eq!(failure.class(), FailureClass::NotApplied);
        }
    };
    let (alone, ()) = tokio::join!(alone, refused);
    let error = alone.expect_err("the server is ending");
    assert_eq!(error.class(), FailureClass::NotApplied, "{error}");
    assert_eq!(server.service.counters().tally().increments, 1, "nothing else was applied");
}

/// What a stopping server refused goes to the one that takes its place.
#[tokio::test]
async fn what_a_stopping_server_refuses_is_applied_by_its_successor() {
    let server = TestServer::start("1/1", "partitioned").await;
    let address = server.address.clone();
    let client = Client::connect(&address).await.unwrap();
    let mut lane = client.lane();
    let mut batch = lane.batch(1);
    batch.increment("n", 5).unwrap();
    lane.submit(batch).await;
    let first = lane.next().await.unwrap().outcomes;
    assert_eq!(first.get(0), Ok(Outcome::Counter(5)));
    server.stop();
    for _ in 0..4 {
        let mut batch = lane.batch(1);
        batch.increment("n", 1).unwrap();
        lane.submit(batch).await;
    }
    let successor = async {
        loop {
            // The port is free again as soon as the old listener is dropped.
            match tokio::net::TcpListener::bind(&address).await {
                Ok(listener) => return TestServer::on(listener, "1/1", "partitioned"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let counted = async {
        for count in 1..=4 {
            let outcomes = lane.next().await.unwrap().outcomes;
            assert_eq!(outcomes.get(0), Ok(Outcome::Counter(count)), "its memory is another's");
            assert_ne!(outcomes.data_id(0), first.data_id(0));
        }
    };
    let (_successor, ()) = tokio::join!(successor, counted);
    assert_eq!(server.service.counters().tally().increments, 1, "the old one applied none of it");
}

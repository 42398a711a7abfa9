//! The client library against servers in the same process.

#![allow(unreachable_pub)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use kvs_client::{Client, Config, Error, FailureClass, Outcome, Swap};
use support::{Dam, TestServer, start_all};

#[path = "../examples/batches.rs"]
#[allow(dead_code, missing_docs)]
mod batches;
#[path = "../examples/lanes.rs"]
#[allow(dead_code, missing_docs)]
mod lanes;
#[path = "../examples/quickstart.rs"]
#[allow(dead_code, missing_docs)]
mod quickstart;

#[tokio::test]
async fn the_examples_run() {
    for count in [1, 3] {
        let (_servers, hosts) = start_all(count, "partitioned").await;
        quickstart::run(&hosts).await.unwrap();
        batches::run(&hosts).await.unwrap();
        lanes::run(&hosts).await.unwrap();
    }
}

#[tokio::test]
async fn every_call_has_its_outcome() {
    for store in ["partitioned", "scc", "mutex"] {
        let (_servers, hosts) = start_all(2, store).await;
        let client = Client::connect(&hosts).await.unwrap();
        assert_eq!(client.get("k").await.unwrap(), None);
        assert!(!client.delete("k").await.unwrap());
        let swap = client.compare_and_swap("k", None, "1").await.unwrap();
        assert_eq!(swap, Swap::Swapped);
        let swap = client.compare_and_swap("k", None, "2").await.unwrap();
        assert_eq!(swap, Swap::Mismatch(Some("1".into())));
        let swap = client.compare_and_swap("missing", Some(b"1"), "2").await.unwrap();
        assert_eq!(swap, Swap::Mismatch(None));
        assert_eq!(client.increment("k", 41).await.unwrap(), 42);
        assert_eq!(client.increment("k", i64::MAX).await, Err(Error::Overflow));
        client.put("k", "").await.unwrap();
        assert_eq!(client.increment("k", 1).await, Err(Error::NotAnInteger));
        assert_eq!(client.get("k").await.unwrap().as_deref(), Some(&b""[..]));
        assert!(client.delete("k").await.unwrap());
    }
}

#[tokio::test]
async fn concurrent_callers_share_batches_and_a_lone_one_has_its_own() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    client.put("key", "value").await.unwrap();
    let sent = || client.wire_bytes().0;
    let before = sent();
    for _ in 0..64 {
        client.get("key").await.unwrap();
    }
    let alone = sent() - before;
    let values = futures::future::join_all((0..64).map(|_| client.get("key"))).await;
    assert!(values.iter().all(|value| value.as_ref().unwrap().as_deref() == Some(b"value")));
    let together = sent() - before - alone;
    // A batch's header takes more than its share of the operations.
    assert!(together < alone / 4, "{together} bytes together, {alone} alone");
}

#[tokio::test]
async fn callers_learn_when_their_client_ends_with_its_runtime() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let (client, runtime) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect(&hosts)).unwrap();
        (client, runtime)
    })
    .await
    .unwrap();
    client.put("key", "value").await.unwrap();
    runtime.shutdown_background();
    while client.get("key").await != Err(Error::Closed) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn limits_are_refused_before_anything_is_sent() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    let value = vec![0; 1 << 20];
    client.put("largest", &value).await.unwrap();
    assert_eq!(client.get("largest").await.unwrap().unwrap().len(), value.len());
    let error = client.put("k", vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::NotApplied);
    assert!(error.to_string().contains("at most 1048576 bytes"), "{error}");
    let error = client.get("").await.unwrap_err();
    assert!(error.to_string().contains("the key is empty"), "{error}");
    assert!(client.get(vec![b'k'; 1025]).await.is_err());
    assert!(client.get(vec![b'k'; 1024]).await.is_ok());
}

#[tokio::test]
async fn contradicting_places_are_explained() {
    let (servers, hosts) = start_all(2, "partitioned").await;
    let reversed = format!("{},{}", servers[1].address, servers[0].address);
    let error = Client::connect(&reversed).await.unwrap_err().to_string();
    assert!(error.contains(&format!("-hosts {hosts}")), "{error}");
    let twice = format!("{0},{0}", servers[0].address);
    let error = Client::connect(&twice).await.unwrap_err().to_string();
    assert!(error.contains("both say that they are shard 1/2"), "{error}");
    let error = Client::connect(&servers[0].address).await.unwrap_err().to_string();
    assert!(error.contains("shard 1/2, but 1 hosts are given"), "{error}");
}

#[tokio::test]
async fn an_absent_server_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(&address).await.unwrap_err();
    assert!(error.to_string().contains(&format!("cannot connect to {address}")), "{error}");
    assert_eq!(error.class(), FailureClass::NotApplied);
}

/// Values far larger than a frame: batches are cut, replies are deferred and asked for again.
#[tokio::test]
async fn a_batch_larger_than_a_frame_is_cut() {
    let (_servers, hosts) = start_all(2, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    let keys: Vec<String> = (0..200).map(|number| format!("big:{number}")).collect();
    let value = |index: usize| vec![index as u8; 64 << 10];
    let mut writes = client.batch(keys.len());
    for (index, key) in keys.iter().enumerate() {
        writes.put(key, value(index)).unwrap();
    }
    let outcomes = client.run(writes).await;
    assert!((0..keys.len()).all(|index| outcomes.get(index) == Ok(Outcome::Done)));
    // Twice: at first the client does not know how large the values are.
    let mut had_new_stamps = false;
    for _ in 0..2 {
        let mut reads = client.batch(2 * keys.len());
        for key in keys.iter().chain(&keys) {
            reads.get(key).unwrap();
        }
        let outcomes = client.run(reads).await;
        had_new_stamps |= outcomes.has_new_stamps();
        for index in 0..2 * keys.len() {
            let expected = value(index % keys.len());
            assert_eq!(outcomes.get(index), Ok(Outcome::Value(&expected[..])));
        }
    }
    assert!(had_new_stamps, "some values did not fit and were asked for again");
}

#[tokio::test]
async fn a_lane_keeps_the_order_of_its_batches() {
    let (_servers, hosts) = start_all(2, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    let mut lane = client.lane();
    let keys: Vec<String> = (0..10).map(|number| format!("key{number}")).collect();
    for round in 0..100u32 {
        let mut batch = lane.batch(3 * keys.len());
        for key in &keys {
            batch.get(key).unwrap();
            batch.put(key, round.to_string()).unwrap();
            batch.get(key).unwrap();
        }
        lane.submit(batch).await;
    }
    assert_eq!(lane.in_flight(), 100);
    for round in 0..100u32 {
        let completed = lane.next().await.unwrap();
        let before = round.checked_sub(1).map(|round| round.to_string());
        let after = round.to_string();
        for index in 0..keys.len() {
            let expected = match &before {
                None => Outcome::Missing,
                Some(before) => Outcome::Value(before.as_bytes()),
            };
            assert_eq!(completed.outcomes.get(3 * index), Ok(expected));
            let expected = Ok(Outcome::Value(after.as_bytes()));
            assert_eq!(completed.outcomes.get(3 * index + 2), expected);
        }
    }
    assert!(lane.next().await.is_none());
}

#[tokio::test]
async fn stamps_of_a_process_are_unique() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut lanes: Vec<_> = (0..4).map(|_| client.lane()).collect();
    for _ in 0..10 {
        for lane in &mut lanes {
            let batch = lane.batch(100);
            ranges.push((batch.first_stamp(), batch.first_stamp() + 100));
        }
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "ranges do not overlap");
}

#[tokio::test]
async fn many_callers_share_few_connections() {
    let (servers, hosts) = start_all(1, "partitioned").await;
    let mut config = Config::new(&hosts).unwrap();
    config.connections = 2;
    let client = Client::connect_with(config).await.unwrap();
    let callers = (0..500).map(|number| {
        let client = client.clone();
        async move {
            let key = format!("caller{number}");
            client.put(&key, number.to_string()).await.unwrap();
            client.increment("all", 1).await.unwrap();
            client.get(&key).await.unwrap()
        }
    });
    let read = futures::future::join_all(callers).await;
    for (number, value) in read.iter().enumerate() {
        assert_eq!(value.as_deref(), Some(number.to_string().as_bytes()));
    }
    assert_eq!(client.increment("all", 0).await.unwrap(), 500);
    assert!(client.connections() <= 2);
    assert!(servers[0].service.counters().connections() <= 2);
}

/// All lanes together want far more than the bytes in flight; each waits its turn, none for ever.
#[tokio::test]
async fn lanes_wait_for_the_bytes_in_flight() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let mut config = Config::new(&hosts).unwrap();
    config.inflight_bytes_max = 8 << 20;
    let client = Client::connect_with(config).await.unwrap();
    let workers = (0..16).map(|worker| {
        let client = client.clone();
        async move {
            let mut lane = client.lane();
            for round in 0..8 {
                let mut batch = lane.batch(2);
                batch.put(format!("{worker}:{round}"), vec![1; 1 << 20]).unwrap();
                batch.get(format!("{worker}:{round}")).unwrap();
                lane.submit(batch).await;
            }
            let mut values = 0;
            while let Some(completed) = lane.next().await {
                values += usize::from(matches!(completed.outcomes.get(1), Ok(Outcome::Value(_))));
            }
            values
        }
    });
    let values: usize = futures::future::join_all(workers).await.into_iter().sum();
    assert_eq!(values, 16 * 8);
}

/// Each batch is several frames, and all lanes together want many times the bytes in flight: were
/// room taken frame by frame, each would hold a part and wait for the others for ever.
#[tokio::test]
async fn lanes_with_batches_of_several_frames_do_not_starve_each_other() {
    let (_servers, hosts) = start_all(2, "partitioned").await;
    let mut config = Config::new(&hosts).unwrap();
    config.inflight_bytes_max = 8 << 20;
    let client = Client::connect_with(config).await.unwrap();
    let workers = (0..12).map(|worker| {
        let client = client.clone();
        async move {
            let mut lane = client.lane();
            for round in 0..4 {
                let mut batch = lane.batch(100);
                for number in 0..100 {
                    let key = format!("{worker}:{}", (number + round) % 50);
                    batch.put(&key, vec![1; 64 << 10]).unwrap();
                }
                lane.submit(batch).await;
            }
            let mut done = 0;
            while let Some(completed) = lane.next().await {
                let outcomes = &completed.outcomes;
                done += (0..100).filter(|index| outcomes.get(*index) == Ok(Outcome::Done)).count();
            }
            done
        }
    });
    let done: usize = futures::future::join_all(workers).await.into_iter().sum();
    assert_eq!(done, 12 * 4 * 100);
}

#[tokio::test]
async fn a_restarted_server_makes_what_was_sent_unknown() {
    let server = TestServer::start("1/1", "partitioned").await;
    let address = server.address.clone();
    let mut config = Config::new(&address).unwrap();
    config.retry = Duration::from_secs(20);
    let client = Client::connect_with(config).await.unwrap();
    client.put("k", "v").await.unwrap();
    server.stop();
    drop(server);
    let listener = loop {
        // The port is free again as soon as the old listener is dropped.
        match tokio::net::TcpListener::bind(&address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let _server = TestServer::on(listener, "1/1", "partitioned");
    // The first call may have been sent into the dying connection; nothing hangs, and then the new
    // life answers: it has lost the key.
    match client.get("k").await {
        Ok(value) => assert_eq!(value, None),
        Err(error) => assert_eq!(error.class(), FailureClass::Unknown, "{error}"),
    }
    assert_eq!(client.get("k").await.unwrap(), None);
    client.put("k", "w").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().as_deref(), Some(&b"w"[..]));
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let server = TestServer::start("1/1", "partitioned").await;
    let mut config = Config::new(&server.address).unwrap();
    config.retry = Duration::from_millis(100);
    let client = Client::connect_with(config).await.unwrap();
    let mut lane = client.lane();
    client.put("k", "v").await.unwrap();
    server.stop();
    drop(server);
    let mut classes = HashMap::new();
    for _ in 0..5 {
        let mut batch = lane.batch(1);
        batch.put("k", "w").unwrap();
        lane.submit(batch).await;
        let completed = lane.next().await.unwrap();
        let failure = completed.outcomes.get(0).expect_err("no server answers");
        *classes.entry(failure.class()).or_insert(0) += 1;
    }
    let refused = classes.get(&FailureClass::NotApplied).copied().unwrap_or(0);
    assert!(refused >= 4, "what was never sent was not applied: {classes:?}");
}

/// One of two servers answers no more. What the other has answered is known all the same.
#[tokio::test]
async fn an_abandoned_batch_keeps_what_was_answered() {
    let (servers, _) = start_all(2, "partitioned").await;
    let dam = Dam::before(&servers[1]).await;
    let mut config = Config::new(&format!("{},{}", servers[0].address, dam.address)).unwrap();
    config.connections = 1;
    let client = Client::connect_with(config).await.unwrap();
    let mut lane = client.lane();
    let keys: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    let increments = |mut batch: kvs_client::Batch| {
        keys.iter().for_each(|key| batch.increment(key, 1).unwrap());
        batch
    };
    let batch = increments(lane.batch(keys.len()));
    lane.submit(batch).await;
    let outcomes = lane.next().await.unwrap().outcomes;
    assert!((0..keys.len()).all(|index| outcomes.get(index) == Ok(Outcome::Counter(1))));
    let near = (0..keys.len()).find(|index| outcomes.server(*index) == 0).unwrap();

    dam.shut();
    let batch = increments(lane.batch(keys.len()));
    let ticket = lane.submit(batch).await;
    // It comes after the batch on the same connection, so the batch's reply is at hand.
    assert_eq!(client.increment(&keys[near], 1).await, Ok(3));
    let completed = lane.abandon().await;
    assert_eq!(completed.iter().map(|batch| batch.ticket).collect::<Vec<_>>(), [ticket]);
    let outcomes = &completed[0].outcomes;
    let mut seen = [0, 0];
    for index in 0..keys.len() {
        seen[outcomes.server(index)] += 1;
        match outcomes.server(index) {
            0 => assert_eq!(outcomes.get(index), Ok(Outcome::Counter(2))),
            _ => assert_eq!(outcomes.get(index).unwrap_err().class(), FailureClass::Unknown),
        }
    }
    assert!(seen.iter().all(|operations| *operations > 0), "both servers have keys: {seen:?}");

    // The lane goes on; what it can't send is not applied.
    let batch = increments(lane.batch(keys.len()));
    lane.submit(batch).await;
    assert_eq!(client.increment(&keys[near], 1).await, Ok(5));
    let completed = lane.abandon().await;
    let outcomes = &completed[0].outcomes;
    for index in (0..keys.len()).filter(|index| *index != near) {
        match outcomes.server(index) {
            0 => assert_eq!(outcomes.get(index), Ok(Outcome::Counter(3))),
            _ => assert_eq!(outcomes.get(index).unwrap_err().class(), FailureClass::NotApplied),
        }
    }
    assert!(lane.abandon().await.is_empty(), "nothing is in flight");
}

/// After it was abandoned, a lane's late batch comes to nothing, and its successor counts from it.
#[tokio::test]
async fn an_abandoned_lane_goes_on_with_the_same_server() {
    let (servers, hosts) = start_all(1, "partitioned").await;
    let client = Client::connect(&hosts).await.unwrap();
    let mut lane = client.lane();
    let mut unanswered = 0;
    for _ in 0..50 {
        let mut batch = lane.batch(1);
        batch.increment("n", 1).unwrap();
        lane.submit(batch).await;
        let completed = lane.abandon().await;
        unanswered += usize::from(completed[0].outcomes.get(0).is_err());
    }
    assert!(unanswered > 0, "nobody waited");
    let mut batch = lane.batch(1);
    batch.increment("n", 1).unwrap();
    lane.submit(batch).await;
    let last = lane.next().await.unwrap().outcomes.shared(0).unwrap();
    let Outcome::Counter(count) = last else { panic!("an INCR has a count: {last:?}") };
    assert!((1..=51).contains(&count), "each counted once at most: {count}");
    assert_eq!(client.increment("n", 0).await, Ok(count), "nothing of it is applied late");
    drop(servers);
}

/// What did not fit into the reply was not executed, and nobody asks for it again.
#[tokio::test]
async fn what_was_put_off_is_not_applied_once_it_is_abandoned() {
    let (_servers, hosts) = start_all(1, "partitioned").await;
    let mut config = Config::new(&hosts).unwrap();
    config.connections = 1;
    let client = Client::connect_with(config).await.unwrap();
    for number in 0..6 {
        client.put(format!("big{number}"), vec![number; 1 << 20]).await.unwrap();
    }
    let mut lane = client.lane();
    let mut batch = lane.batch(6);
    for number in 0..6 {
        batch.get(format!("big{number}")).unwrap();
    }
    lane.submit(batch).await;
    client.put("after", "").await.unwrap();
    let completed = lane.abandon().await;
    let outcomes = &completed[0].outcomes;
    let (mut values, mut put_off) = (0, 0);
    for index in 0..6 {
        match outcomes.get(index) {
            Ok(Outcome::Value(_)) => values += 1,
            Err(failure) if failure.class() == FailureClass::NotApplied => put_off += 1,
            other => panic!("a value, or nothing was done: {other:?}"),
        }
    }
    assert!(values >= 3 && put_off >= 2, "{values} values, {put_off} put off");
}

#[tokio::test]
async fn the_barrier_holds_until_all_are_there() {
    let (_servers, hosts) = start_all(2, "partitioned").await;
    let first = Client::connect(&hosts).await.unwrap();
    let second = Client::connect(&hosts).await.unwrap();
    let (one, two) =
        tokio::join!(first.barrier(7, "start", 2, 0), second.barrier(7, "start", 2, 1));
    one.unwrap();
    two.unwrap();
    let refused = first.barrier(7, "start", 3, 0).await.unwrap_err().to_string();
    assert!(refused.contains("-client_count"), "{refused}");
}

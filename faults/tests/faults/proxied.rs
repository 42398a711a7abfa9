//! Servers in the process, behind proxies that spoil what passes.

use std::time::Duration;

use checker::history::Kind;
use kvs_client::FailureClass;

use crate::cluster::{Cluster, connect};
use crate::is_campaign;
use crate::plan::{Fault, Plan};
use crate::workload::Load;

/// A connection that stands does not mean that replies come: the time for retries ends all the
/// same, and what was sent is unknown.
#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let mut plan = Plan::of(&[Fault::SwallowReply], 1, 1);
    plan.silence = Duration::from_secs(3600);
    let cluster = Cluster::start(1, "partitioned", &plan).await;
    let mut config = cluster.config();
    config.timeout = Duration::from_millis(50);
    config.retry = Duration::from_millis(300);
    let client = connect(config).await;
    let answer = client.increment("c0", 1);
    let error = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let error = error.expect("retries end").expect_err("no reply came");
    assert_eq!(error.class(), FailureClass::Unknown, "{error}");
    let lost = cluster.injected.of(Fault::SwallowReply);
    assert!(lost >= 2, "it was sent again");
    assert!(lost < 30, "{lost} attempts: pauses between them grow");
    cluster.injected.pause(true);
    assert_eq!(client.increment("c0", 1).await, Ok(2), "the first one counted once");
}
/// Every acknowledged INCR counts exactly once, with a fifth of all replies lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_count_once_with_a_fifth_of_the_replies_lost() {
    let increments: i64 = if is_campaign() { 1_000_000 } else { 40_000 };
    let cluster = Cluster::start(1, "partitioned", &Plan::of(&[Fault::DropReply], 3, 5)).await;
    let load = Load {
        workers: 4,
        batch_size: 100..=100,
        batches: (increments / 400) as u32,
        ..Load::increments(3, 0)
    };
    let history = cluster.run(&[load]).await;
    println!("{}", cluster.injected);
    let sums: Vec<_> = history.sums().into_values().collect();
    assert!(sums.iter().all(|sum| sum.unknown == 0), "nothing was given up: {sums:?}");
    assert_eq!(sums.iter().map(|sum| sum.acknowledged).sum::<i64>(), increments);
    assert_eq!(sums.iter().map(|sum| sum.greatest).sum::<i64>(), increments);
    let judgement = history.judge(false);
    assert!(judgement.is_right(), "{judgement}");
    let replies = increments / 100 + cluster.injected.of(Fault::DropReply) as i64;
    let lost = cluster.injected.of(Fault::DropReply) as i64;
    assert!(10 * lost >= replies, "{lost} of {replies} replies were lost");
}

/// What is given up is unknown: it may have taken effect, and the history says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_unknown_and_the_history_still_right() {
    let cluster = Cluster::start(1, "partitioned", &Plan::every_class(4, 6)).await;
    let mix = vec![(Kind::Get, 4), (Kind::Put, 4), (Kind::CompareAndSwap, 2)];
    let load = Load { retry: Some(Duration::ZERO), mix, ..Load::mixed(4, 0) };
    let history = cluster.run(&[load]).await;
    println!("{}", cluster.injected);
    let judgement = history.judge(false);
    assert!(judgement.is_right(), "{judgement}");
    assert!(judgement.report.unknown > 0, "{judgement}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_that_are_given_up_count_once_or_not_at_all() {
    let cluster = Cluster::start(1, "partitioned", &Plan::every_class(6, 6)).await;
    let load = Load { retry: Some(Duration::ZERO), ..Load::increments(6, 0) };
    let history = cluster.run(&[load]).await;
    let sums: Vec<_> = history.sums().into_values().collect();
    println!("{}: {sums:?}", cluster.injected);
    let judgement = history.judge(false);
    assert!(judgement.is_right(), "{judgement}");
    assert!(sums.iter().any(|sum| sum.unknown > 0), "{sums:?}");
}

/// The other stores keep the same promises; they report no order, so the sweep decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_store_stays_linearizable() {
    for store in ["scc", "mutex"] {
        let cluster = Cluster::start(1, store, &Plan::every_class(5, 12)).await;
        let history = cluster.run(&[Load::mixed(5, 0).without_deletes()]).await;
        let judgement = history.judge(false);
        println!("{store}: {}\n{judgement}", cluster.injected);
        assert!(judgement.is_right(), "{store}: {judgement}");
    }
}

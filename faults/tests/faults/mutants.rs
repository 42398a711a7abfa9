//! The system broken on purpose, one fault at a time: each must be noticed, and the same load must
//! pass without it. Batches are small, because a check is blind to what is shorter than the
//! operations' own intervals.

use std::time::Duration;

use checker::history::Kind;
use proto::mutants::{Mutant, activate};

use crate::cluster::Cluster;
use crate::plan::{Fault, Plan};
use crate::workload::Load;

/// Runs the load with the mutant and without it.
async fn assert_noticed(mutant: Mutant, plan: &Plan, load: &Load) {
    assert!(*load.batch_size.end() <= 100, "batches have 1 to 100 operations");
    for active in [None, Some(mutant)] {
        let _active = activate(active);
        let cluster = Cluster::start(1, "partitioned", plan).await;
        let history = cluster.run(std::slice::from_ref(load)).await;
        let judgement = history.judge(false);
        println!("{active:?}, {}: {judgement}", cluster.injected);
        match active {
            None => assert!(judgement.is_right(), "without {mutant:?}: {judgement}"),
            Some(_) => assert!(judgement.is_wrong(), "with {mutant:?}: {judgement}"),
        }
    }
}

fn registers(seed: u64) -> Load {
    let mix = vec![(Kind::Get, 4), (Kind::Put, 4), (Kind::CompareAndSwap, 2)];
    Load { mix, ..Load::mixed(seed, 0) }
}

#[tokio::test]
async fn colliding_stamps_are_noticed() {
    assert_noticed(Mutant::CollidingStamps, &Plan::harmless(), &Load::mixed(1, 0)).await;
}

#[tokio::test]
async fn equal_keys_out_of_order_are_noticed() {
    assert_noticed(Mutant::EqualKeysOutOfOrder, &Plan::harmless(), &registers(2)).await;
}

#[tokio::test]
async fn a_retry_that_is_applied_twice_is_noticed() {
    let plan = Plan::of(&[Fault::DropReply], 3, 5);
    assert_noticed(Mutant::RetryAppliedTwice, &plan, &Load::increments(3, 0)).await;
}

#[tokio::test]
async fn a_handler_that_is_cancelled_half_way_is_noticed() {
    let load = Load { batches: 10, ..Load::mixed(4, 0) };
    assert_noticed(Mutant::HandlerCancelled, &Plan::harmless(), &load).await;
}

#[tokio::test]
async fn a_loss_that_is_reported_as_a_failure_is_noticed() {
    let plan = Plan::of(&[Fault::DropReply], 5, 5);
    let load = Load { retry: Some(Duration::ZERO), ..registers(5) };
    assert_noticed(Mutant::LossIsFailure, &plan, &load).await;
}

#[tokio::test]
async fn a_reply_of_another_batch_is_noticed() {
    let load = Load { registers: 1, batch_size: 1..=3, depth: 4..=8, ..registers(6) };
    assert_noticed(Mutant::ReplyOfAnotherBatch, &Plan::harmless(), &load).await;
}

#[tokio::test]
async fn a_stale_copy_is_noticed() {
    assert_noticed(Mutant::StaleCopy, &Plan::harmless(), &registers(7)).await;
}

/// One counter and batches of one length, so that any record has the form of any reply.
#[tokio::test]
async fn request_ids_for_duplicates_are_noticed() {
    let plan = Plan::of(&[Fault::Cut, Fault::DropReply], 8, 10);
    let load = Load { counters: 1, batch_size: 10..=10, ..Load::increments(8, 0) };
    assert_noticed(Mutant::RequestIdsForDuplicates, &plan, &load).await;
}

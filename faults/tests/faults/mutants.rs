//! The system broken on purpose, one fault at a time: each must be noticed, and the same load must
//! pass without it. Batches are small, because a check is blind to what is shorter than the
//! operations' own intervals.
//!
//! A mutant is a store, an order or a server's loop that does something wrong around the real one,
//! or a worker that records what is not so.

mod orders;
mod replies;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use checker::history::Kind;
use kvs_server::environment::SystemEnvironment;
use kvs_server::order::Order;
use kvs_server::order::memory::{Memory, RECORD_BYTES_TOTAL};
use kvs_server::service::Service;
use store::{AnyStore, Store};

use crate::cluster::Cluster;
use crate::plan::{Fault, Plan};
use crate::server::{PARTITIONS, Server, config, service};
use crate::workload::{Load, Slip};

use orders::{HandlerCancelled, RetryAppliedTwice};
use replies::{reply_of_another_batch, request_ids_for_duplicates};
use stores::{EqualKeysOutOfOrder, StaleCopy};

const STORE: &str = "partitioned";

async fn sound_server() -> Server {
    Server::start("1/1", STORE, Arc::new(SystemEnvironment)).await
}

fn sound_store() -> AnyStore {
    AnyStore::new(STORE.parse().expect("a store"), PARTITIONS)
}

/// A server in memory over this store.
async fn server_over<S: Store>(store: S) -> Server {
    server_in_order(|memory| memory, store).await
}

/// A server over this store, in an order that `make` makes of the one in memory.
async fn server_in_order<S: Store, O: Order<Store = S>>(
    make: impl FnOnce(Memory<S>) -> O,
    store: S,
) -> Server {
    let service = Service::with_order(
        config("1/1", STORE),
        Arc::new(SystemEnvironment),
        Arc::default(),
        store,
        |engine, environment, fatal| {
            make(Memory::new(engine, environment, fatal, RECORD_BYTES_TOTAL))
        },
    );
    Server::of(Arc::new(service)).await
}

/// Runs a load on a server, which is broken or the load is, and the same load on a sound one.
async fn assert_noticed(what: &str, plan: &Plan, broken: Server, load: &Load) {
    assert!(*load.batch_size.end() <= 100, "batches have 1 to 100 operations");
    let sound = Load { slip: None, ..load.clone() };
    for (server, load, is_sound) in [(sound_server().await, &sound, true), (broken, load, false)] {
        let cluster = Cluster::of(vec![server], plan).await;
        let history = cluster.run(std::slice::from_ref(load)).await;
        let judgement = history.judge(false);
        println!("{what}, {}: {judgement}", cluster.injected);
        match is_sound {
            true => assert!(judgement.is_right(), "without {what}: {judgement}"),
            false => assert!(judgement.is_wrong(), "with {what}: {judgement}"),
        }
    }
}

fn registers(seed: u64) -> Load {
    let mix = vec![(Kind::Get, 4), (Kind::Put, 4), (Kind::CompareAndSwap, 2)];
    Load { mix, ..Load::mixed(seed, 0) }
}

#[tokio::test]
async fn colliding_stamps_are_noticed() {
    let load = Load { slip: Some(Slip::CollidingStamps(Arc::default())), ..Load::mixed(1, 0) };
    assert_noticed("colliding stamps", &Plan::harmless(), sound_server().await, &load).await;
}

#[tokio::test]
async fn equal_keys_out_of_order_are_noticed() {
    let broken = server_over(EqualKeysOutOfOrder(sound_store())).await;
    assert_noticed("equal keys out of order", &Plan::harmless(), broken, &registers(2)).await;
}

#[tokio::test]
async fn a_retry_that_is_applied_twice_is_noticed() {
    let broken = server_in_order(RetryAppliedTwice::new, sound_store()).await;
    let plan = Plan::of(&[Fault::DropReply], 3, 5);
    assert_noticed("a retry applied twice", &plan, broken, &Load::increments(3, 0)).await;
}

#[tokio::test]
async fn a_handler_that_is_cancelled_half_way_is_noticed() {
    let broken = server_in_order(HandlerCancelled::new, sound_store()).await;
    let load = Load { batches: 10, ..Load::mixed(4, 0) };
    assert_noticed("a cancelled handler", &Plan::harmless(), broken, &load).await;
}

#[tokio::test]
async fn a_loss_that_is_reported_as_a_failure_is_noticed() {
    let plan = Plan::of(&[Fault::DropReply], 5, 5);
    let retry = Some(Duration::ZERO);
    let load = Load { retry, slip: Some(Slip::LossIsFailure), ..registers(5) };
    assert_noticed("a loss as a failure", &plan, sound_server().await, &load).await;
}

#[tokio::test]
async fn a_reply_of_another_batch_is_noticed() {
    let service = service("1/1", STORE, Arc::new(SystemEnvironment));
    let broken = reply_of_another_batch(service).await;
    let load = Load { registers: 1, batch_size: 1..=3, depth: 4..=8, ..registers(6) };
    assert_noticed("a reply of another batch", &Plan::harmless(), broken, &load).await;
}

#[tokio::test]
async fn a_stale_copy_is_noticed() {
    let broken = server_over(StaleCopy::of(sound_store())).await;
    assert_noticed("a stale copy", &Plan::harmless(), broken, &registers(7)).await;
}

/// One counter and batches of one length, so that any reply has the form of any other.
#[tokio::test]
async fn request_ids_for_duplicates_are_noticed() {
    let service = service("1/1", STORE, Arc::new(SystemEnvironment));
    let broken = request_ids_for_duplicates(service).await;
    let plan = Plan::of(&[Fault::Cut, Fault::DropReply], 8, 10);
    let load = Load { counters: 1, batch_size: 10..=10, ..Load::increments(8, 0) };
    assert_noticed("request ids for duplicates", &plan, broken, &load).await;
}

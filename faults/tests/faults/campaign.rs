//! The long fight: every class of faults, over TCP and against real servers, many times.

use crate::cluster::Cluster;
use crate::history::History;
use crate::is_campaign;
use crate::plan::{Fault, Injected, Plan, Scene};
use crate::processes::hammer;
use crate::workload::Load;

fn assert_right(what: &str, injected: &Injected, history: &History) {
    let judgement = history.judge(true);
    println!("{what}: {injected}\n{judgement}");
    assert!(judgement.is_right(), "{what}: {judgement}");
}

/// One round, 24 with `KVS_FAULTS_CAMPAIGN=1`; then at least 500 faults, of every class that can be made
/// outside of a simulation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_of_faults_leaves_linearizable_histories() {
    let (rounds, least) = if is_campaign() { (24, 500) } else { (1, 50) };
    let all = Injected::at(Scene::Sum);
    for round in 0..rounds {
        let store = ["partitioned", "scc", "partitioned", "mutex"][round as usize % 4];
        let cluster = Cluster::start(2, store, &Plan::every_class(100 + round, 12)).await;
        let loads = [0, 1].map(|client| match store {
            "partitioned" => Load::mixed(round, client),
            _ => Load::mixed(round, client).without_deletes(),
        });
        let history = cluster.run(&loads).await;
        assert_right(&format!("proxied round {round}, {store}"), &cluster.injected, &history);
        all.add_all(&cluster.injected);

        let (history, injected) = hammer(round, 6).await;
        assert_right(&format!("round {round} against processes"), &injected, &history);
        all.add_all(&injected);
    }
    println!("{all}");
    assert!(all.total() >= least, "{all}");
    for fault in Fault::PROXIED.into_iter().chain([Fault::Kill, Fault::Restart, Fault::Stop]) {
        assert!(all.of(fault) >= rounds, "{fault:?} was injected: {all}");
    }
}

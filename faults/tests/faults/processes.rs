//! Real servers that are killed, stopped and started again under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvs_client::Config;

use crate::cluster::connect;
use crate::history::History;
use crate::plan::{Fault, Injected, Plan};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::workload::Load;

/// Two servers behind proxies that stay in their place while the servers come and go.
struct Servers {
    processes: Vec<Process>,
    proxies: Vec<Proxy>,
    injected: Arc<Injected>,
}

impl Servers {
    async fn start(seed: u64) -> Self {
        let injected = Arc::new(Injected::default());
        let (mut processes, mut proxies) = (Vec::new(), Vec::new());
        for index in 1..=2 {
            let place = format!("{index}/2");
            let process = start(place).await;
            let plan = Plan::every_class(seed + index, 200);
            proxies
                .push(Proxy::on_a_free_port(&process.address, plan, Arc::clone(&injected)).await);
            processes.push(process);
        }
        Self { processes, proxies, injected }
    }

    fn config(&self) -> Config {
        let hosts: Vec<&str> = self.proxies.iter().map(|proxy| proxy.address.as_str()).collect();
        let mut config = Config::new(&hosts.join(",")).expect("addresses");
        config.connections = 2;
        config.timeout = Duration::from_millis(200);
        config.retry = Duration::from_secs(60);
        config
    }

    /// Hits a server `times` times, in three ways.
    async fn sabotage(&mut self, seed: u64, times: u32) {
        let mut random = Random::new(seed, 99);
        for time in 0..times {
            pause(&mut random, 20..=150).await;
            let index = random.below(2) as usize;
            // Each way comes, whatever the seed.
            let fault = [Fault::Stop, Fault::Kill, Fault::Restart][time as usize % 3];
            self.injected.add(fault);
            if fault == Fault::Stop {
                self.processes[index].stop();
                // Shorter and longer than the client's timeout.
                pause(&mut random, 20..=500).await;
                self.processes[index].go_on();
                continue;
            }
            match fault {
                Fault::Kill => self.processes[index].kill(),
                _ => self.processes[index].end(),
            }
            pause(&mut random, 0..=100).await;
            self.processes[index] = start(format!("{}/2", index + 1)).await;
            self.proxies[index].lead_to(&self.processes[index].address);
        }
    }
}

async fn start(place: String) -> Process {
    let start = tokio::task::spawn_blocking(move || Process::start(&place));
    start.await.expect("a server starts")
}

async fn pause(random: &mut Random, range_ms: std::ops::RangeInclusive<u64>) {
    tokio::time::sleep(Duration::from_millis(random.within(&range_ms))).await;
}

/// Servers that are hit `times` times, under load from the first to the last.
pub(crate) async fn hammer(seed: u64, times: u32) -> (History, Arc<Injected>) {
    let mut servers = Servers::start(seed).await;
    let injected = Arc::clone(&servers.injected);
    let client = connect(servers.config()).await;
    let is_over = AtomicBool::new(false);
    let mut load = Load::mixed(seed, 0).without_deletes();
    load.batches = 20;
    load.pause_max = Duration::from_millis(2);
    let loaded = async {
        let mut history = History::default();
        while !is_over.load(Ordering::Relaxed) {
            history.add(load.run(&client).await);
            load.seed += 1;
        }
        history
    };
    let sabotaged = async {
        servers.sabotage(seed, times).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (mut history, ()) = tokio::join!(loaded, sabotaged);
    injected.pause(true);
    history.add(load.read_all(&client).await);
    (history, injected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_killed_and_stopped_stay_linearizable_per_life() {
    let (history, injected) = hammer(1, 9).await;
    let judgement = history.judge(true);
    println!("{injected}\n{judgement}");
    assert!(judgement.is_right(), "{judgement}");
    assert!(judgement.report.restarts > 0, "{judgement}");
    for fault in [Fault::Stop, Fault::Kill, Fault::Restart] {
        assert_eq!(injected.of(fault), 3, "{fault:?}");
    }
    assert!(!history.judge(false).is_right(), "unless they are allowed, restarts are a violation");
}

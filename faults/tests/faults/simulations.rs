//! Many seeds, and that a seed is all it takes to see a failure again.

use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::is_long;
use crate::plan::{Fault, Injected, Scene};
use crate::simulation::simulate;

/// Names the seeds to simulate: one, as in `7`, or a range, as in `1000..20000`.
const SEEDS_VARIABLE: &str = "KVS_SIMULATION_SEEDS";
/// Names a file for the event log of the seed that is simulated last.
const LOG_VARIABLE: &str = "KVS_SIMULATION_LOG";

/// The seeds that were asked for.
fn seeds() -> Option<Range<u64>> {
    let text = std::env::var(SEEDS_VARIABLE).ok()?;
    let number = |text: &str| text.parse().expect("a seed is a number");
    Some(match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    })
}

fn check(seed: u64) -> Arc<Injected> {
    let simulation = simulate(seed);
    if let Ok(path) = std::env::var(LOG_VARIABLE) {
        std::fs::write(path, simulation.log.join("\n")).expect("the log can be written");
    }
    let judgement = simulation.history.judge(true);
    assert!(
        judgement.is_right(),
        "seed {seed} (run it alone with {SEEDS_VARIABLE}={seed}, and with {LOG_VARIABLE}=file for \
         its log): {judgement}"
    );
    simulation.injected
}

/// 50 seeds, 1,000 with `KVS_LONG_TESTS=1`, or those that are named.
#[test]
fn every_seed_is_linearizable() {
    let named = seeds();
    let seeds = named.clone().unwrap_or(0..if is_long() { 1000 } else { 50 });
    let (next, injected) = (AtomicU64::new(seeds.start), Injected::at(Scene::Sum));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            injected.add_all(&check(seed));
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        for thread in threads {
            thread.join().expect("every seed is right");
        }
    });
    println!("seeds {seeds:?}: {injected}");
    let in_simulations = |fault: &Fault| !matches!(fault, Fault::Stop | Fault::Restart);
    for fault in Fault::ALL.into_iter().filter(|fault| named.is_none() && in_simulations(fault)) {
        assert!(injected.of(fault) > 0, "{fault:?} was injected");
    }
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_does_not() {
    let logs: Vec<Vec<String>> = (0..10).map(|seed| simulate(seed).log).collect();
    for (seed, first) in (0..).zip(&logs) {
        assert!(first.len() > 100, "a log says what happened");
        let again = simulate(seed).log;
        if let Some(line) = first.iter().zip(&again).position(|(one, two)| one != two) {
            panic!("seed {seed}, line {line}: {:?} and {:?}", first[line], again[line]);
        }
        assert_eq!(first.len(), again.len(), "seed {seed}");
    }
    assert_ne!(logs[7], logs[8]);

    // Another process has other addresses, hash keys and clocks.
    let path = std::env::temp_dir().join(format!("kvs-simulation-{}.log", std::process::id()));
    let status = Command::new(std::env::current_exe().expect("a program knows its path"))
        .args(["--exact", "simulations::every_seed_is_linearizable"])
        .env(SEEDS_VARIABLE, "7")
        .env(LOG_VARIABLE, &path)
        .status()
        .expect("this program runs again");
    assert!(status.success());
    let text = std::fs::read_to_string(&path).expect("it wrote its log");
    std::fs::remove_file(&path).expect("it is ours");
    assert_eq!(text, logs[7].join("\n"));
}

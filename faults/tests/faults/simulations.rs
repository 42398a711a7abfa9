//! Many seeds, and that a seed is all it takes to see a failure again.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::history::History;
use crate::is_long;
use crate::plan::{Fault, Injected};
use crate::simulation::simulate;

/// Names one seed to simulate alone.
const SEED_VARIABLE: &str = "KVS_SIMULATION_SEED";
/// Names a file for the event log of that seed.
const LOG_VARIABLE: &str = "KVS_SIMULATION_LOG";

fn judge(seed: u64, history: &History) {
    let judgement = history.judge(true);
    assert!(
        judgement.is_right(),
        "seed {seed} (run it alone with {SEED_VARIABLE}={seed}, and with {LOG_VARIABLE}=file for \
         its log): {judgement}"
    );
}

/// 50 seeds, 1,000 with `KVS_LONG_TESTS=1`, or the one that is named.
#[test]
fn every_seed_is_linearizable() {
    if let Ok(seed) = std::env::var(SEED_VARIABLE) {
        let seed = seed.parse().expect("a seed is a number");
        let simulation = simulate(seed);
        if let Ok(path) = std::env::var(LOG_VARIABLE) {
            std::fs::write(path, simulation.log.join("\n")).expect("the log can be written");
        }
        println!("{}", simulation.injected);
        return judge(seed, &simulation.history);
    }
    let seeds = if is_long() { 1000 } else { 50 };
    let (next, injected) = (AtomicU64::new(0), Injected::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let simulation = simulate(seed);
            injected.add_all(&simulation.injected);
            judge(seed, &simulation.history);
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        for thread in threads {
            thread.join().expect("every seed is right");
        }
    });
    println!("{seeds} seeds: {injected}");
    for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::Stop) {
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
        .env(SEED_VARIABLE, "7")
        .env(LOG_VARIABLE, &path)
        .status()
        .expect("this program runs again");
    assert!(status.success());
    let text = std::fs::read_to_string(&path).expect("it wrote its log");
    std::fs::remove_file(&path).expect("it is ours");
    assert_eq!(text, logs[7].join("\n"));
}

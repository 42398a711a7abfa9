//! Fault injection: see the crate's own documentation for what stands where.

mod cluster;
mod frames;
mod history;
mod log;
mod network;
mod plan;
mod process;
mod proxy;
mod random;
mod server;
mod simulation;
mod value;
mod workload;

mod campaign;
mod mutants;
mod processes;
mod proxied;
mod refusals;
mod simulations;

/// Whether the long tests are wanted, as the gate does.
fn is_long() -> bool {
    std::env::var("KVS_LONG_TESTS").is_ok_and(|value| value == "1")
}

/// Whether the campaign is wanted that takes minutes: `make test-faults`.
fn is_campaign() -> bool {
    std::env::var("KVS_FAULTS_CAMPAIGN").is_ok_and(|value| value == "1")
}

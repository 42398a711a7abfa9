//! Fault injection: see the crate's own documentation for what stands where.

#![cfg_attr(
    feature = "mutants",
    allow(dead_code, reason = "the tests of mutants use a part of what stands here")
)]

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

#[cfg(not(feature = "mutants"))]
mod campaign;
// A mutant breaks the whole process, so its tests run alone.
#[cfg(feature = "mutants")]
mod mutants;
#[cfg(not(feature = "mutants"))]
mod processes;
#[cfg(not(feature = "mutants"))]
mod proxied;
#[cfg(not(feature = "mutants"))]
mod refusals;
#[cfg(not(feature = "mutants"))]
mod simulations;

/// Whether the long tests are wanted, as the gate does.
#[cfg(not(feature = "mutants"))]
fn is_long() -> bool {
    std::env::var("KVS_LONG_TESTS").is_ok_and(|value| value == "1")
}

/// Whether the campaign is wanted that takes minutes: `make test-faults`.
#[cfg(not(feature = "mutants"))]
fn is_campaign() -> bool {
    std::env::var("KVS_FAULTS_CAMPAIGN").is_ok_and(|value| value == "1")
}

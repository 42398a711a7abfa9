//! Attacks on the key-value store, and the judgement of what its clients saw.
//!
//! The crate is its tests (`tests/faults`): nothing here is part of a program, and all its
//! dependencies are for tests. Workers hammer a few hot keys through lanes of the client library and
//! record what each operation saw; a TCP proxy between client and server spoils what passes, frame
//! by frame, as a seeded plan says; real servers are killed, stopped and started again; a simulation
//! runs client, network, proxy and server in one thread under virtual time, where one seed has one
//! course of events. Afterwards the checker decides whether the history is linearizable, and the
//! counters must add up: every acknowledged INCR counts exactly once.
//!
//! Modules, bottom up:
//!
//! - `random`, `log`: seeded choices, and what happened when
//! - `network`: the system's TCP, or the simulation's
//! - `frames`, `plan`, `proxy`: what goes wrong between a client and its server; of the protocol
//!   they read no more than the header that gives a frame's length and kind
//! - `value`, `workload`: what clients do, and what they see
//! - `history`, `counters`: whether that is right
//! - `server`, `cluster`, `process`, `simulation`: servers inside the process, bare or behind
//!   proxies, real ones, simulated ones
//! - `proxied`, `processes`, `campaign`, `simulations`, `refusals`, `mutants`: the tests
//!
//! `cargo test -p faults` runs the short part, `KVS_LONG_TESTS=1` the long one, `make test-faults` the
//! whole campaign, with a table of what was injected. A simulation that
//! fails says its seed: `KVS_SIMULATION_SEEDS=7` runs it alone, `7..5000` many, and
//! `KVS_SIMULATION_LOG=file` keeps the event log. The tests of the module `mutants` break the system
//! on purpose, one fault at a time, around the real store, order and connection, and must notice each.
//!
//! Left on purpose: faults are drawn per frame, so two runs over TCP make the same choices but not
//! with the same timing. Only a simulation replays.

//! Every example of the client library against a server.

mod harness;

use std::fs;
use std::process::ExitCode;

use harness::{Bed, Test, root};

const TESTS: &[Test] = &[
    ("every example ends well", every_example_ends_well),
    ("every example fails without a server", every_example_fails_without_a_server),
];

fn main() -> ExitCode {
    harness::main("examples", TESTS)
}

/// Runs every example against the server at the address; it must end with the status.
fn run_all(bed: &Bed, address: &str, status: i32) {
    let mut names = Vec::new();
    for source in fs::read_dir(root().join("kvs-client/examples")).unwrap() {
        let name = source.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let running = bed.program(harness::example("kvs-client", &name), [address]).start();
        assert_eq!(running.ends().status, status, "the example {name}");
        names.push(name);
    }
    assert!(names.contains(&"quickstart".to_owned()), "examples are found");
}

fn every_example_ends_well(bed: &Bed) {
    let (_server, address) = bed.server("");
    run_all(bed, &address, 0);
}

fn every_example_fails_without_a_server(bed: &Bed) {
    // No server has this port.
    run_all(bed, "127.0.0.1:1", 1);
}

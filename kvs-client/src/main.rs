//! `kvs-client`: the load generator, and single operations for a person at a shell.

mod load;

use std::process::ExitCode;

fn main() -> ExitCode {
    match load::start(flags::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("kvs-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

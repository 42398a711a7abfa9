//! The subcommand `sweep`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it with its own reading of the arguments.
pub(crate) async fn main(_arguments: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}

//! The launcher.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs a cluster: `[servers] [clients] [server_args] [client_args]`.
pub(crate) async fn main(_arguments: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}

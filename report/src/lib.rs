//! Run results, and the tools that read them.
//!
//! A run leaves one folder behind: a log per process, a result per client. This crate owns the
//! result type that the load generator writes, and everything that is later told from the folder.
//! It opens no socket and starts no process.

pub mod result;
pub mod server_log;

//! What is measured, a subcommand each.

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod compare;
pub(crate) mod costs;
pub(crate) mod ladder;
pub(crate) mod launch;
pub(crate) mod open_loop;
pub(crate) mod profile;
pub(crate) mod publish;
pub(crate) mod scaling;
pub(crate) mod scenarios;
pub(crate) mod store;
pub(crate) mod sweep;
pub(crate) mod sweeps;
pub(crate) mod transports;

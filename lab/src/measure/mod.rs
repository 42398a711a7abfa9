//! What measurements share.
//!
//! - [`table`]: measured tables, which REPORT.md is made from;
//! - [`rounds`]: contenders that take turns, and what comes of it summed up;
//! - [`stores`]: servers on this machine, ours and others, and clients that drive them;
//! - [`redis`]: what a Redis server is asked beside its load;
//! - [`criterion`]: the medians of micro-benchmarks.

pub(crate) mod criterion;
pub(crate) mod redis;
pub(crate) mod rounds;
pub(crate) mod stores;
pub(crate) mod table;

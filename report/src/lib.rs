//! Run results, and the tools that read them.
//!
//! A run leaves one folder behind: a log per process, a result per client. This crate owns the
//! result type that the load generator writes, and everything that is later told from the folder.
//! It opens no socket and starts no process.
//!
//! - [`result`]: what one client measured;
//! - [`server_log`], [`client_log`]: what one process wrote every second;
//! - [`run_folder`]: where both lie;
//! - [`results`]: measured tables, of sweeps and comparisons;
//! - [`window`]: a time of it, and what a server logged then;
//! - [`cluster`]: the run's total, or why there is none;
//! - [`bottleneck`]: the sentence that names what limited it;
//! - [`warning`]: what to know beside it, with the remedy;
//! - [`capacity`]: what its costs predict for a testbed;
//! - [`metrics`], [`require`]: its figures by name, and what they must reach;
//! - [`compare`], [`statistics`]: two runs side by side, and the noise;
//! - [`sweep`]: a sweep's table summed up;
//! - [`live`]: what a run is doing right now;
//! - [`table`]: the total as text, and the line to quote;
//! - [`plots`]: the pictures of a run;
//! - [`document`]: REPORT.md, whose figures come from saved results;
//! - [`page`]: all of it as one HTML page;
//! - [`tell`]: all of it told, then drawn and written;
//! - [`wording`]: how figures are written for people.
//!
//! Left on purpose: latencies of several clients stand side by side and are not merged, because a
//! percentile of percentiles is none.

pub mod bottleneck;
pub mod capacity;
pub mod client_log;
pub mod clocks;
pub mod cluster;
pub mod compare;
pub mod document;
pub(crate) mod lines;
pub mod live;
pub mod metrics;
pub mod page;
pub mod plots;
pub mod require;
pub mod result;
pub mod results;
pub mod run_folder;
pub mod server_log;
pub mod statistics;
pub mod sweep;
pub mod table;
pub mod tell;
pub mod warning;
pub mod window;
pub mod wording;

//! Client library of the key-value store, and home of its load generator.
//!
//! ```no_run
//! # async fn example() -> Result<(), kvs_client::Error> {
//! use kvs_client::Client;
//!
//! let client = Client::connect("node0:8080,node1:8080").await?;
//! client.put("greeting", "hello").await?;
//! assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//! assert_eq!(client.increment("visits", 1).await?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Three ways to send operations, from the plainest to the fastest:
//!
//! - [`Client::get`] and its like: one operation at a time; concurrent callers are batched
//! - [`Client::run`] with a [`Batch`]: many operations at once
//! - a [`Lane`]: an ordered stream of batches with several in flight; operations on one key take
//!   effect in the order of their stamps
//!
//! Errors come in three classes ([`FailureClass`]): not applied, unknown, applied. A mutation whose
//! reply was lost is sent again and takes effect once; when no answer comes in time it is *unknown*,
//! never failed. A missing key and a CAS that does not match are outcomes.
//!
//! Bounds are in [`Config`]: connections, time for retries, bytes in flight. The load generator is
//! behind the feature `load`; without it the library brings none of its dependencies.

mod batcher;
mod client;
mod config;
mod connection;
mod error;
mod lane;
#[cfg(feature = "load")]
#[doc(hidden)]
pub mod offline;
mod outcomes;
mod plain;
mod router;
mod server_lane;
mod shared;

pub use batcher::Batch;
pub use client::{Client, PingReply, ServerInfo, Swap};
pub use config::{Config, Connector, Endpoint, Stream, SystemConnector};
pub use error::{Error, Failure, FailureClass};
pub use lane::{Completed, Lane};
pub use model::operation::{Action, Operation, OperationError};
pub use model::outcome::Outcome;
pub use outcomes::{Outcomes, Witness};

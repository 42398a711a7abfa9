//! One shard of the key-value store.
//!
//! A server owns a run of slots and holds their keys in memory. Clients send batches; each is
//! applied whole, in the order of its lane, and answered with one reply. What a server promises:
//!
//! - every operation takes effect atomically, between its batch's arrival and its reply;
//! - a batch that is sent again after a lost reply takes effect once;
//! - memory is bounded but for the keys: connections, sessions, lanes, completion records and
//!   frames each have a named limit, and who passes one is told;
//! - a restart loses the data, and is told apart by the identity of its data.
//!
//! The modules, in the order in which a batch meets them:
//!
//! - [`config`]: the flags, and what they ask for;
//! - [`server`]: takes the addresses, accepts connections, and ends in good order;
//! - [`connection`]: one peer, from its frames to its answers;
//! - [`service`]: the native front end: batches and control calls in, replies out, by way of an
//!   [`exchange`] or an [`errand`]; [`barriers`] are its own;
//! - [`order`]: when a command is applied, and when its answer may leave;
//! - [`fatal`]: what a server cannot go on after;
//! - [`counters`]: what was done, and the lines that tell it;
//! - [`reporter`]: the thread that writes those lines, and what [`resources`] tells of the process;
//! - [`log_limit`]: one line a second for what peers get wrong;
//! - [`descriptors`]: room for the connections;
//! - [`environment`]: randomness and time, so that a simulation replays from its seed.
//!
//! Below all of them is the shard itself, an [`engine::Engine`]. The program `kvs-server` puts them
//! together. A test, or a load generator with servers of its own, takes a [`server::Server`] or a
//! bare [`service::Service`] instead.

pub mod barriers;
pub mod config;
pub mod connection;
pub mod counters;
pub mod descriptors;
pub mod environment;
pub mod errand;
pub mod exchange;
pub mod fatal;
pub mod log_limit;
pub mod order;
pub mod reporter;
pub mod server;
pub mod service;

//! What travels between clients and servers, and where it belongs.
//!
//! No runtime and no sockets: everything here turns values into bytes and back, and every length,
//! count and offset that a peer sends is checked before anything is allocated for it.
//!
//! - [`operation`]: keys, values, operations and their outcomes
//! - [`batch`] and [`reply`]: what a batch looks like on the wire, there and back
//! - [`control`]: hello, ping, statistics, the barrier of a run
//! - [`codec`]: the frames that carry them under tarpc's transport
//! - [`shard_map`]: which server and which partition owns a key
//! - [`limits`]: every bound of the above

pub mod batch;
mod buffers;
pub mod codec;
pub mod control;
pub mod limits;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod operation;
mod repeats;
pub mod reply;
pub mod shard_map;
#[cfg(test)]
mod testing;
pub mod varint;

//! What travels between clients and servers.
//!
//! No runtime and no sockets: everything here turns values into bytes and back, and every length,
//! count and offset that a peer sends is checked before anything is allocated for it.
//!
//! - [`batch`] and [`reply`]: what a batch looks like on the wire, there and back
//! - [`control`]: hello, ping, the end of lanes and sessions, the barrier of a run
//! - [`frame`]: what carries them, and which versions of all this there are
//! - [`codec`]: frames as messages, under tarpc's transport
//! - [`buffers`]: memory of frames that is used again
//! - [`limits`]: every bound of the above

pub mod batch;
pub mod buffers;
mod bytes_at;
pub mod codec;
pub mod control;
pub mod frame;
pub mod limits;
pub mod reply;
#[cfg(test)]
mod testing;
pub mod varint;

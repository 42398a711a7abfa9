//! What travels between clients and servers, and where it belongs.
//!
//! No runtime and no sockets: everything here turns values into bytes and back.

pub mod limits;
pub mod operation;
pub mod varint;

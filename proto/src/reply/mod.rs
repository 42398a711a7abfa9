//! A server's answer to a batch.
//!
//! Body of a batch reply, little-endian:
//!
//! 1. `u64` identity of the shard's data
//! 2. `u64` number that is answered; the next one when the batch is out of turn
//! 3. `u32` epoch of the shard's map of slots
//! 4. `u8` status: 0 applied, else the code of a [`Refusal`](model::refusal::Refusal)
//! 5. `u8` flags: bit 0, apply sequences follow; bit 1, answered from a completion record (0 when
//!    refused)
//! 6. `u16` zero
//! 7. `u32` number of operations (0 when refused)
//! 8. `u32` number of groups (0 when refused)
//! 9. with flag bit 0, for each group: `u64` apply sequence
//! 10. for each operation: `u8` outcome code, then
//!     - value, mismatch with a value: varint length, the value
//!     - repeat: varint distance, at least 1, back to the operation of this reply whose full value
//!       is the same; never to another repeat
//!     - counter: `i64`
//!     - all others: nothing; *deferred* is a read that the client has to repeat
//! 11. when refused, instead of 9 and 10: UTF-8 text, at most 1,024 bytes
//!
//! In memory a reply's bytes begin with room for the frame header, so that the codec sends the
//! buffer as it is.

mod build;
mod code;
mod header;
mod read;
mod repeats;

pub use build::ReplyBuilder;
pub use header::{HEADER_BYTES, ReplyHeader, refuse};
pub use read::{Reply, ReplyError};

#[cfg(test)]
mod tests;

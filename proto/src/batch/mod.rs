//! A batch of operations on its way to a shard.
//!
//! Body of a batch request, little-endian:
//!
//! 1. `u64` identity of the shard's data, as its session names it
//! 2. `u64` number of the session
//! 3. `u32` shard, from 1
//! 4. `u32` lane
//! 5. `u32` epoch of the map of slots that the client routed by
//! 6. `u32` zero
//! 7. `u64` with mutations, the number of the batch in its lane, from 1; without, the number of the
//!    batch that it is to run after, or 0
//! 8. `u64` lowest open number: the client holds replies to all lower ones
//! 9. `u64` first stamp
//! 10. `u32` number of operations
//! 11. `u32` number of groups
//! 12. for each group: `u32` partition, `u32` number of operations (at least 1); partitions do not
//!     descend
//! 13. the operations, group by group, each:
//!     1. `u8` kind
//!     2. varint: stamp difference, to the first stamp for the first operation of a group, else to
//!        the operation before it. It is unsigned, so disorder in a group can't be expressed
//!     3. varint: length of the key; the key
//!     4. PUT and CAS: varint length of the argument; the argument. INCR: the argument. GET and
//!        DELETE: nothing. [`write_argument`](model::write_argument) says what arguments are
//!
//! Nothing follows the last operation. A retry may change what stands before the number of
//! operations, and nothing behind it.

mod decode;
mod encode;
mod header;

pub use decode::{BatchError, Decoded, Placement, decode};
pub use encode::{GroupEncoder, assemble, assemble_in};
pub use header::{
    BatchHeader, GROUP_BYTES, HEADER_BYTES, operation_bytes, read_header, with_header,
};

#[cfg(test)]
mod tests;

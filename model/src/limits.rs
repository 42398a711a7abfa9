//! Bounds of keys and values, each with its reason.

/// Longest key, in bytes. Keys are hashed and compared on every operation; 1 KiB is far above what
/// testbed workloads use and small enough that a key never dominates a frame.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value, in bytes. One value must fit into one frame with its key.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Most partitions of one shard. 4,096 leaves four slots each to a shard that owns all.
pub const PARTITIONS_MAX: u32 = 4096;

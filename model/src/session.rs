//! Sessions: what they are called, and what their clients want of them.

use serde::{Deserialize, Serialize};

/// A session, as the shard that opened it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// Identity of the shard's data: what a shard that lost its data knows nothing of, it refuses.
    pub data_id: u64,
    /// The session's number, random, unique in this data.
    pub number: u64,
}

/// What a client wants of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {
    /// Whether a value that repeats inside one reply is sent once.
    pub send_repeats_once: bool,
}

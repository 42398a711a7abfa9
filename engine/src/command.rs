//! What can be asked of a shard.

use std::borrow::Cow;

use model::operations::{Group, OperationEntry};
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};

use crate::ownership::Ownership;

/// One step of a shard.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// Its place in the shard's log, from 1; 0 where there is no log.
    pub position: u64,
    /// Time on the proposer's clock, in milliseconds since 1970. The shard's own clock never goes
    /// back.
    pub now_ms: u64,
    /// What is to be done.
    pub change: Change<'a>,
}

/// What a command does.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// Executes operations.
    Batch(Batch<'a>),
    /// Opens a session under a number that the proposer has drawn.
    OpenSession {
        /// The number, which no session has.
        number: u64,
        /// What its client wants.
        options: SessionOptions,
    },
    /// Ends a session with its lanes and records; one that is not there has ended.
    CloseSession(SessionId),
    /// Ends a lane.
    CloseLane(SessionId, u32),
    /// Makes these the shard's slots, if the epoch is newer than the one that it knows.
    Own(Ownership),
}

/// Operations with where they come from.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The lane whose turn it takes; `None` where nobody will ask again.
    pub origin: Option<Origin>,
    /// Epoch of the map that its sender routed by; `None` where the sender knows no map.
    pub epoch: Option<u32>,
    /// The epoch at which its keys were judged, and whether all were the shard's then. A judgement
    /// of another epoch than the shard's is made anew.
    pub judged: (u32, bool),
    /// How many of its operations mutate.
    pub mutations: usize,
    /// Where the operations' bytes lie.
    pub frame: &'a [u8],
    /// The operations by partition.
    pub groups: &'a [Group],
    /// The operations, group by group, with the hashes of the engine's own store.
    pub entries: &'a [OperationEntry],
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The session.
    pub session: SessionId,
    /// The session's lane.
    pub lane: u32,
    /// With mutations, the batch's number in the lane, from 1 without gaps. Without, the number of
    /// the last batch that it is to run after.
    pub number: u64,
    /// The client holds the replies to all lower numbers; their records can go.
    pub lowest_open: u64,
    /// Stands for the operations: a retry under the same number has the same ones.
    pub digest: u64,
}

/// Why a command was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// By kind.
    pub refusal: Refusal,
    /// The number that the lane takes next, where that is the matter.
    pub next: Option<u64>,
    /// In words.
    pub detail: Cow<'static, str>,
}

impl Refused {
    /// The same with words of its own.
    pub fn because(refusal: Refusal, detail: String) -> Self {
        Self { refusal, next: None, detail: detail.into() }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, next: None, detail: refusal.explain().into() }
    }
}

//! Control calls: small messages of the same service, encoded with `postcard` through serde.

use serde::{Deserialize, Serialize};

use crate::batch::SessionId;
use crate::shard_map::Place;

/// What a client asks beside its batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// Who are you? Opens a session when asked to.
    Hello {
        /// The session that is wanted, if any.
        open_session: Option<SessionOptions>,
    },
    /// Are you there?
    Ping,
    /// What have you done so far?
    Statistics,
    /// Arrives at the named barrier of a run, or asks again who has arrived.
    Barrier {
        /// The run.
        run_id: u64,
        /// Which barrier of the run.
        name: String,
        /// The caller, from 0.
        participant: u32,
        /// How many are expected.
        participants: u32,
    },
    /// Ends a lane: no batch of it is executed from the reply on.
    CloseLane {
        /// The session.
        session: SessionId,
        /// The lane.
        lane: u32,
    },
    /// Ends a session with its lanes and records.
    CloseSession {
        /// The session.
        session: SessionId,
    },
}

/// What a client wants of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {
    /// Whether a value that repeats inside one reply is sent once.
    pub send_repeats_once: bool,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// To a hello.
    Hello(Box<Hello>),
    /// To a ping.
    Pong {
        /// The server's boot id.
        boot_id: u64,
    },
    /// To a request for statistics.
    Statistics(Statistics),
    /// To an arrival.
    Barrier {
        /// How many have arrived; the barrier is open when all have.
        arrived: u32,
    },
    /// Done: the lane or session is closed.
    Closed,
    /// Refused; the text says why and what to do.
    Refused(String),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Random number of this life of the server.
    pub boot_id: u64,
    /// The session that was asked for.
    pub session: Option<SessionId>,
    /// How long a session lives without a batch or a control call, in milliseconds.
    pub session_lease_ms: u64,
    /// The server's place among its peers.
    pub place: Place,
    /// Epoch of the shard map.
    pub epoch: u32,
    /// Lock domains that batches are grouped by.
    pub partitions: u32,
    /// The store's name.
    pub store: String,
    /// How many keys it holds.
    pub keys: u64,
    /// Free memory of the server's host, in bytes; 0 when unknown.
    pub memory_free_bytes: u64,
    /// All memory of the server's host, in bytes; 0 when unknown.
    pub memory_total_bytes: u64,
    /// Name of the server's host, so that memory is counted once per host.
    pub host: String,
    /// Threads that serve.
    pub threads: u32,
    /// Version of the server's program.
    pub version: String,
}

/// What a server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Operations applied.
    pub operations: u64,
    /// Keys held.
    pub keys: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Connections open.
    pub connections: u64,
}

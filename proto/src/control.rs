//! Control calls: small messages of the same service, encoded with `postcard` through serde.

use model::session::{SessionId, SessionOptions};
use model::slots::Shard;
use serde::{Deserialize, Serialize};

use crate::frame::{VERSIONS, VersionSpan};

/// What a client asks beside its batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// Who are you? Opens a session when asked to.
    Hello {
        /// Versions of the protocol that the client speaks.
        versions: VersionSpan,
        /// The session that is wanted, if any.
        open_session: Option<SessionOptions>,
    },
    /// Are you there?
    Ping,
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

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// To a hello.
    Hello(Box<Hello>),
    /// To a ping.
    Pong {
        /// Identity of the shard's data.
        data_id: u64,
    },
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

/// What a server says of itself and its shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that both sides speak from now on.
    pub version: u8,
    /// Identity of the shard's data: in memory, of this life of the server.
    pub data_id: u64,
    /// The session that was asked for.
    pub session: Option<SessionId>,
    /// How long a session lives without a batch or a control call, in milliseconds.
    pub session_lease_ms: u64,
    /// Which shard it is.
    pub shard: Shard,
    /// Epoch of the map that gives it these slots.
    pub epoch: u32,
    /// The slots that it owns, first and last of each run.
    pub slots: Vec<(u16, u16)>,
    /// Partitions that batches are grouped by: slot mod this number.
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
    pub program: String,
}

impl Hello {
    /// That of a shard of so many partitions which holds nothing, on a host that nothing is known
    /// of.
    pub fn of(shard: Shard, data_id: u64, partitions: u32) -> Self {
        Self {
            version: VERSIONS.least,
            data_id,
            session: None,
            session_lease_ms: 1000,
            shard,
            epoch: 1,
            slots: shard.first_slots().ranges(),
            partitions,
            store: String::new(),
            keys: 0,
            memory_free_bytes: 0,
            memory_total_bytes: 0,
            host: String::new(),
            threads: 1,
            program: String::new(),
        }
    }
}

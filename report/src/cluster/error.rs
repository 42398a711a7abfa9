//! Why a run has no total.

use std::path::PathBuf;

use super::OVERLAP_MIN;
use crate::result::ratio;
use crate::run_folder::FolderError;

/// Why a run has no total.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Clients completed nothing.
    #[error("nothing was measured: {what}; look into {} for the reason", folder.display())]
    NothingMeasured {
        /// Who completed nothing.
        what: String,
        /// The run's folder.
        folder: PathBuf,
    },
    /// The clients' windows do not lie on each other.
    #[error("no total: all clients measured together for only {common_s:.1} s of {longest_s:.1} s \
        ({:.0}%, at least {:.0}% is needed); use a longer -secs or fewer clients",
        100.0 * ratio(*common_s, *longest_s), 100.0 * OVERLAP_MIN)]
    Overlap {
        /// Length of the common window.
        common_s: f64,
        /// Length of the longest window.
        longest_s: f64,
    },
    /// A server never wrote its first line.
    #[error("server {server} never listened; see {}", path.display())]
    NeverListened {
        /// The server's number, from 1.
        server: usize,
        /// Its log.
        path: PathBuf,
    },
    /// A server's place is not one of this run's.
    #[error(
        "server {server} calls itself shard {shard}, but the run has {servers} servers: logs \
        of several runs lie in one folder; run again, and copy whole folders only"
    )]
    ForeignServer {
        /// The server's number, from 1.
        server: usize,
        /// What it calls itself.
        shard: String,
        /// How many there are.
        servers: u32,
    },
    /// Two clients' results are of two runs.
    #[error(
        "client {client}'s result is of run {run_id}, not of {expected} as the others: results \
        of several runs lie in one folder; run again, and copy whole folders only"
    )]
    ForeignClient {
        /// The client's number, from 1.
        client: u32,
        /// Its run.
        run_id: String,
        /// The first client's run.
        expected: String,
    },
    /// A client speaks of a shard that no server is.
    #[error(
        "client {client} used shard {shard}, which no server of this run is; \
        were its -hosts another run's?"
    )]
    ForeignShard {
        /// The client's number, from 1.
        client: u32,
        /// The shard.
        shard: String,
    },
    /// Server and clients count differently.
    #[error(
        "no total: server {shard} executed {executed} operations, but the clients count \
        {acknowledged} acknowledged by it; did another client use this server?"
    )]
    Applied {
        /// The server's place.
        shard: String,
        /// Operations that it executed.
        executed: u64,
        /// Operations that the clients count.
        acknowledged: u64,
    },
    /// A GET answered with what cannot have been written.
    #[error(
        "no total: {count} GETs answered with a value that does not belong to their key; \
        the store or the wire is broken"
    )]
    WrongValues {
        /// How many.
        count: u64,
    },
}

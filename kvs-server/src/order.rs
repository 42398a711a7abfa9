//! When a command is applied, and when its answer may leave.
//!
//! Front ends hand requests to an [`Order`] and get each back with its answer: at once, or later.
//! They send the answers of a connection in the order in which they handed the requests over, however
//! late one comes. [`memory`] is the one that there is; a journal and a replicated log fit behind the
//! same interface.

use engine::{Change, Refused, Replies, Tally};
use tokio::sync::oneshot;

pub mod memory;

/// A command in the making, and what takes its outcomes.
pub trait Request: Send + 'static {
    /// Takes the outcomes of a batch.
    type Replies: Replies;

    /// What is to be done, and where its outcomes go.
    fn parts(&mut self) -> (Change<'_>, &mut Self::Replies);

    /// It was applied, or refused.
    fn end(&mut self, result: Result<Tally, Refused>);
}

/// A request with its answer.
#[derive(Debug)]
pub enum Answer<R> {
    /// The answer may leave at once.
    Now(R),
    /// The answer may leave when the request comes back. An order that drops its end will never
    /// answer.
    Later(oneshot::Receiver<R>),
}

/// Decides when the commands of a shard are applied. Requests of one caller are applied in the order
/// in which it hands them over.
pub trait Order: Send + Sync + 'static {
    /// The store behind it.
    type Store: store::Store;

    /// The shard, to look at: only an order changes it.
    fn engine(&self) -> &engine::Engine<Self::Store>;

    /// Takes a request.
    fn submit<R: Request>(&self, request: R) -> Answer<R>;
}

//! The order of a shard in memory: commands are applied as they arrive, side by side, and answers
//! leave at once.

use std::sync::Arc;
use std::time::Duration;

use engine::{Change, Command, Engine, Refused, Replies, Room, Session, Tally};
use model::refusal::Refusal;
use model::session::SessionId;
use store::{AnyStore, Store};

use super::{Answer, Order, Request};
use crate::environment::Environment;
use crate::fatal::Fatal;

/// How long a session lives unused. Longer than any retry that a client should make.
pub const LEASE: Duration = Duration::from_secs(120);
const LEASE_MS: u64 = LEASE.as_millis() as u64;
/// Most sessions at once: one per client process and server, with room for a large testbed.
pub const SESSIONS_MAX: usize = 4096;
/// Most bytes of completion records per session: 1,024 lanes with 8 open batches of 5,000
/// mutations each take 40 MiB.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Most bytes of completion records over all sessions, unless `-record_bytes_max` says otherwise:
/// 25 clients as large as the one above, or hundreds of ordinary ones.
pub const RECORD_BYTES_TOTAL: usize = 1 << 30;

/// See the module.
pub struct Memory<S = AnyStore> {
    engine: Engine<S>,
    environment: Arc<dyn Environment>,
    fatal: Fatal,
    record_bytes_max: usize,
}

impl<S: Store> Memory<S> {
    /// The order of this shard, whose completion records may take so many bytes.
    pub fn new(
        engine: Engine<S>,
        environment: Arc<dyn Environment>,
        fatal: Fatal,
        record_bytes_max: usize,
    ) -> Self {
        Self { engine, environment, fatal, record_bytes_max }
    }

    fn apply<R: Replies>(&self, change: Change<'_>, replies: &mut R) -> Result<Tally, Refused> {
        let _guard = self.fatal.unless_done("a command panicked while it was applied");
        let now_ms = self.environment.now_ms();
        let room = self.admit(&change, now_ms)?;
        self.engine.apply(&Command { position: 0, now_ms, change }, room, replies)
    }

    /// Judges whether there is room for a command, and reserves it.
    fn admit(&self, change: &Change<'_>, now_ms: u64) -> Result<Option<Room>, Refused> {
        match change {
            Change::Batch(batch) => {
                let Some(origin) = &batch.origin else { return Ok(None) };
                let session = self.find(origin.session, now_ms)?;
                let (own_max, max) = (RECORD_BYTES_MAX, self.record_bytes_max);
                let reserve = || self.engine.reserve(batch, origin, &session, own_max, max);
                match reserve() {
                    // The records of those whose lease has ended may make room.
                    Err(Refused { refusal: Refusal::Throttled, .. }) if self.end_idle(now_ms) => {
                        reserve()
                    }
                    reserved => reserved,
                }
            }
            Change::OpenSession { .. } => {
                self.end_idle(now_ms);
                let has_room = self.engine.sessions().count() < SESSIONS_MAX;
                if has_room { Ok(None) } else { Err(Refusal::Throttled.into()) }
            }
            Change::CloseLane(session, lane) => {
                self.find(*session, now_ms)?;
                self.engine.reserve_lane(*session, *lane).map(|()| None)
            }
            Change::CloseSession(_) | Change::Own(_) => Ok(None),
        }
    }

    /// The session with this id, used now; it ends if it has been idle for a whole lease.
    fn find(&self, id: SessionId, now_ms: u64) -> Result<Arc<Session>, Refused> {
        let session = self.engine.sessions().find(id)?;
        if now_ms.saturating_sub(session.used_ms()) > LEASE_MS {
            self.end(id, now_ms);
            return Err(Refusal::SessionExpired.into());
        }
        session.touch(now_ms);
        Ok(session)
    }

    /// Ends the sessions that have been idle for a whole lease, and says whether there were any.
    fn end_idle(&self, now_ms: u64) -> bool {
        let idle = self.engine.sessions().unused_since(now_ms.saturating_sub(LEASE_MS));
        idle.iter().for_each(|id| self.end(*id, now_ms));
        !idle.is_empty()
    }

    fn end(&self, id: SessionId, now_ms: u64) {
        let command = Command { position: 0, now_ms, change: Change::CloseSession(id) };
        self.engine.change(&command).expect("a session can always end");
    }
}

impl<S: Store> Order for Memory<S> {
    type Store = S;

    fn engine(&self) -> &Engine<S> {
        &self.engine
    }

    fn submit<R: Request>(&self, mut request: R) -> Answer<R> {
        let (change, replies) = request.parts();
        let result = self.apply(change, replies);
        request.end(result);
        Answer::Now(request)
    }
}

#[cfg(test)]
mod tests;

//! One shard's state machine: its store, clock, sessions, lanes, completion records and owned slots.
//!
//! An [`Engine`] applies [`Command`]s. What comes of one depends on the command and on what was
//! applied before, and on nothing else: not on the host, the number of threads, the seed of a hash,
//! free memory, or room in a reply. So two engines that applied the same commands give equal answers
//! and hold equal contents. It knows neither sockets nor clocks nor random numbers nor disks:
//! whoever proposes a command brings time and numbers along.
//!
//! What an engine keeps:
//!
//! - every operation takes effect atomically, and a batch whole or not at all;
//! - a lane takes exactly the next number; a lower one is answered from its record, whatever has
//!   happened since, and a higher one is refused;
//! - reads run after exactly the number that they name, and leave nothing behind;
//! - from the moment at which the end of a session or lane is told, nothing is applied for it.
//!
//! Left to the order of commands above: whether there is room ([`Engine::reserve`]), and when a
//! session has been idle for too long. Both become commands, or keep one from being made.
//!
//! Commands may be applied side by side: a session's gate, a lane, the owned slots and a partition
//! have a lock each, taken in this order. The modules, in the order in which a batch meets them:
//!
//! - [`command`]: what can be asked
//! - [`engine`]: who answers
//! - [`session`], [`lane`], [`record`]: what makes retries harmless
//! - [`room`]: bytes that are counted against a bound
//! - [`ownership`]: which slots belong to the shard
//! - [`tally`]: what a batch did, counted by operation

pub mod command;
pub mod engine;
pub mod lane;
pub mod ownership;
pub mod record;
pub mod room;
pub mod session;
pub mod tally;

pub use command::{Batch, Change, Command, Origin, Refused};
pub use engine::{Engine, Nobody};
pub use model::outcome::{Replies, Shape};
pub use ownership::Ownership;
pub use session::{LANES_MAX, Room, Session};
pub use tally::Tally;

/// Locks a mutex whose holders do not panic, short of a failed assertion of ours; then the state
/// may be torn, and to go on would break promises.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panicked")
}

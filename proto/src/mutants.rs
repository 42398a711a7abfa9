//! Faults of the system that a test can switch on, to see that it is noticed.
//!
//! They exist with the feature `mutants` alone, which nothing but the tests of the crate `faults`
//! asks for. One is active at a time in a process.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A fault of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// A batch takes one number from the process's counter of stamps and counts on by itself, as
    /// the Go program did that this project descends from.
    CollidingStamps = 1,
    /// PUTs of one key in one batch take effect in another order than that of their stamps.
    EqualKeysOutOfOrder,
    /// A batch that is sent again is applied again.
    RetryAppliedTwice,
    /// A handler is cancelled between the operations of a batch.
    HandlerCancelled,
    /// What was sent and had no answer is reported as not applied.
    LossIsFailure,
    /// A lane takes a reply for that of another batch.
    ReplyOfAnotherBatch,
    /// Some reads are served from a copy that is not kept up.
    StaleCopy,
    /// A session knows its batches by the ids of their requests, which begin anew with each
    /// connection.
    RequestIdsForDuplicates,
    /// Client and server do nothing for the sake of retries: no session is looked up, no number and
    /// digest checked, no record kept, no frame held back. To measure what exactly-once costs.
    NothingForRetries,
}

static ACTIVE: AtomicU8 = AtomicU8::new(0);
static TURN: Mutex<()> = Mutex::new(());

/// Keeps a mutant active, or all inactive, until it is dropped. Others wait for their turn.
#[derive(Debug)]
pub struct Active(#[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

/// Switches a mutant on, or all off.
pub fn activate(mutant: Option<Mutant>) -> Active {
    // A test that failed leaves nothing behind but the poison.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    ACTIVE.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::SeqCst);
    Active(turn)
}

/// Switches on, for the rest of the process, the mutant that the environment asks for, and says so
/// on stderr.
///
/// # Panics
///
/// When `KVS_MUTANT` is not `nothing_for_retries`, the one that whole processes are measured with.
pub fn activate_from_environment() {
    let Some(name) = std::env::var_os("KVS_MUTANT").filter(|name| !name.is_empty()) else { return };
    assert_eq!(name, "nothing_for_retries", "KVS_MUTANT names the mutant that can be measured");
    ACTIVE.store(Mutant::NothingForRetries as u8, Ordering::SeqCst);
    eprintln!("this process breaks its promises on purpose: {:?}", Mutant::NothingForRetries);
}

impl Mutant {
    /// Whether it is switched on.
    pub fn is_active(self) -> bool {
        ACTIVE.load(Ordering::Relaxed) == self as u8
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mutant_is_active_while_it_is_held() {
        let active = activate(Some(Mutant::StaleCopy));
        assert!(Mutant::StaleCopy.is_active() && !Mutant::LossIsFailure.is_active());
        drop(active);
        let none = activate(None);
        assert!(!Mutant::StaleCopy.is_active());
        drop(none);
    }
}

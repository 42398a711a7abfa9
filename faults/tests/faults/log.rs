//! What happened, in the order in which it happened, with its time: a simulation's event log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tells the time that has passed since some start, the same for all who ask.
pub(crate) type Clock = fn() -> Duration;

/// The time of this process.
pub(crate) fn system_clock() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

/// The time of the simulation that the caller is in.
///
/// # Panics
///
/// Outside of a simulation.
pub(crate) fn simulated_clock() -> Duration {
    turmoil::sim_elapsed().expect("a simulation is going on")
}

/// Lines with times; clones write to the same log, and the one that keeps none takes no memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventLog(Option<(Clock, Arc<Mutex<Vec<String>>>)>);

impl EventLog {
    /// An empty log.
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Some((clock, Arc::default())))
    }

    /// Appends a line.
    ///
    /// # Panics
    ///
    /// When another who held the log has panicked.
    pub(crate) fn add(&self, line: impl FnOnce() -> String) {
        if let Some((clock, lines)) = &self.0 {
            let line = format!("{:>10} {}", clock().as_micros(), line());
            lines.lock().expect("no holder of the log panicked").push(line);
        }
    }

    /// All lines.
    ///
    /// # Panics
    ///
    /// When another who held the log has panicked.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = |(_, lines): &(Clock, Arc<Mutex<Vec<String>>>)| {
            lines.lock().expect("no holder of the log panicked").clone()
        };
        self.0.as_ref().map(lines).unwrap_or_default()
    }
}

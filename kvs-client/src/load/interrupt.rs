//! Ending a run early: by Ctrl-C, by SIGTERM, or because its output can't be written.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The exit status of a run that was interrupted and is otherwise clean: what a shell reports for
/// a program that ended on Ctrl-C.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// A flag that is raised once, and that many can wait for.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<watch::Sender<bool>>);

impl Interrupt {
    /// A flag that nobody raises but the program.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// A flag that the first SIGINT or SIGTERM raises. The second one ends the process at once.
    ///
    /// # Errors
    ///
    /// When the system has no room for the signal handlers.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let this = Self::new();
        let mut ctrl_c = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let raised = this.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = ctrl_c.recv() => (),
                    _ = terminate.recv() => (),
                }
                if raised.is_raised() {
                    std::process::exit(i32::from(EXIT_INTERRUPTED));
                }
                raised.raise();
            }
        });
        Ok(this)
    }

    /// Raises the flag.
    pub(crate) fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is raised.
    pub(crate) fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is raised.
    pub(crate) async fn raised(&self) {
        let mut receiver = self.0.subscribe();
        receiver.wait_for(|raised| *raised).await.expect("this holds the sender");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_raised_flag_wakes_those_who_wait_and_those_who_come_later() {
        let interrupt = Interrupt::new();
        assert!(!interrupt.is_raised());
        let waiting = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.raised().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        interrupt.raise();
        waiting.await.expect("the waiting task ends");
        interrupt.raised().await;
        assert!(interrupt.is_raised());
    }
}

//! How a user asks to stop.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// Signals that ask to stop.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// None for a launcher that was started with `nohup`.
    hang_up: Option<unix::Signal>,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        let listen = |kind| unix::signal(kind).expect("a program may listen to this signal");
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
            hang_up: (!is_ignored(Signal::HUP)).then(|| listen(SignalKind::hangup())),
        }
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = hang_up => Signal::HUP,
        }
    }
}

/// Listens from now on. What it returns waits for the first signal, and is the exit status that tells
/// of it.
pub(crate) fn interrupted() -> impl Future<Output = u8> {
    let mut signals = Signals::listen();
    async move { status_of(signals.next().await) }
}

/// The exit status of a program that a signal ended, as shells have it.
pub(crate) fn status_of(signal: Signal) -> u8 {
    128 + u8::try_from(signal.as_raw()).expect("a signal's number is small")
}

/// Whether this process was started with the signal ignored.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
}

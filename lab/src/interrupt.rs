//! How a user asks to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Listens from now on for the signals that ask to stop. What it returns waits for the first, and
/// is the exit status that tells of it.
pub(crate) fn interrupted() -> impl Future<Output = u8> {
    let listen = |kind| signal(kind).expect("these signals can be listened to");
    let [mut interrupt, mut terminate, mut hangup] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(listen);
    async move {
        tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
            _ = hangup.recv() => 129,
        }
    }
}

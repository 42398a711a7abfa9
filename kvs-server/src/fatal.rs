//! What a server cannot go on after.
//!
//! A panic in what serves one connection ends that connection. A panic while a command is applied,
//! in a listener or in the reporter leaves a state that nobody may rely on: then the server stops
//! answering, and whoever runs it is told why. A server that accepts and never answers would be worse.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Whether something fatal has happened. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Fatal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    what: OnceLock<String>,
    happened: CancellationToken,
}

impl Fatal {
    /// It happened; the first to say so is heard.
    pub fn declare(&self, what: &str) {
        let _ = self.0.what.set(what.to_owned());
        self.0.happened.cancel();
    }

    /// Whether it happened.
    pub fn is_declared(&self) -> bool {
        self.0.what.get().is_some()
    }

    /// Waits until it happens, and says what it was.
    pub async fn happens(&self) -> String {
        self.0.happened.cancelled().await;
        self.0.what.get().cloned().unwrap_or_default()
    }

    /// Declares it if the thread panics before this is dropped.
    pub fn unless_done(&self, what: &'static str) -> impl Drop + '_ {
        Guard { fatal: self, what }
    }
}

struct Guard<'a> {
    fatal: &'a Fatal,
    what: &'static str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fatal.declare(self.what);
        }
    }
}

/// What a panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it said nothing")
}

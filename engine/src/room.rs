//! Bytes that are counted against a bound.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are in use.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// The bytes in use, those that are reserved included.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds bytes if no more than `bytes_max` are in use then; says whether it did.
    pub fn take(&self, bytes: usize, bytes_max: usize) -> bool {
        let add = |before: usize| before.checked_add(bytes).filter(|after| *after <= bytes_max);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Takes bytes away.
    pub fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

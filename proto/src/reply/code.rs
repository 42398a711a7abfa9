//! Codes of outcomes.

pub(super) const VALUE: u8 = 0;
pub(super) const REPEAT: u8 = 1;
pub(super) const MISSING: u8 = 2;
pub(super) const DONE: u8 = 3;
pub(super) const COUNTER: u8 = 4;
pub(super) const MISMATCH: u8 = 5;
pub(super) const MISMATCH_MISSING: u8 = 6;
pub(super) const MISMATCH_UNTOLD: u8 = 7;
pub(super) const NOT_AN_INTEGER: u8 = 8;
pub(super) const OVERFLOW: u8 = 9;
pub(super) const DEFERRED: u8 = 10;

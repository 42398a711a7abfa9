//! Decides whether a recorded history is linearizable.

pub mod history;
#[cfg(test)]
mod scratch;

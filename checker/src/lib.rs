//! Decides whether a recorded history is linearizable.

mod counter;
pub mod event;
pub mod history;
mod object;
#[cfg(test)]
mod oracle;
pub mod order;
mod resolve;
#[cfg(test)]
mod scratch;
mod search;
mod witness;
mod zones;

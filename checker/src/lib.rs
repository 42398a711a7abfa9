//! Decides whether a recorded history is linearizable.

mod check;
mod counter;
pub mod event;
pub mod history;
mod load;
mod object;
#[cfg(test)]
mod oracle;
mod order;
mod part;
pub mod picture;
mod resolve;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod scratch;
mod search;
mod shrink;
mod split;
mod verdict;
mod witness;
mod zones;

pub use check::{CheckError, Options, Progress, check};
pub use verdict::{Report, ShownOperation, Verdict, Violation};

//! Decides whether a recorded history is linearizable, in near-linear time.
//!
//! A history is what clients saw: for each operation its key, when it was invoked, when it had its
//! response, what it read and what it wrote. It is *linearizable* when every operation can be given
//! one moment between its two times so that, one after the other, they explain what each of them
//! saw (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", 1990).
//! In addition, operations of one worker on one key must take effect in the order of their stamps.
//!
//! Linearizability is local: a history is linearizable if and only if each key's part is. So keys
//! are decided one by one, each by the first of these that can:
//!
//! 1. the *witness replay* (`witness`): the servers report an order; if it explains everything and
//!    keeps real time, that is the proof, whatever the servers meant by it;
//! 2. the *zone sweep* (`zones`): decides registers, read-modify-writes and counters from the
//!    history alone, by sorting, because each write leaves a value of its own;
//! 3. where DELETEs are among them and no witness is, the sweep's values are placed as wholes
//!    (`presence`): all that is left to try is when the key was missing;
//! 4. the *general search* (`search`): tries orders, for the mixtures that are left.
//!
//! The last two have limits, of time and of memory; a key that reaches one is undecided, and the
//! report names the limit.
//!
//! The verdict is *linearizable*, *violation*, with few operations that contradict each other on
//! their own, or *undecided*, which is never a pass.
//!
//! # Layout
//!
//! | module | owns |
//! |---|---|
//! | [`history`] | the files: what is recorded, the writer, the readers, JSON lines |
//! | `load`, `split` | files into parts by key, in memory or on disk; what is counted on the way |
//! | [`event`] | one operation as the checks see it, what it means, the rules by name |
//! | `witness`, `resolve` and `counter`, `zones`, `order`, `presence`, `search` | the checks |
//! | `object`, `part`, `check` | one key, one part, the whole |
//! | `shrink`, `verdict`, [`picture`] | what is told |
//!
//! # Left on purpose
//!
//! - A check is blind to faults that are shorter than the operations' own intervals, so the report
//!   tells them. Hunt faults with small batches.
//! - On a hot key with DELETEs, legal histories are decided at once, and so are those in which
//!   nothing can stand between a write and a miss. A history that is wrong in a subtler way may
//!   need every order of what overlaps, which large batches make too many.
//! - All operations of a key must fit into memory together, at 256 bytes each.

mod check;
mod counter;
pub mod event;
pub mod history;
#[cfg(test)]
mod hot_tests;
mod load;
mod object;
#[cfg(test)]
mod oracle;
mod order;
mod part;
pub mod picture;
mod presence;
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

//! What the store is about, apart from how it travels and where it lies.
//!
//! - [`operation`]: what is asked of a key
//! - [`outcome`]: what became of it
//! - [`operations`]: runs of operations that lie in one buffer, found by an index
//! - [`slot`]: which slot a key belongs to, sets of slots, and how slots are divided
//! - [`refusal`]: why a command is not applied
//! - [`session`]: what sessions are called and what their clients want
//! - [`limits`]: bounds of keys and values

mod argument;
pub mod limits;
pub mod operation;
pub mod operations;
pub mod outcome;
pub mod refusal;
pub mod session;
pub mod slot;
pub mod slots;

pub use argument::{argument_bytes, split_compare_and_swap, write_argument};

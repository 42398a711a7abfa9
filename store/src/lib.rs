//! The maps that servers apply batches to.

mod store;

pub use store::Store;

//! The maps that servers apply batches to.
//!
//! A server groups the operations of a batch by lock domain and hands each group, a *run*, to a
//! [`Store`]. Three stores keep one contract and are held to it by one property test:
//!
//! - [`PartitionedStore`]: many lock domains, each a mutex around a hash table of its own. A run
//!   takes its lock once and is walked in a software pipeline that asks for the cache lines of
//!   operations to come. A batch knows its keys in advance, and this is how that is turned into
//!   speed: a lookup in a large map is a cache miss, and misses that overlap cost little.
//! - [`SccStore`]: `scc::HashMap`, a concurrent map that locks its buckets one by one.
//! - [`MutexStore`]: the standard library's map under one lock, the baseline.
//!
//! [`AnyStore`] is whichever of them a [`StoreKind`] names.
//!
//! # Guarantees
//!
//! Every operation is atomic on its key, and the operations of a run that share a key take effect
//! in the run's order. The rules of the operations themselves (when a CAS matches, what INCR
//! accepts as a number) stand once, in `effect`, and all three stores ask it.
//!
//! # Caveats left on purpose
//!
//! - Data lives in memory only.
//! - [`PartitionedStore`] never gives memory back to the operating system. What deletes free is
//!   reused, by values of any size once a whole 32 KiB chunk is free.
//! - A partition holds at most 64 GiB of keys and values up to 2 KiB; past it the process stops.
//! - A panic under a lock (a broken invariant) makes that partition refuse service from then on,
//!   with another panic: a map in an unknown state is not read.

mod any;
mod effect;
mod hash;
mod mutex;
mod partitioned;
mod scc;
mod store;
mod table;

pub use any::{AnyStore, StoreKind, UnknownStore};
pub use mutex::MutexStore;
pub use partitioned::PartitionedStore;
pub use scc::SccStore;
pub use store::{PREFETCH_AHEAD, PREFETCH_ENTRIES_AHEAD, Store};

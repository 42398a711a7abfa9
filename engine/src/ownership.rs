//! Which slots belong to a shard.

use model::operations::Operations;
use model::slot::slot_of;
use model::slots::SlotSet;

/// A shard's slots, and the epoch of the map of all shards that says so. The epoch counts changes
/// of ownership only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Counts the changes, from 1.
    pub epoch: u32,
    /// The slots.
    pub slots: SlotSet,
}

impl Ownership {
    /// Whether all keys are the shard's.
    pub fn owns(&self, operations: Operations<'_>) -> bool {
        (0..operations.len()).all(|index| self.slots.contains(slot_of(operations.get(index).key)))
    }
}

//! The hash table of one lock domain.
//!
//! A key's hash names a bucket of the [`Index`], one cache line that holds up to 12 references,
//! each with an 8-bit tag of the hash. A reference names a slot of the [`Slab`], where the key and
//! the value lie together behind an 8-byte header. So a lookup touches two places in memory, and
//! both are known early: the bucket from the hash alone, the slot once the bucket is there. A run
//! of operations asks for the buckets of operations [`BUCKET_AHEAD`] places ahead and for the
//! slots of those [`ENTRY_AHEAD`] ahead, and the cache misses overlap instead of adding up. What is
//! asked for is a hint: an operation in between may move or remove an entry, and each operation
//! looks its key up again when its turn comes.
//!
//! No operation rebuilds the table. The index grows by linear hashing, a bucket at a time; entries
//! never move because of it; memory comes in pieces of 32 KiB, mostly without page faults. Only the
//! lists of pieces, chunks and long values double: a few bytes for each.

mod bucket;
mod entry;
mod index;
mod long_values;
mod memory;
mod prefetch;
mod slab;

use model::operations::Operations;
use model::outcome::{Outcome, OutcomeSink};

use crate::effect::{Effect, effect};
use entry::{Header, VALUE_BYTES_INLINE_MAX};
use index::{Index, Location};
use long_values::LongValues;
use slab::Slab;

/// How many operations ahead a bucket is asked for. With 16 lookups took a tenth longer, with 40
/// no less.
pub(crate) const BUCKET_AHEAD: usize = 24;

/// How many operations ahead an entry is asked for, its bucket being there by then.
const ENTRY_AHEAD: usize = 12;

const _: () = assert!(ENTRY_AHEAD < BUCKET_AHEAD, "an entry is found through its bucket");

/// A map from keys to values, both bytes, owned by one lock.
#[derive(Debug, Default)]
pub(crate) struct Table {
    index: Index,
    slab: Slab,
    long_values: LongValues,
}

/// An entry that was looked up. Valid until the table changes.
struct Found {
    location: Location,
    header: Header,
}

impl Table {
    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Asks for the buckets of the first operations.
    pub(crate) fn prefetch(&self, operations: Operations<'_>) {
        for ahead in 0..operations.len().min(BUCKET_AHEAD) {
            self.index.prefetch(operations.hash(ahead));
        }
    }

    /// Asks for the entries of the first operations, whose buckets were asked for before.
    pub(crate) fn prefetch_entries(&self, operations: Operations<'_>) {
        for ahead in 0..operations.len().min(ENTRY_AHEAD) {
            self.prefetch_entry(operations.hash(ahead));
        }
    }

    /// Applies the operations in order; see [`Store::apply`](crate::Store::apply).
    pub(crate) fn apply<S: OutcomeSink>(&mut self, operations: Operations<'_>, outcomes: &mut S) {
        self.index.move_to_huge_page();
        self.slab.move_to_huge_page();
        let count = operations.len();
        self.prefetch(operations);
        self.prefetch_entries(operations);
        for index in 0..count {
            if index + BUCKET_AHEAD < count {
                self.index.prefetch(operations.hash(index + BUCKET_AHEAD));
            }
            if index + ENTRY_AHEAD < count {
                let hash = operations.hash(index + ENTRY_AHEAD);
                self.prefetch_entry(hash);
                prefetch::address(outcomes.place(hash));
            }
            self.apply_one(operations, index, outcomes);
        }
    }

    #[inline]
    fn apply_one<S: OutcomeSink>(
        &mut self,
        operations: Operations<'_>,
        index: usize,
        outcomes: &mut S,
    ) {
        let hash = operations.hash(index);
        let operation = operations.get(index);
        let mut digits = itoa::Buffer::new();
        let found = self.find(hash, operation.key);
        let current = found.as_ref().map(|found| self.value(found));
        let outcome = match effect(operation.action, current, &mut digits) {
            Effect::Answer(outcome) => outcome,
            Effect::Write(value, outcome) => {
                self.write(hash, operation.key, value, found.as_ref());
                outcome
            }
            Effect::Remove => {
                self.remove(found.as_ref().expect("only a key that is there is removed"));
                Outcome::Done
            }
        };
        outcomes.push(hash, outcome);
    }

    #[inline]
    fn prefetch_entry(&self, hash: u64) {
        if let Some(reference) = self.index.guess(hash) {
            prefetch::lines(self.slab.slot(reference));
        }
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<Found> {
        let mut header = Header::default();
        let location = self.index.find(hash, &self.slab, |reference| {
            let slot = self.slab.slot(reference);
            header = Header::read(slot);
            header.hash == hash as u32 && header.is_of(key, slot)
        })?;
        Some(Found { location, header })
    }

    #[inline]
    fn value(&self, found: &Found) -> &[u8] {
        let slot = self.slab.slot(found.location.reference);
        match found.header.long_value(slot) {
            None => found.header.value(slot),
            Some(number) => self.long_values.get(number),
        }
    }

    /// Makes `value` the key's value; `found` is what looking the key up gave.
    fn write(&mut self, hash: u64, key: &[u8], value: &[u8], found: Option<&Found>) {
        let header = Header {
            hash: hash as u32,
            key_bytes: key.len() as u32,
            value_bytes: value.len() as u32,
        };
        if let Some(found) = found {
            self.release_long_value(found);
            if slab::same_class(found.header.slot_bytes(), header.slot_bytes()) {
                return self.fill(found.location.reference, header, key, value);
            }
        }
        let reference = self.slab.allocate(header.slot_bytes());
        self.fill(reference, header, key, value);
        if let Some(found) = found {
            self.index.redirect(&found.location, reference, &mut self.slab);
            self.slab.free(found.location.reference);
        } else {
            self.index.insert(hash, reference, &mut self.slab);
        }
    }

    fn fill(&mut self, reference: u32, header: Header, key: &[u8], value: &[u8]) {
        let slot = self.slab.slot_mut(reference);
        if value.len() > VALUE_BYTES_INLINE_MAX {
            header.write(key, &self.long_values.insert(value).to_le_bytes(), slot);
        } else {
            header.write(key, value, slot);
        }
    }

    fn remove(&mut self, found: &Found) {
        self.release_long_value(found);
        self.index.remove(&found.location, &mut self.slab);
        self.slab.free(found.location.reference);
    }

    fn release_long_value(&mut self, found: &Found) {
        if let Some(number) = found.header.long_value(self.slab.slot(found.location.reference)) {
            self.long_values.remove(number);
        }
    }
}

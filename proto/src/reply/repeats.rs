//! Finds values that a reply holds already.
//!
//! A direct-mapped table from a key's hash to the last full value sent for it. It forgets when two
//! hot keys fall together, and then a value is sent twice; it never answers wrongly, because the
//! candidate's bytes are compared with those that stand in the reply. So a repeat is a compression
//! of equal bytes, and needs no bookkeeping of mutations in between.

/// Fewest and most entries, 16 bytes each: 4 KiB to 256 KiB a table.
const ENTRIES_MIN: usize = 256;
const ENTRIES_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tag: u32,
    offset: u32,
    length: u32,
    operation: u16,
    /// The reply that the entry belongs to; others are as good as empty.
    generation: u16,
}

/// The table, used for one reply after the other.
#[derive(Debug, Default)]
pub(super) struct RepeatTable {
    entries: Vec<Entry>,
    mask: usize,
    generation: u16,
}

impl RepeatTable {
    /// Forgets the last reply and makes ready for one of `operations` outcomes.
    pub(super) fn begin(&mut self, operations: usize) {
        let wanted = operations.next_power_of_two().clamp(ENTRIES_MIN, ENTRIES_MAX);
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 || self.entries.len() < wanted {
            let length = self.entries.len().max(wanted);
            self.entries.clear();
            self.entries.resize(length, Entry::default());
            self.generation = 1;
        }
        // A small reply uses a small part, which stays in the cache.
        self.mask = wanted - 1;
    }

    /// Where [`find`](RepeatTable::find) looks first.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> *const u8 {
        self.entries.as_ptr().wrapping_add(hash as usize & self.mask).cast()
    }

    /// The operation whose full value in `reply` equals `value`.
    #[inline]
    pub(super) fn find(&self, hash: u64, value: &[u8], reply: &[u8]) -> Option<usize> {
        let entry = &self.entries[hash as usize & self.mask];
        let is_candidate = entry.generation == self.generation
            && entry.tag == (hash >> 32) as u32
            && entry.length as usize == value.len();
        (is_candidate && reply[entry.offset as usize..][..value.len()] == *value)
            .then_some(entry.operation as usize)
    }

    /// Notes that operation `operation`'s full value stands at `offset` of the reply.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, operation: usize, offset: usize, length: usize) {
        self.entries[hash as usize & self.mask] = Entry {
            tag: (hash >> 32) as u32,
            offset: offset as u32,
            length: length as u32,
            operation: operation as u16,
            generation: self.generation,
        };
    }
}

const _: () = assert!(crate::limits::BATCH_OPERATIONS_MAX <= 1 << 16, "an operation fits in u16");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_found_and_others_are_not() {
        let reply = b"....value...";
        let mut table = RepeatTable::default();
        table.begin(10);
        assert_eq!(table.find(77, b"value", reply), None);
        table.insert(77, 3, 4, 5);
        assert_eq!(table.find(77, b"value", reply), Some(3));
        assert_eq!(table.find(77, b"other", reply), None, "other bytes");
        assert_eq!(table.find(77, b"valu", reply), None, "other length");
        assert_eq!(table.find(77 | 1 << 40, b"value", reply), None, "other key");
    }

    #[test]
    fn the_place_is_where_the_entry_lies() {
        let mut table = RepeatTable::default();
        table.begin(1_000);
        for hash in [0, 5, 1_023, 1_024, u64::MAX] {
            let place = table.place(hash);
            let own = table.entries.as_ptr_range();
            assert!(own.contains(&place.cast()));
            table.insert(hash, 9, 0, 1);
            let written = table.entries.iter().position(|entry| entry.operation == 9);
            let written = written.expect("an entry was written");
            assert_eq!(place, (&raw const table.entries[written]).cast());
            table.entries[written] = Entry::default();
        }
    }

    #[test]
    fn nothing_survives_into_the_next_reply() {
        let mut table = RepeatTable::default();
        for round in 0..70_000 {
            table.begin(10);
            assert_eq!(table.find(5, b"v", b"v"), None, "round {round}");
            table.insert(5, 0, 0, 1);
            assert_eq!(table.find(5, b"v", b"v"), Some(0));
        }
    }
}

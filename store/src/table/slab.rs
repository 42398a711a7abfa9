//! Slots of fixed sizes for entries, cut from chunks.
//!
//! A chunk is one piece of memory. It serves one *size class* at a time. Classes are 16 bytes apart
//! up to 256 bytes and then eight to a doubling, so that a slot is less than 16 bytes or an eighth
//! larger than asked for. A chunk whose slots are all free serves whichever class asks next.

use super::entry::SLOT_BYTES_MAX;
use super::memory::{PIECE_BYTES, Pieces};

/// Slots start at multiples of this, and references count in it.
const GRANULE_BYTES: usize = 16;

const CHUNK_GRANULES: u32 = (PIECE_BYTES / GRANULE_BYTES) as u32;

/// How many size classes there are.
const CLASSES: usize = class_of(SLOT_BYTES_MAX) + 1;

/// Marks the end of a chunk's list of freed slots.
const NONE: u16 = u16::MAX;

const _: () = assert!(CHUNK_GRANULES < NONE as u32, "a slot's place in its chunk has 16 bits");
const _: () = assert!(8 * SLOT_BYTES_MAX < PIECE_BYTES, "a chunk's unused end is below an eighth");

/// The class of the smallest slots that hold so many bytes.
const fn class_of(bytes: usize) -> usize {
    let last = (bytes - 1) / GRANULE_BYTES;
    if last < 8 {
        return last;
    }
    let shift = last.ilog2() - 3;
    8 * shift as usize + (last >> shift)
}

/// The size of a class's slots, in granules.
const fn granules_of(class: usize) -> u32 {
    if class < 8 {
        return class as u32 + 1;
    }
    let shift = class / 8 - 1;
    ((class - 8 * shift + 1) as u32) << shift
}

/// Whether entries of these sizes, in bytes, lie in slots of the same size.
#[inline]
pub(super) fn same_class(some_bytes: usize, other_bytes: usize) -> bool {
    class_of(some_bytes) == class_of(other_bytes)
}

/// What a chunk is used for. Places in it are counted in granules.
#[derive(Debug)]
struct Chunk {
    class: u8,
    /// Slots in use.
    used: u16,
    /// Where the part begins that was never used.
    fresh: u16,
    /// The freed slot to use next, or [`NONE`]. Its first two bytes name the one after it.
    freed: u16,
    /// Where the chunk stands in its class's list, if it has a free slot.
    listed_at: u32,
}

impl Chunk {
    fn is_full(&self) -> bool {
        let slot = granules_of(self.class.into());
        self.freed == NONE && u32::from(self.fresh) + slot > CHUNK_GRANULES
    }
}

/// Slots by reference. A reference is the number of the slot's first granule, counted over all
/// chunks; so a slab holds at most 64 GiB.
#[derive(Debug)]
pub(super) struct Slab {
    memory: Pieces,
    chunks: Vec<Chunk>,
    /// For each class, its chunks with a free slot.
    open: [Vec<u32>; CLASSES],
    /// Chunks without a used slot, which belong to no class.
    empty: Vec<u32>,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            memory: Pieces::default(),
            chunks: Vec::new(),
            open: [const { Vec::new() }; CLASSES],
            empty: Vec::new(),
        }
    }
}

impl Slab {
    /// See [`Pieces::move_to_huge_page`].
    #[inline]
    pub(super) fn move_to_huge_page(&mut self) {
        self.memory.move_to_huge_page();
    }

    /// The bytes from the slot's start to the end of its chunk.
    #[inline]
    pub(super) fn slot(&self, reference: u32) -> &[u8] {
        let (chunk, start) = locate(reference);
        &self.memory.get(chunk)[start..]
    }

    /// See [`slot`](Slab::slot).
    #[inline]
    pub(super) fn slot_mut(&mut self, reference: u32) -> &mut [u8] {
        let (chunk, start) = locate(reference);
        &mut self.memory.get_mut(chunk)[start..]
    }

    /// A slot for so many bytes, at least 1 and at most [`SLOT_BYTES_MAX`].
    pub(super) fn allocate(&mut self, bytes: usize) -> u32 {
        let class = class_of(bytes);
        let open = self.open[class].last().copied();
        let number = open.unwrap_or_else(|| self.open_chunk(class));
        let chunk = &mut self.chunks[number as usize];
        let place = if chunk.freed == NONE {
            let next = chunk.fresh + granules_of(class) as u16;
            std::mem::replace(&mut chunk.fresh, next)
        } else {
            let start = usize::from(chunk.freed) * GRANULE_BYTES;
            let memory = self.memory.get(number as usize);
            let next = u16::from_le_bytes([memory[start], memory[start + 1]]);
            std::mem::replace(&mut chunk.freed, next)
        };
        chunk.used += 1;
        if chunk.is_full() {
            self.open[class].pop();
        }
        number * CHUNK_GRANULES + u32::from(place)
    }

    /// Gives a slot back.
    pub(super) fn free(&mut self, reference: u32) {
        let (number, start) = locate(reference);
        let chunk = &mut self.chunks[number];
        let class = usize::from(chunk.class);
        let was_full = chunk.is_full();
        self.memory.get_mut(number)[start..start + 2].copy_from_slice(&chunk.freed.to_le_bytes());
        chunk.freed = (start / GRANULE_BYTES) as u16;
        chunk.used -= 1;
        if was_full {
            chunk.listed_at = self.open[class].len() as u32;
            self.open[class].push(number as u32);
        }
        if chunk.used == 0 {
            let listed_at = chunk.listed_at as usize;
            self.open[class].swap_remove(listed_at);
            if let Some(moved) = self.open[class].get(listed_at) {
                self.chunks[*moved as usize].listed_at = listed_at as u32;
            }
            self.empty.push(number as u32);
        }
    }

    /// Makes a chunk serve `class`, which has none with a free slot.
    fn open_chunk(&mut self, class: usize) -> u32 {
        let number = self.empty.pop().unwrap_or_else(|| {
            let number = self.memory.len() as u32;
            assert!(number < u32::MAX / CHUNK_GRANULES, "a partition's entries fit into 64 GiB");
            self.memory.grow();
            self.chunks.push(Chunk { class: 0, used: 0, fresh: 0, freed: NONE, listed_at: 0 });
            number
        });
        self.chunks[number as usize] =
            Chunk { class: class as u8, used: 0, fresh: 0, freed: NONE, listed_at: 0 };
        self.open[class].push(number);
        number
    }
}

/// The chunk of a reference, and where its slot starts in it, in bytes.
#[inline]
fn locate(reference: u32) -> (usize, usize) {
    let start = (reference % CHUNK_GRANULES) as usize * GRANULE_BYTES;
    ((reference / CHUNK_GRANULES) as usize, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_tight_and_in_order() {
        for bytes in 1..=SLOT_BYTES_MAX {
            let slot_bytes = granules_of(class_of(bytes)) as usize * GRANULE_BYTES;
            assert!(slot_bytes >= bytes, "{bytes}");
            assert!(slot_bytes - bytes < GRANULE_BYTES.max(bytes / 8), "{bytes}");
            assert!(class_of(bytes) < CLASSES);
        }
        for class in 1..CLASSES {
            assert!(granules_of(class) > granules_of(class - 1), "{class}");
            assert_eq!(class_of(granules_of(class) as usize * GRANULE_BYTES), class);
        }
    }

    /// Fills so many slots of one size, each with its own bytes.
    fn fill(slab: &mut Slab, bytes: usize, count: u32) -> Vec<u32> {
        let fill_one = |number: u32| {
            let reference = slab.allocate(bytes);
            slab.slot_mut(reference)[..bytes].fill(number as u8);
            reference
        };
        (0..count).map(fill_one).collect()
    }

    #[test]
    fn slots_do_not_overlap() {
        let mut slab = Slab::default();
        for bytes in [1, 16, 17, 142, SLOT_BYTES_MAX] {
            let references = fill(&mut slab, bytes, 1_000);
            for (number, reference) in references.iter().enumerate() {
                let slot = &slab.slot(*reference)[..bytes];
                assert!(slot.iter().all(|byte| *byte == number as u8), "{bytes}");
            }
        }
    }

    #[test]
    fn freed_slots_are_used_again() {
        let mut slab = Slab::default();
        let mut references = fill(&mut slab, 142, 5_000);
        let chunks = slab.chunks.len();
        for round in 0..10 {
            for position in (round % 3..references.len()).step_by(3) {
                slab.free(references[position]);
                let filled = slab.allocate(142);
                references[position] = filled;
            }
        }
        assert_eq!(slab.chunks.len(), chunks);
        references.sort_unstable();
        references.dedup();
        assert_eq!(references.len(), 5_000, "no slot was given away twice");
    }

    #[test]
    fn empty_chunks_serve_other_classes() {
        let mut slab = Slab::default();
        let references = fill(&mut slab, 142, 5_000);
        let chunks = slab.chunks.len();
        // An order in which chunks become empty out of turn.
        for start in 0..7 {
            references.iter().skip(start).step_by(7).for_each(|slot| slab.free(*slot));
        }
        assert_eq!(slab.empty.len(), chunks);
        fill(&mut slab, 1_000, (chunks * (PIECE_BYTES / 1_024)) as u32);
        assert_eq!(slab.chunks.len(), chunks);
        assert!(slab.empty.is_empty());
    }
}

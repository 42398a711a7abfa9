//! The index of a table: from hashes to references, growing a bucket at a time.
//!
//! Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980).
//! With n buckets, a hash belongs into bucket `hash mod 2^k`, where 2^k is the power of two at or
//! above n, or into `hash mod 2^(k-1)` if the first does not exist yet. Adding bucket n therefore
//! takes entries from one older bucket only, the one with n's number less its highest bit, and an
//! insertion adds at most one bucket: it moves a dozen references or two, and never more.
//!
//! A bucket that is full continues in a slot of the slab. At the load that growth keeps, a few
//! percent of the buckets do.

use super::bucket::{self, BUCKET_BYTES, Bucket};
use super::entry::Header;
use super::memory::{PIECE_BYTES, Pieces};
use super::prefetch;
use super::slab::Slab;

/// Entries per bucket, on average, above which a bucket is added. Buckets that are yet to be split
/// hold up to twice as many as those that were.
const LOAD_MAX: usize = 6;

/// Buckets in a piece of memory.
const PIECE_BUCKETS: usize = PIECE_BYTES / BUCKET_BYTES;

/// Most buckets: bucket numbers are taken from the low half of a hash.
const BUCKETS_MAX: u32 = 1 << 31;

/// The name of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// By number, from the hash.
    Home(u32),
    /// By its slot in the slab: it continues another.
    Overflow(u32),
}

/// Where a reference stands in the index. Valid until the index changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) reference: u32,
    bucket: Name,
    position: usize,
}

/// References to the entries of a slab, by hash.
#[derive(Debug)]
pub(super) struct Index {
    pieces: Pieces,
    /// Buckets in use; those that exist beyond this number are empty.
    buckets: u32,
    /// The power of two at or above `buckets`, less one.
    mask: u32,
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        let mut pieces = Pieces::default();
        pieces.grow().fill(0);
        Self { pieces, buckets: 1, mask: 0, len: 0 }
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// See [`Pieces::move_to_huge_page`].
    #[inline]
    pub(super) fn move_to_huge_page(&mut self) {
        self.pieces.move_to_huge_page();
    }

    /// The number of the bucket that a hash belongs into. Only its low half counts.
    #[inline]
    fn number(&self, hash: u32) -> u32 {
        let number = hash & self.mask;
        if number < self.buckets { number } else { hash & (self.mask >> 1) }
    }

    #[inline]
    fn home(&self, number: u32) -> &Bucket {
        let number = number as usize;
        let (buckets, _) = self.pieces.get(number / PIECE_BUCKETS).as_chunks();
        &buckets[number % PIECE_BUCKETS]
    }

    fn bucket_mut<'a>(&'a mut self, name: Name, slab: &'a mut Slab) -> &'a mut Bucket {
        match name {
            Name::Home(number) => {
                let number = number as usize;
                let (buckets, _) = self.pieces.get_mut(number / PIECE_BUCKETS).as_chunks_mut();
                &mut buckets[number % PIECE_BUCKETS]
            }
            Name::Overflow(slot) => {
                slab.slot_mut(slot).first_chunk_mut().expect("the slot has room for a bucket")
            }
        }
    }

    /// Asks for the line of the hash's bucket.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch::line(self.home(self.number(hash as u32)));
    }

    /// A reference that may be the one of this hash. Looks into the first bucket only.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        let home = self.home(self.number(hash as u32));
        let position = bucket::positions(home, bucket::tag_of(hash)).next()?;
        Some(bucket::reference(home, position))
    }

    /// The location of the reference with this hash that `is_sought` accepts.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        slab: &Slab,
        mut is_sought: impl FnMut(u32) -> bool,
    ) -> Option<Location> {
        let number = self.number(hash as u32);
        let mut name = Name::Home(number);
        let mut held = self.home(number);
        loop {
            for position in bucket::positions(held, bucket::tag_of(hash)) {
                let reference = bucket::reference(held, position);
                if is_sought(reference) {
                    return Some(Location { reference, bucket: name, position });
                }
            }
            let slot = bucket::next(held)?;
            name = Name::Overflow(slot);
            held = overflow(slab, slot);
        }
    }

    /// Adds the reference of an entry in the slab, which is not there yet.
    pub(super) fn insert(&mut self, hash: u64, reference: u32, slab: &mut Slab) {
        self.len += 1;
        self.add(self.number(hash as u32), bucket::tag_of(hash), reference, slab);
        if self.len > self.buckets as usize * LOAD_MAX {
            self.split(slab);
        }
    }

    /// Puts another reference where one was found.
    pub(super) fn redirect(&mut self, location: &Location, reference: u32, slab: &mut Slab) {
        let held = self.bucket_mut(location.bucket, slab);
        debug_assert!(bucket::reference(held, location.position) == location.reference);
        bucket::set_reference(held, location.position, reference);
    }

    /// Removes the reference that was found.
    pub(super) fn remove(&mut self, location: &Location, slab: &mut Slab) {
        let held = self.bucket_mut(location.bucket, slab);
        debug_assert!(bucket::reference(held, location.position) == location.reference);
        bucket::set_tag(held, location.position, 0);
        self.len -= 1;
    }

    /// Writes a reference into the first free position of a bucket and those that continue it.
    fn add(&mut self, number: u32, tag: u8, reference: u32, slab: &mut Slab) {
        let mut name = Name::Home(number);
        loop {
            let held = self.bucket_mut(name, slab);
            if let Some(position) = bucket::positions(held, 0).next() {
                bucket::set_tag(held, position, tag);
                bucket::set_reference(held, position, reference);
                return;
            }
            let slot = bucket::next(held).unwrap_or_else(|| {
                let slot = slab.allocate(BUCKET_BYTES);
                *self.bucket_mut(Name::Overflow(slot), slab) = bucket::EMPTY;
                bucket::set_next(self.bucket_mut(name, slab), slot);
                slot
            });
            name = Name::Overflow(slot);
        }
    }

    /// Adds one bucket and moves the references there that now belong into it.
    fn split(&mut self, slab: &mut Slab) {
        let added = self.buckets;
        assert!(added < BUCKETS_MAX, "a partition holds fewer than 2^33 keys");
        if added as usize == self.pieces.len() * PIECE_BUCKETS {
            self.pieces.grow().fill(0);
        }
        self.buckets += 1;
        self.mask = self.buckets.next_power_of_two() - 1;
        let older = Name::Home(added ^ 1 << added.ilog2());
        let mut chain = std::mem::replace(self.bucket_mut(older, slab), bucket::EMPTY);
        loop {
            for position in 0..bucket::BUCKET_REFERENCES {
                let tag = bucket::tag(&chain, position);
                if tag != 0 {
                    let reference = bucket::reference(&chain, position);
                    let hash = Header::read(slab.slot(reference)).hash;
                    self.add(self.number(hash), tag, reference, slab);
                }
            }
            let Some(slot) = bucket::next(&chain) else { return };
            chain = *overflow(slab, slot);
            slab.free(slot);
        }
    }
}

/// The bucket in this slot of the slab.
fn overflow(slab: &Slab, slot: u32) -> &Bucket {
    slab.slot(slot).first_chunk().expect("the slot has room for a bucket")
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::SplitMix64;
    use rand_xoshiro::rand_core::{RngCore, SeedableRng};

    use super::*;

    /// An index with entries that are nothing but a hash.
    #[derive(Default)]
    struct Fixture {
        index: Index,
        slab: Slab,
    }

    impl Fixture {
        fn insert(&mut self, hash: u64) -> u32 {
            let header = Header { hash: hash as u32, ..Header::default() };
            let reference = self.slab.allocate(header.slot_bytes());
            header.write(&[], &[], self.slab.slot_mut(reference));
            self.index.insert(hash, reference, &mut self.slab);
            reference
        }

        fn find(&self, hash: u64, reference: u32) -> Option<Location> {
            self.index.find(hash, &self.slab, |held| held == reference)
        }

        fn remove(&mut self, hash: u64, reference: u32) {
            let location = self.find(hash, reference).expect("it was inserted");
            self.index.remove(&location, &mut self.slab);
            self.slab.free(reference);
        }

        fn is_continued(&self, number: u32) -> bool {
            bucket::next(self.index.home(number)).is_some()
        }
    }

    /// Spreads small numbers over 64 bits.
    fn spread(number: u64) -> u64 {
        SplitMix64::seed_from_u64(number).next_u64()
    }

    #[test]
    fn references_are_found_through_growth_and_gone_when_removed() {
        let mut fixture = Fixture::default();
        let count = 20_000;
        let references: Vec<u32> =
            (0..count).map(|number| fixture.insert(spread(number))).collect();
        assert!(fixture.index.pieces.len() > 5);
        for number in (0..count).step_by(2) {
            fixture.remove(spread(number), references[number as usize]);
        }
        for number in 0..count {
            let location = fixture.find(spread(number), references[number as usize]);
            assert_eq!(location.is_some(), number % 2 == 1, "{number}");
        }
        assert_eq!(fixture.index.len() as u64, count / 2);
        assert_eq!(fixture.find(spread(count), references[1]), None);
    }

    #[test]
    fn one_insertion_adds_at_most_one_bucket() {
        let mut fixture = Fixture::default();
        for number in 0..5_000 {
            let before = fixture.index.buckets;
            fixture.insert(spread(number));
            assert!(fixture.index.buckets - before <= 1);
            assert!(fixture.index.len() <= fixture.index.buckets as usize * LOAD_MAX);
        }
    }

    #[test]
    fn equal_hashes_overflow_and_come_back() {
        let mut fixture = Fixture::default();
        for _ in 0..3 {
            let references: Vec<u32> = (0..100).map(|_| fixture.insert(7)).collect();
            let home = fixture.index.number(7);
            assert!(fixture.is_continued(home));
            for reference in references {
                fixture.remove(7, reference);
            }
            assert_eq!(fixture.index.len(), 0);
        }
    }

    #[test]
    fn growth_ends_continuations() {
        let mut fixture = Fixture::default();
        // They collide in the low 12 bits, until there are more than 4,096 buckets.
        let hash = |number: u64| number << 12;
        let count = 10 * bucket::BUCKET_REFERENCES as u64;
        let references: Vec<u32> = (0..count).map(|number| fixture.insert(hash(number))).collect();
        assert!(fixture.is_continued(0));
        for number in 0..400_000 {
            fixture.insert(spread(number));
        }
        for number in 0..count {
            assert!(fixture.find(hash(number), references[number as usize]).is_some(), "{number}");
        }
        assert!(!fixture.is_continued(0));
    }
}

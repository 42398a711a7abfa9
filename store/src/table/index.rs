//! The index of a table: from hashes to references, growing a bucket at a time.
//!
//! Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980).
//! With n buckets, a hash belongs into bucket `hash mod 2^k`, where 2^k is the power of two at or
//! above n, or into `hash mod 2^(k-1)` if the first does not exist yet. Adding bucket n therefore
//! takes entries from one older bucket only, the one with n's number less its highest bit, and an
//! insertion adds at most one bucket: it moves a dozen references or two, and never more.
//!
//! A bucket that is full continues in overflow buckets. At the load that growth keeps, a few
//! percent of the buckets have one.

use super::prefetch;

/// References in one bucket: 12 of them, their tags and the way on fill one cache line.
const BUCKET_REFERENCES: usize = 12;

/// Entries per bucket, on average, above which a bucket is added. Buckets that are yet to be split
/// hold up to twice as many as those that were.
const LOAD_MAX: usize = 6;

/// Buckets that are allocated at once: 16 KiB.
const SEGMENT_BUCKETS: usize = 256;

/// Set in the number of an overflow bucket.
const OVERFLOW: u32 = 1 << 31;

/// Marks the end of a chain of buckets, and of the list of unused ones.
const NONE: u32 = u32::MAX;

type Segment = Box<[Bucket; SEGMENT_BUCKETS]>;

/// One cache line of the index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    references: [u32; BUCKET_REFERENCES],
    /// The tag of each reference, and 0 where there is none.
    tags: [u8; BUCKET_REFERENCES],
    /// The overflow bucket that continues this one, or [`NONE`].
    next: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

impl Bucket {
    const EMPTY: Self =
        Self { references: [0; BUCKET_REFERENCES], tags: [0; BUCKET_REFERENCES], next: NONE };

    /// The positions whose tag is `tag`, as bits.
    #[inline]
    fn positions(&self, tag: u8) -> u32 {
        let mut positions = 0;
        for (position, held) in self.tags.iter().enumerate() {
            positions |= u32::from(*held == tag) << position;
        }
        positions
    }
}

/// Where a reference stands in the index. Valid until the index changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) reference: u32,
    bucket: u32,
    position: u32,
}

/// References by hash. What they refer to is the caller's business.
#[derive(Debug)]
pub(super) struct Index {
    segments: Vec<Segment>,
    /// Buckets in use; those that exist beyond this number are empty.
    buckets: u32,
    /// The power of two at or above `buckets`, less one.
    mask: u32,
    overflow: Vec<Segment>,
    /// First of the unused overflow buckets.
    unused: u32,
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            segments: vec![empty_segment()],
            buckets: 1,
            mask: 0,
            overflow: Vec::new(),
            unused: NONE,
            len: 0,
        }
    }
}

fn empty_segment() -> Segment {
    vec![Bucket::EMPTY; SEGMENT_BUCKETS].try_into().expect("a segment has its one length")
}

/// The tag of a hash: its highest byte, which no bucket number depends on; 0 is left free.
#[inline]
fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bucket that a hash belongs into. Only its low half counts.
    #[inline]
    fn home(&self, hash: u32) -> u32 {
        let number = hash & self.mask;
        if number < self.buckets { number } else { hash & (self.mask >> 1) }
    }

    #[inline]
    fn bucket(&self, number: u32) -> &Bucket {
        let segments = if number & OVERFLOW == 0 { &self.segments } else { &self.overflow };
        let number = (number & !OVERFLOW) as usize;
        &segments[number / SEGMENT_BUCKETS][number % SEGMENT_BUCKETS]
    }

    #[inline]
    fn bucket_mut(&mut self, number: u32) -> &mut Bucket {
        let segments = if number & OVERFLOW == 0 { &mut self.segments } else { &mut self.overflow };
        let number = (number & !OVERFLOW) as usize;
        &mut segments[number / SEGMENT_BUCKETS][number % SEGMENT_BUCKETS]
    }

    /// Asks for the line of the hash's bucket.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch::line(self.bucket(self.home(hash as u32)));
    }

    /// A reference that may be the one of this hash. Looks into the first bucket only.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        let bucket = self.bucket(self.home(hash as u32));
        let positions = bucket.positions(tag(hash));
        (positions != 0).then(|| bucket.references[positions.trailing_zeros() as usize])
    }

    /// The place of the reference with this hash that `is_sought` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_sought: impl FnMut(u32) -> bool) -> Option<Place> {
        let mut number = self.home(hash as u32);
        loop {
            let bucket = self.bucket(number);
            let mut positions = bucket.positions(tag(hash));
            while positions != 0 {
                let position = positions.trailing_zeros();
                let reference = bucket.references[position as usize];
                if is_sought(reference) {
                    return Some(Place { reference, bucket: number, position });
                }
                positions &= positions - 1;
            }
            if bucket.next == NONE {
                return None;
            }
            number = bucket.next;
        }
    }

    /// Adds a reference that is not there yet. `hash_of` gives the low half of the hash of any
    /// reference that was added before.
    pub(super) fn insert(&mut self, hash: u64, reference: u32, hash_of: impl Fn(u32) -> u32) {
        self.len += 1;
        self.add(self.home(hash as u32), tag(hash), reference);
        if self.len > self.buckets as usize * LOAD_MAX {
            self.split(hash_of);
        }
    }

    /// Puts another reference where one was found.
    pub(super) fn redirect(&mut self, place: &Place, reference: u32) {
        let bucket = self.bucket_mut(place.bucket);
        debug_assert!(bucket.references[place.position as usize] == place.reference);
        bucket.references[place.position as usize] = reference;
    }

    /// Removes the reference that was found.
    pub(super) fn remove(&mut self, place: &Place) {
        let bucket = self.bucket_mut(place.bucket);
        debug_assert!(bucket.references[place.position as usize] == place.reference);
        bucket.tags[place.position as usize] = 0;
        self.len -= 1;
    }

    /// Writes a reference into the first free position of a bucket or those that continue it.
    fn add(&mut self, home: u32, tag: u8, reference: u32) {
        let mut number = home;
        loop {
            let bucket = self.bucket_mut(number);
            let free = bucket.positions(0);
            if free != 0 {
                let position = free.trailing_zeros() as usize;
                bucket.tags[position] = tag;
                bucket.references[position] = reference;
                return;
            }
            number = match bucket.next {
                NONE => {
                    let next = self.take_overflow();
                    self.bucket_mut(number).next = next;
                    next
                }
                next => next,
            };
        }
    }

    /// Adds one bucket and moves the references there that now belong into it.
    fn split(&mut self, hash_of: impl Fn(u32) -> u32) {
        let added = self.buckets;
        assert!(added < OVERFLOW, "a partition holds fewer than 2^33 keys");
        if added as usize == self.segments.len() * SEGMENT_BUCKETS {
            self.segments.push(empty_segment());
        }
        self.buckets += 1;
        self.mask = self.buckets.next_power_of_two() - 1;
        let older = added ^ 1 << added.ilog2();
        let mut chain = std::mem::replace(self.bucket_mut(older), Bucket::EMPTY);
        loop {
            for (tag, reference) in chain.tags.into_iter().zip(chain.references) {
                if tag != 0 {
                    self.add(self.home(hash_of(reference)), tag, reference);
                }
            }
            if chain.next == NONE {
                return;
            }
            chain = self.release_overflow(chain.next);
        }
    }

    /// An empty overflow bucket.
    fn take_overflow(&mut self) -> u32 {
        if self.unused == NONE {
            let first = (self.overflow.len() * SEGMENT_BUCKETS) as u32 | OVERFLOW;
            self.overflow.push(empty_segment());
            for number in (first..first + SEGMENT_BUCKETS as u32).rev() {
                self.release_overflow(number);
            }
        }
        let number = self.unused;
        let bucket = self.bucket_mut(number);
        let next = std::mem::replace(&mut bucket.next, NONE);
        self.unused = next;
        number
    }

    /// Takes an overflow bucket out of use and returns what it held.
    fn release_overflow(&mut self, number: u32) -> Bucket {
        let unused = Bucket { next: self.unused, ..Bucket::EMPTY };
        self.unused = number;
        std::mem::replace(self.bucket_mut(number), unused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads small numbers over 64 bits: splitmix64's finalizer (Steele et al., OOPSLA 2014).
    fn spread(number: u32) -> u64 {
        let mut bits = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn find(index: &Index, hash: u64, reference: u32) -> Option<Place> {
        index.find(hash, |held| held == reference)
    }

    #[test]
    fn references_are_found_through_growth_and_gone_when_removed() {
        let mut index = Index::default();
        let count = 20_000;
        for number in 0..count {
            index.insert(spread(number), number, |held| spread(held) as u32);
        }
        assert!(index.buckets as usize > 10 * SEGMENT_BUCKETS);
        for number in (0..count).step_by(2) {
            let place = find(&index, spread(number), number).expect("it was inserted");
            index.remove(&place);
        }
        for number in 0..count {
            let is_there = find(&index, spread(number), number).is_some();
            assert_eq!(is_there, number % 2 == 1, "{number}");
        }
        assert_eq!(index.len(), count as usize / 2);
        assert_eq!(find(&index, spread(count), count), None);
    }

    #[test]
    fn one_insertion_adds_at_most_one_bucket() {
        let mut index = Index::default();
        for number in 0..5_000 {
            let before = index.buckets;
            index.insert(spread(number), number, |held| spread(held) as u32);
            assert!(index.buckets - before <= 1);
            assert!(index.len() <= index.buckets as usize * LOAD_MAX);
        }
    }

    #[test]
    fn equal_hashes_overflow_and_come_back() {
        let mut index = Index::default();
        for number in 0..100 {
            index.insert(7, number, |_| 7);
        }
        for number in 0..100 {
            let place = find(&index, 7, number).expect("it was inserted");
            index.remove(&place);
        }
        assert_eq!(index.len(), 0);
        let overflow = index.overflow.len();
        for number in 0..100 {
            index.insert(7, number, |_| 7);
        }
        assert_eq!(index.overflow.len(), overflow, "the buckets are used again");
    }

    #[test]
    fn growth_frees_overflow_buckets() {
        let mut index = Index::default();
        // They collide in the low 12 bits until there are more than 4,096 buckets.
        let hash = |number: u32| u64::from(number) << 12;
        for number in 0..20 * BUCKET_REFERENCES as u32 {
            index.insert(hash(number), number, |held| hash(held) as u32);
        }
        assert_ne!(index.bucket(0).next, NONE);
        for number in 1_000_000..1_030_000 {
            let hash_of = |held| if held < 1_000_000 { hash(held) } else { spread(held) } as u32;
            index.insert(spread(number), number, hash_of);
        }
        for number in 0..20 * BUCKET_REFERENCES as u32 {
            assert!(find(&index, hash(number), number).is_some(), "{number}");
        }
        assert_ne!(index.unused, NONE);
    }
}

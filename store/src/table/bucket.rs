//! One cache line of the index.

/// Bytes in a bucket: a cache line of the processors that matter here.
pub(super) const BUCKET_BYTES: usize = 64;

/// References in one bucket.
pub(super) const BUCKET_REFERENCES: usize = 12;

/// The bytes of a bucket are:
///
/// 1. 12 references, `u32` each
/// 2. their tags, a byte each, and 0 where there is no reference
/// 3. the slot of the bucket that continues this one, plus one, `u32`; 0 when none does
///
/// All numbers are little-endian. A bucket of zeros is empty.
pub(super) type Bucket = [u8; BUCKET_BYTES];

pub(super) const EMPTY: Bucket = [0; BUCKET_BYTES];

const TAGS: usize = 4 * BUCKET_REFERENCES;
const NEXT: usize = TAGS + BUCKET_REFERENCES;

/// The lowest bit of each byte that holds a tag.
const ONES: u128 = u128::from_le_bytes([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);

/// Positions in a bucket, lowest first.
#[derive(Clone, Copy)]
pub(super) struct Positions(u128);

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let position = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(position)
    }
}

/// The tag of a hash: its highest byte, which no bucket number depends on; 0 is left free.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The positions whose tag is `tag`; with 0, those that are free.
#[inline]
pub(super) fn positions(bucket: &Bucket, tag: u8) -> Positions {
    let tags = u128::from_le_bytes(*bucket.last_chunk().expect("a bucket ends in its tags"));
    let differences = tags ^ (ONES * u128::from(tag));
    // A byte's highest bit is set if it differs in that bit, or if adding 127 carries into it
    // because it differs in another; carries end there.
    let low = ONES * 0x7f;
    let differs = ((differences & low) + low) | differences;
    Positions(!differs & (ONES << 7))
}

#[inline]
pub(super) fn tag(bucket: &Bucket, position: usize) -> u8 {
    bucket[TAGS + position]
}

#[inline]
pub(super) fn reference(bucket: &Bucket, position: usize) -> u32 {
    number(bucket, 4 * position)
}

/// The slot of the bucket that continues this one.
#[inline]
pub(super) fn next(bucket: &Bucket) -> Option<u32> {
    number(bucket, NEXT).checked_sub(1)
}

pub(super) fn set_tag(bucket: &mut Bucket, position: usize, tag: u8) {
    bucket[TAGS + position] = tag;
}

pub(super) fn set_reference(bucket: &mut Bucket, position: usize, reference: u32) {
    bucket[4 * position..][..4].copy_from_slice(&reference.to_le_bytes());
}

pub(super) fn set_next(bucket: &mut Bucket, slot: u32) {
    bucket[NEXT..].copy_from_slice(&(slot + 1).to_le_bytes());
}

#[inline]
fn number(bucket: &Bucket, start: usize) -> u32 {
    u32::from_le_bytes(bucket[start..start + 4].try_into().expect("the number has four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_exactly_those_of_the_tag() {
        for sought in [0, 1, 2, 0x7f, 0x80, 0x81, 0xff] {
            let mut bucket = [sought; BUCKET_BYTES];
            assert!(positions(&bucket, sought).eq(0..BUCKET_REFERENCES));
            for (position, other) in (0..=255).filter(|tag| *tag != sought).enumerate() {
                let position = position % BUCKET_REFERENCES;
                set_tag(&mut bucket, position, other);
                let expected = (0..BUCKET_REFERENCES).filter(|at| bucket[TAGS + at] == sought);
                assert!(positions(&bucket, sought).eq(expected), "{bucket:?}");
                if position.is_multiple_of(3) {
                    set_tag(&mut bucket, position, sought);
                }
            }
        }
    }

    #[test]
    fn parts_do_not_overlap() {
        let mut bucket = EMPTY;
        assert_eq!(next(&bucket), None);
        for position in 0..BUCKET_REFERENCES {
            set_tag(&mut bucket, position, position as u8);
            set_reference(&mut bucket, position, u32::MAX - position as u32);
        }
        set_next(&mut bucket, 7);
        assert_eq!(next(&bucket), Some(7));
        for position in 0..BUCKET_REFERENCES {
            assert_eq!(tag(&bucket, position), position as u8);
            assert_eq!(reference(&bucket, position), u32::MAX - position as u32);
        }
    }

    #[test]
    fn no_tag_means_free() {
        assert_eq!(tag_of(0), 1);
        assert_eq!(tag_of(u64::MAX), 255);
    }
}

//! How an entry lies in its slot.

use model::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Longest value that lies in its entry, in bytes. Larger ones are
/// [long values](super::long_values), and the entry holds their number.
pub(super) const VALUE_BYTES_INLINE_MAX: usize = 2048;

/// Largest slot that an entry asks for, in bytes.
pub(super) const SLOT_BYTES_MAX: usize = HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_INLINE_MAX;

const HEADER_BYTES: usize = 8;
const NUMBER_BYTES: usize = 4;
const VALUE_BYTES_BITS: u32 = 21;

const _: () = assert!(VALUE_BYTES_MAX < 1 << VALUE_BYTES_BITS, "a value's length has 21 bits");
const _: () = assert!(KEY_BYTES_MAX < 1 << (32 - VALUE_BYTES_BITS), "a key's length has 11 bits");

/// The fixed part of an entry, whose bytes are:
///
/// 1. the low half of the key's hash, `u32`: it decides the bucket when the index grows
/// 2. lengths, `u32`: of the value in the low 21 bits, of the key in the upper 11
/// 3. the key
/// 4. the value; or, if it is longer than [`VALUE_BYTES_INLINE_MAX`], its number among the long
///    values, `u32`
///
/// All numbers are little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) hash: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
}

impl Header {
    #[inline]
    pub(super) fn read(slot: &[u8]) -> Self {
        let bytes = slot[..HEADER_BYTES].try_into().expect("a slot has room for a header");
        let bits = u64::from_le_bytes(bytes);
        let lengths = (bits >> 32) as u32;
        Self {
            hash: bits as u32,
            key_bytes: lengths >> VALUE_BYTES_BITS,
            value_bytes: lengths & ((1 << VALUE_BYTES_BITS) - 1),
        }
    }

    /// Writes the whole entry; `tail` is what follows the key.
    pub(super) fn write(&self, key: &[u8], tail: &[u8], slot: &mut [u8]) {
        let lengths = self.key_bytes << VALUE_BYTES_BITS | self.value_bytes;
        let bits = u64::from(lengths) << 32 | u64::from(self.hash);
        let (header, rest) = slot.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&bits.to_le_bytes());
        rest[..key.len()].copy_from_slice(key);
        rest[key.len()..][..tail.len()].copy_from_slice(tail);
    }

    /// Whether the entry's key is `key`.
    #[inline]
    pub(super) fn is_of(&self, key: &[u8], slot: &[u8]) -> bool {
        same(&slot[HEADER_BYTES..][..self.key_bytes as usize], key)
    }

    /// The value, which is inline.
    #[inline]
    pub(super) fn value<'a>(&self, slot: &'a [u8]) -> &'a [u8] {
        &slot[HEADER_BYTES + self.key_bytes as usize..][..self.value_bytes as usize]
    }

    /// The number of the value, if it is long.
    #[inline]
    pub(super) fn long_value(&self, slot: &[u8]) -> Option<u32> {
        if self.value_bytes as usize <= VALUE_BYTES_INLINE_MAX {
            return None;
        }
        let number = &slot[HEADER_BYTES + self.key_bytes as usize..][..NUMBER_BYTES];
        Some(u32::from_le_bytes(number.try_into().expect("the number has four bytes")))
    }

    /// How much room the whole entry takes in its slot, in bytes.
    #[inline]
    pub(super) fn slot_bytes(&self) -> usize {
        let value_bytes = self.value_bytes as usize;
        let tail = if value_bytes > VALUE_BYTES_INLINE_MAX { NUMBER_BYTES } else { value_bytes };
        HEADER_BYTES + self.key_bytes as usize + tail
    }
}

/// Whether two slices are equal. Short ones, as most keys are, are compared as two numbers that
/// may overlap, without a call.
#[inline]
fn same(some: &[u8], other: &[u8]) -> bool {
    fn ends<const BYTES: usize>(bytes: &[u8]) -> Option<(&[u8; BYTES], &[u8; BYTES])> {
        Some((bytes.first_chunk()?, bytes.last_chunk()?))
    }
    if some.len() != other.len() {
        false
    } else if some.len() > 16 {
        some == other
    } else if let (Some(some), Some(other)) = (ends::<8>(some), ends::<8>(other)) {
        some == other
    } else if let (Some(some), Some(other)) = (ends::<4>(some), ends::<4>(other)) {
        some == other
    } else {
        some == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(key: &[u8], tail: &[u8], value_bytes: usize) -> (Header, Vec<u8>) {
        let header = Header {
            hash: 0xdead_beef,
            key_bytes: key.len() as u32,
            value_bytes: value_bytes as u32,
        };
        let mut slot = vec![0xff; SLOT_BYTES_MAX];
        header.write(key, tail, &mut slot);
        assert_eq!(Header::read(&slot), header);
        assert!(header.is_of(key, &slot));
        assert_eq!(header.slot_bytes(), 8 + key.len() + tail.len());
        (header, slot)
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let value = [7; VALUE_BYTES_INLINE_MAX];
        for value in [&value[..0], &value[..1], &value] {
            for key in [&b"k"[..], &[1; KEY_BYTES_MAX]] {
                let (header, slot) = round_trip(key, value, value.len());
                assert_eq!(header.long_value(&slot), None);
                assert_eq!(header.value(&slot), value);
            }
        }
    }

    #[test]
    fn long_values_leave_their_number() {
        for value_bytes in [VALUE_BYTES_INLINE_MAX + 1, VALUE_BYTES_MAX] {
            let (header, slot) = round_trip(b"key", &3u32.to_le_bytes(), value_bytes);
            assert_eq!(header.long_value(&slot), Some(3));
        }
    }
}

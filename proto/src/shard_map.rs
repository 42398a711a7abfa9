//! Which server owns a key, and which of its lock domains.
//!
//! A key hashes to one of 16,384 slots. Servers own runs of slots whose lengths differ by at most
//! one; inside a server, partitions are runs of its slots in the same way. The hash is part of the
//! protocol: clients route by it, servers check it, and golden values in the tests pin it.

use std::fmt;
use std::str::FromStr;

use rapidhash::v3::rapidhash_v3;
use serde::{Deserialize, Serialize};

use crate::limits::PARTITIONS_MAX;

/// Number of slots: Redis Cluster's choice, 4 slots each for 4,096 partitions.
pub const SLOTS: u32 = 16_384;

/// The slot of a key.
#[inline]
pub fn slot_of(key: &[u8]) -> u32 {
    (rapidhash_v3(key) % u64::from(SLOTS)) as u32
}

/// Start of the `index`-th of `count` runs that `length` things are cut into.
#[inline]
fn run_start(index: u32, count: u32, length: u32) -> u32 {
    (u64::from(index) * u64::from(length) / u64::from(count)) as u32
}

/// The run that thing `position` of `length` falls into: the inverse of [`run_start`].
#[inline]
fn run_of(position: u32, count: u32, length: u32) -> u32 {
    (((u64::from(position) + 1) * u64::from(count) - 1) / u64::from(length)) as u32
}

/// A server's place among its peers, written `2/4`: the second of four.
///
/// On the wire it is the pair (index, count), which is checked when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct Place {
    index: u32,
    count: u32,
}

/// A place that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a place among shards; write INDEX/COUNT with 1 <= INDEX <= COUNT <= {SLOTS}, \
     as in 1/1 or 2/4"
)]
pub struct PlaceError {
    text: String,
}

impl Place {
    /// Place `index` (from 1) of `count`.
    ///
    /// # Errors
    ///
    /// When it is not 1 <= index <= count <= [`SLOTS`].
    pub fn new(index: u32, count: u32) -> Result<Self, PlaceError> {
        if index == 0 || index > count || count > SLOTS {
            return Err(PlaceError { text: format!("{index}/{count}") });
        }
        Ok(Self { index, count })
    }

    /// The place of a server that owns everything.
    pub const SOLE: Self = Self { index: 1, count: 1 };

    /// Position, from 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many servers there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// First slot that this place owns.
    pub fn first_slot(self) -> u32 {
        run_start(self.index - 1, self.count, SLOTS)
    }

    /// How many slots it owns.
    pub fn slot_count(self) -> u32 {
        run_start(self.index, self.count, SLOTS) - self.first_slot()
    }
}

impl TryFrom<(u32, u32)> for Place {
    type Error = PlaceError;

    fn try_from((index, count): (u32, u32)) -> Result<Self, Self::Error> {
        Self::new(index, count)
    }
}

impl From<Place> for (u32, u32) {
    fn from(place: Place) -> Self {
        (place.index, place.count)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || PlaceError { text: text.to_owned() };
        let (index, count) = text.split_once('/').ok_or_else(refused)?;
        let number = |text: &str| text.parse::<u32>().ok();
        let (Some(index), Some(count)) = (number(index), number(count)) else {
            return Err(refused());
        };
        Self::new(index, count).map_err(|_| refused())
    }
}

/// The position, from 0, of the server that owns a slot when there are `count` of them.
#[inline]
pub fn shard_of(slot: u32, count: u32) -> u32 {
    run_of(slot, count, SLOTS)
}

/// One server's slots and their division into partitions (lock domains).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMap {
    first_slot: u32,
    slot_count: u32,
    partitions: u32,
    /// `2^SHIFT / slot_count`, rounded up: turns the division per key into a multiplication.
    reciprocal: u64,
}

/// With offsets below 2^14 and partitions below 2^13 the dividend stays under 2^27, so the rounded
/// reciprocal is exact (Granlund and Montgomery 1994: 2^SHIFT >= dividend x divisor is enough).
const SHIFT: u32 = 42;
const _: () = assert!((PARTITIONS_MAX as u64) < 1 << 13 && SLOTS <= 1 << 14);

impl PartitionMap {
    /// The slots of `place` in `partitions` runs; never more partitions than slots.
    ///
    /// # Panics
    ///
    /// When `partitions` is 0 or above [`PARTITIONS_MAX`].
    pub fn new(place: Place, partitions: u32) -> Self {
        assert!((1..=PARTITIONS_MAX as u32).contains(&partitions), "partitions are within bounds");
        let slot_count = place.slot_count();
        Self {
            first_slot: place.first_slot(),
            slot_count,
            partitions: partitions.min(slot_count),
            reciprocal: (1 << SHIFT) / u64::from(slot_count) + 1,
        }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The partition of a slot; `None` when another server owns it.
    #[inline]
    pub fn partition_of(&self, slot: u32) -> Option<u32> {
        let offset = slot.wrapping_sub(self.first_slot);
        if offset >= self.slot_count {
            return None;
        }
        // `run_of` with the division replaced.
        let dividend = (u64::from(offset) + 1) * u64::from(self.partitions) - 1;
        Some(((dividend * self.reciprocal) >> SHIFT) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_golden() {
        // An independent implementation of rapidhash V3 gives the same.
        let slots = [&b"0"[..], b"1", b"999999", b"user:1", b"c7", &[0xff; 100]].map(slot_of);
        assert_eq!(slots, [16_008, 2_389, 10_615, 1_431, 5_213, 11_879]);
    }

    #[test]
    fn every_slot_has_one_owner_and_shares_differ_by_at_most_one() {
        for count in [1, 2, 3, 4, 5, 7, 8, 16, 100, SLOTS] {
            let places: Vec<Place> = (1..=count).map(|i| Place::new(i, count).unwrap()).collect();
            let shares: Vec<u32> = places.iter().map(|place| place.slot_count()).collect();
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            assert_eq!(shares.iter().sum::<u32>(), SLOTS);
            for slot in 0..SLOTS {
                let owner = places[shard_of(slot, count) as usize];
                assert!(
                    (owner.first_slot()..owner.first_slot() + owner.slot_count()).contains(&slot)
                );
            }
        }
    }

    #[test]
    fn partitions_cover_the_owned_slots_in_runs() {
        for (place, partitions) in
            [("1/1", 1), ("1/1", 7), ("1/1", 64), ("2/3", 16), ("4/4", 4096), ("5/5000", 16)]
        {
            let place: Place = place.parse().unwrap();
            let map = PartitionMap::new(place, partitions);
            let mut previous = 0;
            for slot in 0..SLOTS {
                let offset = slot.wrapping_sub(place.first_slot());
                let expected = (offset < place.slot_count())
                    .then(|| run_of(offset, map.partitions(), place.slot_count()));
                assert_eq!(map.partition_of(slot), expected);
                if let Some(partition) = expected {
                    assert!(partition == previous || partition == previous + 1);
                    previous = partition;
                }
            }
            assert_eq!(previous + 1, map.partitions());
        }
    }

    #[test]
    fn places_are_read_as_they_are_written_and_refused() {
        let place = Place::new(2, 300).unwrap();
        let bytes = postcard::to_stdvec(&place).unwrap();
        assert_eq!(bytes, [2, 0xac, 0x02]);
        assert_eq!(postcard::from_bytes::<Place>(&bytes), Ok(place));
        // Each of these would divide by zero or own slots that are none.
        for wrong in [&[0, 0][..], &[1, 0], &[0, 1], &[3, 2], &[1, 0x81, 0x80, 0x01]] {
            assert!(postcard::from_bytes::<Place>(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn places_are_parsed_and_refused() {
        let place: Place = "2/4".parse().unwrap();
        assert_eq!((place.index(), place.count(), place.to_string()), (2, 4, "2/4".to_owned()));
        for wrong in ["", "1", "0/2", "3/2", "x/2", "1/x", "1/2/3", "-1/2", "1/99999"] {
            let error = wrong.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("INDEX/COUNT"), "{error}");
        }
    }
}

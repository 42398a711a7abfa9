//! Sets of slots, and how a shard divides its slots into partitions.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::PARTITIONS_MAX;
use crate::slot::SLOTS;

/// A set of slots: 2 KiB, a bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; SLOTS as usize / 64]>);

impl SlotSet {
    /// No slot.
    pub fn empty() -> Self {
        Self(Box::new([0; SLOTS as usize / 64]))
    }

    /// The slots in these ranges; `None` where one is out of bounds or runs backwards.
    pub fn from_ranges(ranges: &[(u16, u16)]) -> Option<Self> {
        let mut set = Self::empty();
        for &(first, last) in ranges {
            if first > last || u32::from(last) >= SLOTS {
                return None;
            }
            set.insert(first.into()..=last.into());
        }
        Some(set)
    }

    /// Its slots as ranges, first and last of each, in ascending order.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in (0..SLOTS as u16).filter(|slot| self.contains(u32::from(*slot))) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    /// Adds slots.
    ///
    /// # Panics
    ///
    /// When one is not below [`SLOTS`].
    pub fn insert(&mut self, slots: RangeInclusive<u32>) {
        slots.for_each(|slot| self.0[slot as usize / 64] |= 1 << (slot % 64));
    }

    /// Whether it holds a slot.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`SLOTS`].
    #[inline]
    pub fn contains(&self, slot: u32) -> bool {
        (self.0[slot as usize / 64] >> (slot % 64)) & 1 != 0
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SlotSet").field(&self.ranges()).finish()
    }
}

/// The partition of each slot: slot mod the number of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    count: u32,
    /// `2^32 / count`, rounded up: turns the division per key into multiplications (Lemire, Kaser
    /// and Kurz, "Faster remainder by direct computation", 2019).
    reciprocal: u32,
}

// 32 bits are enough for dividends of N bits and divisors of D where N + D <= 32.
const _: () = assert!(SLOTS <= 1 << 14 && PARTITIONS_MAX <= 1 << 12);

impl Partitions {
    /// So many partitions.
    ///
    /// # Panics
    ///
    /// When `count` is 0 or above [`PARTITIONS_MAX`].
    pub fn new(count: u32) -> Self {
        assert!((1..=PARTITIONS_MAX).contains(&count), "partitions are within bounds");
        Self { count, reciprocal: (u32::MAX / count).wrapping_add(1) }
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The partition of a slot.
    #[inline]
    pub fn of(self, slot: u32) -> u32 {
        let fraction = self.reciprocal.wrapping_mul(slot);
        ((u64::from(fraction) * u64::from(self.count)) >> 32) as u32
    }
}

/// A shard among its peers, written `2/4`: the second of four.
///
/// Serialized it is the pair (index, count), which is checked when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A shard that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a place among shards; write INDEX/COUNT with 1 <= INDEX <= COUNT <= {SLOTS}, \
     as in 1/1 or 2/4"
)]
pub struct ShardError {
    text: String,
}

impl Shard {
    /// The shard that owns everything.
    pub const SOLE: Self = Self { index: 1, count: 1 };

    /// Shard `index` (from 1) of `count`.
    ///
    /// # Errors
    ///
    /// When it is not 1 <= index <= count <= [`SLOTS`].
    pub fn new(index: u32, count: u32) -> Result<Self, ShardError> {
        if index == 0 || index > count || count > SLOTS {
            return Err(ShardError { text: format!("{index}/{count}") });
        }
        Ok(Self { index, count })
    }

    /// Position, from 1: what requests name it by.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many shards there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The slots that it owns when its data is made: runs whose lengths differ by at most one.
    pub fn first_slots(self) -> SlotSet {
        let start =
            |index: u32| (u64::from(index) * u64::from(SLOTS) / u64::from(self.count)) as u32;
        let mut slots = SlotSet::empty();
        slots.insert(start(self.index - 1)..=start(self.index) - 1);
        slots
    }
}

impl TryFrom<(u32, u32)> for Shard {
    type Error = ShardError;

    fn try_from((index, count): (u32, u32)) -> Result<Self, ShardError> {
        Self::new(index, count)
    }
}

impl From<Shard> for (u32, u32) {
    fn from(shard: Shard) -> Self {
        (shard.index, shard.count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let numbers = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let shard = numbers.and_then(|(index, count)| Self::new(index, count).ok());
        shard.ok_or_else(|| ShardError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_owner_and_shares_differ_by_at_most_one() {
        for count in [1, 2, 3, 4, 5, 7, 8, 16, 100, SLOTS] {
            let sets: Vec<SlotSet> =
                (1..=count).map(|index| Shard::new(index, count).unwrap().first_slots()).collect();
            let size = |set: &SlotSet| set.0.iter().map(|word| word.count_ones()).sum::<u32>();
            let shares: Vec<u32> = sets.iter().map(size).collect();
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            assert_eq!(shares.iter().sum::<u32>(), SLOTS);
            let mut all = SlotSet::empty();
            for set in sets {
                all.0.iter_mut().zip(*set.0).for_each(|(word, more)| *word |= more);
            }
            assert_eq!(all.ranges(), [(0, SLOTS as u16 - 1)]);
        }
    }

    #[test]
    fn sets_are_read_as_they_are_told() {
        let ranges = [(0, 0), (63, 64), (100, 9_999), (16_383, 16_383)];
        let set = SlotSet::from_ranges(&ranges).unwrap();
        assert_eq!(set.ranges(), ranges);
        assert!(set.contains(64) && !set.contains(65) && set.contains(16_383));
        assert_eq!(SlotSet::from_ranges(&[(2, 1)]), None);
        assert_eq!(SlotSet::from_ranges(&[(0, 16_384)]), None);
        assert_eq!(SlotSet::empty().ranges(), []);
    }

    #[test]
    fn partitions_are_remainders() {
        for count in (1..=PARTITIONS_MAX).filter(|count| *count < 300 || *count > 4_000) {
            let partitions = Partitions::new(count);
            assert!((0..SLOTS).all(|slot| partitions.of(slot) == slot % count), "{count}");
        }
    }

    #[test]
    fn shards_are_parsed_and_refused() {
        let shard: Shard = "2/4".parse().unwrap();
        assert_eq!((shard.index(), shard.count(), shard.to_string()), (2, 4, "2/4".to_owned()));
        assert_eq!(Shard::try_from((2, 4)), Ok(shard));
        for wrong in ["", "1", "0/2", "3/2", "x/2", "1/x", "1/2/3", "-1/2", "1/99999"] {
            let error = wrong.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("INDEX/COUNT"), "{error}");
        }
        // Each of these would divide by zero or own slots that are none.
        for wrong in [(0, 0), (1, 0), (0, 1), (3, 2), (1, SLOTS + 1)] {
            assert!(Shard::try_from(wrong).is_err(), "{wrong:?}");
        }
    }
}

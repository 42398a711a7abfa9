//! What values look like, so that one that is read tells who wrote it and for which key.
//!
//! All integers are little-endian:
//!
//! 1. run id, 8 bytes
//! 2. the writer's stamp, 8 bytes
//! 3. the writer's client index, 4 bytes
//! 4. length of the whole value, 4 bytes
//! 5. number of the key, 8 bytes
//! 6. filler: pseudorandom bytes, so that nothing on the way gains by compressing them
//! 7. the stamp once more, 8 bytes: the last ones of the value
//!
//! (run, client, stamp) is unique, so no two writes leave the same value. The stamp at both ends
//! and the length show a value that was torn or cut. A value that is shorter than
//! [`VERIFIED_BYTES_MIN`] is the start of this and cannot be checked.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::random::Random;

/// Length of the shortest value that holds every field, in bytes.
pub(crate) const VERIFIED_BYTES_MIN: usize = 40;

const TRAILER_BYTES: usize = 8;

/// Sizes of the values that a run writes, in bytes: one, or a range from which each write draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValueSize {
    /// The least.
    pub(crate) min: usize,
    /// The greatest.
    pub(crate) max: usize,
}

impl ValueSize {
    /// The size of the next value.
    #[inline]
    pub(crate) fn draw(self, random: &mut Random) -> usize {
        if self.min == self.max {
            return self.min;
        }
        self.min + random.below((self.max - self.min + 1) as u64) as usize
    }

    /// The mean, rounded up.
    pub(crate) fn mean(self) -> usize {
        (self.min + self.max).div_ceil(2)
    }

    /// Whether values of this size can be checked.
    pub(crate) fn is_verifiable(self) -> bool {
        self.min >= VERIFIED_BYTES_MIN
    }
}

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: RangeInclusive<usize> = 0..=model::limits::VALUE_BYTES_MAX;
        let parse = |part: &str| {
            part.parse().ok().filter(|size| ALLOWED.contains(size)).ok_or_else(|| {
                format!("a size is 0 to {} bytes, or a range such as 64-1024", ALLOWED.end())
            })
        };
        let (min, max) = match text.split_once('-') {
            Some((min, max)) => (parse(min)?, parse(max)?),
            None => (parse(text)?, parse(text)?),
        };
        if min > max {
            return Err(format!("the range runs backwards; write {max}-{min}"));
        }
        Ok(Self { min, max })
    }
}

impl fmt::Display for ValueSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

/// Makes one worker's values in a block that is prepared once: a write costs a few stores.
#[derive(Debug)]
pub(crate) struct ValueWriter {
    block: Vec<u8>,
    size: ValueSize,
}

impl ValueWriter {
    /// A writer of values of the given sizes.
    pub(crate) fn new(run: u64, client: u32, size: ValueSize, random: &mut Random) -> Self {
        let mut block = vec![0; size.max.max(VERIFIED_BYTES_MIN)];
        random.fill(&mut block);
        block[0..8].copy_from_slice(&run.to_le_bytes());
        block[16..20].copy_from_slice(&client.to_le_bytes());
        Self { block, size }
    }

    /// The value that the operation with this stamp writes to this key.
    #[inline]
    pub(crate) fn write(&mut self, stamp: u64, key: u64, random: &mut Random) -> &[u8] {
        let size = self.size.draw(random);
        let head = &mut self.block[..VERIFIED_BYTES_MIN];
        head[8..16].copy_from_slice(&stamp.to_le_bytes());
        head[20..24].copy_from_slice(&(size as u32).to_le_bytes());
        head[24..32].copy_from_slice(&key.to_le_bytes());
        if size >= VERIFIED_BYTES_MIN {
            self.block[size - TRAILER_BYTES..size].copy_from_slice(&stamp.to_le_bytes());
        }
        &self.block[..size]
    }
}

/// Who wrote a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    /// The writer's run.
    pub(crate) run: u64,
    /// Its client.
    pub(crate) client: u32,
    /// The stamp of the operation.
    pub(crate) stamp: u64,
}

/// Who wrote this value for the key with this number; `None` when it is torn, cut, too short or
/// another key's.
#[inline]
pub(crate) fn writer(value: &[u8], key: u64) -> Option<Writer> {
    let is_known = value.len() >= VERIFIED_BYTES_MIN && is_whole(value, key);
    is_known.then(|| Writer {
        run: field(value, 0),
        client: field(value, 16) as u32,
        stamp: field(value, 8),
    })
}

/// Tells whether a value that was read can stand under its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verifier {
    /// Values are too short to be checked, or the user does not want it.
    Off,
    /// Every value is one of this run, which has loaded every key.
    ThisRun(u64),
    /// Values may be another run's, and where they are too short to be checked, they pass.
    AnyRun,
}

impl Verifier {
    /// Whether `value` was written for the key with this number, whole, and by whom it may be; and
    /// who wrote it, where that can be told.
    #[inline]
    pub(crate) fn check(self, value: &[u8], key: u64) -> (bool, Option<Writer>) {
        let writer = writer(value, key);
        let is_accepted = match self {
            Self::Off => true,
            Self::ThisRun(run) => writer.is_some_and(|writer| writer.run == run),
            Self::AnyRun => value.len() < VERIFIED_BYTES_MIN || writer.is_some(),
        };
        (is_accepted, writer)
    }
}

#[inline]
fn field(value: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(value[offset..offset + 8].try_into().expect("a field has 8 bytes"))
}

#[inline]
fn is_whole(value: &[u8], key: u64) -> bool {
    field(value, 24) == key
        && field(value, 16) >> 32 == value.len() as u64
        && field(value, 8) == field(value, value.len() - TRAILER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> ValueSize {
        text.parse().expect("the size is well formed")
    }

    fn written(bytes: &str, stamp: u64, key: u64) -> Vec<u8> {
        let mut random = Random::new(1, 1, 1);
        let mut writer = ValueWriter::new(77, 3, size(bytes), &mut random);
        writer.write(stamp, key, &mut random).to_vec()
    }

    #[test]
    fn a_value_is_accepted_under_its_key_and_run_only() {
        for bytes in ["40", "41", "128", "4096"] {
            let value = written(bytes, 5, 9);
            assert_eq!(value.len().to_string(), bytes);
            assert!(Verifier::ThisRun(77).check(&value, 9).0);
            assert!(Verifier::AnyRun.check(&value, 9).0);
            assert!(!Verifier::ThisRun(78).check(&value, 9).0, "another run's value");
            assert!(!Verifier::ThisRun(77).check(&value, 8).0, "another key's value");
            assert!(!Verifier::AnyRun.check(&value, 8).0, "another key's value");
            assert_eq!(writer(&value, 9), Some(Writer { run: 77, client: 3, stamp: 5 }));
            assert_eq!(writer(&value, 8), None, "another key's value");
            assert_eq!(writer(&value[..39], 9), None, "cut");
        }
    }

    #[test]
    fn torn_cut_and_foreign_values_are_refused() {
        let value = written("128", 5, 9);
        let mut torn = value.clone();
        torn[64..].copy_from_slice(&written("128", 6, 9)[64..]);
        assert!(!Verifier::AnyRun.check(&torn, 9).0, "two writes mixed");
        assert!(!Verifier::AnyRun.check(&value[..127], 9).0, "cut at the end");
        let shortened = [&value[..64], &value[120..]].concat();
        assert!(!Verifier::AnyRun.check(&shortened, 9).0, "cut in the middle");
        assert!(!Verifier::AnyRun.check(&[value.clone(), vec![0]].concat(), 9).0, "grown");
        assert!(!Verifier::ThisRun(77).check(&value[..20], 9).0, "too short for this run");
        assert!(Verifier::AnyRun.check(&value[..20], 9).0, "too short to tell");
        assert!(!Verifier::AnyRun.check(&[b'x'; 128], 9).0, "not one of ours");
        assert!(Verifier::Off.check(&[b'x'; 128], 9).0);
    }

    #[test]
    fn values_are_unique_down_to_16_bytes() {
        assert_ne!(written("16", 5, 9), written("16", 6, 9));
        assert_eq!(written("0", 5, 9), b"");
    }

    #[test]
    fn ranges_are_drawn_to_both_ends() {
        let mut random = Random::new(1, 1, 1);
        let mut writer = ValueWriter::new(77, 1, size("64-67"), &mut random);
        let mut seen = [false; 4];
        for stamp in 0..100 {
            let value = writer.write(stamp, 9, &mut random);
            seen[value.len() - 64] = true;
            assert!(Verifier::ThisRun(77).check(value, 9).0);
        }
        assert_eq!(seen, [true; 4]);
    }

    #[test]
    fn sizes_are_parsed_or_refused() {
        assert_eq!(size("128"), ValueSize { min: 128, max: 128 });
        assert_eq!(size("64-1024"), ValueSize { min: 64, max: 1024 });
        assert_eq!(size("64-1024").to_string(), "64-1024");
        assert!(size("40").is_verifiable() && !size("39-128").is_verifiable());
        for wrong in ["", "-1", "12-", "x", "1048577", "64-2000000", "1e3"] {
            assert!(wrong.parse::<ValueSize>().is_err(), "{wrong}");
        }
        assert!("9-8".parse::<ValueSize>().unwrap_err().contains("8-9"));
    }
}

//! Unsigned LEB128 numbers: seven bits a byte, least significant first.

/// Longest encoding of a `u64`, in bytes.
pub const BYTES_MAX: usize = 10;

/// Appends `number`.
#[inline]
pub fn write(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes `number` takes.
#[inline]
pub fn length(number: u64) -> usize {
    ((64 - (number | 1).leading_zeros()) as usize).div_ceil(7)
}

/// The encoding of a number below 2^28 as a little-endian word, and how many bytes of it count: for
/// those who write it together with what stands beside it.
#[inline]
pub fn word(number: u32) -> (u32, usize) {
    let low = |shift: u32| (number >> (7 * shift) & 0x7f) << (8 * shift);
    match number {
        0..0x80 => (number, 1),
        0x80..0x4000 => (low(0) | 0x80 | low(1), 2),
        0x4000..0x20_0000 => (low(0) | low(1) | 0x8080 | low(2), 3),
        _ => (low(0) | low(1) | low(2) | 0x80_8080 | low(3), 4),
    }
}

/// Reads a number at `position` and moves past it; `None` when it is cut off, passes 64 bits, or is
/// not in its shortest form (each number has one encoding, so equal messages have equal bytes).
#[inline]
pub fn read(bytes: &[u8], position: &mut usize) -> Option<u64> {
    let first = *bytes.get(*position)?;
    *position += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    read_rest(bytes, position, first)
}

fn read_rest(bytes: &[u8], position: &mut usize, first: u8) -> Option<u64> {
    let mut number = u64::from(first & 0x7f);
    for shift in (7..70).step_by(7) {
        let byte = *bytes.get(*position)?;
        *position += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (byte != 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_round_trip() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write(&mut bytes, number);
            assert!(bytes.len() <= BYTES_MAX);
            assert_eq!(bytes.len(), length(number));
            let mut position = 0;
            assert_eq!(read(&bytes, &mut position), Some(number));
            assert_eq!(position, bytes.len());
            assert_eq!(read(&bytes[..bytes.len() - 1], &mut 0), None, "cut off");
        }
    }

    #[test]
    fn words_hold_what_is_written() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_151, 2_097_152, (1 << 28) - 1] {
            let mut bytes = Vec::new();
            write(&mut bytes, number.into());
            let (word, length) = word(number);
            assert_eq!(word.to_le_bytes()[..length], bytes, "{number}");
            assert!(length == 4 || word >> (8 * length) == 0, "{number}");
        }
    }

    #[test]
    fn overlong_and_overflowing_numbers_are_refused() {
        assert_eq!(read(&[0x80, 0x00], &mut 0), None);
        assert_eq!(read(&[0xff; 11], &mut 0), None);
        let mut beyond = [0xff; 10];
        beyond[9] = 0x02;
        assert_eq!(read(&beyond, &mut 0), None);
    }
}

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
    fn overlong_and_overflowing_numbers_are_refused() {
        assert_eq!(read(&[0x80, 0x00], &mut 0), None);
        assert_eq!(read(&[0xff; 11], &mut 0), None);
        let mut beyond = [0xff; 10];
        beyond[9] = 0x02;
        assert_eq!(read(&beyond, &mut 0), None);
    }
}

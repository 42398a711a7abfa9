//! Numbers of 1 to 9 bytes whose length stands in the first byte, so that neither side loops.
//!
//! 1. A number below 2^(7n), n <= 8, takes the least such n bytes: the little-endian bytes of
//!    `number << n | 1 << (n - 1)`. The zeros that the first byte ends in tell n - 1.
//! 2. Any other takes nine: a zero byte and the number, little-endian.
//!
//! Signed numbers are folded first (0, -1, 1, -2, ...), so that small ones of both signs are short.

/// Longest encoding, in bytes.
pub(crate) const BYTES_MAX: usize = 9;

/// Writes `number` at `position` of `out` and returns the position after it.
///
/// # Panics
///
/// When fewer than [`BYTES_MAX`] bytes are left: whole words are written, whatever is needed.
#[inline(always)]
pub(crate) fn write(out: &mut [u8], position: usize, number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    if bits <= 56 {
        let bytes = bits.div_ceil(7);
        let word = (number << bytes) | (1 << (bytes - 1));
        out[position..position + 8].copy_from_slice(&word.to_le_bytes());
        position + bytes
    } else {
        out[position] = 0;
        out[position + 1..position + 9].copy_from_slice(&number.to_le_bytes());
        position + 9
    }
}

/// Reads a number at `position` and moves past it; `None` when the bytes end inside it.
#[inline(always)]
pub(crate) fn read(bytes: &[u8], position: &mut usize) -> Option<u64> {
    let rest = bytes.get(*position..)?;
    if let Some(word) = rest.first_chunk::<8>() {
        let length = word[0].trailing_zeros() as usize + 1;
        if length <= 8 {
            *position += length;
            return Some(u64::from_le_bytes(*word) << (64 - 8 * length) >> (64 - 7 * length));
        }
    }
    read_at_the_end(rest, position)
}

#[cold]
fn read_at_the_end(rest: &[u8], position: &mut usize) -> Option<u64> {
    let length = rest.first()?.trailing_zeros() as usize + 1;
    let encoded = rest.get(..length)?;
    *position += length;
    if length == 9 {
        return Some(u64::from_le_bytes(encoded[1..].try_into().expect("eight bytes are left")));
    }
    let mut word = [0; 8];
    word[..length].copy_from_slice(encoded);
    Some(u64::from_le_bytes(word) >> length)
}

/// Folds a signed number into an unsigned one.
#[inline(always)]
pub(crate) fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// Undoes [`fold`].
#[inline(always)]
pub(crate) fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> impl Iterator<Item = u64> {
        (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX])
    }

    #[test]
    fn numbers_survive_the_round_trip() {
        for number in numbers() {
            let mut out = [0xff; 20];
            let end = write(&mut out, 0, number);
            for bytes in [&out[..], &out[..end]] {
                let mut position = 0;
                assert_eq!(read(bytes, &mut position), Some(number));
                assert_eq!(position, end, "{number}");
            }
            assert_eq!(unfold(fold(number as i64)), number as i64);
        }
    }

    #[test]
    fn numbers_that_are_cut_off_are_refused() {
        for number in numbers() {
            let mut out = [0xff; 20];
            let end = write(&mut out, 0, number);
            assert_eq!(read(&out[..end - 1], &mut 0), None, "{number}");
        }
    }
}

//! Numbers as decimal text, in a register where they have at most eight digits.
//!
//! A key is read again at once, by its hash and by the encoder, in pieces other than those in which
//! a digit-by-digit formatter writes it, and a processor can't forward that from its store buffer:
//! it waits until the stores have reached the cache. Here all digits are one word, written once.

/// What eight digits reach to.
const WORD_END: u64 = 100_000_000;
/// Eight times the character 0.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Room for the text of any number.
pub(crate) type Digits = [u8; 20];

/// Writes the decimal text of `number`, without leading zeros, into `digits`.
#[inline(always)]
pub(crate) fn write(number: u64, digits: &mut Digits) -> &[u8] {
    if number >= WORD_END {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        digits[..text.len()].copy_from_slice(text);
        return &digits[..text.len()];
    }
    let word = eight_digits(number);
    // The last digit stays, also when it is a zero.
    let leading_zeros = (word | 1 << 56).trailing_zeros() / 8;
    let text = (word | ZEROS) >> (8 * leading_zeros);
    digits[..8].copy_from_slice(&text.to_le_bytes());
    &digits[..8 - leading_zeros as usize]
}

/// The digits of a number below 10^8, a byte each, the first one lowest. Halves it into fours, twos
/// and ones, all parts at the same time; the factors are reciprocals, exact for what they divide.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | (number % 10_000) << 32;
    let upper = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = upper | (fours - 100 * upper) << 16;
    let upper = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    upper | (twos - 10 * upper) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_numbers() {
        let steps = (0..WORD_END).step_by(9_973);
        let ends = (0..20).map(|power| 10_u64.pow(power)).flat_map(|ten| [ten - 1, ten, ten + 1]);
        for number in (0..20_000).chain(steps).chain(ends).chain([u64::MAX]) {
            let mut digits = Digits::default();
            assert_eq!(write(number, &mut digits), number.to_string().as_bytes());
        }
    }
}

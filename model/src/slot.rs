//! Which of the 16,384 slots a key belongs to, exactly as in Redis Cluster.
//!
//! A slot is the CRC16/XMODEM of the key, or of its hash tag, modulo [`SLOTS`]. It is part of the
//! protocol: clients route by it, servers check it, and golden values in the tests pin it.
//!
//! No tables: P = x^16 + x^12 + x^5 + 1 has few terms, and over GF(2) so have its powers
//! P^K = x^16K + x^12K + x^5K + 1 for K = 2, 4, 8.. A key is folded modulo P^4, a word at a time,
//! and the word that is left is reduced by one carry-less multiplication where there is one, else
//! modulo P^2 and then P.

/// Number of slots: Redis Cluster's.
pub const SLOTS: u32 = 16_384;

/// The slot of a key.
///
/// Where a `}` follows the key's first `{`, what stands between the two is hashed in place of the
/// key, unless it is empty.
#[inline(always)]
pub fn slot_of(key: &[u8]) -> u32 {
    let (crc, may_have_tag) = fold(key);
    if may_have_tag { slot_by_tag(key) } else { crc % SLOTS }
}

#[cold]
#[inline(never)]
fn slot_by_tag(key: &[u8]) -> u32 {
    fold(tag_of(key).unwrap_or(key)).0 % SLOTS
}

fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let opened = key.iter().position(|&byte| byte == b'{')?;
    let rest = &key[opened + 1..];
    let length = rest.iter().position(|&byte| byte == b'}')?;
    (length > 0).then(|| &rest[..length])
}

/// The CRC of `bytes`, in the low 16 bits, and whether there may be a `{` among them.
///
/// Always in line: a call costs a third of a short key's time.
#[inline(always)]
fn fold(bytes: &[u8]) -> (u32, bool) {
    let Some(first) = bytes.first_chunk() else {
        let word = short_word(bytes);
        return (crc_of(word), braces_of(word) != 0);
    };
    // Zeros in front change nothing: the first 1 to 8 bytes are a word, and the rest whole words.
    let head_bytes = (bytes.len() - 1) % 8 + 1;
    let mut folded = u64::from_be_bytes(*first) >> (64 - 8 * head_bytes);
    let mut braces = braces_of(folded);
    for word in bytes[head_bytes..].as_chunks().0 {
        let word = u64::from_be_bytes(*word);
        braces |= braces_of(word);
        folded = reduce::<4>(folded, word);
    }
    (crc_of(folded), braces != 0)
}

/// Up to 7 bytes as a number; from 4 on by two loads that overlap.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
        return bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    };
    let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
    u64::from(first) << (8 * (bytes.len() % 4)) | u64::from(last)
}

/// Not 0 when a byte is `{`; nor for `|`, `}`, `~` and DEL, nor for a `z` that gets a carry.
#[inline]
fn braces_of(word: u64) -> u64 {
    const LOWEST: u64 = u64::MAX / 0xff;
    word.wrapping_add(LOWEST * (0x80 - b'{' as u64)) & !word & (LOWEST * 0x80)
}

/// `high` x^16K + `low` modulo P^K, in the low 16K bits.
///
/// The quotient is `high` times 1 / (1 + y^4K + y^11K + y^16K), y = 1/x, down to its last bit.
#[inline]
fn reduce<const K: u32>(high: u64, low: u64) -> u64 {
    let quarters = high ^ high >> (4 * K);
    let quotient = quarters ^ quarters >> (8 * K) ^ high >> (11 * K);
    low ^ quotient ^ quotient << (5 * K) ^ quotient << (12 * K)
}

/// `word` x^16 modulo P, in the low 16 bits.
#[inline]
fn crc_of(word: u64) -> u32 {
    /// x^80 / P without its highest term, x^64.
    const RECIPROCAL: u64 = 0x1130_3471_a041_b343;
    let Some(product) = high_product(word, RECIPROCAL) else {
        return crc_by_shifts(word);
    };
    // Barrett's quotient is exact over GF(2).
    let quotient = product ^ word;
    (quotient ^ quotient << 5 ^ quotient << 12) as u32
}

#[inline]
fn crc_by_shifts(word: u64) -> u32 {
    let word = reduce::<4>(word >> 48, word << 16);
    let word = reduce::<2>(word >> 32, word) & u64::from(u32::MAX);
    reduce::<1>(word >> 16, word) as u32
}

/// The high half of a product without carries, if the processor has an instruction for it.
///
/// In assembly: the standard library's function is not inlined into code for all processors, and
/// the call costs half of what the instruction saves.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
fn high_product(left: u64, right: u64) -> Option<u64> {
    if !is_x86_feature_detected!("pclmulqdq") {
        return None;
    }
    // Floats only in name: that is how 64 bits get into such a register and out again.
    let product: f64;
    // SAFETY: the processor has the instruction, and nothing but the two registers is touched.
    unsafe {
        std::arch::asm!(
            "pclmulqdq {product}, {right}, 0",
            "psrldq {product}, 8",
            product = inout(xmm_reg) f64::from_bits(left) => product,
            right = in(xmm_reg) f64::from_bits(right),
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    Some(product.to_bits())
}

/// Other processors reduce by shifts.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn high_product(_left: u64, _right: u64) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_are_golden() {
        assert_eq!(slot_of(b"123456789"), 12_739, "the check value of CRC16/XMODEM, modulo 16,384");
        let slots = [&b""[..], b"0", b"foo", b"bar", b"hello", b"user1000"].map(slot_of);
        assert_eq!(slots, [0, 13_907, 12_182, 5_061, 866, 3_443]);
    }

    #[test]
    fn what_stands_between_the_first_braces_is_hashed_alone() {
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("{user1000}.followers", "user1000"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("}{a}", "a"),
            ("a long key whose tag comes late {a}", "a"),
            ("{a tag that is longer than a word}", "a tag that is longer than a word"),
        ] {
            assert_eq!(slot_of(key.as_bytes()), whole(tag.as_bytes()), "{key}");
        }
    }

    #[test]
    fn keys_without_a_tag_are_hashed_whole() {
        for key in ["{}x", "foo{}{bar}", "{abc", "abc}", "}abc{", "{", "}", "{}", "|~z\u{7f}"] {
            assert_eq!(slot_of(key.as_bytes()), whole(key.as_bytes()), "{key}");
        }
    }

    /// The slot of `bytes` as they are, a bit at a time.
    fn whole(bytes: &[u8]) -> u32 {
        let mut crc = 0u16;
        for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
            let is_over = (crc >> 15) as u8 != bit;
            crc = crc << 1 ^ if is_over { 0x1021 } else { 0 };
        }
        u32::from(crc) % SLOTS
    }

    /// Looks for the tag from every pair of places.
    fn naive_tag(key: &[u8]) -> &[u8] {
        for open in 0..key.len() {
            for close in open + 1..key.len() {
                if key[open] == b'{' && key[close] == b'}' {
                    return if close == open + 1 { key } else { &key[open + 1..close] };
                }
            }
            if key[open] == b'{' {
                break;
            }
        }
        key
    }

    fn keys(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            12 => any::<u8>(),
            4 => b'x'..=b'\x7f',
            1 => Just(b'{'),
            1 => Just(b'}'),
        ];
        vec(byte, 1..=bytes_max)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2048,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn slots_are_those_of_the_reference(key in prop_oneof![keys(40), keys(1024)]) {
            prop_assert_eq!(slot_of(&key), whole(naive_tag(&key)));
        }

        #[test]
        fn every_way_of_reduction_gives_the_same(word: u64) {
            let expected = whole(&word.to_be_bytes());
            prop_assert_eq!(crc_by_shifts(word) % SLOTS, expected);
            prop_assert_eq!(crc_of(word) % SLOTS, expected);
        }
    }
}

//! What the property tests of this crate share.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// 256 cases a property, 8,192 with `KVS_LONG_TESTS=1`.
pub(crate) fn config() -> ProptestConfig {
    let is_long = std::env::var("KVS_LONG_TESTS").is_ok_and(|value| value == "1");
    let cases = if is_long { 8192 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Damage to a message.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flip { at: Index, bit: u8 },
    Set { at: Index, byte: u8 },
    SetWord { at: Index, word: u32 },
    Insert { at: Index, byte: u8 },
    Remove { at: Index },
    CutOff { at: Index },
    Extend { bytes: Vec<u8> },
}

/// One to four pieces of damage.
pub(crate) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    // Numbers at the edges hit more bounds than random ones.
    let byte = || prop_oneof![any::<u8>(), 0..16u8, Just(0x7f), Just(0x80), Just(0xff)];
    let word = prop_oneof![any::<u32>(), 0..16u32, 65_535..65_538u32, Just(u32::MAX)];
    let damage = prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        (at(), byte()).prop_map(|(at, byte)| Damage::Set { at, byte }),
        (at(), word).prop_map(|(at, word)| Damage::SetWord { at, word }),
        (at(), byte()).prop_map(|(at, byte)| Damage::Insert { at, byte }),
        at().prop_map(|at| Damage::Remove { at }),
        at().prop_map(|at| Damage::CutOff { at }),
        vec(any::<u8>(), 1..20).prop_map(|bytes| Damage::Extend { bytes }),
    ];
    vec(damage, 1..5)
}

/// The message with the damage done.
pub(crate) fn damaged(message: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match damage {
            Damage::Flip { at, bit } => bytes[at.index(length)] ^= 1 << bit,
            Damage::Set { at, byte } => bytes[at.index(length)] = *byte,
            Damage::SetWord { at, word } => {
                // Counts stand at multiples of four.
                let at = at.index(length) & !3;
                let end = length.min(at + 4);
                bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
            Damage::Insert { at, byte } => bytes.insert(at.index(length), *byte),
            Damage::Remove { at } => drop(bytes.remove(at.index(length))),
            Damage::CutOff { at } => bytes.truncate(at.index(length)),
            Damage::Extend { bytes: more } => bytes.extend_from_slice(more),
        }
    }
    bytes
}

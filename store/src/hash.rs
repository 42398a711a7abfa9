//! The seeded hash that all stores place their keys by.

use std::hash::{BuildHasher, Hasher, RandomState};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

/// Hashes keys under one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    secrets: RapidSecrets,
}

impl KeyHasher {
    /// All of rapidhash's secrets are derived from `seed`: with its well-known ones, keys that
    /// collide under every seed are published.
    pub(crate) fn new(seed: u64) -> Self {
        Self { secrets: RapidSecrets::seed(seed) }
    }

    /// The hash of `key`; all 64 bits are mixed.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        const AVALANCHE: bool = true;
        const COMPACT: bool = false;
        // Two more XORs a step, so that no operand of a multiplication can be forced to zero.
        const PROTECTED: bool = true;
        rapidhash_v3_inline::<AVALANCHE, COMPACT, PROTECTED>(key, &self.secrets)
    }
}

/// A seed that nobody can guess: the standard library's hash maps draw theirs from the operating
/// system.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides() {
        let hash = |seed: u64, key: &[u8]| KeyHasher::new(seed).hash(key);
        assert_eq!(hash(1, b"key"), hash(1, b"key"));
        assert_ne!(hash(1, b"key"), hash(2, b"key"));
        assert_ne!(hash(1, b"key"), hash(1, b"kez"));
        assert_ne!(hash(1, &[0; 100]), hash(1, &[0; 101]));
        assert_ne!(random_seed(), random_seed());
    }
}

//! Pseudorandom numbers for the workload: xoshiro256++, seeded through SplitMix64.
//!
//! Both are named algorithms, not a library's choice of the day, because a run must replay from its
//! printed seed with any later version of the program.

use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// One stream of pseudorandom numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The stream of one worker of one client in the run with this seed.
    pub(crate) fn new(seed: u64, client: u32, worker: u32) -> Self {
        let stream = u64::from(client) << 32 | u64::from(worker);
        // Mixing keeps (seed, stream) and (seed + 1, stream - 1) apart.
        Self(Xoshiro256PlusPlus::seed_from_u64(mix(seed) ^ stream))
    }

    /// The next 64 bits.
    #[inline]
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// The upper half of the next 64 bits.
    #[inline]
    pub(crate) fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number in `0..bound`, with a bias below `bound / 2^64`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A number whose every bit hangs on every bit of `number`: no two have the same.
pub(crate) fn mix(number: u64) -> u64 {
    SplitMix64::seed_from_u64(number).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_these_numbers() {
        let mut random = Random::new(7, 1, 2);
        let first = [random.next_u64(), random.next_u64(), u64::from(random.next_u32())];
        assert_eq!(
            first,
            [0x3f9e_fc68_011b_bbe2, 0xdec0_b2fe_731c_113b, 0x7e10_2b43],
            "a run replays from its seed with any later version"
        );
    }

    #[test]
    fn streams_replay_and_differ() {
        let first = |seed, client, worker| Random::new(seed, client, worker).next_u64();
        assert_eq!(first(7, 1, 2), first(7, 1, 2));
        let others = [first(7, 1, 3), first(7, 2, 2), first(8, 1, 2), first(8, 1, 1)];
        assert!(others.iter().all(|other| *other != first(7, 1, 2)), "{others:?}");
    }

    #[test]
    fn draws_stay_in_range_and_reach_its_ends() {
        let mut random = Random::new(1, 1, 1);
        let mut seen = [false; 10];
        for _ in 0..1_000 {
            seen[random.below(10) as usize] = true;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn fill_reaches_the_last_byte() {
        let mut bytes = [0; 13];
        Random::new(1, 1, 1).fill(&mut bytes);
        assert!(bytes.iter().filter(|byte| **byte != 0).count() > 10, "{bytes:?}");
    }
}

//! Pseudorandom numbers for the workload: xoshiro256++, seeded through SplitMix64.
//!
//! Both are written out here, because a run must replay from its printed seed with any later
//! version of the program, and random-number crates keep no such promise for their small
//! generators.
//!
//! Sources: Blackman and Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 2021
//! (<https://prng.di.unimi.it/xoshiro256plusplus.c>, <https://prng.di.unimi.it/splitmix64.c>).

/// One stream of pseudorandom numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of one worker of one client in the run with this seed.
    pub(crate) fn new(seed: u64, client: u32, worker: u32) -> Self {
        let stream = u64::from(client) << 32 | u64::from(worker);
        // Two rounds of mixing keep (seed, stream) and (seed + 1, stream - 1) apart.
        let mut source = mix(seed.wrapping_add(GOLDEN_GAMMA)) ^ mix(stream);
        let mut next = || {
            source = source.wrapping_add(GOLDEN_GAMMA);
            mix(source)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    #[inline]
    pub(crate) fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// The upper half of the next 64 bits.
    #[inline]
    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
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
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// SplitMix64's increment, 2^64 over the golden ratio.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output function: a bijection whose every output bit hangs on every input bit.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of xoshiro256plusplus.c from the state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        let first: Vec<u64> = (0..4).map(|_| random.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
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

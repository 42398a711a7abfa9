//! Fixed pseudorandom bijections on `0..length`.
//!
//! Popularity must say nothing about a key's number, and the order in which keys are loaded must
//! say nothing about popularity: otherwise hot keys lie side by side in the servers' memory and a
//! run measures the cache. So ranks go to key numbers through one permutation, and the preload
//! walks the key numbers in the order of another.
//!
//! On a power of two, multiplying by an odd number, adding, and xoring a right shift are each
//! invertible; three rounds of them scatter well. Other lengths use the next power of two and walk
//! the cycle until it comes back into range (Black and Rogaway, "Ciphers with arbitrary finite
//! domains", CT-RSA 2002), which takes two steps at most on average.

use super::random::mix;

/// Longest permuted range. Key numbers are packed beside a few bits of another kind.
pub(crate) const LENGTH_MAX: u64 = 1 << 48;

/// From a key's rank in popularity to its number.
pub(crate) const POPULARITY: u64 = 1;

/// From a position in the preload's order to a key's number.
pub(crate) const PRELOAD_ORDER: u64 = 2;

const ROUNDS: usize = 3;

/// A bijection on `0..length`, the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    length: u64,
    mask: u64,
    shift: u32,
    rounds: [(u64, u64); ROUNDS],
}

impl Permutation {
    /// The permutation of `0..length` with this number.
    ///
    /// # Panics
    ///
    /// When `length` is 0 or above [`LENGTH_MAX`].
    pub(crate) fn new(length: u64, number: u64) -> Self {
        assert!((1..=LENGTH_MAX).contains(&length), "a permuted range has 1 to 2^48 places");
        let mask = length.next_power_of_two() - 1;
        let constant = |index: usize| mix(number << 8 | index as u64);
        Self {
            length,
            mask,
            shift: (mask.count_ones() / 2).max(1),
            rounds: std::array::from_fn(|round| {
                (constant(2 * round + 1) | 1, constant(2 * round + 2))
            }),
        }
    }

    /// Where `place` goes.
    ///
    /// # Panics
    ///
    /// In a debug build, when `place` is out of range.
    #[inline]
    pub(crate) fn apply(&self, mut place: u64) -> u64 {
        debug_assert!(place < self.length, "the place lies in the permuted range");
        loop {
            for (factor, summand) in self.rounds {
                place = place.wrapping_mul(factor).wrapping_add(summand) & self.mask;
                place ^= place >> self.shift;
            }
            if place < self.length {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_taken_once() {
        for length in (1..300).chain([1_023, 1_024, 1_025, 65_537, 100_000]) {
            for number in [POPULARITY, PRELOAD_ORDER] {
                let permutation = Permutation::new(length, number);
                let mut taken = vec![false; length as usize];
                for place in 0..length {
                    let image = permutation.apply(place) as usize;
                    assert!(!taken[image], "{image} of {length} is taken twice");
                    taken[image] = true;
                }
            }
        }
    }

    /// Chi-square statistic of where the images of the first places fall, in 64 bins.
    fn scatter(images: impl Iterator<Item = u64>, length: u64) -> f64 {
        let mut bins = [0_u64; 64];
        let mut count = 0;
        for image in images {
            bins[(image * 64 / length) as usize] += 1;
            count += 1;
        }
        let expected = f64::from(count) / 64.0;
        bins.iter().map(|bin| (*bin as f64 - expected).powi(2) / expected).sum()
    }

    #[test]
    fn neighbours_are_scattered_and_the_two_orders_are_unrelated() {
        // 63 degrees of freedom: 63 on average, standard deviation 11.2.
        let length = 1_000_000;
        let popularity = Permutation::new(length, POPULARITY);
        let preload = Permutation::new(length, PRELOAD_ORDER);
        let ranks = scatter((0..20_000).map(|rank| popularity.apply(rank)), length);
        let positions = scatter((0..20_000).map(|position| preload.apply(position)), length);
        let apart = (0..20_000).map(|i| (popularity.apply(i) + length - preload.apply(i)) % length);
        let apart = scatter(apart, length);
        for statistic in [ranks, positions, apart] {
            assert!(statistic < 120.0, "{ranks} {positions} {apart}");
        }
        assert!(scatter(0..20_000, length) > 1e5, "places left in order are not scattered");
    }
}

//! Draws key numbers by popularity, exactly to the distribution, a batch at a time.
//!
//! Rank `r` (from 0) of `n` has probability `(r + 1)^-theta / zeta(n, theta)`, Zipf's law as YCSB
//! uses it (Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994;
//! YCSB's theta is 0.99). Gray's own method is approximate and needs a `pow` per draw. Here:
//!
//! - up to [`TABLE_KEYS_MAX`] keys an alias table (Walker, "An efficient method for generating
//!   discrete random variables with general distributions", ACM TOMS 1977): one multiplication and
//!   one random access per draw. Its columns are key numbers, not ranks, so that the permutation of
//!   ranks costs nothing.
//! - beyond, rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates
//!   from monotone discrete distributions", ACM TOMACS 1996): no memory, two logarithms a draw.
//! - `theta` 0 is the uniform distribution: one multiplication.

use std::hint::select_unpredictable;

use super::permutation::{POPULARITY, Permutation};
use super::random::Random;

/// Most keys of an alias table, which takes 8 bytes a key: 1 GiB.
pub(crate) const TABLE_KEYS_MAX: u64 = 1 << 27;

/// Which key number a rank stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RankOrder {
    /// The image of the rank under the permutation [`POPULARITY`].
    Permuted,
    /// The rank itself: the caller gives it a meaning, such as an age.
    Identity,
}

/// A distribution over `0..keys`.
#[derive(Debug)]
pub(crate) enum Sampler {
    /// All key numbers alike.
    Uniform {
        /// How many there are.
        keys: u64,
    },
    /// By alias table.
    Table(AliasTable),
    /// By rejection-inversion.
    Inversion(RejectionInversion, Option<Permutation>),
}

impl Sampler {
    /// The distribution of `keys` ranks with exponent `theta`, at least 0.
    ///
    /// Takes some 50 ns a key to prepare, up to [`TABLE_KEYS_MAX`] keys.
    pub(crate) fn new(keys: u64, theta: f64, order: RankOrder) -> Self {
        let permutation = match order {
            RankOrder::Permuted => Some(Permutation::new(keys, POPULARITY)),
            RankOrder::Identity => None,
        };
        if theta == 0.0 {
            Self::Uniform { keys }
        } else if keys <= TABLE_KEYS_MAX {
            let place = |rank| permutation.as_ref().map_or(rank, |p| p.apply(rank));
            Self::Table(AliasTable::new(keys, theta, place))
        } else {
            Self::Inversion(RejectionInversion::new(keys, theta), permutation)
        }
    }

    /// Draws a key number for each place of `keys`. The draws are independent of each other, so
    /// the table's cache misses overlap.
    pub(crate) fn fill(&self, random: &mut Random, keys: &mut [u64]) {
        match self {
            Self::Uniform { keys: bound } => keys.fill_with(|| random.below(*bound)),
            Self::Table(table) => {
                // Two passes: the second has little but loads in it, so that more of them overlap.
                keys.fill_with(|| random.next_u64());
                for key in keys {
                    *key = table.draw(*key);
                }
            }
            Self::Inversion(inversion, None) => keys.fill_with(|| inversion.draw(random)),
            Self::Inversion(inversion, Some(permutation)) => {
                keys.fill_with(|| permutation.apply(inversion.draw(random)));
            }
        }
    }

    /// Memory that the distribution of `keys` ranks takes, in bytes.
    pub(crate) fn bytes(keys: u64, theta: f64) -> u64 {
        let table = theta != 0.0 && keys <= TABLE_KEYS_MAX;
        if table { keys * size_of::<Column>() as u64 } else { 0 }
    }
}

/// A column of the table: it has the height 1 and two owners.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// The part that belongs to the column's own key, in units of 2^-32.
    own: u32,
    /// Whose the rest is.
    alias: u32,
}

/// An alias table over key numbers. 8 bytes a key.
#[derive(Debug)]
pub(crate) struct AliasTable {
    columns: Vec<Column>,
}

impl AliasTable {
    /// The table of Zipf's law, with rank `r` at column `place(r)`.
    ///
    /// Weights are scaled so that the mean is 1, and fall with rank. `large` is the least rank
    /// whose weight is not yet all given to columns, with `room` left of it; `small` the greatest
    /// rank without a column of its own. Of ranks `large..=small` the remaining weights add up to
    /// their number. So while `room` is at least 1, the last weight is at most 1: the rest of its
    /// column goes to `large`. When `room` falls below 1, it becomes the column of `large`, the
    /// rest of which goes to the next rank, whose weight must be above 1. No second array is
    /// needed.
    fn new(keys: u64, theta: f64, place: impl Fn(u64) -> u64) -> Self {
        let keys_u32 = u32::try_from(keys).expect("a table's key numbers fit into 32 bits");
        let power = |rank: u64| ((rank + 1) as f64).powf(-theta);
        // From the least term upwards, so that none is lost to rounding.
        let zeta: f64 = (0..keys).rev().map(power).sum();
        let scale = f64::from(keys_u32) / zeta;
        let weight = |rank: u64| power(rank) * scale;

        let mut columns = vec![Column { own: 0, alias: 0 }; keys as usize];
        let mut set = |rank: u64, own: f64, alias: u64| {
            // Rounds to the nearest and saturates.
            let own = (own * 2.0_f64.powi(32)).round() as u32;
            columns[place(rank) as usize] = Column { own, alias: place(alias) as u32 };
        };
        let (mut large, mut small) = (0, keys - 1);
        let mut room = weight(large);
        while large < small {
            if room >= 1.0 {
                let own = weight(small).min(1.0);
                set(small, own, large);
                room -= 1.0 - own;
                small -= 1;
            } else {
                set(large, room, large + 1);
                large += 1;
                room = weight(large) - (1.0 - room);
            }
        }
        set(large, 1.0, large);
        Self { columns }
    }

    /// The key number for 64 random bits: their product with the number of keys is a column, and
    /// a height in it.
    #[inline]
    fn draw(&self, bits: u64) -> u64 {
        let product = u128::from(bits) * self.columns.len() as u128;
        let index = (product >> 64) as u64;
        let height = (product as u64 >> 32) as u32;
        let column = self.columns[index as usize];
        // A branch would be mispredicted every third time, and throw away the loads behind it.
        select_unpredictable(height < column.own, index, u64::from(column.alias))
    }
}

/// Draws ranks by inverting the integral of a density that covers Zipf's law, and rejecting the
/// little that it has too much. The names of the functions are the paper's.
#[derive(Clone, Debug)]
pub(crate) struct RejectionInversion {
    theta: f64,
    ranks: f64,
    integral_first: f64,
    integral_last: f64,
    /// Within this distance of its integer a draw is accepted unseen.
    shortcut: f64,
}

impl RejectionInversion {
    fn new(ranks: u64, theta: f64) -> Self {
        let ranks = ranks as f64;
        let mut this =
            Self { theta, ranks, integral_first: 0.0, integral_last: 0.0, shortcut: 0.0 };
        this.integral_first = this.h_integral(1.5) - 1.0;
        this.integral_last = this.h_integral(ranks + 0.5);
        this.shortcut = 2.0 - this.h_integral_inverse(this.h_integral(2.5) - this.h(2.0));
        this
    }

    /// A rank, from 0.
    fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let span = self.integral_first - self.integral_last;
            let area = self.integral_last + random.unit() * span;
            let x = self.h_integral_inverse(area);
            let k = x.round().clamp(1.0, self.ranks);
            if k - x <= self.shortcut || area >= self.h_integral(k + 0.5) - self.h(k) {
                return k as u64 - 1;
            }
        }
    }

    /// `x^-theta`.
    fn h(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// `(x^(1 - theta) - 1) / (1 - theta)`, and its limit `ln x` at `theta` 1.
    fn h_integral(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_over((1.0 - self.theta) * log) * log
    }

    fn h_integral_inverse(&self, area: f64) -> f64 {
        // Rounding may push the product below -1, where the inverse ends.
        let t = (area * (1.0 - self.theta)).max(-1.0);
        (ln_1p_over(t) * area).exp()
    }
}

/// `ln(1 + x) / x`, by its series near 0.
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x * (1.0 / 3.0 - 0.25 * x)) }
}

/// `(exp(x) - 1) / x`, by its series near 0.
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.exp_m1() / x
    } else {
        1.0 + x * 0.5 * (1.0 + x * (1.0 / 3.0) * (1.0 + 0.25 * x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 1_000_000;

    fn probabilities(ranks: u64, theta: f64) -> Vec<f64> {
        let weights: Vec<f64> = (1..=ranks).map(|rank| (rank as f64).powf(-theta)).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    /// How far the frequencies of many draws lie from `expected`, in standard deviations of the
    /// chi-square distribution. Bins that expect few draws are joined.
    fn deviation(sampler: &Sampler, seed: u64, expected: &[f64]) -> f64 {
        let mut counts = vec![0_u64; expected.len()];
        let mut random = Random::new(seed, 1, 1);
        let mut keys = [0; 1_000];
        for _ in 0..DRAWS / keys.len() {
            sampler.fill(&mut random, &mut keys);
            for key in keys {
                counts[key as usize] += 1;
            }
        }
        let (mut statistic, mut bins) = (0.0, 0.0_f64);
        let (mut observed, mut theory) = (0.0, 0.0);
        for (count, probability) in counts.iter().zip(expected) {
            observed += *count as f64;
            theory += probability * DRAWS as f64;
            if theory >= 20.0 {
                statistic += (observed - theory).powi(2) / theory;
                bins += 1.0;
                (observed, theory) = (0.0, 0.0);
            }
        }
        let freedom = (bins - 1.0).max(1.0);
        (statistic - freedom) / (2.0 * freedom).sqrt()
    }

    fn table(ranks: u64, theta: f64) -> Sampler {
        Sampler::Table(AliasTable::new(ranks, theta, |rank| rank))
    }

    fn inversion(ranks: u64, theta: f64) -> Sampler {
        Sampler::Inversion(RejectionInversion::new(ranks, theta), None)
    }

    const THETAS: [f64; 7] = [0.2, 0.5, 0.99, 1.0, 1.000_000_001, 1.5, 4.9];

    #[test]
    fn frequencies_are_those_of_the_distribution() {
        for ranks in [1, 2, 10, 1_000, 5_000] {
            for theta in THETAS {
                let expected = probabilities(ranks, theta);
                for (name, sampler) in
                    [("table", table(ranks, theta)), ("inversion", inversion(ranks, theta))]
                {
                    let deviation = deviation(&sampler, 42, &expected);
                    assert!(deviation < 5.0, "{name} {ranks} {theta}: {deviation}");
                }
            }
        }
    }

    #[test]
    fn frequencies_of_another_theta_are_told_apart() {
        for sampler in [table(1_000, 0.97), inversion(1_000, 0.97)] {
            let deviation = deviation(&sampler, 42, &probabilities(1_000, 0.99));
            assert!(deviation > 20.0, "{deviation}");
        }
    }

    #[test]
    fn theta_0_is_uniform() {
        let uniform = Sampler::new(1_000, 0.0, RankOrder::Permuted);
        let expected = probabilities(1_000, 0.0);
        assert!(deviation(&uniform, 42, &expected) < 5.0);
        assert!(deviation(&table(1_000, 0.0), 42, &expected) < 5.0);
        assert!(deviation(&uniform, 42, &probabilities(1_000, 0.05)) > 20.0);
    }

    #[test]
    fn ranks_lie_where_the_permutation_puts_them() {
        let ranks = 1_000;
        let permutation = Permutation::new(ranks, POPULARITY);
        let mut expected = vec![0.0; ranks as usize];
        for (rank, probability) in probabilities(ranks, 0.99).into_iter().enumerate() {
            expected[permutation.apply(rank as u64) as usize] = probability;
        }
        let permuted = Sampler::new(ranks, 0.99, RankOrder::Permuted);
        assert!(deviation(&permuted, 42, &expected) < 5.0);
        let identity = Sampler::new(ranks, 0.99, RankOrder::Identity);
        assert!(deviation(&identity, 42, &expected) > 20.0);
        assert!(deviation(&identity, 42, &probabilities(ranks, 0.99)) < 5.0);
    }

    #[test]
    fn the_columns_of_a_table_add_up_to_the_distribution() {
        let ranks = 100_000;
        let Sampler::Table(AliasTable { columns }) = table(ranks, 0.99) else {
            panic!("the table was asked for")
        };
        let mut given = vec![0.0; columns.len()];
        for (index, column) in columns.iter().enumerate() {
            let own = f64::from(column.own) / 2.0_f64.powi(32);
            given[index] += own;
            given[column.alias as usize] += 1.0 - own;
        }
        for (rank, probability) in probabilities(ranks, 0.99).into_iter().enumerate() {
            let weight = probability * ranks as f64;
            let error = (given[rank] - weight).abs();
            assert!(error < 1e-8 * weight.max(1.0) + 1e-8, "rank {rank}: {error}");
        }
    }

    #[test]
    fn beyond_the_table_draws_stay_in_range_and_favour_low_ranks() {
        let keys = TABLE_KEYS_MAX + 1;
        let sampler = Sampler::new(keys, 0.99, RankOrder::Identity);
        assert!(matches!(sampler, Sampler::Inversion(..)));
        assert_eq!(Sampler::bytes(keys, 0.99), 0);
        let mut drawn = vec![0; 100_000];
        sampler.fill(&mut Random::new(1, 1, 1), &mut drawn);
        assert!(drawn.iter().all(|key| *key < keys));
        // By the integral of x^-0.99, some 4.7% of the draws have rank 0.
        let first = drawn.iter().filter(|key| **key == 0).count();
        assert!((4_000..6_000).contains(&first), "{first}");
    }
}

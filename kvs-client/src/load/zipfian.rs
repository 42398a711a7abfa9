//! Draws key numbers by popularity, exactly to the distribution.
//!
//! Rank `r` (from 0) of `n` has probability `(r + 1)^-theta / zeta(n, theta)`, Zipf's law as YCSB
//! uses it (Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994;
//! YCSB's theta is 0.99). Gray's own method is approximate and needs a `pow` per draw. Here:
//!
//! 1. Ranks are cut into runs, in each of which the last rank is at most a 64th less probable than
//!    the first. The hottest ranks are runs of their own, and later runs grow in proportion to
//!    their place, so their number grows with the logarithm of the ranks: 644 for 10^6 ranks at
//!    0.99. They stay in a core's first cache, where an entry for each rank would not.
//! 2. A run is drawn as if all its ranks were as probable as its first, by an alias table (Walker,
//!    "An efficient method for generating discrete random variables with general distributions",
//!    ACM TOMS 1977, filled as Vose, "A linear algorithm for generating random numbers with a given
//!    distribution", IEEE TSE 1991), and a rank in it, all alike.
//! 3. The rank is rejected by as much as it is less probable than the first (von Neumann), which is
//!    less than one draw in a hundred. One that passes even as the last rank would is accepted
//!    unseen, so a `pow` is rare, too.
//!
//! The same holds for each `theta` and each number of ranks; `theta` 0 is one run, the uniform
//! distribution.

use std::hint::select_unpredictable;

use super::permutation::{POPULARITY, Permutation};
use super::random::Random;

/// How much less probable than its first the last rank of a run may be, as a part of it.
const RUN_FALL: f64 = 1.0 / 64.0;

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
pub(crate) struct Sampler {
    theta: f64,
    runs: Vec<Run>,
    columns: Vec<Column>,
    permutation: Option<Permutation>,
}

/// Neighbouring ranks.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    ranks: u64,
    /// The last rank's probability as a part of the first's, in units of 2^-64, rounded down.
    least: u64,
}

/// A column of the alias table: it has the height 1 and two owners.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// The part that belongs to the column's own run, in units of 2^-32.
    own: u32,
    /// Whose the rest is.
    alias: u32,
}

impl Sampler {
    /// The distribution of `keys` ranks with exponent `theta`, at least 0.
    ///
    /// # Panics
    ///
    /// When there is no key.
    pub(crate) fn new(keys: u64, theta: f64, order: RankOrder) -> Self {
        assert!(keys > 0, "a distribution has a key");
        let runs = runs(keys, theta);
        let weights: Vec<f64> = runs
            .iter()
            .map(|run| run.ranks as f64 * ((run.first + 1) as f64).powf(-theta))
            .collect();
        let permutation = match order {
            RankOrder::Permuted => Some(Permutation::new(keys, POPULARITY)),
            RankOrder::Identity => None,
        };
        Self { theta, runs, columns: columns(&weights), permutation }
    }

    /// Draws a key number for each place of `keys`.
    pub(crate) fn fill(&self, random: &mut Random, keys: &mut [u64]) {
        // A copy stays in registers; the next draw would wait for the state on its way to memory.
        let mut stream = random.clone();
        match &self.permutation {
            None => keys.fill_with(|| self.rank(&mut stream)),
            Some(permutation) => keys.fill_with(|| permutation.apply(self.rank(&mut stream))),
        }
        *random = stream;
    }

    #[inline(always)]
    fn rank(&self, random: &mut Random) -> u64 {
        loop {
            let run = self.runs[self.run(random.next_u64())];
            let product = u128::from(random.next_u64()) * u128::from(run.ranks);
            let (offset, height) = ((product >> 64) as u64, product as u64);
            if height <= run.least || self.accepts(run, offset, height) {
                return run.first + offset;
            }
        }
    }

    /// The run for 64 random bits: their product with the number of columns is a column, and a
    /// height in it.
    #[inline]
    fn run(&self, bits: u64) -> usize {
        let product = u128::from(bits) * self.columns.len() as u128;
        let index = (product >> 64) as usize;
        let height = (product as u64 >> 32) as u32;
        let column = self.columns[index];
        // A branch would be mispredicted every third time.
        select_unpredictable(height < column.own, index, column.alias as usize)
    }

    /// Whether the rank at `offset` of a run is as probable as this, in units of 2^-64 of the
    /// first one's probability.
    #[cold]
    fn accepts(&self, run: Run, offset: u64, height: u64) -> bool {
        (height as f64) < part(run.first, run.first + offset, self.theta) * 2.0_f64.powi(64)
    }
}

/// The probability of `rank` as a part of that of `first`.
fn part(first: u64, rank: u64, theta: f64) -> f64 {
    ((first + 1) as f64 / (rank + 1) as f64).powf(theta)
}

/// Cuts ranks into runs that fall by at most [`RUN_FALL`].
fn runs(ranks: u64, theta: f64) -> Vec<Run> {
    // Above this times the first, counted from 1, a rank is less probable than the bound.
    let reach = (1.0 - RUN_FALL).powf(-theta.recip());
    let mut runs = Vec::new();
    let mut first = 0;
    while first < ranks {
        // Saturates: at theta 0 all ranks are within reach.
        let end = (((first + 1) as f64 * reach) as u64).clamp(first + 1, ranks);
        let least = (part(first, end - 1, theta) * 2.0_f64.powi(64)) as u64;
        runs.push(Run { first, ranks: end - first, least });
        first = end;
    }
    runs
}

/// The alias table of these weights.
fn columns(weights: &[f64]) -> Vec<Column> {
    let scale = weights.len() as f64 / weights.iter().sum::<f64>();
    let mut rest: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
    let whole = |index| Column { own: u32::MAX, alias: index as u32 };
    // What rounding leaves over at the end is a whole column of its own.
    let mut columns: Vec<Column> = (0..rest.len()).map(whole).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..rest.len()).partition(|&index| rest[index] < 1.0);
    while let (Some(&giver), Some(taker)) = (large.last(), small.pop()) {
        let own = (rest[taker] * 2.0_f64.powi(32)).round() as u32;
        columns[taker] = Column { own, alias: giver as u32 };
        rest[giver] -= 1.0 - rest[taker];
        if rest[giver] < 1.0 {
            large.pop();
            small.push(giver);
        }
    }
    columns
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

    fn sampler(ranks: u64, theta: f64) -> Sampler {
        Sampler::new(ranks, theta, RankOrder::Identity)
    }

    const THETAS: [f64; 8] = [0.0, 0.2, 0.5, 0.99, 1.0, 1.000_000_001, 1.5, 4.9];

    #[test]
    fn frequencies_are_those_of_the_distribution() {
        for ranks in [1, 2, 10, 1_000, 5_000, 1_000_000] {
            for theta in THETAS {
                let expected = probabilities(ranks, theta);
                let deviation = deviation(&sampler(ranks, theta), 42, &expected);
                assert!(deviation < 5.0, "{ranks} {theta}: {deviation}");
            }
        }
    }

    #[test]
    fn frequencies_of_another_theta_are_told_apart() {
        let expected = probabilities(1_000, 0.99);
        for theta in [0.97, 1.01] {
            let deviation = deviation(&sampler(1_000, theta), 42, &expected);
            assert!(deviation > 20.0, "{theta}: {deviation}");
        }
        assert!(deviation(&sampler(1_000, 0.0), 42, &probabilities(1_000, 0.05)) > 20.0);
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
        assert!(deviation(&sampler(ranks, 0.99), 42, &expected) > 20.0);
    }

    /// What each rank gets: its run's part of the columns, times what is accepted of it.
    #[test]
    fn the_table_and_the_acceptance_add_up_to_the_distribution() {
        for theta in THETAS {
            let ranks = 100_000;
            let sampler = sampler(ranks, theta);
            let mut given = vec![0.0; sampler.runs.len()];
            for (index, column) in sampler.columns.iter().enumerate() {
                let own = f64::from(column.own) / 2.0_f64.powi(32);
                given[index] += own;
                given[column.alias as usize] += 1.0 - own;
            }
            let mut weights = Vec::new();
            for (run, given) in sampler.runs.iter().zip(given) {
                assert_eq!(run.first, weights.len() as u64, "runs leave no gap");
                let accepted =
                    (0..run.ranks).map(|offset| part(run.first, run.first + offset, theta));
                weights.extend(accepted.map(|part| given / run.ranks as f64 * part));
            }
            let sum: f64 = weights.iter().rev().sum();
            for (weight, probability) in weights.iter().zip(probabilities(ranks, theta)) {
                // Columns have 32 bits: what is rarer than that is rounded.
                let error = (weight / sum - probability).abs();
                assert!(error < 1e-8 * probability + 1e-11, "{theta}: {error} of {probability}");
            }
        }
    }

    #[test]
    fn a_rank_is_accepted_unseen_only_where_it_would_be_accepted() {
        for theta in THETAS {
            let sampler = sampler(1 << 40, theta);
            assert!(sampler.runs.len() < 10_000, "{theta}: {} runs", sampler.runs.len());
            for run in &sampler.runs {
                let least = run.least as f64 / 2.0_f64.powi(64);
                assert!(least <= part(run.first, run.first + run.ranks - 1, theta));
                assert!(least >= 1.0 - RUN_FALL - 1e-9, "{theta}: {run:?}");
                let offset = run.ranks - 1;
                assert!(run.ranks == 1 || !sampler.accepts(*run, offset, u64::MAX) || theta == 0.0);
            }
        }
    }

    #[test]
    fn many_ranks_take_little_memory_and_draws_stay_in_range() {
        let keys = 1 << 48;
        let sampler = sampler(keys, 0.99);
        assert!(sampler.runs.len() < 4_000, "{}", sampler.runs.len());
        let mut drawn = vec![0; 100_000];
        sampler.fill(&mut Random::new(1, 1, 1), &mut drawn);
        assert!(drawn.iter().all(|key| *key < keys));
        // By the integral of x^-0.99, some 2.5% of the draws have rank 0.
        let first = drawn.iter().filter(|key| **key == 0).count();
        assert!((2_000..3_000).contains(&first), "{first}");
    }
}

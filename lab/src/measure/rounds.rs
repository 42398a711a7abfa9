//! Contenders that take turns, so that a machine that slows down slows all of them.

use std::fmt::{self, Display};

use crate::say::say;
use report::result::RunResult;
use report::statistics::Spread;

/// What a run came to, as far as runs are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Operations per second.
    pub(crate) ops_s: f64,
    /// Median latency of an operation, in microseconds; 0 where it is not known, as the next one.
    pub(crate) p50_us: f64,
    /// The 99th percentile.
    pub(crate) p99_us: f64,
    /// Bytes sent and received for an operation.
    pub(crate) wire_bytes: f64,
}

impl From<&RunResult> for Figures {
    fn from(run: &RunResult) -> Self {
        let latency = run.latency_us.operations.unwrap_or_default();
        Self {
            ops_s: run.operations_per_second,
            p50_us: latency.p50,
            p99_us: latency.p99,
            wire_bytes: run.wire_bytes_per_operation,
        }
    }
}

impl Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>14.0} op/s", self.ops_s)?;
        match self.p50_us {
            0.0 => Ok(()),
            p50_us => write!(formatter, "  p50 {p50_us:>10.0} us"),
        }
    }
}

/// How one of the figures of some runs is spread.
///
/// # Panics
///
/// When there are no runs.
pub(crate) fn spread(runs: &[Figures], figure: impl Fn(&Figures) -> f64) -> Spread {
    Spread::of(&runs.iter().map(figure).collect::<Vec<_>>()).expect("there are runs")
}

/// Round by round each contender with the round's number, from 1. Every second round goes
/// backwards, so that none always follows the same one.
pub(crate) fn turns<T>(rounds: u32, contenders: &[T]) -> impl Iterator<Item = (u32, &T)> {
    (1..=rounds).flat_map(move |round| {
        (0..contenders.len()).map(move |index| {
            let index = if round % 2 == 1 { index } else { contenders.len() - 1 - index };
            (round, &contenders[index])
        })
    })
}

/// Measures all contenders in [`turns`], and prints each figure behind its contender's name.
/// Returns the figures of each contender, in the contenders' order, round by round.
///
/// # Errors
///
/// The first one of `measure`.
pub(crate) async fn measured<T: Display, F: Display>(
    rounds: u32,
    contenders: &[T],
    mut measure: impl AsyncFnMut(&T) -> anyhow::Result<F>,
) -> anyhow::Result<Vec<Vec<F>>> {
    let mut figures: Vec<Vec<F>> = contenders.iter().map(|_| Vec::new()).collect();
    let numbered: Vec<(usize, &T)> = contenders.iter().enumerate().collect();
    for (round, &(index, contender)) in turns(rounds, &numbered) {
        let figure = measure(contender).await?;
        say!("  {round} of {rounds}  {:<28} {figure:>14}", contender.to_string());
        figures[index].push(figure);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_round_goes_backwards() {
        let turns: Vec<_> = turns(3, &["a", "b"]).map(|(round, &name)| (round, name)).collect();
        assert_eq!(turns, [(1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")]);
    }

    #[test]
    fn figures_stand_under_their_contenders() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut calls = 0;
        let figures = runtime.block_on(measured(3, &[10, 1], async |times| {
            calls += 1;
            Ok(times * calls)
        }));
        assert_eq!(figures.unwrap(), [[10, 40, 50], [2, 3, 6]]);
        let failed = runtime.block_on(measured(3, &[1, 2], async |name| {
            anyhow::ensure!(*name == 1, "no");
            Ok(0)
        }));
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }
}

//! Decides counters some of whose INCRs are unknown, which is easy when all add 1.
//!
//! An INCR with the result r is the r-th of all, and a read of v stands between the v-th and the
//! next: so every answered operation has its place. The gaps below the greatest number seen must be
//! filled by unknown INCRs, each of which fits from some number on (after all that had ended before
//! it began, and after what its worker did before it) up to another (before what its worker did
//! after it). Filling the gaps in ascending order, each with that of the fitting ones that is
//! first to fit no more, finds a way if there is one: earliest deadline first. Unknown INCRs of one
//! worker have windows in the order of their stamps, so they can always trade places into it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use checker::history::{Kind, Outcome, Value, Written};

/// An operation on a counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Client and worker.
    pub(crate) worker: (u32, u32),
    pub(crate) stamp: u64,
    pub(crate) inv_ns: u64,
    /// Of no meaning when the outcome is unknown.
    pub(crate) res_ns: u64,
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
    pub(crate) read: Value,
    pub(crate) written: Written,
}

impl Step {
    /// Twice the number that it left, and one more for a read; `None` without an answer.
    fn position(&self) -> Option<u64> {
        if self.outcome != Outcome::Ok {
            return None;
        }
        match (self.kind, self.read, self.written) {
            (Kind::Increment, _, Written::Number(number)) => Some(2 * number as u64),
            (Kind::Get, Value::Number(number), _) => Some(2 * number as u64 + 1),
            (Kind::Get, Value::Missing, _) => Some(1),
            _ => None,
        }
    }
}

/// Why no order explains the counter, if none does. It starts out missing, and all INCRs add 1.
pub(crate) fn contradiction(steps: &[Step]) -> Option<String> {
    let mut placed: Vec<(u64, &Step)> =
        steps.iter().filter_map(|step| Some((step.position()?, step))).collect();
    placed.sort_unstable_by_key(|(position, step)| (*position, step.worker, step.stamp));
    if let Some(fault) = misplaced(&placed) {
        return Some(fault);
    }
    let taken: BTreeSet<u64> =
        placed.iter().filter(|(at, _)| at % 2 == 0).map(|(at, _)| at / 2).collect();
    let greatest = placed.last().map_or(0, |(at, _)| at / 2);
    let is_unknown =
        |step: &&Step| step.outcome == Outcome::Unknown && step.kind == Kind::Increment;
    let mut windows: Vec<(u64, u64)> =
        steps.iter().filter(is_unknown).map(|step| window(step, &placed)).collect();
    windows.sort_unstable();
    let mut windows = windows.into_iter().peekable();
    let mut fitting = BinaryHeap::new();
    for gap in (1..=greatest).filter(|number| !taken.contains(number)) {
        while let Some((_, last)) = windows.next_if(|(first, _)| *first <= gap) {
            fitting.push(Reverse(last));
        }
        while fitting.peek().is_some_and(|Reverse(last)| *last < gap) {
            fitting.pop();
        }
        if fitting.pop().is_none() {
            return Some(format!("no INCR can have made it {gap}"));
        }
    }
    None
}

/// What stands wrong among operations whose places are known, sorted by place.
fn misplaced(placed: &[(u64, &Step)]) -> Option<String> {
    if placed.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].0 % 2 == 0) {
        return Some("two INCRs have one result".to_owned());
    }
    let mut inv_max_before = 0;
    for run in placed.chunk_by(|one, two| one.0 == two.0) {
        if run.iter().any(|(_, step)| step.res_ns < inv_max_before) {
            return Some(format!("what saw {} ended before what came before it", run[0].0 / 2));
        }
        inv_max_before =
            run.iter().map(|(_, step)| step.inv_ns).fold(inv_max_before, std::cmp::Ord::max);
    }
    let mut by_worker = placed.to_vec();
    by_worker.sort_unstable_by_key(|(_, step)| (step.worker, step.stamp));
    let against = by_worker
        .windows(2)
        .find(|pair| pair[0].1.worker == pair[1].1.worker && pair[0].0 > pair[1].0);
    against.map(|pair| format!("a worker's own order is broken: {pair:?}"))
}

/// The first and the last number that an unknown INCR can have made.
fn window(unknown: &Step, placed: &[(u64, &Step)]) -> (u64, u64) {
    let (mut first, mut last) = (1, u64::MAX);
    for (position, step) in placed {
        let is_own = step.worker == unknown.worker;
        if step.res_ns < unknown.inv_ns || (is_own && step.stamp < unknown.stamp) {
            first = first.max(position / 2 + 1);
        }
        if is_own && step.stamp > unknown.stamp {
            // Up to a number that was read, or below one that another INCR has made.
            last = last.min((position - 1) / 2);
        }
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn step(worker: u32, stamp: u64, inv_ns: u64, res_ns: u64) -> Step {
        Step {
            worker: (0, worker),
            stamp,
            inv_ns,
            res_ns,
            kind: Kind::Increment,
            outcome: Outcome::Unknown,
            read: Value::NotKnown,
            written: Written::Nothing,
        }
    }

    fn made(number: i64, step: Step) -> Step {
        Step { outcome: Outcome::Ok, written: Written::Number(number), ..step }
    }

    fn saw(number: i64, step: Step) -> Step {
        Step { outcome: Outcome::Ok, kind: Kind::Get, read: Value::Number(number), ..step }
    }

    #[test]
    fn gaps_are_filled_by_what_fits() {
        let one = made(1, step(0, 1, 0, 5));
        let lost = step(1, 2, 0, 0);
        assert_eq!(contradiction(&[one, saw(1, step(2, 3, 10, 11))]), None);
        assert!(contradiction(&[one, saw(2, step(2, 3, 10, 11))]).is_some());
        assert_eq!(contradiction(&[one, lost, saw(2, step(2, 3, 10, 11))]), None);
        let begun_later = step(1, 2, 12, 0);
        assert!(contradiction(&[one, begun_later, saw(2, step(2, 3, 10, 11))]).is_some());
        let failed = Step { outcome: Outcome::Fail, ..lost };
        assert!(contradiction(&[one, failed, saw(2, step(2, 3, 10, 11))]).is_some());
    }

    #[test]
    fn a_worker_keeps_its_own_order() {
        // The worker's INCR with an answer made 1, so that the lost one before it made nothing.
        let steps = [step(0, 1, 0, 0), made(1, step(0, 2, 0, 5)), saw(2, step(1, 3, 6, 7))];
        assert!(contradiction(&steps).is_some());
        let steps = [step(0, 1, 0, 0), made(2, step(0, 2, 0, 5)), saw(2, step(1, 3, 6, 7))];
        assert_eq!(contradiction(&steps), None);
    }

    #[test]
    fn doubles_and_stale_reads_are_contradictions() {
        let twice = [made(1, step(0, 1, 0, 5)), made(1, step(1, 2, 0, 5))];
        assert!(contradiction(&twice).is_some());
        let stale = [made(1, step(0, 1, 0, 5)), saw(0, step(1, 2, 6, 7))];
        assert!(contradiction(&stale).is_some());
    }

    /// Brute force: orders and subsets of a handful of operations.
    fn is_explained(steps: &[Step], done: &mut Vec<usize>, number: i64) -> bool {
        let is_open = |index: &usize| !done.contains(index);
        let open: Vec<usize> = (0..steps.len()).filter(is_open).collect();
        if open.iter().all(|index| steps[*index].outcome == Outcome::Unknown) {
            return true;
        }
        open.iter().any(|&index| {
            let step = &steps[index];
            let may_be_next = open.iter().all(|&other| {
                let other_step = &steps[other];
                let answered = other_step.outcome == Outcome::Ok;
                let is_before = other_step.worker == step.worker && other_step.stamp < step.stamp;
                !(answered && (other_step.res_ns < step.inv_ns || is_before))
            });
            // An unknown one that its worker's later one overtook never takes effect.
            let was_overtaken = done.iter().any(|&other| {
                steps[other].worker == step.worker && steps[other].stamp > step.stamp
            });
            let next = number + i64::from(step.kind == Kind::Increment);
            let fits = step.position().is_none_or(|position| position / 2 == next as u64);
            if !may_be_next || was_overtaken || !fits {
                return false;
            }
            done.push(index);
            let explained = is_explained(steps, done, next);
            done.pop();
            explained
        })
    }

    #[test]
    fn brute_force_agrees() {
        let mut random = Random::new(1, 0);
        let mut explained = 0;
        for _ in 0..20_000 {
            let steps: Vec<Step> = (0..random.within(&(1..=6)))
                .map(|index| {
                    let inv_ns = random.below(6);
                    // A worker's times ascend with its stamps, as those of its batches do.
                    let worker = random.below(3) as u32;
                    let base = step(worker, 10 * inv_ns + index, inv_ns, inv_ns + random.below(4));
                    match random.below(3) {
                        0 => base,
                        1 => made(1 + random.below(4) as i64, base),
                        _ => saw(random.below(4) as i64, base),
                    }
                })
                .collect();
            let expected = is_explained(&steps, &mut Vec::new(), 0);
            explained += u32::from(expected);
            let found = contradiction(&steps);
            assert_eq!(found.is_none(), expected, "{found:?}: {steps:#?}");
        }
        assert!((2000..18_000).contains(&explained), "both verdicts occur: {explained}");
    }
}

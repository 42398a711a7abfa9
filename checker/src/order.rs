//! Program order, on top of the sweep.
//!
//! Operations of one worker on one key take effect in the order of their stamps, also when they
//! are in flight together. Where they are not, real time says it already. Blocks are contiguous in
//! every legal order, so two such operations either stand in one block, where their places must
//! agree with their stamps, or tell which of their blocks comes first. The history is then
//! linearizable in program order if and only if these edges together with the sweep's X -> Y
//! (f(X) < s(Y)) have no cycle: an order of the blocks is a legal order of the operations.
//!
//! The edges of real time are never stored. A block may go next when no other that is left has an
//! f below its s, which the two least f that are left decide.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::{Contradiction, Event, Rule, Rules};
use crate::zones::{Role, Zones};

/// An edge that program order adds: the events, the first one's block before the other's.
type Edge = (u32, u32);

/// The events that say something, by worker and stamp: (worker, stamp, event).
pub(crate) type Program = Vec<(u32, u64, u32)>;

/// Sorts the events by worker and stamp.
///
/// # Errors
///
/// Two events of a worker that have one stamp.
pub(crate) fn program(events: &[Event], rules: &Rules) -> Result<Program, Contradiction> {
    let mut program: Program = (events.iter().enumerate())
        .filter(|(_, event)| !event.is_idle() && event.is_ordered())
        .map(|(index, event)| (event.worker, event.stamp, index as u32))
        .collect();
    program.sort_unstable();
    let twins = program.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1));
    match twins.filter(|_| rules.own_stamps) {
        Some(pair) => Err(Contradiction::new(Rule::SameStamp, [pair[0].2, pair[1].2])),
        None => Ok(program),
    }
}

/// Checks that the workers' stamps agree with the blocks.
///
/// # Errors
///
/// The contradiction.
pub(crate) fn check(
    events: &[Event],
    program: &Program,
    roles: &[Role],
    zones: &Zones,
    rules: &Rules,
) -> Result<(), Contradiction> {
    if !rules.program_order {
        return Ok(());
    }
    let edges = edges(events, program, roles, zones)?;
    if edges.is_empty() { Ok(()) } else { sort(zones, events, edges) }
}

/// The edges between blocks, after checking what needs none.
fn edges(
    events: &[Event],
    program: &Program,
    roles: &[Role],
    zones: &Zones,
) -> Result<Vec<Edge>, Contradiction> {
    let mut edges = Vec::new();
    // The worker's event before, and the one of its events so far that was invoked last.
    let mut before: Option<(u32, u32, u32)> = None;
    for (worker, _, second) in program.iter().copied() {
        if roles[second as usize].is_dropped() {
            continue;
        }
        let Some((_, first, latest)) = before.filter(|(other, ..)| *other == worker) else {
            before = Some((worker, second, second));
            continue;
        };
        let (a, b) = (&events[first as usize], &events[second as usize]);
        if b.res < events[latest as usize].inv {
            return Err(Contradiction::new(Rule::ProgramOrder, [latest, second]));
        }
        let later = if events[latest as usize].inv < b.inv { second } else { latest };
        before = Some((worker, second, later));
        if zones.block_of(first as usize) != zones.block_of(second as usize) {
            if a.res >= b.inv {
                edges.push((first, second));
            }
        } else if zones.place_of(first as usize) > zones.place_of(second as usize) {
            let bound = zones.bound(first, second);
            let bound = bound.into_iter().filter(|event| (*event as usize) < events.len());
            let events = [first, second].into_iter().chain(bound);
            return Err(Contradiction::new(Rule::ProgramOrder, events));
        }
    }
    Ok(edges)
}

/// Orders the blocks along real time and the edges.
fn sort(zones: &Zones, events: &[Event], edges: Vec<Edge>) -> Result<(), Contradiction> {
    let blocks = &zones.blocks;
    let block_of = |event: u32| zones.block_of(event as usize);
    let mut edges = edges;
    edges.sort_unstable_by_key(|(first, _)| block_of(*first));
    let mut before = vec![0u32; blocks.len()];
    for (_, second) in &edges {
        before[block_of(*second) as usize] += 1;
    }
    let mut by_f: Vec<u32> = (0..blocks.len() as u32).collect();
    by_f.sort_unstable_by_key(|block| blocks[*block as usize].f);
    let mut is_done = vec![false; blocks.len()];
    let mut ready: BinaryHeap<Reverse<(i64, u32)>> = (0..blocks.len() as u32)
        .filter(|block| before[*block as usize] == 0)
        .map(|block| Reverse((blocks[block as usize].s, block)))
        .collect();
    let (mut least, mut second) = (0, 1);
    for _ in 0..blocks.len() {
        while is_done[by_f[least] as usize] {
            least += 1;
        }
        second = second.max(least + 1);
        while second < by_f.len() && is_done[by_f[second] as usize] {
            second += 1;
        }
        let first = by_f[least];
        let f_first = blocks[first as usize].f;
        let f_second = by_f.get(second).map_or(i64::MAX, |block| blocks[*block as usize].f);
        while ready.peek().is_some_and(|Reverse((_, block))| is_done[*block as usize]) {
            ready.pop();
        }
        let top = ready.peek().map(|Reverse((s, block))| (*s, *block));
        let next = match top {
            Some((s, block)) if block != first && s <= f_first => block,
            _ if before[first as usize] == 0 && blocks[first as usize].s <= f_second => first,
            _ => return Err(cycle(zones, events, &edges, &is_done, (first, by_f.get(second)))),
        };
        is_done[next as usize] = true;
        let from = edges.partition_point(|(first, _)| block_of(*first) < next);
        for (_, second) in edges[from..].iter().take_while(|(first, _)| block_of(*first) == next) {
            let block = block_of(*second);
            before[block as usize] -= 1;
            if before[block as usize] == 0 {
                ready.push(Reverse((blocks[block as usize].s, block)));
            }
        }
    }
    Ok(())
}

/// A cycle among the blocks that are left: each of them has one that must come before it.
#[cold]
fn cycle(
    zones: &Zones,
    events: &[Event],
    edges: &[Edge],
    is_done: &[bool],
    least: (u32, Option<&u32>),
) -> Contradiction {
    let block_of = |event: u32| zones.block_of(event as usize);
    let mut path: Vec<(u32, Vec<u32>)> = Vec::new();
    let mut block = least.0;
    loop {
        if let Some(start) = path.iter().position(|(visited, _)| *visited == block) {
            let events = path.drain(start..).flat_map(|(_, events)| events);
            return Contradiction::new(Rule::ProgramOrder, events);
        }
        let s = zones.blocks[block as usize].s;
        let other = if block == least.0 { least.1.copied() } else { Some(least.0) };
        let by_time = other.filter(|other| zones.blocks[*other as usize].f < s);
        let by_program = || {
            let open =
                |edge: &&Edge| block_of(edge.1) == block && !is_done[block_of(edge.0) as usize];
            edges.iter().find(open).expect("a block that is left has one before it")
        };
        let (before, mut bound) = match by_time {
            Some(other) => (other, Vec::new()),
            None => {
                let (first, second) = *by_program();
                (block_of(first), vec![first, second])
            }
        };
        bound.extend(zones.ends(block));
        bound.retain(|event| (*event as usize) < events.len());
        path.push((block, bound));
        block = before;
    }
}

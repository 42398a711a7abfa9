//! The zone sweep: decides registers and read-modify-writes with unique ids from the history alone.
//!
//! After Gibbons and Korach, "Testing shared memories", SIAM J. Comput. 1997. It starts when each
//! read has been given its writer (`resolve`), and knows no values any more.
//!
//! - The *cluster* of a write is the write and its reads. `f` is the least response in it, `s` the
//!   greatest invocation. With f < s the value must hold throughout [f, s]; else one point in
//!   [s, f] is enough.
//! - A read-modify-write belongs to the cluster that it writes, and that must follow the one that
//!   it read from directly: chains of clusters are merged into *blocks*. Walking along a chain, a
//!   cluster's f must not be below an s before it.
//! - **Theorem.** Blocks X and Y with f(X) < s(Y) and f(Y) < s(X) contradict each other, and
//!   without such a pair the history is linearizable. Proof: write X -> Y when f(X) < s(Y), that is
//!   when some operation of X responds before one of Y is invoked. Blocks are contiguous in every
//!   legal order, so a two-cycle is fatal. Conversely let -> have a cycle, and let M on it have the
//!   least f. Any other Y on it has a predecessor P there, and f(M) <= f(P) < s(Y), so M -> Y; in
//!   particular M -> P for the P before M, and P -> M: a two-cycle. Without two-cycles, then, the
//!   blocks can be ordered along ->; inside a block goes the chain, inside a cluster the write
//!   first and then the reads by invocation.
//!
//! Precedence is strict, res(a) < inv(b), so ties need no special case.

use crate::event::{Contradiction, Event, Rule, Rules};

/// An event that reads nothing that matters.
pub(crate) const NO_SOURCE: u32 = u32::MAX;
/// The source of a read of the initial state.
pub(crate) const INITIAL: u32 = u32::MAX - 1;
/// A cluster or block that does not exist.
const NONE: u32 = u32::MAX;

/// What an event does to clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    /// Index of the event that wrote what it read, or [`INITIAL`] or [`NO_SOURCE`].
    pub(crate) source: u32,
    /// Whether it starts a cluster.
    pub(crate) writes: bool,
}

impl Role {
    /// Plays no part.
    pub(crate) const DROPPED: Self = Self { source: NO_SOURCE, writes: false };

    pub(crate) fn is_dropped(self) -> bool {
        self == Self::DROPPED
    }
}

/// A writer and its readers. The first cluster is the initial state's.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    f: i64,
    s: i64,
    /// The events that f and s come from.
    f_event: u32,
    s_event: u32,
    /// The event that writes; [`INITIAL`] for the first cluster.
    writer: u32,
    /// The cluster that a read-modify-write follows.
    before: u32,
    /// The cluster that follows by read-modify-write.
    after: u32,
    block: u32,
}

/// A maximal chain of clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) f: i64,
    pub(crate) s: i64,
    /// Its first cluster.
    head: u32,
}

/// A history's clusters and blocks, for what comes after the sweep.
#[derive(Debug)]
pub(crate) struct Zones {
    clusters: Vec<Cluster>,
    pub(crate) blocks: Vec<Block>,
    /// Cluster that each event belongs to.
    cluster_of: Vec<u32>,
    /// Place of each cluster in its chain.
    place: Vec<u32>,
}

impl Zones {
    /// The block that an event belongs to.
    pub(crate) fn block_of(&self, event: usize) -> u32 {
        self.clusters[self.cluster_of[event] as usize].block
    }

    /// Where an event stands in its block: the cluster's place, and whether it reads there.
    pub(crate) fn place_of(&self, event: usize) -> (u32, bool) {
        let cluster = self.cluster_of[event];
        (self.place[cluster as usize], self.clusters[cluster as usize].writer != event as u32)
    }
}

/// Runs the sweep.
///
/// # Errors
///
/// The contradiction, when the history is not linearizable.
pub(crate) fn sweep(
    events: &[Event],
    roles: &[Role],
    rules: &Rules,
) -> Result<Zones, Contradiction> {
    let mut zones = gather(events, roles, rules)?;
    link(&mut zones, roles, rules)?;
    zones.walk(rules)?;
    zones.cross(rules)?;
    Ok(zones)
}

/// Step 1: the clusters.
fn gather(events: &[Event], roles: &[Role], rules: &Rules) -> Result<Zones, Contradiction> {
    let mut clusters = vec![Cluster {
        f: i64::MIN,
        s: i64::MIN,
        f_event: INITIAL,
        s_event: INITIAL,
        writer: INITIAL,
        before: NONE,
        after: NONE,
        block: NONE,
    }];
    let mut cluster_of = vec![NONE; events.len()];
    for (index, (event, _)) in events.iter().zip(roles).enumerate().filter(|(_, (_, r))| r.writes) {
        cluster_of[index] = clusters.len() as u32;
        let index = index as u32;
        clusters.push(Cluster {
            f: event.res,
            s: event.inv,
            f_event: index,
            s_event: index,
            writer: index,
            before: NONE,
            after: NONE,
            block: NONE,
        });
    }
    for (index, (event, role)) in events.iter().zip(roles).enumerate() {
        if role.writes || role.source == NO_SOURCE {
            continue;
        }
        let number = if role.source == INITIAL { 0 } else { cluster_of[role.source as usize] };
        let cluster = &mut clusters[number as usize];
        cluster_of[index] = number;
        if cluster.writer != INITIAL && rules.future {
            let writer = &events[cluster.writer as usize];
            if event.res < writer.inv {
                return Err(Contradiction::new(Rule::Future, [index as u32, cluster.writer]));
            }
        }
        if event.res < cluster.f {
            (cluster.f, cluster.f_event) = (event.res, index as u32);
        }
        if event.inv > cluster.s {
            (cluster.s, cluster.s_event) = (event.inv, index as u32);
        }
    }
    let place = vec![0; clusters.len()];
    Ok(Zones { clusters, blocks: Vec::new(), cluster_of, place })
}

/// Step 2, first half: who follows whom.
fn link(zones: &mut Zones, roles: &[Role], rules: &Rules) -> Result<(), Contradiction> {
    for number in 1..zones.clusters.len() as u32 {
        let writer = zones.clusters[number as usize].writer;
        let source = match roles[writer as usize].source {
            NO_SOURCE => continue,
            INITIAL => 0,
            source => zones.cluster_of[source as usize],
        };
        let other = zones.clusters[source as usize].after;
        if other != NONE {
            if rules.one_successor {
                let events = [zones.clusters[other as usize].writer, writer];
                let source = zones.clusters[source as usize].writer;
                let source = (source != INITIAL).then_some(source);
                return Err(Contradiction::new(Rule::LostUpdate, events.into_iter().chain(source)));
            }
            continue;
        }
        zones.clusters[source as usize].after = number;
        zones.clusters[number as usize].before = source;
    }
    Ok(())
}

impl Zones {
    /// Step 2, second half: the blocks.
    fn walk(&mut self, rules: &Rules) -> Result<(), Contradiction> {
        for head in 0..self.clusters.len() as u32 {
            if self.clusters[head as usize].before != NONE {
                continue;
            }
            let block = self.blocks.len() as u32;
            let (mut f, mut s) = (i64::MAX, i64::MIN);
            let (mut s_cluster, mut number, mut place) = (head, head, 0);
            while number != NONE {
                let cluster = &mut self.clusters[number as usize];
                cluster.block = block;
                self.place[number as usize] = place;
                let (cluster, before) = (*cluster, self.clusters[s_cluster as usize]);
                if cluster.f < s && number != head && rules.chain {
                    let writers = self.writers_between(s_cluster, number);
                    let events = [cluster.f_event, before.s_event].into_iter().chain(writers);
                    return Err(Contradiction::new(Rule::Chain, events));
                }
                if cluster.s > s {
                    (s, s_cluster) = (cluster.s, number);
                }
                f = f.min(cluster.f);
                number = cluster.after;
                place += 1;
            }
            self.blocks.push(Block { f, s, head });
        }
        if let Some(cluster) = self.clusters.iter().find(|cluster| cluster.block == NONE) {
            if rules.circle {
                return Err(Contradiction::new(Rule::Circle, self.circle(cluster)));
            }
            // Only a test that switches the rule off comes here.
            self.clusters.iter_mut().filter(|c| c.block == NONE).for_each(|c| c.block = 0);
        }
        Ok(())
    }

    /// The writers of a circle of clusters.
    fn circle(&self, start: &Cluster) -> Vec<u32> {
        let mut writers = vec![start.writer];
        let mut next = &self.clusters[start.after as usize];
        while next.writer != start.writer {
            writers.push(next.writer);
            next = &self.clusters[next.after as usize];
        }
        writers
    }

    /// The writers that bind two events of one block together, the later one first.
    pub(crate) fn bound(&self, later: u32, earlier: u32) -> Vec<u32> {
        self.writers_between(self.cluster_of[earlier as usize], self.cluster_of[later as usize])
    }

    /// The writers of a chain's clusters from `first` to `last`.
    fn writers_between(&self, first: u32, last: u32) -> Vec<u32> {
        let mut writers = Vec::new();
        let mut number = first;
        loop {
            let cluster = &self.clusters[number as usize];
            if cluster.writer != INITIAL {
                writers.push(cluster.writer);
            }
            if number == last || cluster.after == NONE {
                return writers;
            }
            number = cluster.after;
        }
    }

    /// Steps 3 and 4: no two blocks may each have to precede the other.
    fn cross(&mut self, rules: &Rules) -> Result<(), Contradiction> {
        // The least f first; of the blocks before, only the one that reaches furthest can matter.
        let mut order: Vec<u32> = (0..self.blocks.len() as u32).collect();
        order.sort_unstable_by_key(|block| {
            let block = &self.blocks[*block as usize];
            (block.f, block.s)
        });
        let mut furthest: Option<(u32, Block)> = None;
        for number in order {
            let block = self.blocks[number as usize];
            if let Some((other, before)) = furthest
                && before.s > block.f
                && before.f < block.s
                && rules.crossing
            {
                let events = self.ends(other).into_iter().chain(self.ends(number));
                return Err(Contradiction::new(Rule::Crossing, events));
            }
            if block.f < block.s && furthest.is_none_or(|(_, before)| block.s > before.s) {
                furthest = Some((number, block));
            }
        }
        Ok(())
    }

    /// The events that a block's f and s come from, with the writers that bind them together.
    pub(crate) fn ends(&self, block: u32) -> Vec<u32> {
        let block = self.blocks[block as usize];
        let (mut first, mut last, mut number) = (NONE, NONE, block.head);
        let mut events = Vec::new();
        while number != NONE {
            let cluster = &self.clusters[number as usize];
            if cluster.f == block.f && first == NONE {
                first = number;
                events.push(cluster.f_event);
            }
            if cluster.s == block.s && last == NONE {
                last = number;
                events.push(cluster.s_event);
            }
            number = cluster.after;
        }
        let (from, to) = if self.place[first as usize] <= self.place[last as usize] {
            (first, last)
        } else {
            (last, first)
        };
        events.extend(self.writers_between(from, to));
        events.retain(|event| *event != INITIAL);
        events
    }

    /// The first and the last writer of a block that is not the initial state's.
    pub(crate) fn writers_at_ends(&self, block: u32) -> (u32, u32) {
        let mut last = self.blocks[block as usize].head;
        let head = self.clusters[last as usize].writer;
        while self.clusters[last as usize].after != NONE {
            last = self.clusters[last as usize].after;
        }
        (head, self.clusters[last as usize].writer)
    }
}

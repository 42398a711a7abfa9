//! The general search: tries orders until one explains what every operation saw.
//!
//! Wing and Gong, "Testing and verifying concurrent objects" (1993), with the memoisation of Lowe,
//! "Testing for linearizability" (2017): a set of operations that took effect and the state that
//! they left need not be tried twice. Sets are remembered by a 128-bit sum of random numbers, one
//! for each operation, instead of whole: two different sets of a search that meets 2^32 of them
//! agree with a probability below 2^-64.
//!
//! A read that fits the state may always take effect at once, because it changes nothing, so there
//! is nothing to try again behind it.
//!
//! It ends on any mixture of operations, but on a hot key not in time: it has a limit, and reaching
//! it decides nothing.

use std::time::{Duration, Instant};

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rapidhash::RapidHashSet;

use crate::event::{Event, NEVER, Rules, State};
use crate::order;

/// The clock is read once in so many steps.
const STEPS_PER_LOOK: u32 = 4096;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An order that explains everything.
    Order,
    /// All orders were tried.
    NoOrder,
    /// The time was up before.
    Time,
    /// So many states were remembered before.
    States,
}

/// How long a search may go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) time: Duration,
    /// States remembered, some 64 bytes each while their table grows.
    pub(crate) states: usize,
}

/// A link of the list of calls and returns that are left, in time order.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    before: u32,
    after: u32,
}

struct Step {
    call: u32,
    state: State,
    /// A read, behind which there is nothing else to try.
    is_final: bool,
}

struct Search<'a> {
    events: Vec<&'a Event>,
    /// 0 is the list's head, 1 + 2i the call of event i, 2 + 2i its return.
    links: Vec<Link>,
    /// The next and the previous event of the same worker, with the previous completed one.
    later: Vec<Option<u32>>,
    earlier_completed: Vec<Option<u32>>,
    earlier_unknown: Vec<bool>,
    is_done: Vec<bool>,
    state: State,
    sum: u128,
    open: usize,
    seen: RapidHashSet<(u128, State)>,
    steps: Vec<Step>,
}

/// Searches for an order of `events` within `limit`.
pub(crate) fn search(events: &[Event], limit: Limit) -> Found {
    if order::program(events, &Rules::ALL).is_err() {
        return Found::NoOrder;
    }
    let events: Vec<&Event> = events.iter().filter(|event| !event.is_idle()).collect();
    let mut search = Search::new(events);
    search.run(limit)
}

impl<'a> Search<'a> {
    fn new(events: Vec<&'a Event>) -> Self {
        let count = events.len();
        let mut moments: Vec<(i64, bool, u32)> = Vec::with_capacity(2 * count);
        for (index, event) in events.iter().enumerate() {
            // At the same time, the call comes first: such operations overlap.
            moments.push((event.inv, false, 1 + 2 * index as u32));
            if event.res != NEVER {
                moments.push((event.res, true, 2 + 2 * index as u32));
            }
        }
        moments.sort_unstable();
        let mut links = vec![Link::default(); 1 + 2 * count];
        let mut last = 0;
        for (_, _, link) in moments {
            links[last as usize].after = link;
            links[link as usize].before = last;
            last = link;
        }
        links[last as usize].after = 0;
        let mut search = Self {
            open: events.iter().filter(|event| !event.is_unknown()).count(),
            links,
            later: vec![None; count],
            earlier_completed: vec![None; count],
            earlier_unknown: vec![false; count],
            is_done: vec![false; count],
            state: State::INITIAL,
            sum: 0,
            seen: RapidHashSet::default(),
            steps: Vec::new(),
            events,
        };
        search.link_workers();
        search
    }

    fn link_workers(&mut self) {
        let mut order: Vec<u32> = (0..self.events.len() as u32)
            .filter(|index| self.events[*index as usize].is_ordered())
            .collect();
        order.sort_unstable_by_key(|index| {
            let event = self.events[*index as usize];
            (event.worker, event.stamp)
        });
        for pair in order.windows(2) {
            let (first, second) = (pair[0] as usize, pair[1] as usize);
            if self.events[first].worker != self.events[second].worker {
                continue;
            }
            self.later[first] = Some(second as u32);
            let is_unknown = self.events[first].is_unknown();
            self.earlier_unknown[second] = is_unknown || self.earlier_unknown[first];
            self.earlier_completed[second] =
                if is_unknown { self.earlier_completed[first] } else { Some(first as u32) };
        }
    }

    fn run(&mut self, limit: Limit) -> Found {
        let until = Instant::now() + limit.time;
        let (mut at, mut looks) = (self.links[0].after, 0u32);
        while self.open > 0 {
            looks += 1;
            if looks.is_multiple_of(STEPS_PER_LOOK) && Instant::now() > until {
                return Found::Time;
            }
            if self.seen.len() > limit.states {
                return Found::States;
            }
            let is_call = at % 2 == 1;
            if is_call {
                at = if self.try_call(at) {
                    self.links[0].after
                } else {
                    self.links[at as usize].after
                };
                continue;
            }
            // A return, or the end: the operation must have taken effect by now.
            match self.back() {
                Some(next) => at = next,
                None => return Found::NoOrder,
            }
        }
        Found::Order
    }

    /// Lets the operation of a call take effect, if it may and leads to something new.
    fn try_call(&mut self, call: u32) -> bool {
        let index = (call / 2) as usize;
        let event = self.events[index];
        let in_order = self.earlier_completed[index].is_none_or(|e| self.is_done[e as usize])
            && (!event.is_unknown() || !self.is_any_later_done(index));
        if !in_order {
            return false;
        }
        let Some(after) = self.state.after(event) else { return false };
        let sum = self.sum ^ random(index as u64);
        let is_read = !event.is_mutation() && after == self.state;
        let is_final = is_read && !self.earlier_unknown[index];
        if !is_final && !self.seen.insert((sum, after)) {
            return false;
        }
        self.steps.push(Step { call, state: self.state, is_final });
        (self.sum, self.state) = (sum, after);
        self.is_done[index] = true;
        self.open -= usize::from(!event.is_unknown());
        self.unlink(call);
        if event.res != NEVER {
            self.unlink(call + 1);
        }
        true
    }

    /// Whether a later operation of an unknown one's worker took effect already.
    fn is_any_later_done(&self, index: usize) -> bool {
        let mut next = self.later[index];
        while let Some(later) = next {
            if self.is_done[later as usize] {
                return true;
            }
            if !self.events[later as usize].is_unknown() {
                // Nothing behind it took effect before it.
                return false;
            }
            next = self.later[later as usize];
        }
        false
    }

    /// Takes back the last step that has alternatives; returns where to go on.
    fn back(&mut self) -> Option<u32> {
        loop {
            let step = self.steps.pop()?;
            let index = (step.call / 2) as usize;
            self.state = step.state;
            self.sum ^= random(index as u64);
            self.is_done[index] = false;
            let event = self.events[index];
            self.open += usize::from(!event.is_unknown());
            if event.res != NEVER {
                self.relink(step.call + 1);
            }
            self.relink(step.call);
            if !step.is_final {
                return Some(self.links[step.call as usize].after);
            }
        }
    }

    fn unlink(&mut self, link: u32) {
        let Link { before, after } = self.links[link as usize];
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
    }

    fn relink(&mut self, link: u32) {
        let Link { before, after } = self.links[link as usize];
        self.links[before as usize].after = link;
        self.links[after as usize].before = link;
    }
}

/// The random number of an operation: the first two numbers of a stream of its own.
pub(crate) fn random(index: u64) -> u128 {
    let mut stream = SplitMix64::seed_from_u64(index);
    u128::from(stream.next_u64()) << 64 | u128::from(stream.next_u64())
}

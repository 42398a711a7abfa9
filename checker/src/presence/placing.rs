//! The search for an order of the items: time order first, one choice for each class, and sets of
//! placed items that failed are remembered.

use std::collections::BTreeSet;
use std::time::Instant;

use rapidhash::RapidHashSet;

use crate::event::NEVER;
use crate::search::{Found, Limit, random};

use super::{CLASSES, Class, Item, NONE};

/// The clock is read once in so many steps.
const STEPS_PER_LOOK: u32 = 1024;

/// What a step changed that can't be computed again.
struct Step {
    item: u32,
    is_missing: bool,
    tombstone: u32,
    readers: u32,
    reached: usize,
    /// Which of the choices this was; `None` when there was none.
    choice: Option<u32>,
}

pub(super) struct Placing {
    items: Vec<Item>,
    /// Items by s, how many of them are reached by time, and where each stands.
    by_s: Vec<u32>,
    reached: usize,
    place: Vec<usize>,
    /// Items that must still come, by f.
    left: BTreeSet<(i64, u32)>,
    /// Items that may be next, by class; those that can trade places apart from the others.
    ready: [[BTreeSet<(i64, u32)>; 2]; CLASSES],
    is_ready: Vec<bool>,
    is_done: Vec<bool>,
    /// Items that this one waits for, and those that made it too late.
    waits: Vec<u32>,
    barred: Vec<u32>,
    is_missing: bool,
    /// The tombstone that is there, and how many of its readers are still to come.
    tombstone: u32,
    readers: u32,
    /// Stands for the set of placed items; see the module `search`.
    sum: u128,
    steps: Vec<Step>,
    /// Sets behind which nothing is left to try, with what was there.
    failed: RapidHashSet<(u128, u32)>,
}

impl Placing {
    pub(super) fn new(items: Vec<Item>) -> Self {
        let count = items.len();
        let mut by_s: Vec<u32> = (0..count as u32).collect();
        by_s.sort_unstable_by_key(|item| items[*item as usize].s);
        let (mut place, mut waits) = (vec![0; count], vec![0; count]);
        for (at, item) in by_s.iter().enumerate() {
            place[*item as usize] = at;
        }
        for later in items.iter().flat_map(|item| &item.later) {
            waits[*later as usize] += 1;
        }
        let must = items.iter().enumerate().filter(|(_, item)| !item.is_optional);
        let left = must.map(|(index, item)| (item.f, index as u32)).collect();
        Self {
            by_s,
            reached: 0,
            place,
            left,
            ready: Default::default(),
            is_ready: vec![false; count],
            is_done: vec![false; count],
            waits,
            barred: vec![0; count],
            is_missing: true,
            tombstone: NONE,
            readers: 0,
            sum: 0,
            steps: Vec::new(),
            failed: RapidHashSet::default(),
            items,
        }
    }

    pub(super) fn run(mut self, limit: Limit) -> Found {
        let until = Instant::now() + limit.time;
        self.advance();
        let (mut choice, mut choices, mut looks) = (0, Vec::new(), 0u32);
        while !self.left.is_empty() {
            looks += 1;
            if looks.is_multiple_of(STEPS_PER_LOOK) && Instant::now() > until {
                return Found::Time;
            }
            if choice == 0
                && let Some(item) = self.free()
            {
                self.place(item, None);
                continue;
            }
            self.choices(&mut choices);
            let is_known = choice == 0 && choices.len() > 1 && self.failed.contains(&self.state());
            let next = choices.get(choice as usize).filter(|_| !is_known).copied();
            if let Some(item) = next {
                self.place(item, Some(choice));
                choice = 0;
                continue;
            }
            if choices.len() > 1 && !is_known {
                if self.failed.len() >= limit.states {
                    return Found::States;
                }
                self.failed.insert(self.state());
            }
            match self.back() {
                Some(tried) => choice = tried + 1,
                None => return Found::NoOrder,
            }
        }
        Found::Order
    }

    fn state(&self) -> (u128, u32) {
        let word =
            if self.tombstone == NONE { u32::from(self.is_missing) } else { self.tombstone + 2 };
        (self.sum, word)
    }

    /// A read that fits and comes too early for nobody: behind it there is nothing else to try.
    fn free(&self) -> Option<u32> {
        if !self.is_missing {
            return None;
        }
        let [plain, others] = &self.ready[Class::Miss as usize];
        let others = others.iter().map(|(_, item)| *item);
        let mut reads = plain.iter().map(|(_, item)| *item).chain(others).chain(self.named());
        reads.find(|read| {
            let read = &self.items[*read as usize];
            let changes = !read.is_read && (read.is_named || self.tombstone != NONE);
            !changes && read.bars.is_empty()
        })
    }

    /// Who may be next and names the tombstone that is there.
    fn named(&self) -> impl Iterator<Item = u32> + '_ {
        let (from, to) = match self.tombstone {
            NONE => ((0, 0), (0, 0)),
            there => ((i64::from(there), 0), (i64::from(there), NONE)),
        };
        self.ready[Class::Named as usize][1].range(from..to).map(|(_, item)| *item)
    }

    /// The items that may be next, the likeliest first.
    fn choices(&self, choices: &mut Vec<u32>) {
        choices.clear();
        let lone = self.lone();
        if self.is_missing {
            // Those that come too early for another one.
            let misses = self.ready[Class::Miss as usize].iter().flatten().map(|(_, item)| *item);
            let is_read = |item: &u32| self.items[*item as usize].is_read;
            let is_miss = |item: &u32| self.items[*item as usize].class == Class::Miss;
            let misses = lone.filter(is_miss).into_iter().chain(misses);
            choices.extend(misses.filter(|item| self.readers == 0 || is_read(item)));
            choices.extend(self.named().filter(is_read));
        }
        if self.readers > 0 {
            return;
        }
        if self.tombstone != NONE {
            let successor = self.items[self.tombstone as usize].successor;
            choices.extend(self.named().filter(|item| !self.items[*item as usize].is_read));
            choices
                .extend(lone.filter(|item| self.items[*item as usize].tombstone == self.tombstone));
            if successor != NONE {
                choices.retain(|item| *item == successor || self.items[*item as usize].is_read);
                return;
            }
        }
        let count =
            |class: Class| self.ready[class as usize].iter().map(BTreeSet::len).sum::<usize>();
        let classes = if self.is_missing {
            [Class::Create, Class::Value, Class::Clear]
        } else if count(Class::Remove) >= count(Class::Value) {
            // Each of them needs a value of its own.
            [Class::Remove, Class::Value, Class::Clear]
        } else {
            [Class::Value, Class::Remove, Class::Clear]
        };
        for class in classes {
            let helps = |item: &u32| {
                let item = &self.items[*item as usize];
                !item.is_optional || item.is_named || item.leaves_missing != self.is_missing
            };
            choices.extend(lone.filter(|item| self.items[*item as usize].class == class));
            let [plain, others] = &self.ready[class as usize];
            let from = choices.len();
            choices.extend(plain.first().map(|(_, item)| *item).filter(helps));
            choices.extend(others.iter().map(|(_, item)| *item).filter(helps));
            if let [first, second, ..] = choices[from..]
                && self.items[second as usize].urgency < self.items[first as usize].urgency
            {
                choices[from] = second;
                choices[from + 1] = first;
            }
        }
    }

    /// The item of the least f, when it may be next only because it is that one.
    fn lone(&self) -> Option<u32> {
        let mut least = self.left.iter();
        let (_, first) = *least.next()?;
        let second = least.next().map_or(NEVER, |(f, _)| *f);
        let at = first as usize;
        let may = !self.is_ready[at] && self.waits[at] == 0 && self.items[at].s <= second;
        may.then_some(first)
    }

    fn place(&mut self, item: u32, choice: Option<u32>) {
        let (is_missing, tombstone) = (self.is_missing, self.tombstone);
        let (readers, reached) = (self.readers, self.reached);
        self.steps.push(Step { item, is_missing, tombstone, readers, reached, choice });
        let at = item as usize;
        if self.items[at].is_read {
            self.readers -= u32::from(self.items[at].class == Class::Named);
        } else {
            self.is_missing = self.items[at].leaves_missing;
            self.tombstone = if self.items[at].is_named { item } else { NONE };
            self.readers = self.items[at].readers;
        }
        self.sum ^= random(u64::from(item));
        self.is_done[at] = true;
        self.left.remove(&(self.items[at].f, item));
        self.refresh(item);
        for link in 0..self.items[at].later.len() {
            let later = self.items[at].later[link];
            self.waits[later as usize] -= 1;
            self.refresh(later);
        }
        for link in 0..self.items[at].bars.len() {
            let barred = self.items[at].bars[link];
            self.barred[barred as usize] += 1;
            self.refresh(barred);
        }
        self.advance();
    }

    /// Reaches the items whose s time has come to.
    fn advance(&mut self) {
        let until = self.left.first().map_or(NEVER, |(f, _)| *f);
        while let Some(item) = self.by_s.get(self.reached).copied() {
            if self.items[item as usize].s > until {
                break;
            }
            self.reached += 1;
            self.refresh(item);
        }
    }

    /// Takes back steps up to the last choice, which is returned.
    fn back(&mut self) -> Option<u32> {
        loop {
            let step = self.steps.pop()?;
            let at = step.item as usize;
            let reached = std::mem::replace(&mut self.reached, step.reached);
            for place in step.reached..reached {
                self.refresh(self.by_s[place]);
            }
            for link in 0..self.items[at].bars.len() {
                let barred = self.items[at].bars[link];
                self.barred[barred as usize] -= 1;
                self.refresh(barred);
            }
            for link in 0..self.items[at].later.len() {
                let later = self.items[at].later[link];
                self.waits[later as usize] += 1;
                self.refresh(later);
            }
            self.is_done[at] = false;
            self.sum ^= random(u64::from(step.item));
            if !self.items[at].is_optional {
                self.left.insert((self.items[at].f, step.item));
            }
            self.refresh(step.item);
            self.is_missing = step.is_missing;
            (self.tombstone, self.readers) = (step.tombstone, step.readers);
            if step.choice.is_some() {
                return step.choice;
            }
        }
    }

    /// Keeps an item among those that may be next exactly while it may.
    fn refresh(&mut self, item: u32) {
        let at = item as usize;
        let is_reached = self.place[at] < self.reached;
        let may = is_reached && !self.is_done[at] && self.waits[at] == 0 && self.barred[at] == 0;
        if may == self.is_ready[at] {
            return;
        }
        self.is_ready[at] = may;
        let class = self.items[at].class;
        let key = match class {
            Class::Named => i64::from(self.items[at].tombstone),
            _ => self.items[at].urgency,
        };
        let set = &mut self.ready[class as usize][usize::from(!self.items[at].is_plain())];
        if may {
            set.insert((key, item));
        } else {
            set.remove(&(key, item));
        }
    }
}

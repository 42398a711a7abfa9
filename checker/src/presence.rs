//! Decides registers with DELETEs that can't be told apart: when was the key missing?
//!
//! The sweep needs states that are unique, and "missing" is not: a GET that misses seldom names the
//! tombstone that it saw, and a DELETE tells that it found something, not what. Everything else
//! still has its one place: a value's writes and reads stand together in every legal order, so each
//! block of the sweep is one *item* here, and so is each DELETE, each miss and each read of a
//! tombstone by name. Item X must come before Y when f(X) < s(Y), as the sweep has it, or when a
//! worker's stamps say so. All that is left of the key's state is whether it is missing, and which
//! tombstone with named readers that are open is there:
//!
//! | class | needs | leaves |
//! |---|---|---|
//! | value: a PUT's block | nothing | present |
//! | create: a block that starts with a CAS from missing | missing | present |
//! | clear: a DELETE that does not say what it found | nothing | missing |
//! | remove: a DELETE that found something | present | missing |
//! | miss | missing | missing |
//! | named: who saw a tombstone by its id | that tombstone | missing, or present after a CAS |
//!
//! Unknown mutations that nobody needs by id are items that may be left out; they can make a key
//! missing or present.
//!
//! Items are placed in time order. A miss that may be placed where the key is missing is placed at
//! once, since it changes nothing. Of two items of one class that may both be next, and neither of
//! which is followed by others in its worker's program, the one with the lesser f goes first: in an
//! order that has them the other way round they can trade places, as whatever stands between them
//! need not come before the one nor after the other. So what is left to try is which class goes
//! next, a handful of choices, and sets of placed items that failed are remembered. On most keys
//! the first try of each choice is right and nothing is ever taken back.
//!
//! Most contradictions show before that: a write before a miss, with no DELETE that could stand
//! between them, and likewise a DELETE before another one that found something.

use std::collections::BTreeSet;
use std::time::Instant;

use rapidhash::{RapidHashMap, RapidHashSet};

use crate::event::{Contradiction, Event, NEVER, Rule, Rules};
use crate::history::{Kind, Value};
use crate::resolve::Resolved;
use crate::search::{Found, Limit, random};
use crate::zones::{self, NO_SOURCE, Role, Zones};

/// No item.
const NONE: u32 = u32::MAX;
/// The clock is read once in so many steps.
const STEPS_PER_LOOK: u32 = 1024;

/// What an item needs and leaves; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Value,
    Create,
    Clear,
    Remove,
    Miss,
    Named,
}

const CLASSES: usize = 6;

#[derive(Clone, Debug)]
struct Item {
    f: i64,
    s: i64,
    /// When the operation was invoked that needs the key to be missing or present.
    inv: i64,
    class: Class,
    /// The tombstone that a named one needs: that item.
    tombstone: u32,
    /// Whether the key is missing afterwards.
    leaves_missing: bool,
    /// Whether it only looks.
    is_read: bool,
    is_optional: bool,
    /// Whether this is a tombstone that others name; how many of them only read, which all come
    /// before the next change.
    is_named: bool,
    readers: u32,
    /// What changes this tombstone, named by it, if that is certain.
    successor: u32,
    /// Items that must wait for this one, and optional ones that it comes too late for.
    later: Vec<u32>,
    bars: Vec<u32>,
    /// Whether something bars this one.
    is_barred_later: bool,
    /// The least f of it and what waits for it.
    urgency: i64,
}

impl Item {
    /// Whether it can trade places with others of its class.
    fn is_plain(&self) -> bool {
        self.later.is_empty()
            && self.bars.is_empty()
            && !self.is_barred_later
            && !self.is_named
            && self.class != Class::Named
    }
}

/// Places the events' items within `limit`; `None` when there is something among them that has no
/// such form.
///
/// # Errors
///
/// A contradiction that shows without any trying.
pub(crate) fn decide(
    events: &[Event],
    resolved: &Resolved,
    rules: &Rules,
    limit: Limit,
) -> Result<Option<Found>, Contradiction> {
    let Some(items) = Items::new(events, resolved, rules) else { return Ok(None) };
    if rules.presence_between {
        items.between(events)?;
    }
    Ok(Some(Placing::new(items.items).run(limit)))
}

/// The items, and which of them each event is in.
struct Items {
    items: Vec<Item>,
    of: Vec<u32>,
}

impl Items {
    fn new(events: &[Event], resolved: &Resolved, rules: &Rules) -> Option<Self> {
        let is_delete =
            |event: u32| events.get(event as usize).is_some_and(|e| e.kind == Kind::Delete);
        // Who names a tombstone is an item of its own, not a part of the tombstone's cluster.
        let mut roles = resolved.roles.clone();
        let mut named = Vec::new();
        for (index, role) in roles.iter_mut().enumerate() {
            if role.source != NO_SOURCE && is_delete(role.source) {
                named.push((index as u32, role.source));
                role.source = NO_SOURCE;
            }
        }
        let blocks = zones::sweep(events, &roles, &Rules::ALL).ok()?;
        let mut all = Self { items: Vec::new(), of: vec![NONE; events.len()] };
        all.add_blocks(events, &roles, &blocks)?;
        all.add_reads(events, resolved, &named);
        all.add_optional(events, &roles);
        for (event, tombstone) in named {
            all.name(all.of[event as usize], all.of[tombstone as usize]);
        }
        if rules.presence_program {
            all.link_workers(events);
        }
        all.switch_off(rules);
        Some(all)
    }

    /// Notes that an item names a tombstone.
    fn name(&mut self, item: u32, tombstone: u32) {
        let by = &mut self.items[item as usize];
        by.tombstone = tombstone;
        let (is_read, is_optional) = (by.is_read, by.is_optional);
        let there = &mut self.items[tombstone as usize];
        there.is_named = true;
        there.readers += u32::from(is_read);
        if !is_read && !is_optional {
            there.successor = item;
        }
    }

    /// What tests switch off.
    fn switch_off(&mut self, rules: &Rules) {
        for item in &mut self.items {
            if !rules.presence_times {
                item.s = i64::MIN;
            }
            if !rules.presence_states && matches!(item.class, Class::Miss | Class::Remove) {
                (item.class, item.is_read) = (Class::Clear, false);
            }
            if !rules.presence_names && item.class == Class::Named {
                item.class = if item.is_read { Class::Miss } else { Class::Create };
            }
            if !rules.presence_names {
                (item.is_named, item.readers, item.successor) = (false, 0, NONE);
            }
        }
    }

    fn add(&mut self, f: i64, s: i64, class: Class) -> u32 {
        self.items.push(Item {
            f,
            s,
            inv: s,
            class,
            tombstone: NONE,
            leaves_missing: !matches!(class, Class::Value | Class::Create),
            is_read: class == Class::Miss,
            is_optional: false,
            is_named: false,
            readers: 0,
            successor: NONE,
            later: Vec::new(),
            bars: Vec::new(),
            is_barred_later: false,
            urgency: f,
        });
        self.items.len() as u32 - 1
    }

    fn add_blocks(&mut self, events: &[Event], roles: &[Role], zones: &Zones) -> Option<()> {
        let first = self.items.len() as u32;
        // Block 0 holds the initial state, which nobody reads by name.
        for (number, block) in zones.blocks.iter().enumerate().skip(1) {
            let (head, tail) = zones.writers_at_ends(number as u32);
            let (head, tail) = (&events[head as usize], &events[tail as usize]);
            let class = class(head, tail)?;
            let item = self.add(block.f, block.s, class);
            self.items[item as usize].inv = head.inv;
            self.items[item as usize].leaves_missing = tail.kind == Kind::Delete;
            self.items[item as usize].is_read = false;
        }
        for (index, role) in roles.iter().enumerate().filter(|(_, role)| !role.is_dropped()) {
            let block = zones.block_of(index);
            if block == 0 {
                return None;
            }
            self.of[index] = first + block - 1;
            debug_assert!(role.writes || role.source != NO_SOURCE, "others are dropped");
        }
        Some(())
    }

    /// The reads that stand alone: misses, and reads of tombstones by name.
    fn add_reads(&mut self, events: &[Event], resolved: &Resolved, named: &[(u32, u32)]) {
        let misses = resolved.misses.iter().map(|miss| (*miss, Class::Miss));
        let named = named.iter().map(|(event, _)| (*event, Class::Named));
        for (index, class) in misses.chain(named) {
            if self.of[index as usize] == NONE {
                let event = &events[index as usize];
                let item = self.add(event.res, event.inv, class);
                self.items[item as usize].is_read = true;
                self.of[index as usize] = item;
            }
        }
    }

    /// The unknown mutations that may help: those that turn a missing key into a present one where
    /// a DELETE found something, and those that do the opposite where something missed.
    fn add_optional(&mut self, events: &[Event], roles: &[Role]) {
        let any = |class| self.items.iter().any(|item: &Item| item.class == class);
        let wants_missing = any(Class::Miss) || any(Class::Create);
        let wants_present = any(Class::Remove);
        let mut swaps = Vec::new();
        for (index, event) in events.iter().enumerate() {
            if !event.is_unknown() || event.is_idle() || !roles[index].is_dropped() {
                continue;
            }
            let class = match (event.kind, event.read) {
                (Kind::Delete, _) if wants_missing || wants_present => Class::Clear,
                (Kind::Put, _) if wants_present => Class::Value,
                (Kind::CompareAndSwap, Value::NotKnown) if wants_present => Class::Value,
                (Kind::CompareAndSwap, Value::Missing) if wants_present => Class::Create,
                (Kind::CompareAndSwap, Value::Id { .. }) if wants_present => {
                    swaps.push(index);
                    continue;
                }
                _ => continue,
            };
            self.of[index] = self.add(NEVER, event.inv, class);
            self.items[self.of[index] as usize].is_optional = true;
        }
        if swaps.is_empty() {
            return;
        }
        let deletes = events.iter().enumerate().filter(|(_, event)| event.kind == Kind::Delete);
        let tombstones: RapidHashMap<Value, usize> =
            deletes.map(|(index, event)| (event.written, index)).collect();
        for index in swaps {
            // From a value it would lead to a value, which changes nothing here.
            let Some(tombstone) = tombstones.get(&events[index].read) else { continue };
            let tombstone = self.of[*tombstone];
            if tombstone == NONE {
                continue;
            }
            let item = self.add(NEVER, events[index].inv, Class::Named);
            self.of[index] = item;
            self.items[item as usize].is_optional = true;
            self.items[item as usize].leaves_missing = false;
            self.name(item, tombstone);
        }
    }

    /// Program order where real time does not say it already.
    fn link_workers(&mut self, events: &[Event]) {
        let mut program: Vec<(u32, u64, u32)> = (events.iter().enumerate())
            .filter(|(index, event)| event.is_ordered() && self.of[*index] != NONE)
            .map(|(index, event)| (event.worker, event.stamp, index as u32))
            .collect();
        program.sort_unstable();
        for worker in program.chunk_by(|a, b| a.0 == b.0) {
            let mut before = NONE;
            let mut optional: Vec<u32> = Vec::new();
            for (_, _, event) in worker.iter().copied() {
                let item = self.of[event as usize];
                self.items[item as usize].bars.extend(&optional);
                for barred in &optional {
                    self.items[*barred as usize].is_barred_later = true;
                }
                let overlaps =
                    |before: u32| events[before as usize].res >= events[event as usize].inv;
                if before != NONE && self.of[before as usize] != item && overlaps(before) {
                    self.items[self.of[before as usize] as usize].later.push(item);
                }
                if self.items[item as usize].is_optional {
                    optional.push(item);
                } else {
                    before = event;
                    optional.clear();
                }
            }
            for (_, _, event) in worker.iter().rev() {
                let item = self.of[*event as usize] as usize;
                let later = self.items[item].later.iter();
                let urgency = later.map(|later| self.items[*later as usize].urgency).min();
                let urgency = urgency.unwrap_or(NEVER).min(self.items[item].urgency);
                self.items[item].urgency = urgency;
            }
        }
    }
}

impl Items {
    /// Checks that between a write and a miss after it something can have made the key missing, and
    /// between a DELETE and one after it that found something, something can have made it present.
    fn between(&self, events: &[Event]) -> Result<(), Contradiction> {
        for missing in [true, false] {
            let changes = |item: &&Item| !item.is_read && item.leaves_missing == missing;
            // By s, each with the greatest f up to there: the others need not come before.
            let mut helpers: Vec<(i64, i64)> =
                self.items.iter().filter(changes).map(|item| (item.s, item.f)).collect();
            running_max(&mut helpers);
            // By f, each with the greatest s up to there and the item that has it.
            let is_before = |item: &Item| !item.is_read && item.leaves_missing != missing;
            let before = self.items.iter().enumerate();
            let before = before.filter(|(_, item)| is_before(item) && !item.is_optional);
            let mut before: Vec<(i64, (i64, u32))> =
                before.map(|(index, item)| (item.f, (item.s, index as u32))).collect();
            running_max(&mut before);
            for (index, item) in self.items.iter().enumerate() {
                let needs = match item.class {
                    Class::Miss | Class::Create => missing,
                    Class::Remove => !missing,
                    _ => continue,
                };
                if !needs || item.is_optional {
                    continue;
                }
                let last = before.partition_point(|(f, _)| *f < item.inv).checked_sub(1);
                let last = last.map(|last| before[last].1);
                // Before everything the key is missing.
                let Some(s) = last.map_or((!missing).then_some(i64::MIN), |(s, _)| Some(s)) else {
                    continue;
                };
                let reach = helpers.partition_point(|(s, _)| *s <= item.f).checked_sub(1);
                if reach.is_none_or(|reach| helpers[reach].1 < s) {
                    let items = [Some(index as u32), last.map(|(_, before)| before)];
                    let shown =
                        items.into_iter().flatten().flat_map(|item| self.ends(events, item));
                    return Err(Contradiction::new(Rule::Presence, shown));
                }
            }
        }
        Ok(())
    }

    /// The events that an item's f and s come from, and its first mutation.
    fn ends(&self, events: &[Event], item: u32) -> Vec<u32> {
        let all = || (0..events.len() as u32).filter(|event| self.of[*event as usize] == item);
        let by = |event: &u32| &events[*event as usize];
        let first = all().min_by_key(|event| by(event).res);
        let last = all().max_by_key(|event| by(event).inv);
        let writer = all().find(|event| by(event).is_mutation());
        [first, last, writer].into_iter().flatten().collect()
    }
}

/// Sorts pairs, and gives each the greatest second one up to it.
fn running_max<T: Ord + Copy>(pairs: &mut [(i64, T)]) {
    pairs.sort_unstable();
    for at in 1..pairs.len() {
        pairs[at].1 = pairs[at].1.max(pairs[at - 1].1);
    }
}

/// What a block needs and leaves, by its first and its last writer.
fn class(head: &Event, tail: &Event) -> Option<Class> {
    let leaves_missing = tail.kind == Kind::Delete;
    match (head.read, leaves_missing) {
        (Value::NotKnown, false) => Some(Class::Value),
        (Value::NotKnown, true) => Some(Class::Clear),
        (Value::Missing, false) => Some(Class::Create),
        (Value::Present, true) => Some(Class::Remove),
        // A DELETE that found nothing and left a tombstone all the same.
        (Value::Missing, true) => Some(Class::Miss),
        // Only a tombstone's id is read by the first writer of a block.
        (Value::Id { .. }, _) => Some(Class::Named),
        _ => None,
    }
}

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

struct Placing {
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
    fn new(items: Vec<Item>) -> Self {
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

    fn run(mut self, limit: Limit) -> Found {
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

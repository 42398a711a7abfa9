//! What is to be placed: one item for each block, DELETE, miss and named read, and what must come
//! before what.

use rapidhash::RapidHashMap;

use crate::event::{Contradiction, Event, NEVER, Rule, Rules};
use crate::history::{Kind, Value};
use crate::resolve::Resolved;
use crate::zones::{self, NO_SOURCE, Role, Zones};

use super::{Class, Item, NONE};

/// The items, and which of them each event is in.
pub(super) struct Items {
    pub(super) items: Vec<Item>,
    of: Vec<u32>,
}

impl Items {
    pub(super) fn new(events: &[Event], resolved: &Resolved, rules: &Rules) -> Option<Self> {
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

    /// Checks that between a write and a miss after it something can have made the key missing, and
    /// between a DELETE and one after it that found something, something can have made it present.
    pub(super) fn between(&self, events: &[Event]) -> Result<(), Contradiction> {
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

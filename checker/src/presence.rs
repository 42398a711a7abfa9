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

mod items;
mod placing;

use crate::event::{Contradiction, Event, Rules};
use crate::resolve::Resolved;
use crate::search::{Found, Limit};

use items::Items;
use placing::Placing;

/// No item.
const NONE: u32 = u32::MAX;

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

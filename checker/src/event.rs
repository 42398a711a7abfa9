//! One operation as the checks see it, and what it means for its key.

use crate::history::{Kind, Outcome, Value};

/// The response time of an operation that never had one.
pub const NEVER: i64 = i64::MAX;
/// The apply sequence of an operation that has none.
pub const NO_SEQUENCE: u64 = u64::MAX;

/// Workers from here on have no program order.
pub(crate) const UNORDERED: u32 = 1 << 31;

/// An operation of a key. Times are nanoseconds on the run's clock, widened by its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was invoked.
    pub inv: i64,
    /// When it had its response, or [`NEVER`].
    pub res: i64,
    /// What it saw.
    pub read: Value,
    /// What it wrote: a value, a tombstone, or an INCR's result.
    pub written: Value,
    /// What an INCR adds.
    pub by: i64,
    /// Program order in its worker, and the order in its group.
    pub stamp: u64,
    /// Apply sequence of its group, or [`NO_SEQUENCE`].
    pub sequence: u64,
    /// Its worker, an index over all clients, plus `1 << 31` if it has no program order.
    pub worker: u32,
    /// Its key, an index over the keys that are checked together.
    pub key: u32,
    /// Its server's life, an index over all of them.
    pub boot: u32,
    /// What it does.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
}

impl Event {
    /// Whether it may leave another value, or a tombstone.
    pub fn is_mutation(&self) -> bool {
        match self.kind {
            Kind::Get => false,
            Kind::Put | Kind::Increment => true,
            // One that found nothing changed nothing, unless it left a tombstone all the same.
            Kind::Delete => self.read != Value::Missing || self.written != Value::NotKnown,
            // One that did not match wrote nothing.
            Kind::CompareAndSwap => self.written != Value::NotKnown,
        }
    }

    /// Whether it says nothing: it was not executed, or is a read whose result nobody knows.
    pub fn is_idle(&self) -> bool {
        match self.outcome {
            Outcome::Fail => true,
            Outcome::Unknown => !self.is_mutation(),
            Outcome::Ok => !self.is_mutation() && self.read == Value::NotKnown,
        }
    }

    /// Whether it has a place in its worker's program.
    pub fn is_ordered(&self) -> bool {
        self.worker < UNORDERED
    }

    /// Whether its outcome is unknown: it may have taken effect, or may still.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The value, or the tombstone that took it away, or `Missing` before the first write.
    value: Value,
    missing: bool,
}

impl State {
    /// The state of a key that was never written.
    pub(crate) const INITIAL: Self = Self { value: Value::Missing, missing: true };

    /// The integer that the key holds, where a missing key counts as 0.
    pub(crate) fn number(self) -> Option<i64> {
        match self.value {
            _ if self.missing => Some(0),
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Whether an operation may have seen `value` here.
    pub(crate) fn shows(self, value: Value) -> bool {
        match value {
            Value::NotKnown => true,
            Value::Missing => self.missing,
            Value::Present => !self.missing,
            Value::Id { .. } => self.value == value,
            Value::Number(_) => self.value == value && !self.missing,
            Value::Foreign => false,
        }
    }

    /// The state after `event`; `None` when the event can't have had its outcome here.
    #[inline]
    pub(crate) fn after(self, event: &Event) -> Option<Self> {
        if event.kind == Kind::Increment {
            let number = self.number()?.checked_add(event.by)?;
            let known = event.written == Value::NotKnown;
            return (known || event.written == Value::Number(number))
                .then_some(Self { value: Value::Number(number), missing: false });
        }
        if !self.shows(event.read) {
            return None;
        }
        Some(match event.kind {
            Kind::Put => Self { value: event.written, missing: false },
            Kind::CompareAndSwap if event.is_mutation() => {
                Self { value: event.written, missing: false }
            }
            Kind::Delete if event.is_mutation() => match event.written {
                Value::NotKnown => Self::INITIAL,
                tombstone => Self { value: tombstone, missing: true },
            },
            _ => self,
        })
    }
}

/// The checks' rules, each of which tests switch off to see that another test notices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Witness: each outcome is what the state predicts.
    pub(crate) replay_outcomes: bool,
    /// Witness: no response before an invocation that the order puts earlier.
    pub(crate) replay_times: bool,
    /// Witness: a worker's stamps ascend.
    pub(crate) replay_stamps: bool,
    /// A read of an id that nobody wrote.
    pub(crate) phantom: bool,
    /// A read that ended before its writer began.
    pub(crate) future: bool,
    /// An unknown write is dropped unless a completed operation needs it.
    pub(crate) drop_unneeded: bool,
    /// An unknown write is kept if an unknown one that is needed needs it.
    pub(crate) keep_transitively: bool,
    /// Two read-modify-writes with one source.
    pub(crate) one_successor: bool,
    /// Read-modify-writes in a circle.
    pub(crate) circle: bool,
    /// A chain of read-modify-writes against time.
    pub(crate) chain: bool,
    /// Two blocks that each must precede the other.
    pub(crate) crossing: bool,
    /// Operations of one worker on one key take effect in the order of their stamps.
    pub(crate) program_order: bool,
    /// No two operations of a worker have one stamp.
    pub(crate) own_stamps: bool,
    /// No two operations write one id.
    pub(crate) own_ids: bool,
    /// A counter's gap needs an INCR whose outcome is unknown.
    pub(crate) gaps: bool,
    /// An unknown INCR comes after what had ended before it began.
    pub(crate) windows: bool,
    /// With DELETEs: a miss needs a missing key, and a DELETE that found something a present one.
    pub(crate) presence_states: bool,
    /// With DELETEs: real time holds.
    pub(crate) presence_times: bool,
    /// With DELETEs: something must stand between a write and a miss after it, and the like.
    pub(crate) presence_between: bool,
    /// With DELETEs: workers' stamps hold.
    pub(crate) presence_program: bool,
    /// With DELETEs: who names a tombstone saw that one.
    pub(crate) presence_names: bool,
}

impl Rules {
    /// All rules are on.
    pub(crate) const ALL: Self = Self {
        replay_outcomes: true,
        replay_times: true,
        replay_stamps: true,
        phantom: true,
        future: true,
        drop_unneeded: true,
        keep_transitively: true,
        one_successor: true,
        circle: true,
        chain: true,
        crossing: true,
        program_order: true,
        own_stamps: true,
        own_ids: true,
        gaps: true,
        windows: true,
        presence_states: true,
        presence_times: true,
        presence_between: true,
        presence_program: true,
        presence_names: true,
    };
}

/// Which rule a contradiction breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A value was read that nobody wrote to this key.
    Phantom,
    /// A read ended before the write of its value began.
    Future,
    /// Two read-modify-writes saw the same value.
    LostUpdate,
    /// Read-modify-writes follow each other in a circle.
    Circle,
    /// Read-modify-writes follow each other against time.
    Chain,
    /// Two values each had to come before the other.
    Crossing,
    /// A worker's operations took effect against the order of their stamps.
    ProgramOrder,
    /// Two operations of a worker have one stamp.
    SameStamp,
    /// Two operations wrote the same id.
    SameId,
    /// A key was missing after a write, or a DELETE found something after another, and nothing can
    /// have come in between.
    Presence,
    /// A counter shows more than was added, or less.
    Count,
    /// No order explains the operations.
    NoOrder,
}

impl Rule {
    /// What the rule's break means, in a sentence's predicate.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Phantom => "a value was read that no operation wrote to this key",
            Self::Future => "a read ended before the write of its value began",
            Self::LostUpdate => {
                "two read-modify-writes saw the same value: one update is lost, or ran twice"
            }
            Self::Circle => "read-modify-writes follow each other in a circle",
            Self::Chain => "a read-modify-write ended before what it builds on",
            Self::Crossing => "two values each had to come before the other",
            Self::ProgramOrder => "a worker's operations took effect against their order",
            Self::SameStamp => "two operations of one worker have the same stamp",
            Self::SameId => "two operations wrote the same id",
            Self::Presence => {
                "the key was missing, or was not, and nothing can have made it so in between"
            }
            Self::Count => "the counter does not agree with what was added",
            Self::NoOrder => "no order of these operations explains what they saw",
        }
    }
}

/// Operations that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) rule: Rule,
    /// Indices of the events.
    pub(crate) events: Vec<u32>,
}

impl Contradiction {
    pub(crate) fn new(rule: Rule, events: impl IntoIterator<Item = u32>) -> Self {
        let mut events: Vec<u32> = events.into_iter().collect();
        events.sort_unstable();
        events.dedup();
        Self { rule, events }
    }
}

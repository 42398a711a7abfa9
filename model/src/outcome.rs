//! What became of an operation.

use std::ops::Deref;

/// What became of one operation that was executed. `V` is how the value is held: a slice or shared
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<V> {
    /// GET: the key's value.
    Value(V),
    /// GET or DELETE: there was no such key.
    Missing,
    /// PUT, DELETE or CAS took effect.
    Done,
    /// INCR took effect, and this is the new count.
    Counter(i64),
    /// CAS: the current value is another one, or the key is missing.
    Mismatch(Option<V>),
    /// CAS: the current value is another one, which is left out: the reply had no room for it, or
    /// was lost, and records hold no values.
    MismatchUntold,
    /// INCR: the value is not a decimal 64-bit integer. Nothing changed.
    NotAnInteger,
    /// INCR: the sum leaves the 64-bit range. Nothing changed.
    Overflow,
}

impl<V> Outcome<V> {
    /// The same outcome with the value borrowed.
    #[inline]
    pub fn as_deref(&self) -> Outcome<&V::Target>
    where
        V: Deref,
    {
        match self {
            Self::Value(value) => Outcome::Value(value),
            Self::Missing => Outcome::Missing,
            Self::Done => Outcome::Done,
            Self::Counter(count) => Outcome::Counter(*count),
            Self::Mismatch(current) => Outcome::Mismatch(current.as_deref()),
            Self::MismatchUntold => Outcome::MismatchUntold,
            Self::NotAnInteger => Outcome::NotAnInteger,
            Self::Overflow => Outcome::Overflow,
        }
    }

    /// The same outcome with the value held another way.
    pub fn map<W>(self, hold: impl FnOnce(V) -> W) -> Outcome<W> {
        match self {
            Self::Value(value) => Outcome::Value(hold(value)),
            Self::Missing => Outcome::Missing,
            Self::Done => Outcome::Done,
            Self::Counter(count) => Outcome::Counter(count),
            Self::Mismatch(current) => Outcome::Mismatch(current.map(hold)),
            Self::MismatchUntold => Outcome::MismatchUntold,
            Self::NotAnInteger => Outcome::NotAnInteger,
            Self::Overflow => Outcome::Overflow,
        }
    }
}

/// Takes the outcomes of a group, one call an operation, in the group's order.
pub trait OutcomeSink {
    /// Where the sink will look first when the outcome for this hash comes: an address that a
    /// store, which knows what comes next, asks the processor for. Nothing is read through it.
    #[inline]
    fn place(&self, _hash: u64) -> *const u8 {
        std::ptr::null()
    }

    /// Takes the next operation's outcome. `hash` is the one of its key.
    fn push(&mut self, hash: u64, outcome: Outcome<&[u8]>);
}

impl OutcomeSink for Vec<Outcome<Vec<u8>>> {
    fn push(&mut self, _hash: u64, outcome: Outcome<&[u8]>) {
        Vec::push(self, outcome.map(<[u8]>::to_vec));
    }
}

/// What the answer to a batch is about to hold.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of operations.
    pub operations: usize,
    /// Number of groups.
    pub groups: usize,
    /// Whether the store counts apply sequences.
    pub has_sequences: bool,
    /// Whether the outcomes come from a completion record.
    pub is_recorded: bool,
    /// Whether a value that stands in the answer already may be sent as a reference to it.
    pub send_repeats_once: bool,
}

/// Takes the outcomes of a batch. What it does changes nothing in the shard.
pub trait Replies {
    /// A batch is applied: outcomes follow, in the order of the operations.
    fn begin(&mut self, shape: &Shape);

    /// See [`OutcomeSink::place`].
    fn place(&self, hash: u64) -> *const u8;

    /// Takes the next outcome; `false` when its value had no room and a read has to be repeated.
    fn outcome(&mut self, hash: u64, outcome: Outcome<&[u8]>) -> bool;

    /// The next operation is a read that was executed once, and whose result was not kept.
    fn not_kept(&mut self);

    /// The apply sequence of a group.
    fn apply_sequence(&mut self, group: usize, sequence: u64);
}

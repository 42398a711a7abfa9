//! What one batch does, as its worker remembers it until the reply is there.

use std::ops::Range;
use std::time::Instant;

use checker::history::Value;

/// What one operation is, in the generator's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// GET.
    Get,
    /// PUT to a key that may be there.
    Put,
    /// PUT to a new key.
    Insert,
    /// DELETE.
    Delete,
    /// The GET of a read-modify-write.
    Read,
    /// The CAS of a read-modify-write.
    Swap,
    /// INCR of a counter by 1.
    Increment,
    /// PUT of 0 to a counter.
    ResetCounter,
    /// DELETE of a counter.
    DeleteCounter,
}

const KINDS: [Kind; 9] = [
    Kind::Get,
    Kind::Put,
    Kind::Insert,
    Kind::Delete,
    Kind::Read,
    Kind::Swap,
    Kind::Increment,
    Kind::ResetCounter,
    Kind::DeleteCounter,
];

/// One operation: its kind in the upper byte, the number of its key or counter below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned(u64);

const NUMBER_BITS: u32 = 56;

const _: () = assert!(
    super::permutation::LENGTH_MAX < 1 << (NUMBER_BITS - 4),
    "loaded keys leave room for inserted ones"
);

impl Planned {
    /// An operation of this kind on the key or counter with this number.
    #[inline]
    pub(crate) fn new(kind: Kind, number: u64) -> Self {
        debug_assert!(number < 1 << NUMBER_BITS, "key numbers have 56 bits");
        Self(u64::from(kind as u8) << NUMBER_BITS | number)
    }

    /// What it does.
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        KINDS[(self.0 >> NUMBER_BITS) as usize]
    }

    /// The number of its key, or of its counter.
    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }
}

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.kind(), self.number())
    }
}

/// The operations of one batch, in push order. Its memory is used again for a later batch.
#[derive(Debug)]
pub(crate) struct Plan {
    /// When the batch was begun: all its operations are invoked then.
    pub(crate) invocation: Instant,
    /// The same on the clock that all processes share, where a history is written.
    pub(crate) invoked_ns: u64,
    /// When each operation was meant to start, in an open loop; else it is empty.
    pub(crate) due: Vec<Instant>,
    /// Stamp of the first operation.
    pub(crate) first_stamp: u64,
    /// What it does. [`Kind::Swap`]s come first.
    pub(crate) operations: Vec<Planned>,
    /// For each swap, how often it has been sent before.
    pub(crate) attempts: Vec<u8>,
    /// For each swap, what it expects, where a history is written.
    pub(crate) expected: Vec<Value>,
    /// Indices of the inserts.
    pub(crate) inserts: Range<u64>,
}

impl Plan {
    /// A plan without operations.
    pub(crate) fn new() -> Self {
        Self {
            invocation: Instant::now(),
            invoked_ns: 0,
            due: Vec::new(),
            first_stamp: 0,
            operations: Vec::new(),
            attempts: Vec::new(),
            expected: Vec::new(),
            inserts: 0..0,
        }
    }

    /// Begins a new batch in the old one's memory.
    pub(crate) fn begin(&mut self) {
        self.invocation = Instant::now();
        self.due.clear();
        self.operations.clear();
        self.attempts.clear();
        self.expected.clear();
        self.inserts = 0..0;
    }
}

/// Read-modify-writes that have read their key and wait for a place in the next batch.
#[derive(Debug, Default)]
pub(crate) struct PendingSwaps {
    swaps: Vec<PendingSwap>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct PendingSwap {
    key: u64,
    attempts: u8,
    expected: Option<Range<usize>>,
}

impl PendingSwaps {
    /// Adds a swap that expects this value.
    pub(crate) fn push(&mut self, key: u64, attempts: u8, expected: Option<&[u8]>) {
        let expected = expected.map(|value| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(value);
            start..self.bytes.len()
        });
        self.swaps.push(PendingSwap { key, attempts, expected });
    }

    /// Puts up to `operations_max` swaps at the start of a plan.
    pub(crate) fn plan(&self, plan: &mut Plan, operations_max: usize) {
        for swap in self.swaps.iter().take(operations_max) {
            plan.operations.push(Planned::new(Kind::Swap, swap.key));
            plan.attempts.push(swap.attempts);
        }
    }

    /// What the swap at this place of the plan expects.
    pub(crate) fn expected(&self, index: usize) -> Option<&[u8]> {
        self.swaps[index].expected.clone().map(|range| &self.bytes[range])
    }

    /// Forgets the first swaps: they are in a batch.
    pub(crate) fn remove(&mut self, count: usize) {
        self.swaps.drain(..count);
        // A batch takes all swaps but in the last moments of a run: there is nothing to compact.
        if self.swaps.is_empty() {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_number_are_kept_apart() {
        for kind in KINDS {
            for number in [0, 1, (1 << NUMBER_BITS) - 1] {
                let planned = Planned::new(kind, number);
                assert_eq!((planned.kind(), planned.number()), (kind, number));
            }
        }
    }

    #[test]
    fn pending_swaps_keep_their_order_and_values() {
        let mut pending = PendingSwaps::default();
        pending.push(7, 0, Some(b"seven"));
        pending.push(8, 2, None);
        pending.push(9, 1, Some(b""));
        let mut plan = Plan::new();
        pending.plan(&mut plan, 2);
        assert_eq!(plan.operations, [Planned::new(Kind::Swap, 7), Planned::new(Kind::Swap, 8)]);
        assert_eq!(plan.attempts, [0, 2]);
        assert_eq!(pending.expected(0), Some(&b"seven"[..]));
        assert_eq!(pending.expected(1), None);
        pending.remove(2);
        plan.begin();
        pending.plan(&mut plan, 2);
        assert_eq!(plan.operations, [Planned::new(Kind::Swap, 9)]);
        assert_eq!(pending.expected(0), Some(&b""[..]));
        pending.remove(1);
        assert!(pending.bytes.is_empty());
    }
}

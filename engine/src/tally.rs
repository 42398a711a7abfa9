//! What a batch did, counted by operation.

use model::operation::OperationKind;
use model::outcome::Outcome;

/// Operations by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// GETs executed.
    pub gets: u64,
    /// GETs that found their key.
    pub hits: u64,
    /// PUTs executed.
    pub puts: u64,
    /// DELETEs executed.
    pub deletes: u64,
    /// Compare-and-swaps executed, matching or not.
    pub compare_and_swaps: u64,
    /// INCRs executed, the refused non-integers included.
    pub increments: u64,
    /// GETs whose values had no room in the reply.
    pub deferred: u64,
    /// Operations that were answered from a completion record, and not executed again.
    pub replayed: u64,
}

impl Tally {
    /// How many counts there are.
    pub const FIELDS: usize = 8;

    /// All counts, in the order of their declaration.
    pub fn to_array(&self) -> [u64; Self::FIELDS] {
        let Self { gets, hits, puts, deletes, compare_and_swaps, increments, deferred, replayed } =
            *self;
        [gets, hits, puts, deletes, compare_and_swaps, increments, deferred, replayed]
    }

    /// The counts that [`to_array`](Self::to_array) gave.
    pub fn from_array(counts: [u64; Self::FIELDS]) -> Self {
        let [gets, hits, puts, deletes, compare_and_swaps, increments, deferred, replayed] = counts;
        Self { gets, hits, puts, deletes, compare_and_swaps, increments, deferred, replayed }
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let (mut counts, earlier) = (self.to_array(), earlier.to_array());
        counts.iter_mut().zip(earlier).for_each(|(count, before)| *count -= before);
        Self::from_array(counts)
    }

    /// Operations executed, of all kinds.
    pub fn operations(&self) -> u64 {
        self.gets + self.puts + self.deletes + self.compare_and_swaps + self.increments
    }

    /// Counts a GET; `is_told` says whether its outcome had room.
    #[inline]
    pub(crate) fn add_get(&mut self, outcome: &Outcome<&[u8]>, is_told: bool) {
        if !is_told {
            self.deferred += 1;
            return;
        }
        self.gets += 1;
        self.hits += u64::from(matches!(outcome, Outcome::Value(_)));
    }

    /// Counts an executed mutation.
    pub(crate) fn add_mutation(&mut self, kind: OperationKind) {
        *match kind {
            OperationKind::Get => unreachable!("a GET does not mutate"),
            OperationKind::Put => &mut self.puts,
            OperationKind::Delete => &mut self.deletes,
            OperationKind::CompareAndSwap => &mut self.compare_and_swaps,
            OperationKind::Increment => &mut self.increments,
        } += 1;
    }
}

//! Operations by what became of them, as the servers' answers tell.

/// How often a read-modify-write is tried again after a mismatch. Under Zipf's law many workers
/// swap the same few keys, and one of them succeeds per round trip; without a bound their retries
/// would crowd out everything else.
pub(crate) const SWAP_RETRIES_MAX: u8 = 8;

/// Operations by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All that the servers executed.
    pub(crate) operations: u64,
    /// GETs, and how many of them found their key.
    pub(crate) gets: u64,
    /// See `gets`.
    pub(crate) hits: u64,
    /// PUTs.
    pub(crate) puts: u64,
    /// DELETEs.
    pub(crate) deletes: u64,
    /// Compare-and-swaps, and how many of them found another value.
    pub(crate) swaps: u64,
    /// See `swaps`.
    pub(crate) swap_mismatches: u64,
    /// Read-modify-writes that were given up after [`SWAP_RETRIES_MAX`] retries.
    pub(crate) swaps_given_up: u64,
    /// INCRs.
    pub(crate) increments: u64,
    /// Operations that were sent again under another stamp.
    pub(crate) retried: u64,
}

impl Counts {
    fn fields(&mut self) -> [&mut u64; 10] {
        [
            &mut self.operations,
            &mut self.gets,
            &mut self.hits,
            &mut self.puts,
            &mut self.deletes,
            &mut self.swaps,
            &mut self.swap_mismatches,
            &mut self.swaps_given_up,
            &mut self.increments,
            &mut self.retried,
        ]
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for (sum, more) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }
}

//! The trait that every map behind the service keeps, and its contract.

use model::operations::Operations;
use model::outcome::OutcomeSink;

/// How many groups of a batch ahead [`Store::prefetch`] is best called. Measured with batches of
/// 100 operations over 64 partitions; 2 to 8 differ little.
pub const PREFETCH_AHEAD: usize = 4;

/// How many groups of a batch ahead [`Store::prefetch_entries`] is best called.
pub const PREFETCH_ENTRIES_AHEAD: usize = 2;

/// A concurrent map from keys to values that applies operations in runs.
///
/// # Contract
///
/// - Each operation takes effect atomically on its key, at one point between the call of
///   [`apply`](Store::apply) and its return. That point is the operation's linearization point.
/// - Operations of one run take effect in the run's order, as far as they share a key.
/// - A run is not a transaction: others may see some of its effects before the rest.
/// - Values are copied in and out; nothing keeps the frame that an operation came in alive.
/// - `apply` never blocks on anything but other calls on the same keys or lock domain, and never
///   awaits.
/// - A CAS with `expected: None` matches a missing key. INCR reads and writes decimal text.
pub trait Store: Send + Sync + 'static {
    /// How many lock domains there are. Each run that is applied lies in one of them.
    fn partitions(&self) -> u32;

    /// The hash that operations handed to this store carry. Seeded at random per process, so that
    /// neither the keys of one shard nor a peer can choose what collides.
    fn hash(&self, key: &[u8]) -> u64;

    /// Hints that these operations of one partition come soon: the first step, which asks for
    /// where their keys will be looked up. Has no effect but on speed. Runs of a few operations
    /// gain by it, when it is called [`PREFETCH_AHEAD`] groups before their turn; long ones hide
    /// their cache misses themselves, and the call returns at once.
    fn prefetch(&self, _partition: u32, _operations: Operations<'_>) {}

    /// The second step, [`PREFETCH_ENTRIES_AHEAD`] groups before the operations' turn: asks for
    /// the entries themselves. It would wait for memory if the first step did not precede it.
    fn prefetch_entries(&self, _partition: u32, _operations: Operations<'_>) {}

    /// Applies a run of operations, all of whose keys lie in `partition`, and pushes one outcome
    /// an operation in the same order.
    ///
    /// Returns the partition's *apply sequence*: a number counted under the partition's lock, so
    /// that (apply sequence, position in the run) orders all operations on a key as they took
    /// effect. Stores without such a lock return `None`.
    ///
    /// # Panics
    ///
    /// When `partition` is not below [`partitions`](Store::partitions).
    fn apply<S: OutcomeSink>(
        &self,
        partition: u32,
        operations: Operations<'_>,
        outcomes: &mut S,
    ) -> Option<u64>;

    /// How many keys the store holds. Exact when nothing is applied meanwhile.
    fn len(&self) -> usize;

    /// Whether the store holds no key.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

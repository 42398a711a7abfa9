//! Batches as the generator sees them, whatever it drives: operations are pushed in, and outcomes
//! come out in the same order.

use std::fmt::Display;

use kvs_client::{Batch, Failure, FailureClass, OperationError, Outcome, Outcomes};

/// A batch that operations are pushed into.
pub(crate) trait Requests: Send {
    /// The stamp of the batch's first operation.
    fn first_stamp(&self) -> u64;

    /// Pushes a GET.
    fn get(&mut self, key: &[u8]) -> Result<(), OperationError>;

    /// Pushes a PUT.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), OperationError>;

    /// Pushes a DELETE.
    fn delete(&mut self, key: &[u8]) -> Result<(), OperationError>;

    /// Pushes a CAS. `None` expects that the key is missing.
    fn compare_and_swap(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), OperationError>;

    /// Pushes an INCR.
    fn increment(&mut self, key: &[u8], by: i64) -> Result<(), OperationError>;
}

/// The outcomes of a batch, in the order in which its operations were pushed.
pub(crate) trait Replies: Send {
    /// Why an operation has no outcome.
    type Failure: Classified;

    /// How many operations the batch had.
    fn len(&self) -> usize;

    /// The outcome of an operation.
    fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &Self::Failure>;

    /// Index of the server that the operation went to.
    fn server(&self, index: usize) -> usize;

    /// The stamp under which the operation was sent last.
    fn stamp(&self, index: usize) -> u64;

    /// How many places the batch's operations have.
    fn places(&self) -> usize {
        1
    }

    /// The place of an operation, below [`places`](Self::places).
    #[inline]
    fn place_of(&self, _index: usize) -> usize {
        0
    }

    /// The life of the server at a place, and when in it operations there took effect, if the server
    /// counts that.
    fn place(&self, place: usize) -> (u64, Option<u64>);
}

/// What one operation was answered.
#[derive(Debug)]
pub(crate) struct Reply<'a, F> {
    /// The outcome, or why there is none.
    pub(crate) outcome: Result<Outcome<&'a [u8]>, F>,
    /// Index of the server that answered.
    pub(crate) server: usize,
    /// Whether the library had to send it again under another stamp.
    pub(crate) reissued: bool,
}

impl<'a, F> Reply<'a, &'a F> {
    /// What operation `index` was answered, in a batch whose stamps begin at `first_stamp`.
    #[inline(always)]
    pub(crate) fn of(
        outcomes: &'a impl Replies<Failure = F>,
        first_stamp: u64,
        index: usize,
    ) -> Self {
        Self {
            outcome: outcomes.get(index),
            server: outcomes.server(index),
            reissued: outcomes.stamp(index) != first_stamp + index as u64,
        }
    }
}

/// A failure that says whether the operation may have taken effect.
pub(crate) trait Classified: Display {
    /// Whether it may have.
    fn class(&self) -> FailureClass;
}

impl Classified for Failure {
    fn class(&self) -> FailureClass {
        Failure::class(self)
    }
}

impl<F: Classified> Classified for &F {
    fn class(&self) -> FailureClass {
        F::class(self)
    }
}

impl Requests for Batch {
    fn first_stamp(&self) -> u64 {
        Batch::first_stamp(self)
    }

    #[inline]
    fn get(&mut self, key: &[u8]) -> Result<(), OperationError> {
        Batch::get(self, key)
    }

    #[inline]
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), OperationError> {
        Batch::put(self, key, value)
    }

    #[inline]
    fn delete(&mut self, key: &[u8]) -> Result<(), OperationError> {
        Batch::delete(self, key)
    }

    #[inline]
    fn compare_and_swap(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), OperationError> {
        Batch::compare_and_swap(self, key, expected, value)
    }

    #[inline]
    fn increment(&mut self, key: &[u8], by: i64) -> Result<(), OperationError> {
        Batch::increment(self, key, by)
    }
}

impl Replies for Outcomes {
    type Failure = Failure;

    fn len(&self) -> usize {
        Outcomes::len(self)
    }

    #[inline]
    fn get(&self, index: usize) -> Result<Outcome<&[u8]>, &Failure> {
        Outcomes::get(self, index)
    }

    #[inline]
    fn server(&self, index: usize) -> usize {
        Outcomes::server(self, index)
    }

    #[inline]
    fn stamp(&self, index: usize) -> u64 {
        Outcomes::stamp(self, index)
    }

    fn places(&self) -> usize {
        Outcomes::places(self)
    }

    #[inline]
    fn place_of(&self, index: usize) -> usize {
        Outcomes::place_of(self, index)
    }

    fn place(&self, place: usize) -> (u64, Option<u64>) {
        Outcomes::place(self, place)
    }
}

//! What went wrong in a run: it makes the exit status 1, whatever was measured.

use kvs_client::{FailureClass, Outcome};

use super::super::batches::Classified;
use super::super::plan::{Kind, Planned};

/// What went wrong, over all phases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Operations that surely took no effect.
    pub(crate) errors: u64,
    /// Mutations of which nobody knows.
    pub(crate) unknown: u64,
    /// Answers that cannot be right: another key's or run's value, a torn one, the wrong kind.
    pub(crate) value_mismatches: u64,
    /// The first of them in words.
    pub(crate) first: Option<String>,
}

impl Faults {
    /// Whether there were none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.errors + self.unknown + self.value_mismatches
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        self.first.get_or_insert_with(text);
    }

    pub(super) fn failed(&mut self, planned: Planned, failure: &impl Classified) {
        let is_read = matches!(planned.kind(), Kind::Get | Kind::Read);
        if failure.class() == FailureClass::Unknown && !is_read {
            self.unknown += 1;
        } else {
            self.errors += 1;
        }
        self.tell(|| format!("{planned:?}: {failure}"));
    }

    #[cold]
    pub(super) fn mismatched(&mut self, planned: Planned, outcome: Outcome<&[u8]>) {
        self.value_mismatches += 1;
        self.tell(|| match outcome {
            Outcome::Value(value) | Outcome::Mismatch(Some(value)) => format!(
                "{planned:?}: this value of {} bytes was not written for this key by this run: \
                 {:02x?}...",
                value.len(),
                &value[..value.len().min(40)]
            ),
            other => format!("{planned:?}: answered {other:?}"),
        });
    }

    pub(super) fn add(&mut self, other: Self) {
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.value_mismatches += other.value_mismatches;
        self.first = self.first.take().or(other.first);
    }
}

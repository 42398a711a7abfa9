//! A lane: one ordered stream of batches.

use std::collections::VecDeque;

use model::refusal::Refusal;

use crate::command::{Origin, Refused};
use crate::record::Record;

/// What a lane does with a batch.
#[derive(Debug)]
pub enum Turn<'a> {
    /// It is its turn.
    Now,
    /// It was applied before: answer from the record.
    Again(&'a Record),
}

/// One ordered stream of batches.
#[derive(Debug, Default)]
pub struct Lane {
    /// The number of the last batch that was applied; 0 before the first.
    last: u64,
    is_closed: bool,
    /// Of consecutive numbers, `last` being that of the last one.
    records: VecDeque<Record>,
}

impl Lane {
    /// Decides on a batch with mutations.
    ///
    /// # Errors
    ///
    /// [`Refusal::LaneClosed`], [`Refusal::OutOfTurn`], [`Refusal::RecordGone`] or
    /// [`Refusal::DifferentBytes`].
    pub fn turn(&self, origin: &Origin) -> Result<Turn<'_>, Refused> {
        if self.is_closed {
            return Err(Refusal::LaneClosed.into());
        }
        let Some(age) = self.last.checked_sub(origin.number) else {
            return if origin.number == self.last + 1 {
                Ok(Turn::Now)
            } else {
                Err(self.too_early())
            };
        };
        let position =
            usize::try_from(age).ok().and_then(|age| self.records.len().checked_sub(age + 1));
        match position.map(|position| &self.records[position]) {
            None => Err(Refusal::RecordGone.into()),
            Some(record) if record.digest() != origin.digest => Err(Refusal::DifferentBytes.into()),
            Some(record) => Ok(Turn::Again(record)),
        }
    }

    /// Decides on reads that are to run after number `after`.
    ///
    /// # Errors
    ///
    /// [`Refusal::LaneClosed`], [`Refusal::OutOfTurn`], or [`Refusal::Passed`].
    pub fn turn_of_reads(&self, after: u64) -> Result<(), Refused> {
        match after.cmp(&self.last) {
            _ if self.is_closed => Err(Refusal::LaneClosed.into()),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(self.too_early()),
            std::cmp::Ordering::Less => Err(Refusal::Passed.into()),
        }
    }

    fn too_early(&self) -> Refused {
        Refused { next: Some(self.last + 1), ..Refusal::OutOfTurn.into() }
    }

    /// Notes that the next batch was applied.
    pub fn complete(&mut self, record: Record) {
        self.records.push_back(record);
        self.last += 1;
    }

    /// The bytes that [`forget`](Self::forget) would free.
    pub fn forgettable_bytes(&self, lowest_open: u64) -> usize {
        self.records.range(..self.forgettable(lowest_open)).map(Record::bytes).sum()
    }

    /// Drops the records below `lowest_open`, whose replies the client holds, and returns the bytes
    /// that they took.
    pub fn forget(&mut self, lowest_open: u64) -> usize {
        self.records.drain(..self.forgettable(lowest_open)).map(|record| record.bytes()).sum()
    }

    fn forgettable(&self, lowest_open: u64) -> usize {
        let oldest = self.last + 1 - self.records.len() as u64;
        let held = usize::try_from(lowest_open.saturating_sub(oldest)).unwrap_or(usize::MAX);
        held.min(self.records.len())
    }

    /// Takes nothing more, drops all records, and returns the bytes that they took.
    pub fn close(&mut self) -> usize {
        self.is_closed = true;
        self.records.drain(..).map(|record| record.bytes()).sum()
    }
}

#[cfg(test)]
mod tests;

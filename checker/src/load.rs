//! Reads histories into parts, and counts on the way.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::history::json::{Ids, JsonHistory};
use crate::history::{
    Batch, Clock, HistoryFile, Kind, Operation, Outcome, Record, Unreadable, Value, Written,
};
use crate::split::Parts;

/// Who an operation's worker is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worker {
    pub(crate) client: u32,
    /// Its number in its client, if it has one.
    pub(crate) number: Option<u32>,
    /// Whether its operations have an order.
    pub(crate) is_ordered: bool,
    pub(crate) clock: Clock,
}

/// What the operations refer to.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) workers: Vec<Worker>,
    worker_of: HashMap<(u32, Option<u32>, bool), u32>,
    pub(crate) boots: Vec<u64>,
    /// The operations that do not name their boot.
    unnamed: Option<Unnamed>,
    /// Clients whose files are cut off.
    pub(crate) lost_clients: Vec<u32>,
    /// Text of the ids, of a history in JSON lines.
    pub(crate) ids: Ids,
}

/// Operations without a boot id.
#[derive(Debug)]
struct Unnamed {
    /// The index that they have instead of one.
    index: u32,
    /// Where the first of them stands that may have been executed.
    first: Option<Unreadable>,
}

impl Tables {
    /// The boot that an index stands for: operations without one belong to the only one, if there
    /// is one only.
    #[inline]
    pub(crate) fn life(&self, boot: u32) -> u32 {
        match &self.unnamed {
            Some(unnamed) if unnamed.index == boot && self.boots.len() == 2 => 1 - boot,
            _ => boot,
        }
    }

    /// Lives that the history names.
    pub(crate) fn lives(&self) -> usize {
        let boots = self.boots.len();
        if self.unnamed.is_some() && boots > 1 { boots - 1 } else { boots }
    }

    /// Notes an operation without a boot id.
    fn unnamed(&mut self, index: u32, may_have_run: bool, place: impl FnOnce() -> Unreadable) {
        let unnamed = self.unnamed.get_or_insert(Unnamed { index, first: None });
        if may_have_run && unnamed.first.is_none() {
            unnamed.first = Some(place());
        }
    }
    /// Index of a worker.
    pub(crate) fn worker(&mut self, worker: Worker) -> u32 {
        let next = self.workers.len() as u32;
        let key = (worker.client, worker.number, worker.is_ordered);
        *self.worker_of.entry(key).or_insert_with(|| {
            self.workers.push(worker);
            next
        })
    }

    /// Index of a boot id.
    #[inline]
    fn boot(&mut self, boot: u64) -> u64 {
        let known = self.boots.iter().position(|known| *known == boot);
        known.unwrap_or_else(|| {
            self.boots.push(boot);
            self.boots.len() - 1
        }) as u64
    }
}

/// What was counted on the way.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) recorded: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) inv_least: u64,
    pub(crate) res_greatest: u64,
    /// Sum of all intervals, in nanoseconds.
    intervals_ns: u128,
    intervals: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            recorded: 0,
            failed: 0,
            unknown: 0,
            inv_least: u64::MAX,
            res_greatest: 0,
            intervals_ns: 0,
            intervals: Histogram::default(),
        }
    }
}

impl Counts {
    #[inline]
    fn add(&mut self, batch: &Batch, outcome: Outcome) {
        self.recorded += 1;
        match outcome {
            Outcome::Ok => {
                let interval = batch.res_ns - batch.inv_ns;
                self.intervals_ns += u128::from(interval);
                self.intervals.add(interval);
                self.res_greatest = self.res_greatest.max(batch.res_ns);
            }
            Outcome::Fail => self.failed += 1,
            Outcome::Unknown => self.unknown += 1,
        }
        self.inv_least = self.inv_least.min(batch.inv_ns);
    }

    /// Median and greatest interval of the completed operations, in nanoseconds; the median to 3%.
    pub(crate) fn intervals_ns(&self) -> (u64, u64) {
        (self.intervals.median(), self.intervals.greatest)
    }

    /// How many operations were open at a time, on average.
    pub(crate) fn concurrency(&self) -> f64 {
        let span = self.res_greatest.saturating_sub(self.inv_least);
        if span == 0 { 0.0 } else { self.intervals_ns as f64 / span as f64 }
    }
}

/// Counts of numbers to a relative precision of 1/32.
#[derive(Clone, Debug)]
struct Histogram {
    counts: Vec<u64>,
    total: u64,
    greatest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 * 32], total: 0, greatest: 0 }
    }
}

impl Histogram {
    #[inline]
    fn add(&mut self, number: u64) {
        let shift = (64 - number.leading_zeros()).saturating_sub(6);
        self.counts[(shift * 32) as usize + (number >> shift) as usize] += 1;
        self.total += 1;
        self.greatest = self.greatest.max(number);
    }

    fn median(&self) -> u64 {
        let mut left = self.total.div_ceil(2);
        for (index, count) in self.counts.iter().enumerate() {
            if left <= *count && left > 0 {
                // From 64 on, a bucket's number has its top bit at 32.
                let shift = (index as u64 / 32).saturating_sub(1);
                let lowest = (index as u64 - shift * 32) << shift;
                return (lowest + ((1 << shift) - 1) / 2).min(self.greatest);
            }
            left = left.saturating_sub(*count);
        }
        0
    }
}

/// Where a history goes.
pub(crate) struct Load<'a> {
    pub(crate) parts: &'a mut Parts,
    pub(crate) tables: Tables,
    pub(crate) counts: Counts,
    pub(crate) scratch: &'a Path,
    pub(crate) allow_truncated: bool,
    /// Instead of those that the files name.
    pub(crate) clocks: &'a HashMap<u32, Clock>,
}

/// Why loading stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("can't write to the scratch folder {folder}: {source}; name another with -scratch")]
    Scratch { folder: PathBuf, source: io::Error },
}

impl Load<'_> {
    /// Reads all files; `advance` is told the bytes read.
    pub(crate) fn files(
        &mut self,
        paths: &[PathBuf],
        advance: &dyn Fn(u64),
    ) -> Result<(), LoadError> {
        let mut seen: Vec<(u64, u32)> = Vec::new();
        let mut forms = None;
        for path in paths {
            let lines = JsonHistory::open(path)?;
            let is_json = lines.is_some();
            let unreadable = |reason: &str| {
                let (path, reason) = (path.clone(), reason.to_owned());
                LoadError::Unreadable(Unreadable { path, offset: 0, reason })
            };
            if *forms.get_or_insert(is_json) != is_json {
                return Err(unreadable("binary histories and JSON lines can't be mixed"));
            }
            if let Some(lines) = lines {
                self.json(lines, advance)?;
                continue;
            }
            let file = HistoryFile::open(path, self.allow_truncated)?;
            let (run, client) = (file.header.run, file.header.client);
            if seen.iter().any(|(other, _)| *other != run) {
                return Err(unreadable("it is of another run than the files before"));
            }
            if seen.contains(&(run, client)) {
                return Err(unreadable("it is of the same client as a file before"));
            }
            seen.push((run, client));
            self.binary(file, advance)?;
        }
        let first = self.tables.unnamed.as_mut().and_then(|unnamed| unnamed.first.take());
        if let Some(first) = first.filter(|_| self.tables.lives() > 1) {
            return Err(first.into());
        }
        let mut measured = self.clocks.keys();
        match measured.find(|client| !seen.iter().any(|(_, other)| other == *client)) {
            None => Ok(()),
            Some(client) => Err(LoadError::Unreadable(Unreadable {
                path: paths[0].clone(),
                offset: 0,
                reason: format!(
                    "-clock is given for client {}, whose history is not among these",
                    client + 1
                ),
            })),
        }
    }

    fn binary(&mut self, mut file: HistoryFile, advance: &dyn Fn(u64)) -> Result<(), LoadError> {
        let client = file.header.client;
        let clock = self.clocks.get(&client).copied().unwrap_or(file.header.clock);
        if file.is_truncated {
            self.tables.lost_clients.push(client);
        }
        let mut batch = None;
        loop {
            let before = file.offset();
            let (parts, tables, counts) = (&mut *self.parts, &mut self.tables, &mut self.counts);
            let more = file.next_block(|record| {
                match record {
                    Record::Batch(next) => {
                        let worker =
                            Worker { client, number: Some(next.worker), is_ordered: true, clock };
                        parts.begin();
                        batch = Some(Batch { worker: tables.worker(worker), ..*next });
                    }
                    Record::Operation(operation) => {
                        let batch = batch.as_ref().expect("a batch stands before its operations");
                        let boot = tables.boot(operation.boot);
                        let operation = tidy(Operation { boot, ..*operation })?;
                        counts.add(batch, operation.outcome);
                        parts.push(batch, &operation);
                    }
                }
                Ok(())
            })?;
            self.make_room()?;
            if !more {
                return Ok(());
            }
            advance(file.offset() - before);
        }
    }

    fn json(&mut self, mut history: JsonHistory, advance: &dyn Fn(u64)) -> Result<(), LoadError> {
        let mut lines = 0u32;
        loop {
            let before = history.offset();
            let Some(line) = history.next(&mut self.tables.ids)? else { return Ok(()) };
            let worker = Worker {
                client: line.client,
                number: line.worker,
                is_ordered: line.worker.is_some() && line.stamp.is_some(),
                clock: Clock::default(),
            };
            let batch = Batch {
                worker: self.tables.worker(worker),
                inv_ns: line.inv_ns,
                res_ns: line.res_ns,
                first_stamp: line.stamp.unwrap_or(0),
            };
            let boot = self.tables.boot(line.boot.unwrap_or(0));
            if line.boot.is_none() {
                self.tables.unnamed(boot as u32, line.may_have_run(), || {
                    let reason = "the history names several boots, and this operation none";
                    history.failure(before, reason.into())
                });
            }
            let operation = tidy(Operation { boot, ..line.operation() })
                .map_err(|reason| history.failure(before, reason))?;
            self.counts.add(&batch, operation.outcome);
            self.parts.begin();
            self.parts.push(&batch, &operation);
            advance(history.offset() - before);
            lines += 1;
            if lines.is_multiple_of(4096) {
                self.make_room()?;
            }
        }
    }

    fn make_room(&mut self) -> Result<(), LoadError> {
        let folder = self.scratch;
        let failure = |source| LoadError::Scratch { folder: folder.to_owned(), source };
        self.parts.make_room(folder).map_err(failure)
    }
}

/// Refuses what has no meaning, and gives what means the same one form.
fn tidy(mut operation: Operation<'_>) -> Result<Operation<'_>, String> {
    let may_have_run = operation.outcome != Outcome::Fail;
    if operation.kind == Kind::Put && operation.written == Written::Nothing && may_have_run {
        return Err("a PUT does not say which id it wrote".into());
    }
    if operation.kind == Kind::Get && operation.written != Written::Nothing {
        return Err("a GET says that it wrote something".into());
    }
    let blind = matches!(operation.kind, Kind::Put | Kind::Increment);
    if blind && operation.read != Value::NotKnown {
        return Err("a PUT or an INCR says that it read something".into());
    }
    if operation.kind == Kind::Delete
        && operation.read == Value::Missing
        && operation.written == Written::Own
    {
        // One of this project's that found nothing left no tombstone.
        operation.written = Written::Nothing;
    }
    if operation.outcome == Outcome::Unknown {
        match operation.kind {
            Kind::Get | Kind::Delete => operation.read = Value::NotKnown,
            Kind::Increment => operation.written = Written::Nothing,
            _ => {}
        }
    }
    Ok(operation)
}

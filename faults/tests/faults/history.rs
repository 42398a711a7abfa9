//! What clients saw, and whether it is right.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use checker::history::{
    Batch, Clock, Header, HistoryWriter, Key, Kind, Operation, Outcome, Value, Written,
};
use checker::{Options, Report, Verdict};

/// A batch that ended, with what its operations saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The client.
    pub(crate) client: u32,
    /// What the operations share.
    pub(crate) batch: Batch,
    /// The operations.
    pub(crate) operations: Vec<Operation<'static>>,
}

/// Everything that was seen in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// All batches; those of one worker in their order.
    pub(crate) batches: Vec<Seen>,
    /// Answers that no operation of that kind can have.
    pub(crate) oddities: Vec<String>,
}

/// INCRs of one counter in one life of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Added by INCRs with an answer.
    pub(crate) acknowledged: i64,
    /// Added, perhaps, by INCRs without one.
    pub(crate) unknown: i64,
    /// The last number that anyone saw.
    pub(crate) greatest: i64,
}

impl History {
    /// Adds what another saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.batches.extend(other.batches);
        self.oddities.extend(other.oddities);
    }

    fn operations(&self) -> impl Iterator<Item = (&Seen, &Operation<'static>)> {
        self.batches.iter().flat_map(|seen| seen.operations.iter().map(move |op| (seen, op)))
    }

    /// The counters, by server life and key.
    pub(crate) fn sums(&self) -> BTreeMap<(u64, Key<'static>), Sum> {
        let mut sums: BTreeMap<(u64, Key<'static>), Sum> = BTreeMap::new();
        for (_, operation) in self.operations() {
            let number = match (operation.kind, operation.read, operation.written) {
                (Kind::Get, Value::Number(number), _) => number,
                (Kind::Increment, _, Written::Number(number)) => number,
                (Kind::Increment, ..) => 0,
                _ => continue,
            };
            let sum = sums.entry((operation.boot, operation.key)).or_default();
            sum.greatest = sum.greatest.max(number);
            match operation.outcome {
                Outcome::Ok => sum.acknowledged += operation.by,
                Outcome::Unknown => sum.unknown += operation.by,
                Outcome::Fail => {}
            }
        }
        sums
    }

    /// The counters of which more was seen than was added, or less than was acknowledged.
    pub(crate) fn wrong_sums(&self) -> Vec<String> {
        let add_up =
            |sum: &Sum| (sum.acknowledged..=sum.acknowledged + sum.unknown).contains(&sum.greatest);
        let sums = self.sums().into_iter().filter(|(_, sum)| !add_up(sum));
        sums.map(|((boot, key), sum)| format!("{key:?} in life {boot:x} does not add up: {sum:?}"))
            .collect()
    }

    /// Checks all of it.
    ///
    /// # Panics
    ///
    /// When the history can't be written to the system's folder for temporary files.
    pub(crate) fn judge(&self, allow_restarts: bool) -> Judgement {
        let mut faults = self.oddities.clone();
        faults.extend(self.wrong_sums());
        let folder = Folder::new();
        let files = self.write(&folder);
        let options =
            Options { threads: 2, scratch: folder.0.clone(), allow_restarts, ..Options::default() };
        let report = checker::check(&files, &options, &|_| ()).expect("the history was written");
        Judgement { report, faults }
    }

    /// Writes a file for each client.
    fn write(&self, folder: &Folder) -> Vec<PathBuf> {
        let mut clients: Vec<u32> = self.batches.iter().map(|seen| seen.client).collect();
        clients.sort_unstable();
        clients.dedup();
        let write = |client: &u32| {
            let path = folder.0.join(format!("{client}.history"));
            let header = Header {
                run: 1,
                client: *client,
                clock: Clock::default(),
                configuration: String::new(),
            };
            let writer = HistoryWriter::create(&path, &header).expect("a folder of our own");
            let mut recorder = writer.recorder();
            for seen in self.batches.iter().filter(|seen| seen.client == *client) {
                recorder.begin(seen.batch);
                for operation in &seen.operations {
                    recorder.record(operation);
                }
            }
            drop(recorder);
            writer.finish(Clock::default()).expect("a folder of our own");
            path
        };
        clients.iter().map(write).collect()
    }
}

/// What a check of a history says.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// The checker's report.
    pub(crate) report: Report,
    /// What is wrong beside it: odd answers, counters that do not add up.
    pub(crate) faults: Vec<String>,
}

impl Judgement {
    /// Whether all is right.
    pub(crate) fn is_right(&self) -> bool {
        self.report.verdict == Verdict::Linearizable && self.faults.is_empty()
    }

    /// Whether something is provably wrong; an undecided check is neither.
    pub(crate) fn is_wrong(&self) -> bool {
        self.report.verdict == Verdict::Violation || !self.faults.is_empty()
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        writeln!(
            f,
            "{:?} ({}): {} operations, {} unknown, {} failed, {} restarts, intervals of {} us in \
             the median and {} us at most",
            report.verdict,
            report.conclusion,
            report.recorded,
            report.unknown,
            report.failed,
            report.restarts,
            report.interval_us_median,
            report.interval_us_max
        )?;
        for violation in &report.violations {
            writeln!(f, "key {}: {}", violation.key, violation.meaning)?;
            for shown in &violation.operations {
                writeln!(
                    f,
                    "    {}/{:?} stamp {:?} {} [{}, {:?}] {}",
                    shown.client,
                    shown.worker,
                    shown.stamp,
                    shown.operation,
                    shown.inv_us,
                    shown.res_us,
                    shown.outcome
                )?;
            }
        }
        for fault in self.faults.iter().take(10) {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvs-faults-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the system's folder for temporary files works");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increment(worker: u32, at: u64, stamp: u64, outcome: Outcome, written: Written) -> Seen {
        let operation = Operation {
            key: Key::Counter(0),
            stamp,
            kind: Kind::Increment,
            outcome,
            read: Value::NotKnown,
            written,
            by: 1,
            sequence: None,
            boot: 9,
        };
        let batch = Batch { worker, inv_ns: at, res_ns: at + 5, first_stamp: stamp };
        Seen { client: 0, batch, operations: vec![operation] }
    }

    fn get(at: u64, stamp: u64, number: i64) -> Seen {
        let mut seen = increment(7, at, stamp, Outcome::Ok, Written::Nothing);
        let operation = &mut seen.operations[0];
        (operation.kind, operation.read, operation.by) = (Kind::Get, Value::Number(number), 0);
        seen
    }

    #[test]
    fn counters_must_add_up() {
        let one = increment(0, 0, 1, Outcome::Ok, Written::Number(1));
        let lost = increment(1, 0, 2, Outcome::Unknown, Written::Nothing);
        for (last, right) in [(1, true), (2, true), (3, false)] {
            let history = History {
                batches: vec![one.clone(), lost.clone(), get(100, 3, last)],
                oddities: Vec::new(),
            };
            let judgement = history.judge(false);
            assert_eq!(judgement.is_right(), right, "{judgement}");
            assert_eq!(judgement.is_wrong(), !right, "{judgement}");
        }
    }

    #[test]
    fn an_odd_answer_is_a_fault() {
        let history = History { batches: Vec::new(), oddities: vec!["odd".to_owned()] };
        assert!(history.judge(false).is_wrong());
    }
}

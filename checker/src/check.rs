//! The whole check: read, split, decide each part, conclude.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::event::Rules;
use crate::history::{Clock, Unreadable};
use crate::load::{Counts, Load, LoadError, Tables};
use crate::object::{Bound, How};
use crate::part::{Buffers, Common, PartResult, check_part};
use crate::search::Limit;
use crate::split::{Parts, ReadyPart};
use crate::verdict::{Report, Verdict, Violation};

/// A part is made for this many bytes of history: some 70,000 operations, which stay in the
/// processor's cache while they are sorted.
const PART_BYTES: u64 = 1 << 20;
/// Most parts, unless memory is short: more would leave so few operations of a batch together that
/// its header weighs.
const PARTS_MAX: u64 = 1024;
/// Most parts when memory is short.
const PARTS_MAX_SHORT: u64 = 8192;
/// An operation takes at least so many bytes of a history.
const RECORD_BYTES_LEAST: u64 = 8;
/// What the check of one operation takes at most, beside its record: the event, and what the sweep
/// makes of it.
const OPERATION_BYTES: u64 = 256;

/// How to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that check parts; at least one.
    pub threads: usize,
    /// Memory that the check may take, in bytes. Half is for histories, which then go to disk;
    /// half for the parts that are being checked.
    pub memory_bytes_max: u64,
    /// Folder for what does not fit into memory.
    pub scratch: PathBuf,
    /// Try the order that the servers report before the sweep.
    pub use_witness: bool,
    /// Check each server life by itself instead of calling a restart a violation.
    pub allow_restarts: bool,
    /// Check files whose writer did not finish.
    pub allow_truncated: bool,
    /// Clocks that were measured from outside, by the client's number from 0, in place of what the
    /// files say.
    pub clocks: HashMap<u32, Clock>,
    /// How wrong the clocks may be beyond that, in nanoseconds.
    pub clock_error_ns: u64,
    /// Time for the search of one key; it halves with each key that used it up.
    pub search_limit: Duration,
    /// States that the search of one key may remember, some 64 bytes each.
    pub search_states_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes_max: 4 << 30,
            scratch: std::env::temp_dir(),
            use_witness: true,
            allow_restarts: false,
            allow_truncated: false,
            clocks: HashMap::new(),
            clock_error_ns: 0,
            search_limit: Duration::from_secs(10),
            search_states_max: 4 << 20,
        }
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// So many bytes of the files were read.
    Read {
        /// Since the last call.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// So many operations were checked.
    Checked {
        /// Since the last call.
        operations: u64,
        /// In all.
        total: u64,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The scratch folder fails.
    #[error("can't use the scratch folder {}: {source}; name another with -scratch", folder.display())]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// Checks the histories of one run together.
///
/// # Errors
///
/// When a file can't be read, or the scratch folder can't be written.
pub fn check(
    paths: &[PathBuf],
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, CheckError> {
    let start = Instant::now();
    let scratch = |source| CheckError::Scratch { folder: options.scratch.clone(), source };
    let total: u64 =
        paths.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    let count = part_count(total, options);
    let mut parts = Parts::new(count, options.memory_bytes_max / 2);
    let mut load = Load {
        parts: &mut parts,
        tables: Tables::default(),
        counts: Counts::default(),
        scratch: &options.scratch,
        allow_truncated: options.allow_truncated,
        clocks: &options.clocks,
    };
    load.files(paths, &|bytes| progress(Progress::Read { bytes, total })).map_err(|error| {
        match error {
            LoadError::Unreadable(error) => CheckError::Unreadable(error),
            LoadError::Scratch { source, .. } => scratch(source),
        }
    })?;
    let (tables, counts) = (load.tables, load.counts);
    let spilled_bytes = parts.spilled_bytes();
    let (parts, file) = parts.finish();
    let common = Common {
        tables: &tables,
        how: How {
            use_witness: options.use_witness,
            limit: Limit { time: options.search_limit, states: options.search_states_max },
            rules: Rules::ALL,
        },
        clock_error_ns: options.clock_error_ns,
        shown: AtomicU32::new(0),
        exhausted: AtomicU32::new(0),
    };
    let report_progress =
        |operations| progress(Progress::Checked { operations, total: counts.recorded });
    let work = Work { parts, file, options, common: &common, progress: &report_progress };
    let (result, too_large) = work.run().map_err(scratch)?;
    let mut report = conclude(&result, &tables, &counts, options, too_large);
    report.spilled_bytes = spilled_bytes;
    report.memory_bytes_peak = memory_bytes_peak();
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// The most memory that this process had, where the system tells.
fn memory_bytes_peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    peak.map_or(0, |kilobytes| kilobytes * 1024)
}

/// How many parts a history of so many bytes is split into: as suits the processor's cache, or so
/// many more that two parts for each thread fit into the memory.
fn part_count(history_bytes: u64, options: &Options) -> usize {
    let threads = options.threads.max(1) as u64;
    let operations_max = options.memory_bytes_max / 2 / (2 * threads * OPERATION_BYTES);
    let part_bytes_max = (operations_max * RECORD_BYTES_LEAST).max(1);
    let count = (history_bytes / PART_BYTES).min(PARTS_MAX).max(history_bytes / part_bytes_max);
    count.clamp(1, PARTS_MAX_SHORT).next_power_of_two() as usize
}

/// The parts that are to be checked.
struct Work<'a> {
    parts: Vec<ReadyPart>,
    file: Option<File>,
    options: &'a Options,
    common: &'a Common<'a>,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Work<'_> {
    /// Checks all parts; returns what they showed, and the memory that the largest part that did
    /// not fit would have needed, 0 if all fit.
    fn run(self) -> io::Result<(PartResult, u64)> {
        let memory = Memory::new(self.options.memory_bytes_max / 2);
        let mut parts: Vec<Mutex<Option<ReadyPart>>> = Vec::with_capacity(self.parts.len());
        let mut ready = self.parts;
        // The largest first, so that no thread is left alone with one at the end.
        ready.sort_unstable_by_key(|part| std::cmp::Reverse(part.operations));
        parts.extend(ready.into_iter().map(|part| Mutex::new(Some(part))));
        let (next, too_large) = (AtomicUsize::new(0), AtomicU64::new(0));
        let results = Mutex::new(PartResult::default());
        let (file, common, progress) = (self.file.as_ref(), self.common, self.progress);
        let work = || -> io::Result<()> {
            let mut buffers = Buffers::default();
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let part = part.lock().expect("no thread panics").take();
                let part = part.expect("each part is taken once");
                let operations = part.operations;
                let needed = operations * OPERATION_BYTES;
                let Some(_room) = memory.take(needed) else {
                    too_large.fetch_max(2 * needed, Ordering::Relaxed);
                    results.lock().expect("no thread panics").undecided += operations;
                    continue;
                };
                let bytes = part.read(file)?;
                let result = check_part(common, &bytes, operations, &mut buffers);
                progress(operations);
                results.lock().expect("no thread panics").add(result);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.options.threads.max(1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
        })?;
        let result = results.into_inner().expect("no thread panics");
        Ok((result, too_large.into_inner()))
    }
}

/// Memory that threads take for their parts and give back.
struct Memory {
    all: u64,
    free: Mutex<u64>,
    changed: Condvar,
}

/// Memory that is given back when dropped.
struct Room<'a>(&'a Memory, u64);

impl Memory {
    fn new(all: u64) -> Self {
        Self { all, free: Mutex::new(all), changed: Condvar::new() }
    }

    /// Waits for so many bytes; `None` when there will never be as many.
    fn take(&self, bytes: u64) -> Option<Room<'_>> {
        if bytes > self.all {
            return None;
        }
        let free = self.free.lock().expect("no thread panics");
        let mut free =
            self.changed.wait_while(free, |free| *free < bytes).expect("no thread panics");
        *free -= bytes;
        Some(Room(self, bytes))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().expect("no thread panics") += self.1;
        self.0.changed.notify_all();
    }
}

fn conclude(
    result: &PartResult,
    tables: &Tables,
    counts: &Counts,
    options: &Options,
    too_large: u64,
) -> Report {
    let restarts = restarts(tables.boots.len(), &result.boot_pairs);
    let lives = match restarts {
        0 => String::new(),
        1 => " per server life, 1 restart".to_owned(),
        count => format!(" per server life, {count} restarts"),
    };
    let (verdict, conclusion) = if result.keys_violating > 0 {
        (Verdict::Violation, format!("not linearizable: {} keys", result.keys_violating))
    } else if restarts > 0 && !options.allow_restarts {
        let text = "servers restarted and lost their data; -allow_restarts checks each life alone";
        (Verdict::Violation, format!("violation: {text}"))
    } else if counts.recorded == 0 {
        (Verdict::Undecided, "undecided: there are no operations".to_owned())
    } else if too_large > 0 {
        let text = format!("a key needs memory: -memory_bytes_max {too_large} or more");
        (Verdict::Undecided, format!("undecided: {text}"))
    } else if result.keys_undecided > 0 {
        (Verdict::Undecided, undecided(result, options))
    } else {
        (Verdict::Linearizable, format!("linearizable{lives}"))
    };
    let (median, greatest) = counts.intervals_ns();
    let mut violations: Vec<Violation> =
        result.found.iter().map(|found| Violation::new(found, tables)).collect();
    violations.sort_by_key(|violation| violation.operations.len());
    Report {
        verdict,
        conclusion,
        recorded: counts.recorded,
        checked: counts.recorded - result.undecided,
        keys: result.keys,
        by_witness: result.by_witness,
        by_sweep: result.by_sweep,
        by_search: result.by_search,
        failed: counts.failed,
        unknown: counts.unknown,
        keys_by_search: result.keys_by_search,
        keys_undecided: result.keys_undecided,
        keys_violating: result.keys_violating,
        keys_mismatched: result.keys_mismatched,
        interval_us_median: median as f64 / 1000.0,
        interval_us_max: greatest as f64 / 1000.0,
        concurrency: counts.concurrency(),
        restarts,
        truncated_files: tables.lost_clients.len() as u64,
        spilled_bytes: 0,
        memory_bytes_peak: 0,
        seconds: 0.0,
        violations,
    }
}

/// Which keys are undecided, what kept them so, and what to raise.
fn undecided(result: &PartResult, options: &Options) -> String {
    let mut text = format!("undecided: {} keys", result.keys_undecided);
    for bound in [Bound::Time, Bound::States, Bound::Losses] {
        let keys = result.undecided_keys.iter().filter(|(_, by)| *by == bound);
        let keys: Vec<_> = keys.map(|(key, _)| String::from_utf8_lossy(key)).collect();
        if keys.is_empty() {
            continue;
        }
        let (secs, states) = (options.search_limit.as_secs_f64(), options.search_states_max);
        let why = match bound {
            Bound::Time => format!(
                "took all their time: raise -search_secs, now {secs}, which halves with each such key"
            ),
            Bound::States => {
                format!("took all their states: raise -search_states_max, now {states}")
            }
            Bound::Losses => "can't be told without what the files that are cut off have lost: \
                 check whole files"
                .to_owned(),
        };
        text += &format!("; such as {} {why}", keys.join(", "));
    }
    text
}

/// How many lives follow another one on the same server: servers are what boots that share a key
/// are on, so it is the number of boots less the number of groups that the pairs make.
fn restarts(boots: usize, pairs: &[(u32, u32)]) -> u64 {
    let mut group: Vec<usize> = (0..boots).collect();
    let mut joined = 0;
    for (a, b) in pairs {
        let (a, b) = (group[*a as usize], group[*b as usize]);
        if a != b {
            group.iter_mut().filter(|group| **group == a).for_each(|group| *group = b);
            joined += 1;
        }
    }
    joined
}

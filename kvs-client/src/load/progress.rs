//! What the run shows while it lasts: once per second a line, from a thread of its own, so that
//! busy workers do not hold it up.
//!
//! On a terminal the line stays in place. Otherwise each second gets a line for people, such as
//!
//! ```text
//! measure 12 s  9.81 Mop/s  hit 100.00%  errors 0  18 s left
//! ```
//!
//! and a line `stats {json}` for programs.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use resources::{Sampler, Usage};
use serde::Serialize;

use super::recent::{RecentLatencies, Snapshot};
use super::recorder::counts::Counts;
use super::text;

const TICK: Duration = Duration::from_secs(1);

/// One worker's running totals, on cache lines that no other worker writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerTotals {
    operations: AtomicU64,
    gets: AtomicU64,
    hits: AtomicU64,
    faults: AtomicU64,
    batches_in_flight: AtomicU64,
    latencies: RecentLatencies,
}

impl WorkerTotals {
    /// Adds a completed batch that took so long, and sets how many faults the worker has seen so far.
    pub(crate) fn add(&self, counts: &Counts, latency: Duration, faults: u64) {
        // Only the worker writes, so that no read-modify-write is needed.
        let add = |total: &AtomicU64, more| {
            total.store(total.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&self.operations, counts.operations);
        add(&self.gets, counts.gets);
        add(&self.hits, counts.hits);
        self.latencies.add(latency, counts.operations);
        self.faults.store(faults, Ordering::Relaxed);
    }

    /// Sets how many batches are in flight.
    pub(crate) fn set_in_flight(&self, batches: usize) {
        self.batches_in_flight.store(batches as u64, Ordering::Relaxed);
    }
}

/// What the run does at present.
#[derive(Clone, Debug)]
struct Phase {
    name: &'static str,
    began: Instant,
    end: Option<Instant>,
    /// How many operations it has; `None` when time ends it.
    goal: Option<u64>,
    operations_before: u64,
}

/// Where workers and phases write, and the progress thread reads.
#[derive(Debug)]
pub(crate) struct Board {
    workers: Vec<WorkerTotals>,
    phase: Mutex<Phase>,
    connections: u64,
}

/// Sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    operations: u64,
    gets: u64,
    hits: u64,
    faults: u64,
    batches_in_flight: u64,
}

impl Board {
    /// A board of so many workers, which share so many connections.
    pub(crate) fn new(workers: usize, connections: u64) -> Self {
        let phase = Phase {
            name: "start",
            began: Instant::now(),
            end: None,
            goal: None,
            operations_before: 0,
        };
        Self {
            workers: (0..workers).map(|_| WorkerTotals::default()).collect(),
            phase: Mutex::new(phase),
            connections,
        }
    }

    /// Where this worker writes.
    pub(crate) fn worker(&self, index: usize) -> &WorkerTotals {
        &self.workers[index]
    }

    /// Begins a phase that ends at a time, after some operations, or neither.
    pub(crate) fn begin(&self, name: &'static str, end: Option<Instant>, goal: Option<u64>) {
        let operations_before = self.totals().operations;
        *self.phase.lock().expect("no holder of this lock panics") =
            Phase { name, began: Instant::now(), end, goal, operations_before };
    }

    fn phase(&self) -> Phase {
        self.phase.lock().expect("no holder of this lock panics").clone()
    }

    fn latencies(&self) -> Snapshot {
        Snapshot::of(self.workers.iter().map(|worker| &worker.latencies))
    }

    fn totals(&self) -> Totals {
        let load = |total: &AtomicU64| total.load(Ordering::Relaxed);
        self.workers.iter().fold(Totals::default(), |sum, worker| Totals {
            operations: sum.operations + load(&worker.operations),
            gets: sum.gets + load(&worker.gets),
            hits: sum.hits + load(&worker.hits),
            faults: sum.faults + load(&worker.faults),
            batches_in_flight: sum.batches_in_flight + load(&worker.batches_in_flight),
        })
    }
}

/// The line for people.
fn line(phase: &Phase, now: Instant, before: Totals, after: Totals, interval_s: f64) -> String {
    let rate = (after.operations - before.operations) as f64 / interval_s.max(1e-3);
    let gets = after.gets - before.gets;
    let hit = if gets == 0 {
        "hit -".to_owned()
    } else {
        format!("hit {:.2}%", (after.hits - before.hits) as f64 / gets as f64 * 100.0)
    };
    let left = left_s(phase, now, after, rate)
        .map(|left| format!("  {left:.0} s left"))
        .unwrap_or_default();
    let elapsed = (now - phase.began).as_secs_f64();
    let (name, errors) = (phase.name, after.faults);
    format!("{name} {elapsed:.0} s  {}  {hit}  errors {errors}{left}", text::rate(rate))
}

/// The time until the phase ends, as far as it is known.
fn left_s(phase: &Phase, now: Instant, after: Totals, rate: f64) -> Option<f64> {
    match (phase.end, phase.goal) {
        (Some(end), _) => Some(end.saturating_duration_since(now).as_secs_f64()),
        (None, Some(goal)) => {
            let done = after.operations - phase.operations_before;
            (rate > 0.0).then(|| goal.saturating_sub(done) as f64 / rate)
        }
        (None, None) => None,
    }
}

/// What was used in one interval.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// When the interval ended.
    pub(crate) unix_ms: u64,
    /// How long it was.
    pub(crate) interval_s: f64,
    /// By this process and its host.
    #[serde(flatten)]
    pub(crate) usage: Usage,
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Takes samples, one interval after the other.
struct Intervals {
    sampler: Sampler,
    began: Instant,
}

impl Intervals {
    fn new() -> Self {
        Self { sampler: Sampler::new(), began: Instant::now() }
    }

    /// Ends the interval and begins the next one.
    fn end(&mut self) -> Sample {
        let usage = self.sampler.sample();
        let now = Instant::now();
        let interval = now - std::mem::replace(&mut self.began, now);
        let interval_s = (interval.as_secs_f64() * 1e3).round() / 1e3;
        Sample { unix_ms: unix_ms(SystemTime::now()), interval_s, usage }
    }

    /// Ends the last interval, for a short run may end just before its only tick; `None` where it
    /// was too short to tell anything.
    fn rest(mut self) -> Option<Sample> {
        (self.began.elapsed() >= TICK / 2).then(|| self.end())
    }
}

#[derive(Serialize)]
struct StatsLine<'a> {
    phase: &'a str,
    operations: u64,
    errors_total: u64,
    in_flight_batches: u64,
    connections: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    left_s: Option<f64>,
    #[serde(flatten)]
    sample: &'a Sample,
}

/// Shows the progress until it is finished, and keeps the samples of resources.
#[derive(Debug)]
pub(crate) struct Progress {
    end: mpsc::Sender<()>,
    thread: JoinHandle<(Vec<Sample>, io::Result<()>)>,
}

impl Progress {
    /// Starts the thread. When a line can't be written, `on_unwritable` is called, and no more
    /// lines follow.
    pub(crate) fn start(board: Arc<Board>, on_unwritable: impl FnOnce() + Send + 'static) -> Self {
        let (end, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                let mut display = Display::new();
                let mut on_unwritable = Some(on_unwritable);
                let mut written = Ok(());
                let samples = tick_until(&ended, &board, |line, stats| {
                    if written.is_ok() {
                        written = display.show(line, stats);
                    }
                    if written.is_err()
                        && let Some(tell) = on_unwritable.take()
                    {
                        tell();
                    }
                });
                display.close();
                (samples, written)
            })
            .expect("the system has room for one more thread");
        Self { end, thread }
    }

    /// Ends the thread and returns its samples.
    ///
    /// # Errors
    ///
    /// The first line that could not be written.
    pub(crate) fn finish(self) -> (Vec<Sample>, io::Result<()>) {
        drop(self.end);
        self.thread.join().expect("the progress thread does not panic")
    }
}

fn tick_until(
    ended: &mpsc::Receiver<()>,
    board: &Board,
    mut show: impl FnMut(&str, &str),
) -> Vec<Sample> {
    let mut intervals = Intervals::new();
    let mut samples = Vec::new();
    let (mut before, mut latencies_before) = (board.totals(), board.latencies());
    let mut next = Instant::now() + TICK;
    while ended.recv_timeout(next.saturating_duration_since(Instant::now()))
        == Err(RecvTimeoutError::Timeout)
    {
        let sample = intervals.end();
        let (after, phase, now) = (board.totals(), board.phase(), Instant::now());
        let latencies = board.latencies();
        next = next_tick(phase.began, now);
        let line = line(&phase, now, before, after, sample.interval_s);
        let rate = (after.operations - before.operations) as f64 / sample.interval_s.max(1e-3);
        let stats = StatsLine {
            phase: phase.name,
            operations: after.operations - before.operations,
            errors_total: after.faults,
            in_flight_batches: after.batches_in_flight,
            connections: board.connections,
            p50_us: latencies.quantile_us(&latencies_before, 0.5),
            p99_us: latencies.quantile_us(&latencies_before, 0.99),
            left_s: left_s(&phase, now, after, rate).map(|left| (left * 10.0).round() / 10.0),
            sample: &sample,
        };
        let stats = serde_json::to_string(&stats).expect("a stats line has string keys only");
        show(&line, &stats);
        samples.push(sample);
        (before, latencies_before) = (after, latencies);
    }
    samples.extend(intervals.rest());
    samples
}

/// The next full second of the phase that is not just ahead. A tick that was late, because the
/// machine was busy or asleep, is not made up for.
fn next_tick(began: Instant, now: Instant) -> Instant {
    let elapsed = now.saturating_duration_since(began) + TICK / 2;
    began + Duration::from_secs(elapsed.as_secs() + 1)
}

/// Where the lines go.
enum Display {
    Terminal(ProgressBar),
    Lines,
}

impl Display {
    fn new() -> Self {
        if io::stdout().is_terminal() {
            Self::Terminal(ProgressBar::new_spinner())
        } else {
            Self::Lines
        }
    }

    fn show(&mut self, line: &str, stats: &str) -> io::Result<()> {
        match self {
            Self::Terminal(bar) => {
                bar.set_message(line.to_owned());
                bar.tick();
                Ok(())
            }
            Self::Lines => write_lines(&format!("{line}\nstats {stats}\n")),
        }
    }

    fn close(self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Writes whole lines to standard output, at once.
pub(crate) fn write_lines(lines: &str) -> io::Result<()> {
    if cfg!(test) {
        // The test harness captures what the macro prints, and not what goes to the handle.
        print!("{lines}");
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(operations: u64, gets: u64, hits: u64) -> Counts {
        Counts { operations, gets, hits, ..Counts::default() }
    }

    fn line_at(board: &Board, second: u32, before: Totals) -> String {
        let phase = board.phase();
        let now = phase.began + second * TICK;
        line(&phase, now, before, board.totals(), 1.0)
    }

    #[test]
    fn lines_tell_rate_hits_errors_and_time_left() {
        let board = Board::new(2, 8);
        board.worker(0).add(&counts(1_000_000, 0, 0), 5 * TICK / 1_000, 0);
        board.begin("measure", Some(Instant::now() + 30 * TICK), None);
        let before = board.totals();
        board.worker(0).add(&counts(4_000_000, 3_000_000, 2_999_000), 5 * TICK / 1_000, 0);
        board.worker(1).add(&counts(5_810_000, 1_000_000, 1_000_000), 5 * TICK / 1_000, 3);
        let line = line_at(&board, 12, before);
        assert_eq!(line, "measure 12 s  9.81 Mop/s  hit 99.98%  errors 3  18 s left");
    }

    #[test]
    fn lines_of_a_list_estimate_the_time_left() {
        let board = Board::new(1, 1);
        board.begin("preload", None, Some(1_000));
        let before = board.totals();
        assert_eq!(line_at(&board, 1, before), "preload 1 s  0 op/s  hit -  errors 0");
        board.worker(0).add(&counts(250, 0, 0), 5 * TICK / 1_000, 0);
        assert_eq!(line_at(&board, 2, before), "preload 2 s  250 op/s  hit -  errors 0  3 s left");
    }

    #[test]
    fn ticks_keep_to_the_seconds_of_the_phase() {
        let began = Instant::now();
        let after = |ms| next_tick(began, began + Duration::from_millis(ms)) - began;
        assert_eq!([0, 1, 499].map(after), [TICK; 3]);
        assert_eq!([500, 999, 1_001, 1_499].map(after), [2 * TICK; 4], "1 s is just ahead");
        assert_eq!([1_500, 2_001].map(after), [3 * TICK; 2]);
        assert_eq!(after(60_400), 61 * TICK, "late ticks are dropped");
    }

    #[test]
    fn each_tick_gives_a_line_and_a_sample() {
        let board = Arc::new(Board::new(1, 4));
        board.worker(0).set_in_flight(2);
        board.begin("measure", Some(Instant::now() + 30 * TICK), None);
        let (end, ended) = mpsc::channel();
        let (told, lines) = mpsc::channel();
        let work = std::thread::spawn({
            let board = Arc::clone(&board);
            move || while board.worker(0).operations.load(Ordering::Relaxed) == 0 {}
        });
        let mut end = Some(end);
        let samples = tick_until(&ended, &board, |line, stats| {
            told.send((line.to_owned(), stats.to_owned())).expect("the receiver is alive");
            end.take();
            board.worker(0).add(&counts(1, 0, 0), Duration::ZERO, 0);
        });
        work.join().expect("the work ends with the first tick");
        let (line, stats) = lines.try_recv().expect("one tick was shown");
        assert!(line.starts_with("measure 1 s"), "{line}");
        assert!(!stats.contains("ops/s"));
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("the line is JSON");
        for key in [
            "unix_ms",
            "interval_s",
            "operations",
            "cpu_percent",
            "cores_percent",
            "resident_bytes",
            "threads",
            "connections",
            "network",
            "in_flight_batches",
        ] {
            assert!(!stats[key].is_null(), "{key} is missing");
        }
        assert_eq!((&stats["in_flight_batches"], &stats["connections"]), (&2.into(), &4.into()));
        assert!(stats["p99_us"].is_null(), "nothing was completed");
        assert_eq!(stats["left_s"], 29.0);
        assert_eq!(samples.len(), 1);
        assert!(samples[0].usage.cpu_percent > Some(0.0), "a thread was busy: {samples:?}");
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn the_end_of_a_run_is_sampled_where_it_tells_something() {
        let began_before = |time| Intervals { began: Instant::now() - time, ..Intervals::new() };
        let rest = began_before(TICK / 2).rest().expect("half a second tells something");
        assert!(rest.interval_s >= 0.5 && rest.usage.cpu_percent.is_some(), "{rest:?}");
        assert!(began_before(Duration::ZERO).rest().is_none());
    }
}

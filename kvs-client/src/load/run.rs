//! A run from its first connection to its result.
//!
//! 1. connect, and check that the keys fit into memory
//! 2. with a history, wait until all clients have seen that the servers are empty
//! 3. load this client's share of the keys, and wait for the other clients
//! 4. warm up, then measure in a window of time or for a number of operations
//! 5. take the replies that are still open: they are acknowledged, but not counted
//! 6. delete the keys, if asked to
//! 7. print and write the result
//!
//! An interrupt ends the phase that it meets, skips the ones that follow, and goes to the last.

mod checks;
pub(crate) mod ending;
mod headline;

use std::cell::Cell;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use checker::history::{Clock, HistoryWriter};
use kvs_client::Client;
use report::result::{OpenLoop, Preload, RunResult};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::cli::Length;
use super::cli::settings::Settings;
use super::control::Control;
use super::history::{self, Recorders, WorkerHistory};
use super::in_process::InProcess;
use super::interrupt::Interrupt;
use super::keyspace::Keyspace;
use super::open_loop::Arrivals;
use super::pacer;
use super::progress::{Board, Progress, Sample, unix_ms, write_lines};
use super::random::Random;
use super::recorder::Recorder;
use super::source::{List, Source, Workload};
use super::summary::{self, Observed};
#[cfg(feature = "peers")]
use super::target;
use super::target::Target;
use super::target::address::Address;
use super::text;
use super::value::{ValueWriter, Verifier};
use super::worker::{Pace, Style, Worker};
use checks::{check_memory, check_result_folder};
use ending::{Ending, compare, ending};
use headline::headline;

/// How long an interrupted run waits for open replies before it counts them as unknown.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Least operations per batch while keys are loaded or deleted: these phases are not what is
/// measured, and a run of the unbatched baseline should not wait for them.
const LIST_BATCH_MIN: usize = 1024;

/// Most bytes per batch while keys are loaded.
const LIST_BATCH_BYTES_MAX: usize = 1 << 20;

/// Streams of pseudorandom numbers that belong to the values' sizes and fillers, not to the choice
/// of operations, lie beyond the workers' own.
const VALUE_STREAM: u32 = 1 << 31;

/// When the window was, and what went over the wire in it.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    end: Instant,
    wire_bytes: (u64, u64),
}

struct Run<T: Target> {
    settings: Settings,
    target: T,
    keyspace: Arc<Keyspace>,
    board: Arc<Board>,
    workers: Vec<Worker<T::Stream>>,
    recorders: Vec<Arc<Mutex<Recorder>>>,
    interrupt: Interrupt,
    /// What is told of the open loop, once it was run.
    open_loop: Option<OpenLoop>,
}

/// Does the run, and prints and writes its result.
///
/// # Errors
///
/// When there is nothing to report: no connection, no room, keys that could not be loaded.
pub(crate) async fn run(mut settings: Settings, interrupt: Interrupt) -> anyhow::Result<Ending> {
    check_result_folder(&settings)?;
    match settings.target.clone() {
        Address::Ours => (),
        #[cfg(feature = "peers")]
        Address::Redis(address) => {
            let peer = target::redis::connect(&address, &settings.client).await?;
            return Ok(run_on(peer, settings, interrupt).await?.0);
        }
        #[cfg(feature = "peers")]
        Address::Memcached(address) => {
            let peer = target::memcached::connect(&address, &settings).await?;
            return Ok(run_on(peer, settings, interrupt).await?.0);
        }
        #[cfg(not(feature = "peers"))]
        peer => unreachable!("{peer} was refused with the flags"),
    }
    let in_process = InProcess::install(&mut settings.client, settings.threads);
    let client = Client::connect_with(settings.client.clone()).await?;
    let (ending, acknowledged) = run_on(client, settings, interrupt).await?;
    let Some(servers) = in_process else { return Ok(ending) };
    write_lines(&servers.table()).context(UNWRITABLE)?;
    compare(ending, servers.executed(), acknowledged)
}

/// Does the run on a target that is connected. Returns how it ended, and how many operations were
/// acknowledged.
async fn run_on<T: Target>(
    target: T,
    settings: Settings,
    interrupt: Interrupt,
) -> anyhow::Result<(Ending, u64)> {
    check_memory(&settings, &target.servers())?;
    let history = history::create(&settings, &target.servers())?;
    write_lines(&headline(&settings)).context(UNWRITABLE)?;

    let mut run = Run::new(settings, target, history.as_ref(), interrupt);
    let progress = Progress::start(Arc::clone(&run.board), {
        let interrupt = run.interrupt.clone();
        move || interrupt.raise()
    });
    let phases = run.phases().await;
    let (samples, written) = progress.finish();
    written.context(UNWRITABLE)?;
    run.end_history(history)?;
    let (preload, window) = phases?;

    let recorder = run.merged();
    let observed = run.observed(preload, window, samples);
    let result = summary::result(&run.settings, &recorder, &observed);
    write_lines(&summary::render(&result, recorder.counts.swaps_given_up)).context(UNWRITABLE)?;
    write_result(&run.settings, &result)?;
    run.close().await;
    let acknowledged = result.acknowledged.iter().map(|server| server.operations).sum();
    Ok((ending(&result, &recorder.faults), acknowledged))
}

const UNWRITABLE: &str = "cannot write to standard output: is the disk full, or the reader gone?";

impl<T: Target> Run<T> {
    fn new(
        settings: Settings,
        target: T,
        history: Option<&HistoryWriter>,
        interrupt: Interrupt,
    ) -> Self {
        let place = (settings.client_index, settings.client_count);
        let keyspace = Arc::new(Keyspace::new(
            settings.keys,
            settings.has_counters(),
            settings.distribution,
            settings.theta,
            place,
        ));
        let connections = (target.servers().len() * settings.client.connections) as u64;
        let board = Arc::new(Board::new(settings.workers, connections));
        let verifier = match (settings.verifies(), settings.preload) {
            (false, _) => Verifier::Off,
            (true, true) => Verifier::ThisRun(settings.run_id),
            (true, false) => Verifier::AnyRun,
        };
        let counters_reset = settings.preload && settings.has_counters();
        let recorder = Recorder::new(target.servers().len(), verifier, counters_reset);
        let recorders: Vec<_> =
            (0..settings.workers).map(|_| Arc::new(Mutex::new(recorder.clone()))).collect();
        let buffers = history.map(|writer| Recorders::new(writer, settings.threads));
        let worker = |(index, recorder): (usize, &Arc<Mutex<Recorder>>)| {
            let stream = VALUE_STREAM | index as u32;
            let mut random = Random::new(settings.seed, settings.client_index, stream);
            let size = settings.value_size;
            let values =
                ValueWriter::new(settings.run_id, settings.client_index, size, &mut random);
            let (recorder, board) = (Arc::clone(recorder), Arc::clone(&board));
            let history = buffers.clone();
            let history = history.map(|history| WorkerHistory::new(history, &settings, index));
            Worker::new(index, target.stream(index), values, random, recorder, board, history)
        };
        let workers = recorders.iter().enumerate().map(worker).collect();
        Self { settings, target, keyspace, board, workers, recorders, interrupt, open_loop: None }
    }

    /// All phases up to the result.
    async fn phases(&mut self) -> anyhow::Result<(Option<Preload>, Option<Window>)> {
        let mut preload = None;
        if self.settings.history.is_some() {
            // A client that loads keys too early would have the others refuse the servers.
            self.barrier("empty").await?;
        }
        if self.settings.preload {
            preload = Some(self.preload().await?);
        }
        self.barrier("loaded").await?;
        if self.interrupt.is_raised() {
            return Ok((preload, None));
        }
        let window = self.measure().await;
        if self.settings.cleanup {
            // The keys of a client that still measures must stay.
            self.barrier("measured").await?;
            self.cleanup().await?;
        }
        Ok((preload, window))
    }

    async fn preload(&mut self) -> anyhow::Result<Preload> {
        let list = Arc::new(List::preload(Arc::clone(&self.keyspace)));
        let size = self.settings.value_size.mean();
        let fits = (LIST_BATCH_BYTES_MAX / (size + 16)).max(1);
        let began = Instant::now();
        self.work_off("preload", &list, self.settings.batch_size.max(LIST_BATCH_MIN).min(fits))
            .await;
        let seconds = began.elapsed().as_secs_f64();
        let (keys, faults) = (list.length(), self.merged().faults);
        if !faults.is_empty() {
            bail!(
                "{} of {} keys could not be loaded; the first failure: {}",
                text::count(faults.count()),
                text::count(keys),
                faults.first.unwrap_or_default()
            );
        }
        let operations_per_second = report::result::ratio(keys as f64, seconds);
        if !self.interrupt.is_raised() {
            let rate = text::rate(operations_per_second);
            let line = format!("loaded {} keys in {seconds:.2} s, {rate}\n", text::count(keys));
            write_lines(&line).context(UNWRITABLE)?;
        }
        Ok(Preload { keys, seconds, operations_per_second })
    }

    async fn cleanup(&mut self) -> anyhow::Result<()> {
        if self.interrupt.is_raised() {
            let skipped = "the run was interrupted: its keys stay on the servers\n";
            return write_lines(skipped).context(UNWRITABLE);
        }
        let list = Arc::new(List::cleanup(Arc::clone(&self.keyspace)));
        self.work_off("cleanup", &list, self.settings.batch_size.max(LIST_BATCH_MIN)).await;
        Ok(())
    }

    /// Has the workers do a list.
    async fn work_off(&mut self, name: &'static str, list: &Arc<List>, batch_size: usize) {
        self.board.begin(name, None, Some(list.length()));
        let pace = Pace { batch_size, depth: self.settings.depth, style: Style::Closed };
        let control = Arc::new(Control::unmeasured());
        self.drive(&control, &pace, |_| Source::List(Arc::clone(list))).await;
    }

    /// Waits for the other clients of the run.
    async fn barrier(&self, name: &'static str) -> anyhow::Result<()> {
        let Settings { run_id, client_index, client_count, .. } = self.settings;
        if client_count == 1 || self.interrupt.is_raised() {
            return Ok(());
        }
        self.board.begin("wait for the other clients", None, None);
        tokio::select! {
            met = self.target.barrier(run_id, name, client_count, client_index) => met,
            () = self.interrupt.raised() => Ok(()),
        }
    }

    /// Warms up and measures. `None` when the run was interrupted before the window.
    async fn measure(&mut self) -> Option<Window> {
        let Settings { batch_size, depth, .. } = self.settings;
        let plain = self.target.plain().filter(|_| self.settings.plain);
        let pace = Pace { batch_size, depth, style: plain.map_or(Style::Closed, Style::Plain) };
        let warmup = self.settings.warmup;
        let (control, goal) = match self.settings.length {
            Length::Time(time) => (Control::for_time(warmup, time), None),
            Length::Operations(operations) => {
                // All of the window's operations are sent and answered in it: the warm-up ends
                // before, with its replies.
                let control = Arc::new(Control::for_time(warmup, Duration::ZERO));
                self.board.begin("warm-up", control.window_end(), None);
                self.drive_workload(&control, &pace, 0).await;
                (Control::for_operations(operations), Some(operations))
            }
        };
        if self.interrupt.is_raised() {
            return None;
        }
        let control = Arc::new(control);
        let start = control.window_start().expect("a measured phase has a window");
        self.board.begin("warm-up", Some(start), None);
        // Taken again when the window starts, unless that is now.
        let wire_at_start = Cell::new(self.target.wire_bytes());
        let wire_at_end = Cell::new(None);
        let watch = {
            let (board, target) = (Arc::clone(&self.board), self.target.clone());
            let control = Arc::clone(&control);
            let (wire_at_start, wire_at_end) = (&wire_at_start, &wire_at_end);
            async move {
                sleep_until(start.into()).await;
                board.begin("measure", control.window_end(), goal);
                wire_at_start.set(target.wire_bytes());
                let Some(end) = control.window_end() else { return pending::<()>().await };
                sleep_until(end.into()).await;
                board.begin("drain", None, None);
                wire_at_end.set(Some(target.wire_bytes()));
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.drive_workload(&control, &pace, 1) => (),
            () = watch => (),
        }
        control.stop();
        let end = control.window_end().expect("a stopped phase has ended");
        if end < start {
            return None;
        }
        let before = wire_at_start.get();
        let after = wire_at_end.get().unwrap_or_else(|| self.target.wire_bytes());
        let wire_bytes = (after.0 - before.0, after.1 - before.1);
        Some(Window { start, end, wire_bytes })
    }

    /// Has the workers do the workload. `pass` keeps the streams of several passes apart.
    async fn drive_workload(&mut self, control: &Arc<Control>, pace: &Pace, pass: u64) {
        let mix = Arc::new(self.settings.mix.clone());
        let keyspace = Arc::clone(&self.keyspace);
        let (seed, client) = (self.settings.seed ^ pass << 63, self.settings.client_index);
        let source = |index| {
            let random = Random::new(seed, client, index as u32);
            Source::Workload(Box::new(Workload::new(
                Arc::clone(&keyspace),
                Arc::clone(&mix),
                random,
            )))
        };
        let Some(rate) = self.settings.rate else {
            return self.drive(control, pace, source).await;
        };
        let arrivals = Arrivals::new(rate, self.settings.arrivals, seed, client);
        let pacer = pacer::start(&arrivals, control);
        let pace = Pace { style: Style::Open(Arc::clone(&arrivals)), ..pace.clone() };
        self.drive(control, &pace, source).await;
        control.stop();
        let end = control.window_end().expect("a stopped phase has ended");
        self.open_loop = Some(arrivals.report(end));
        if let Err(panicked) = pacer.join() {
            std::panic::resume_unwind(panicked);
        }
    }

    /// Runs all workers until their sources are empty or the phase ends, and all replies are
    /// there. After an interrupt it waits for replies no longer than [`DRAIN_MAX`].
    async fn drive(
        &mut self,
        control: &Arc<Control>,
        pace: &Pace,
        source: impl Fn(usize) -> Source,
    ) {
        let mut tasks = JoinSet::new();
        for (index, worker) in self.workers.drain(..).enumerate() {
            tasks.spawn(worker.run(source(index), Arc::clone(control), pace.clone()));
        }
        let interrupt = self.interrupt.clone();
        let mut give_up = None;
        loop {
            let patience = async {
                match give_up {
                    Some(at) => sleep_until(at).await,
                    None => interrupt.raised().await,
                }
            };
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => break,
                    Some(Ok(worker)) => self.workers.push(worker),
                    Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                },
                () = patience => {
                    control.stop();
                    if give_up.replace(tokio::time::Instant::now() + DRAIN_MAX).is_some() {
                        control.abandon();
                    }
                }
            }
        }
        self.workers.sort_by_key(Worker::index);
    }

    /// Ends the workers, and with them what they have to write down.
    fn end_history(&mut self, history: Option<HistoryWriter>) -> anyhow::Result<()> {
        let Some(history) = history else { return Ok(()) };
        self.workers.clear();
        let totals = history.finish(Clock::default())?;
        let operations = text::count(totals.operations);
        let line = format!("history of {operations} operations, {}\n", text::bytes(totals.bytes));
        write_lines(&line).context(UNWRITABLE)
    }

    async fn close(self) {
        drop(self.workers);
        self.target.close().await;
    }

    /// What all workers saw so far.
    fn merged(&self) -> Recorder {
        let read = |recorder: &Arc<Mutex<Recorder>>| {
            recorder.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let mut sum = read(&self.recorders[0]);
        for recorder in &self.recorders[1..] {
            sum.merge(read(recorder));
        }
        sum
    }

    fn observed(
        &self,
        preload: Option<Preload>,
        window: Option<Window>,
        samples: Vec<Sample>,
    ) -> Observed {
        let (now, system_now) = (Instant::now(), SystemTime::now());
        let window = window.unwrap_or(Window { start: now, end: now, wire_bytes: (0, 0) });
        let wall = |at: Instant| unix_ms(system_now - now.saturating_duration_since(at));
        let servers = self.target.servers();
        Observed {
            window_s: (window.end - window.start).as_secs_f64(),
            window_start_unix_ms: wall(window.start),
            window_end_unix_ms: wall(window.end),
            wire_bytes: window.wire_bytes,
            preload,
            servers: servers.into_iter().map(|server| (server.endpoint, server.place)).collect(),
            connections: (self.target.servers().len() * self.settings.client.connections) as u64,
            samples,
            interrupted: self.interrupt.is_raised(),
            open_loop: self.open_loop.clone(),
        }
    }
}

fn write_result(settings: &Settings, result: &RunResult) -> anyhow::Result<()> {
    let Some(path) = &settings.json else { return Ok(()) };
    Ok(result.write(path)?)
}

#[cfg(test)]
pub(super) mod tests;

//! The lines on stdout, written by a thread of their own.
//!
//! Writing to a pipe blocks when its reader stalls, and reading `/proc` takes its time; neither is
//! to hold up a thread that serves. A stdout that cannot be written to is an error that ends the
//! server: a run without its log is worth nothing, and would be noticed only at its end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::Tally;
use resources::Sampler;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::counters::{Gauges, interval_lines, total_lines};
use crate::service::Service;

/// How long the closing lines may take before their reader counts as stalled.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the lines could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Writing failed.
    #[error("cannot write to stdout: {0}; give the server a log that can be written to")]
    Write(io::Error),
    /// Nobody read the closing lines.
    #[error("nobody reads stdout; the closing lines were not written")]
    Stalled,
}

/// The thread that writes the lines.
#[derive(Debug)]
pub struct Reporter {
    finish: Sender<()>,
    finished: oneshot::Receiver<io::Result<()>>,
}

impl Reporter {
    /// Starts to write: `first_line` at once, then the lines of every `interval`, if any. Each is
    /// flushed. `failed` is cancelled when `output` cannot be written to.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(
        service: Arc<Service>,
        interval: Option<Duration>,
        first_line: String,
        output: impl Write + Send + 'static,
        failed: CancellationToken,
    ) -> io::Result<Self> {
        let (finish, finish_receiver) = channel();
        let (done, finished) = oneshot::channel();
        std::thread::Builder::new().name("reporter".to_owned()).spawn(move || {
            let fatal = service.fatal().clone();
            let _guard = fatal.unless_done("the thread that writes statistics panicked");
            let lines = Lines::new(service, output);
            let result = lines.write_all(&first_line, interval, &finish_receiver);
            if result.is_err() {
                failed.cancel();
            }
            // Nobody waits when the server was dropped.
            let _ = done.send(result);
        })?;
        Ok(Self { finish, finished })
    }

    /// Writes the last interval and the totals. To be called when the server has ended, so that
    /// they are exact.
    ///
    /// # Errors
    ///
    /// When any line so far could not be written, or nobody reads them.
    pub async fn finish(self) -> Result<(), ReportError> {
        // The thread is gone already when it could not write; then its error waits here.
        let _ = self.finish.send(());
        match tokio::time::timeout(FINISH_TIMEOUT, self.finished).await {
            Ok(Ok(result)) => result.map_err(ReportError::Write),
            // It panicked, or its output takes nothing.
            Ok(Err(_)) | Err(_) => Err(ReportError::Stalled),
        }
    }
}

/// What the thread owns.
struct Lines<W> {
    service: Arc<Service>,
    output: W,
    sampler: Sampler,
    born: Instant,
    /// When the current interval began, and what was counted then.
    since: Instant,
    earlier: Tally,
}

impl<W: Write> Lines<W> {
    fn new(service: Arc<Service>, output: W) -> Self {
        let now = Instant::now();
        let earlier = service.counters().tally();
        Self { service, output, sampler: Sampler::new(), born: now, since: now, earlier }
    }

    fn write_all(
        mut self,
        first_line: &str,
        interval: Option<Duration>,
        finish: &Receiver<()>,
    ) -> io::Result<()> {
        writeln!(self.output, "{first_line}")?;
        self.output.flush()?;
        if let Some(interval) = interval {
            let mut next = self.born + interval;
            // A dropped reporter ends its thread as one that is told to finish does.
            while let Err(RecvTimeoutError::Timeout) =
                finish.recv_timeout(next.saturating_duration_since(Instant::now()))
            {
                self.write_interval()?;
                // The beat is kept, but beats that were slept through are not made up for.
                next = (next + interval).max(Instant::now());
            }
            self.write_interval()?;
        } else {
            let _ = finish.recv();
        }
        self.write_totals()
    }

    fn write_interval(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let later = self.service.counters().tally();
        let usage = self.sampler.sample();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let gauges = Gauges {
            unix_ms: since_1970.as_millis() as u64,
            keys: self.service.keys() as u64,
            sessions: self.service.engine().sessions().count() as u64,
            connections: self.service.counters().connections(),
            panics: self.service.counters().panics(),
            usage,
        };
        let lines = interval_lines(&self.earlier, &later, now - self.since, &gauges);
        (self.since, self.earlier) = (now, later);
        self.output.write_all(lines.as_bytes())?;
        self.output.flush()
    }

    fn write_totals(mut self) -> io::Result<()> {
        let totals = self.service.counters().tally();
        let peak = self.sampler.sample().resident_bytes_peak;
        let (keys, panics) = (self.service.keys() as u64, self.service.counters().panics());
        let lines = total_lines(&totals, keys, panics, peak, self.born.elapsed());
        self.output.write_all(lines.as_bytes())?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::config::ShardConfig;
    use crate::counters::Counters;
    use crate::environment::SeededEnvironment;

    fn service() -> Arc<Service> {
        let config = ShardConfig {
            shard: "1/1".parse().unwrap(),
            store_kind: "mutex".parse().unwrap(),
            partitions: 1,
            threads: 1,
        };
        let environment = Arc::new(SeededEnvironment::new(1));
        Arc::new(Service::new(config, environment, Arc::new(Counters::default())))
    }

    /// Output that the test sees, and that takes a bounded number of bytes.
    #[derive(Clone)]
    struct Page {
        text: Arc<Mutex<Vec<u8>>>,
        bytes_max: usize,
    }

    impl Page {
        fn new(bytes_max: usize) -> Self {
            Self { text: Arc::default(), bytes_max }
        }

        fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = self.text.lock().unwrap();
            if text.len() + bytes.len() > self.bytes_max {
                return Err(io::ErrorKind::StorageFull.into());
            }
            text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(
        service: &Arc<Service>,
        interval: Option<Duration>,
        page: &Page,
    ) -> (Reporter, CancellationToken) {
        let failed = CancellationToken::new();
        let first = "listening".to_owned();
        let service = Arc::clone(service);
        let reporter = Reporter::start(service, interval, first, page.clone(), failed.clone());
        (reporter.unwrap(), failed)
    }

    #[tokio::test]
    async fn intervals_and_totals_are_told_in_turn() {
        let (service, page) = (service(), Page::new(usize::MAX));
        let (reporter, failed) = start(&service, Some(Duration::from_millis(5)), &page);
        while page.text().matches("\nops/s ").count() < 3 {
            tokio::task::yield_now().await;
        }
        service.counters().add(&Tally { puts: 7, ..Default::default() });
        reporter.finish().await.unwrap();
        assert!(!failed.is_cancelled());
        let text = page.text();
        assert!(text.starts_with("listening\nget/s 0.00\nput/s 0.00\nops/s 0.00\n\nstats {"));
        let (intervals, totals) = text.split_once("total {").expect("the closing line");
        assert!(totals.starts_with("\"operations_total\":7,"), "{totals}");
        // However the seven fell into intervals, they were told once.
        let told: u64 = intervals
            .lines()
            .filter_map(|line| line.split_once("\"operations\":"))
            .map(|(_, rest)| rest.split(',').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(told, 7, "{text}");
    }

    #[tokio::test]
    async fn without_an_interval_only_the_totals_are_told() {
        let page = Page::new(usize::MAX);
        let (reporter, _) = start(&service(), None, &page);
        reporter.finish().await.unwrap();
        let text = page.text();
        assert!(text.starts_with("listening\ntotal {"), "{text}");
        assert!(!text.contains("ops/s"), "{text}");
    }

    #[tokio::test]
    async fn an_output_that_fills_up_is_told_at_once() {
        let page = Page::new(100);
        let (reporter, failed) = start(&service(), Some(Duration::from_millis(1)), &page);
        failed.cancelled().await;
        let error = reporter.finish().await.unwrap_err();
        assert!(error.to_string().starts_with("cannot write to stdout: "), "{error}");
    }

    /// Output whose reader has stalled: writing waits until the other end is dropped.
    struct Stalled(Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_nobody_reads_does_not_hold_up_the_end() {
        let (_held, receiver) = channel();
        let (first, failed) = (String::new(), CancellationToken::new());
        let reporter = Reporter::start(service(), None, first, Stalled(receiver), failed).unwrap();
        assert!(matches!(reporter.finish().await, Err(ReportError::Stalled)));
    }
}

//! A worker of the open loop: it sends what is due, whether earlier operations are answered or not.

use super::super::control::Control;
use super::super::open_loop::Arrivals;
use super::super::source::Source;
use super::super::target::Stream;
use super::{Pace, Worker};

impl<S: Stream> Worker<S> {
    /// Sends what is due, as long as it has room for batches, until the phase ends; then takes the
    /// replies that are open.
    pub(super) async fn work_open(
        &mut self,
        arrivals: &Arrivals,
        source: &mut Source,
        control: &Control,
        pace: &Pace,
    ) {
        let mut due = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(outcomes) = self.stream.next(), if !self.in_flight.is_empty() => {
                    self.receive(&outcomes, source, control);
                }
                is_due = arrivals.take(pace.batch_size, &mut due),
                    if self.in_flight.len() < pace.depth =>
                {
                    let operations = if is_due && self.may_send() { control.take(due.len()) } else { 0 };
                    due.truncate(operations);
                    if operations == 0 || !self.send_batch(source, operations, &mut due).await {
                        break;
                    }
                }
            }
        }
        while let Some(outcomes) = self.stream.next().await {
            self.receive(&outcomes, source, control);
        }
    }
}

//! The thread that wakes workers when operations are due.
//!
//! The runtime's own timers count milliseconds. A thread that sleeps, with the kernel's timer slack
//! turned off, is up within some tens of microseconds, and takes little of a core.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::control::Control;
use super::open_loop::Arrivals;

/// Shortest sleep. Above the rate that this stands for (20,000 op/s) arrivals leave in groups.
const TICK: Duration = Duration::from_micros(50);
/// Longest sleep, so that the end of the phase is seen.
const SLEEP_MAX: Duration = Duration::from_millis(10);
/// By how much the kernel may prolong a sleep; its default is 50 us.
const TIMER_SLACK_NS: u64 = 1;

/// Starts the thread. It ends with the phase.
pub(crate) fn start(arrivals: &Arc<Arrivals>, control: &Arc<Control>) -> JoinHandle<()> {
    let (arrivals, control) = (Arc::clone(arrivals), Arc::clone(control));
    std::thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(move || run(&arrivals, &control))
        .expect("the system has a thread left")
}

/// Wakes workers until the phase is over.
fn run(arrivals: &Arrivals, control: &Control) {
    // Where it fails, sleeps are longer, which the lateness tells.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
    while !control.is_over() {
        let wait = arrivals.next().saturating_duration_since(Instant::now());
        if wait.is_zero() {
            arrivals.wake_one();
        }
        std::thread::sleep(wait.clamp(TICK, SLEEP_MAX));
    }
    arrivals.end();
}

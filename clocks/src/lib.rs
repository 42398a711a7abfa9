//! Measures how far the clocks of two hosts are apart.
//!
//! The histories of clients on several hosts are checked together, and their logs are laid on one
//! time line. Monotonic clocks begin at each host's boot, and wall clocks are only as good as their
//! last synchronisation, so the launcher asks: one side reads its clocks, has the other side read its
//! own ([`serve`]), and reads its clocks again ([`probe`]). The other side's reading lies somewhere
//! between the two, so it is taken for their middle, and half of the round trip is how wrong that can
//! be. Of many round trips the shortest tells most ([`Estimate::of`]). That holds over any channel,
//! ssh too, however slow one direction is against the other.
//!
//! Clocks drift, so a run measures at its start and at its end, and what holds in between is the span
//! that covers both ([`Estimate::join`]).
//!
//! Left on purpose: a clock that is stepped during the run and stepped back is not noticed.

mod estimate;
mod exchange;

pub use estimate::{DRIFT_MAX_PPM, Estimate, Reading, Round};
pub use exchange::{ExchangeError, probe, serve};

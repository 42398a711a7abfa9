//! How a run ended, which the exit status tells.

use anyhow::bail;
use report::result::RunResult;

use super::super::recorder::faults::Faults;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything was done, and nothing failed.
    Clean,
    /// It was cut short; nothing failed.
    Interrupted,
    /// Operations failed, or nobody knows what became of them, or answers were wrong.
    Faulty,
}

/// The ending of a run with this result; what is wrong with it is told on standard error.
pub(super) fn ending(result: &RunResult, faults: &Faults) -> Ending {
    if !faults.is_empty() {
        let first = faults.first.as_deref().unwrap_or_default();
        eprintln!(
            "kvs-client: {} errors, {} unknown outcomes, {} wrong values; the first: {first}",
            faults.errors, faults.unknown, faults.value_mismatches
        );
        Ending::Faulty
    } else if result.interrupted {
        Ending::Interrupted
    } else if result.operations == 0 {
        eprintln!("kvs-client: no operation completed in the window; measure longer with -secs");
        Ending::Faulty
    } else {
        Ending::Clean
    }
}

/// Compares what the servers of this process executed with what was acknowledged; a run with
/// failures may differ.
pub(super) fn compare(ending: Ending, executed: u64, acknowledged: u64) -> anyhow::Result<Ending> {
    if ending == Ending::Clean && executed != acknowledged {
        bail!("the servers executed {executed} operations, but acknowledged {acknowledged}");
    }
    Ok(ending)
}

//! The bound on open files, raised to hold the connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but connections: the runtime, listeners, logs, `/proc` and `/sys`.
const RESERVED: u64 = 64;

/// Raises the bound on open files of this process so that `connections_max` connections fit, and
/// returns how many do: fewer, where the system's own bound is lower and may not be raised.
pub fn raise_limit(connections_max: usize) -> usize {
    let needed = connections_max as u64 + RESERVED;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no bound at all.
    let (current, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    if current >= needed {
        return connections_max;
    }
    // Anyone may go up to the hard bound; only the privileged may raise it too.
    let raised = [needed, hard].into_iter().find(|bound| {
        let maximum = maximum.map(|hard| hard.max(*bound));
        setrlimit(Resource::Nofile, Rlimit { current: Some(*bound), maximum }).is_ok()
    });
    let fitting = raised.unwrap_or(current).saturating_sub(RESERVED);
    connections_max.min(usize::try_from(fitting).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_raised_as_far_as_needed_or_as_it_goes() {
        let before = getrlimit(Resource::Nofile);
        assert_eq!(raise_limit(1), 1);
        assert_eq!(getrlimit(Resource::Nofile), before, "what fits already needs no raise");
        // Beyond what Linux lets even the privileged have.
        let asked = 1 << 40;
        let fitting = raise_limit(asked);
        assert!(fitting < asked, "{fitting}");
        let bound = getrlimit(Resource::Nofile).current.unwrap();
        assert_eq!(fitting as u64, bound - RESERVED);
    }
}

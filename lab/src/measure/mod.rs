//! What measurements share.
//!
//! - [`table`]: measured tables, which REPORT.md is made from;
//! - [`rounds`]: contenders that take turns, and what comes of it summed up;
//! - [`stores`]: servers on this machine, ours and others, and clients that drive them;
//! - [`redis`]: what a Redis server is asked beside its load;
//! - [`criterion`]: the medians of micro-benchmarks.

pub(crate) mod criterion;
pub(crate) mod redis;
pub(crate) mod rounds;
pub(crate) mod stores;
pub(crate) mod table;

/// Reads the seconds that a run is to take.
///
/// # Errors
///
/// When they are none.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let read: Option<f64> = text.parse().ok().filter(|secs: &f64| secs.is_finite() && *secs > 0.0);
    read.ok_or_else(|| "write seconds, e.g. 2 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn seconds_are_above_zero() {
        assert_eq!((seconds("2"), seconds("0.5")), (Ok(2.0), Ok(0.5)));
        for text in ["0", "-1", "inf", "nan", "", "2s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

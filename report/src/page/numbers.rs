//! How figures are written on the page.

use crate::wording::date;
pub(super) use crate::wording::grouped;

use std::time::{Duration, UNIX_EPOCH};

/// Three digits and the unit that suits them: `12.1 million`.
pub(super) fn rounded(number: f64) -> String {
    match number {
        size if size >= 1e6 => format!("{} million", three_digits(size / 1e6)),
        size if size >= 1e4 => format!("{} thousand", three_digits(size / 1e3)),
        _ => grouped(number),
    }
}

fn three_digits(number: f64) -> String {
    let digits = match number {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.digits$}")
}

/// Microseconds as milliseconds with three or more digits: `0.152`, `4.97`, `12.4`.
pub(super) fn ms(us: f64) -> String {
    let ms = us / 1e3;
    let digits = match ms {
        ms if ms >= 100.0 => 0,
        ms if ms >= 10.0 => 1,
        ms if ms >= 1.0 => 2,
        _ => 3,
    };
    format!("{ms:.digits$}")
}

/// Bytes as `156 MiB`.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes as f64 / f64::from(1 << 20)))
}

/// A time as `2026-11-21 10:22:29 UTC`.
pub(super) fn utc(unix_ms: u64) -> String {
    let since = Duration::from_millis(unix_ms);
    debug_assert!(UNIX_EPOCH.checked_add(since).is_some(), "a Unix time");
    let seconds = since.as_secs() % 86_400;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", date(unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(
            [12_080_000.0, 5_214_338.0, 456_789.0, 1_234.0].map(rounded),
            ["12.1 million", "5.21 million", "457 thousand", "1,234"]
        );
        assert_eq!([152.0, 4_970.0, 12_370.0, 285_100.0].map(ms), ["0.152", "4.97", "12.4", "285"]);
        assert_eq!(mebibytes(163_545_088), "156 MiB");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_256_549_079), "2026-11-21 10:22:29 UTC");
        assert_eq!(utc(4_107_542_399_000), "2100-02-28 23:59:59 UTC");
    }
}

//! Numbers as people read them.

use thousands::Separable as _;

/// A rate with its unit: `9.81 Mop/s`, `950 op/s`.
///
/// The unit is never `ops/s`: scripts that sum up the servers' `ops/s` lines must not find one in
/// a client's log.
pub(crate) fn rate(operations_per_second: f64) -> String {
    match operations_per_second {
        rate if rate >= 999_500.0 => format!("{:.2} Mop/s", rate / 1e6),
        rate if rate >= 999.5 => format!("{:.1} kop/s", rate / 1e3),
        rate => format!("{rate:.0} op/s"),
    }
}

/// An amount of memory: `12.3 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A count with its thousands set apart: `1,000,000`.
pub(crate) fn count(count: u64) -> String {
    count.separate_with_commas()
}

/// A time: `85 us`, `12.3 ms`, `1.20 s`.
pub(crate) fn latency(us: f64) -> String {
    match us {
        us if us >= 999_500.0 => format!("{:.2} s", us / 1e6),
        us if us >= 999.5 => format!("{:.2} ms", us / 1e3),
        us => format!("{us:.0} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        let rates = [0.0, 950.0, 999.6, 45_234.0, 999_600.0, 9_812_345.0].map(rate);
        let expected =
            ["0 op/s", "950 op/s", "1.0 kop/s", "45.2 kop/s", "1.00 Mop/s", "9.81 Mop/s"];
        assert_eq!(rates, expected);
        assert!(rates.iter().all(|rate| !rate.contains("ops/s")));
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(
            [17, 1536, 3 << 20, 5 << 30].map(bytes),
            ["17 B", "1.5 KiB", "3.0 MiB", "5.0 GiB"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([85.0, 12_345.0, 1.2e6].map(latency), ["85 us", "12.35 ms", "1.20 s"]);
    }
}

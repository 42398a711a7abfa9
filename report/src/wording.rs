//! How columns and figures of measured tables are written for people.

use jiff::Timestamp;
use thousands::Separable as _;

use crate::results::Column;

/// What a column shows, in words without its unit: `p99_us` is `p99`, `batch_size` is `batch size`.
pub(crate) fn title(column: &Column) -> String {
    let endings: &[&str] = match column.unit.as_str() {
        "op/s" => &["ops_s", "op_s", "operations_per_second"],
        "us" => &["us"],
        "ms" => &["ms"],
        "ns" => &["ns"],
        "s" => &["secs", "seconds", "s"],
        "%" => &["percent"],
        "B" => &["bytes"],
        "MiB" => &["mib"],
        "GiB" => &["gib"],
        "B/s" => &["bytes_per_s", "bytes_s"],
        "B/op" => &["bytes_op", "b_op", "bytes_per_operation"],
        "ns/op" => &["ns_op"],
        _ => &[],
    };
    let name = column.name.as_str();
    // `ops_s_min` is a least throughput.
    let name =
        if column.unit == "op/s" { name.strip_prefix("ops_s_").unwrap_or(name) } else { name };
    let bare = endings.iter().find_map(|ending| {
        let bare = name.strip_suffix(ending)?;
        (bare.is_empty() || bare.ends_with('_')).then(|| bare.trim_end_matches('_'))
    });
    let words: Vec<&str> =
        bare.unwrap_or(name).split('_').filter(|word| !word.is_empty()).collect();
    let words: Vec<String> = words.into_iter().map(word).collect();
    match words.join(" ") {
        words if words.is_empty() && column.unit == "op/s" => "throughput".to_owned(),
        words if words.is_empty() => "value".to_owned(),
        words => words,
    }
}

fn word(word: &str) -> String {
    match word {
        "cpu" => "CPU".to_owned(),
        "p999" => "p99.9".to_owned(),
        other => other.to_owned(),
    }
}

/// A unit as it is printed.
pub(crate) fn unit(unit: &str) -> &str {
    if unit == "us" { "µs" } else { unit }
}

/// A scale that keeps the numbers of one unit short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// What a number is divided by.
    pub(crate) size: f64,
    /// What it is then called.
    pub(crate) name: &'static str,
}

/// From large to small, the last one for everything that is smaller.
type Scales = [Scale; 3];

const fn scales(scales: [(f64, &'static str); 3]) -> Scales {
    let [(a, large), (b, middle), (c, small)] = scales;
    [
        Scale { size: a, name: large },
        Scale { size: b, name: middle },
        Scale { size: c, name: small },
    ]
}

/// Operations per second in a table.
pub(crate) const RATES_SHORT: Scales = scales([(1e6, "Mop/s"), (1e3, "kop/s"), (1.0, "op/s")]);
/// Operations per second on an axis.
pub(crate) const RATES: Scales =
    scales([(1e6, "million op/s"), (1e3, "thousand op/s"), (1.0, "op/s")]);
/// Memory.
pub(crate) const BYTES: Scales = scales([
    ((1_u64 << 30) as f64, "GiB"),
    ((1_u64 << 20) as f64, "MiB"),
    ((1_u64 << 10) as f64, "KiB"),
]);
/// Traffic.
pub(crate) const TRAFFIC: Scales = scales([(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")]);

/// Times in microseconds.
pub(crate) const TIMES: Scales = scales([(1e6, "s"), (1e3, "ms"), (1.0, "µs")]);

/// The scale of the largest number of a column.
pub(crate) fn scale(most: f64, scales: Scales) -> Scale {
    scales.into_iter().find(|scale| most >= scale.size).unwrap_or(scales[2])
}

/// A measured number for people, with three digits or more.
pub(crate) fn number(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 999.5 => return grouped(number),
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        0.0 => 0,
        size if size >= 0.09995 => 3,
        _ => 4,
    };
    format!("{number:.digits$}")
}

/// `12,345,678`.
pub fn grouped(number: f64) -> String {
    // A zero has no sign.
    let whole = number.round_ties_even() + 0.0;
    format!("{whole:.0}").separate_with_commas()
}

/// The day of a Unix time as `2026-11-21`.
pub(crate) fn date(unix_ms: u64) -> String {
    timestamp(unix_ms).strftime("%F").to_string()
}

/// A Unix time as `2026-11-21 10:22:29 UTC`.
pub(crate) fn utc(unix_ms: u64) -> String {
    timestamp(unix_ms).strftime("%F %T UTC").to_string()
}

/// What a calendar does not reach, because a file is damaged, is its last day.
fn timestamp(unix_ms: u64) -> Timestamp {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_without_their_unit() {
        let title = |name: &str, unit: &str| {
            super::title(&Column { name: name.to_owned(), unit: unit.to_owned() })
        };
        assert_eq!(title("batch_size", ""), "batch size");
        assert_eq!(title("ops_s", "op/s"), "throughput");
        assert_eq!(title("ours_ops_s", "op/s"), "ours");
        assert_eq!(title("ops_s_min", "op/s"), "min");
        assert_eq!(title("p999_us", "us"), "p99.9");
        assert_eq!(title("server_cpu_percent", "%"), "server CPU");
        assert_eq!(title("workers", ""), "workers");
        assert_eq!(title("bus", "s"), "bus", "only whole words are a unit");
        assert_eq!(title("us", "us"), "value");
    }

    #[test]
    fn numbers_have_three_digits_or_more() {
        assert_eq!(
            [1.0, 1_640.5, 14.32, 165.4, 0.976, 0.05, 12_345.6, -2.5].map(number),
            ["1.00", "1,640", "14.3", "165", "0.976", "0.0500", "12,346", "-2.50"]
        );
        assert_eq!(
            [0.0, -0.4, 999.0, 12_345_678.4, -123.0, -1_234.0].map(grouped),
            ["0", "0", "999", "12,345,678", "-123", "-1,234"]
        );
    }

    #[test]
    fn scales_follow_the_largest_number() {
        let scale_of = |most| scale(most, RATES_SHORT);
        assert_eq!(scale_of(13.9e6), Scale { size: 1e6, name: "Mop/s" });
        assert_eq!(scale_of(107_310.0), Scale { size: 1e3, name: "kop/s" });
        assert_eq!(scale(390.0, RATES_SHORT).name, "op/s");
        assert_eq!(scale(12.0, BYTES).name, "KiB");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_256_549_079), "2026-11-21 10:22:29 UTC");
        assert_eq!(utc(4_107_542_399_000), "2100-02-28 23:59:59 UTC");
        assert_eq!(date(1_795_256_549_079), "2026-11-21");
        assert_eq!([253_402_300_800_000, u64::MAX].map(date), ["9999-12-30", "9999-12-30"]);
    }
}

//! How figures are written on the page.

use crate::wording::grouped;

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
}

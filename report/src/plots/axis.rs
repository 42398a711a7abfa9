//! Axes: where they begin and end, and which values get a label.
//!
//! Labels stand at round values (1, 2 or 5 times a power of ten), or at the measured values as far
//! as they have room: the first and the last before those between. plotters draws them; it does not
//! choose them.

use crate::wording::grouped;

/// Parts of the length of an axis of values, in points of a picture: what its values span, a digit,
/// and what must stay free between two labels.
const SPAN_POINTS: f64 = 257.0;
const DIGIT_POINTS: f64 = 6.9;
const GAP_POINTS: f64 = 2.0;

/// One axis. Places are where values lie on it: the value, or its logarithm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    /// What is measured, with its unit.
    pub(crate) title: String,
    /// The place of its first and last point.
    pub(crate) places: (f64, f64),
    /// Labels by place.
    pub(crate) ticks: Vec<(f64, String)>,
    /// Whether a place is the logarithm to base ten of its value.
    pub(crate) logarithmic: bool,
}

impl Axis {
    /// From `from` to `to`, with about `count` labels at round values.
    pub(crate) fn linear(title: impl Into<String>, from: f64, to: f64, count: usize) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let step = round_step(to - from, count);
        // A little more than the range, so that rounding loses no label at its ends.
        let first = (from / step - 1e-6).ceil() as i64;
        let last = (to / step + 1e-6).floor() as i64;
        let digits = digits_of(step);
        let ticks = (first..=last).map(|index| {
            let value = index as f64 * step;
            (value, if digits == 0 { grouped(value) } else { format!("{value:.digits$}") })
        });
        Self { title: title.into(), places: (from, to), ticks: ticks.collect(), logarithmic: false }
    }

    /// From zero to the first label at or above `most`.
    pub(crate) fn from_zero(title: impl Into<String>, most: f64, count: usize) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most, count);
        Self::linear(title, 0.0, (most / step - 1e-6).ceil() * step, count)
    }

    /// A logarithmic axis that holds `least` and `most`, labelled at powers of ten, and at 2 and 5
    /// times these where there are few of them. Both are above zero.
    pub(crate) fn decades(title: impl Into<String>, least: f64, most: f64) -> Self {
        assert!(least > 0.0 && most >= least, "a logarithmic axis holds values above zero");
        let round = |value: f64, up: bool| {
            let power = 10f64.powf(value.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
            let slack = if up { 1.0 - 1e-6 } else { 1.0 + 1e-6 };
            if up {
                steps.into_iter().find(|step| *step >= value * slack).unwrap_or(steps[3])
            } else {
                steps.into_iter().rfind(|step| *step <= value * slack).unwrap_or(steps[0])
            }
        };
        let (mut from, mut to) = (round(least, false), round(most, true));
        if from == to {
            (from, to) = (from / 2.0, to * 2.0);
        }
        let few = (to / from).log10() < 2.5;
        let mut ticks = Vec::new();
        for exponent in from.log10().floor() as i32..=to.log10().ceil() as i32 {
            for step in if few { &[1.0, 2.0, 5.0][..] } else { &[1.0] } {
                let value = step * 10f64.powi(exponent);
                if value >= from * (1.0 - 1e-6) && value <= to * (1.0 + 1e-6) {
                    // Of a unit such as ms there are no thousands of their own name.
                    let plain = (1e3..1e5).contains(&value);
                    ticks.push((value.log10(), if plain { grouped(value) } else { short(value) }));
                }
            }
        }
        let places = (from.log10(), to.log10());
        Self { title: title.into(), places, ticks, logarithmic: true }
    }

    /// An axis labelled at the measured values, the first and the last and those that have room
    /// between: logarithmic if they span a factor of eight or more.
    pub(crate) fn values(title: impl Into<String>, values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (least, most) = (values[0], values[values.len() - 1]);
        let logarithmic = least > 0.0 && most >= 8.0 * least;
        let place = |value: f64| if logarithmic { value.log10() } else { value };
        let span = (place(most) - place(least)).max(if logarithmic { 0.3 } else { 1e-9 });
        let margin = if span > 1e-9 { 0.06 * span } else { 0.5 };
        let tick = |value: &f64| (place(*value), short(*value));
        let apart = |(left, one): &(f64, String), (right, other): &(f64, String)| {
            let points = (width_points(one) + width_points(other)) / 2.0 + GAP_POINTS;
            right - left >= span * points / SPAN_POINTS
        };
        let mut ticks: Vec<(f64, String)> = vec![tick(&values[0])];
        let end = values[1..].last().map(tick);
        for next in values[1..].iter().map(tick) {
            let is_end = Some(&next) == end.as_ref();
            let room = is_end || end.as_ref().is_none_or(|end| apart(&next, end));
            if room && apart(&ticks[ticks.len() - 1], &next) {
                ticks.push(next);
            }
        }
        let places = (place(least) - margin, place(most) + margin);
        Self { title: title.into(), places, ticks, logarithmic }
    }

    /// One place for each name, from 0 in steps of 1.
    pub(crate) fn names(title: impl Into<String>, names: &[String]) -> Self {
        let ticks = names.iter().enumerate().map(|(index, name)| (index as f64, name.clone()));
        let places = (-0.5, names.len() as f64 - 0.5);
        Self { title: title.into(), places, ticks: ticks.collect(), logarithmic: false }
    }

    /// One row for each name, from the top, from 0 in steps of 1. The names stand in the rows.
    pub(crate) fn rows(names: &[String]) -> Self {
        let (first, last) = Self::names("", names).places;
        Self { places: (last, first), ..Self::names("", names) }
    }

    /// Where a value lies. A value that a logarithmic axis cannot hold lies at its start.
    pub(crate) fn place(&self, value: f64) -> f64 {
        match self.logarithmic {
            true if value <= 0.0 => self.places.0,
            true => value.log10().max(self.places.0),
            false => value,
        }
    }

    /// The label at a place.
    pub(crate) fn label(&self, place: f64) -> String {
        let near = |tick: &&(f64, String)| (tick.0 - place).abs() < 1e-9;
        self.ticks.iter().find(near).map_or(String::new(), |tick| tick.1.clone())
    }
}

/// 1, 2 or 5 times a power of ten, so that `span` holds at most about `count` steps.
fn round_step(span: f64, count: usize) -> f64 {
    let raw = span / count as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| raw <= factor * power * (1.0 + 1e-9));
    factor.unwrap_or(10.0) * power
}

/// Decimals that a multiple of `step` needs.
fn digits_of(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).max(0.0) as usize
}

/// A number with no more digits than it needs: `0.25`, `12`, `5k`, `2M`.
pub(crate) fn short(number: f64) -> String {
    let (number, suffix) = match number.abs() {
        size if size >= 1e6 => (number / 1e6, "M"),
        size if size >= 1e3 && size % 1e3 == 0.0 => (number / 1e3, "k"),
        size if size >= 1e4 && size % 1e2 == 0.0 => (number / 1e3, "k"),
        size if size >= 1e3 && size % 1.0 == 0.0 => return grouped(number),
        _ => (number, ""),
    };
    let digits = if number != 0.0 && number.abs() < 0.01 { 4 } else { 2 };
    let text = format!("{number:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    format!("{text}{suffix}")
}

/// About how wide a label is.
fn width_points(label: &str) -> f64 {
    let wide = |letter| match letter {
        '.' | ',' => 0.5,
        'M' => 1.4,
        _ => 1.0,
    };
    label.chars().map(wide).sum::<f64>() * DIGIT_POINTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_labels_stand_at_round_values() {
        assert_eq!(labels(&Axis::linear("", -2.6, 10.4, 7)), ["-2", "0", "2", "4", "6", "8", "10"]);
        assert_eq!(
            labels(&Axis::linear("", 0.0, 60.0, 7)),
            ["0", "10", "20", "30", "40", "50", "60"]
        );
        assert_eq!(
            labels(&Axis::linear("", 0.0, 1.0, 5)),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels(&Axis::linear("", -1.0, 1.0, 4)), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(labels(&Axis::linear("", 3.0, 3.0, 2)), ["3.0", "3.5", "4.0"]);
    }

    #[test]
    fn an_axis_from_zero_ends_at_a_label() {
        let axis = Axis::from_zero("", 10.27, 5);
        assert_eq!((axis.places, labels(&axis)), ((0.0, 15.0), vec!["0", "5", "10", "15"]));
        assert_eq!(Axis::from_zero("", 10.0, 5).places, (0.0, 10.0));
        assert_eq!(Axis::from_zero("", 0.0, 5).places, (0.0, 1.0));
    }

    #[test]
    fn decades_hold_their_values() {
        let axis = Axis::decades("", 0.15, 68.0);
        assert_eq!(axis.places, (0.1f64.log10(), 2.0));
        assert_eq!(labels(&axis), ["0.1", "1", "10", "100"]);
        assert_eq!(labels(&Axis::decades("", 5.1, 33.0)), ["5", "10", "20", "50"]);
        let axis = Axis::decades("latency in ms", 0.06, 1_700.0);
        assert_eq!(labels(&axis), ["0.1", "1", "10", "100", "1,000"], "1k is no number of ms");
        assert_eq!(labels(&Axis::decades("", 5.0, 5.0)), ["5", "10"], "a single value has an axis");
        assert_eq!((axis.place(0.0), axis.place(10.0)), (axis.places.0, 1.0));
    }

    #[test]
    fn measured_values_are_labelled_where_there_is_room() {
        let axis = Axis::values("", &[10_000.0, 1.0, 100.0, 5_000.0, 1_000.0, 100.0]);
        assert!(axis.logarithmic);
        assert_eq!(labels(&axis), ["1", "100", "1k", "5k", "10k"]);
        let axis = Axis::values("", &[1.0, 2.0, 4.0]);
        assert!(!axis.logarithmic);
        assert_eq!(labels(&axis), ["1", "2", "4"]);
        assert_eq!(labels(&Axis::values("", &[7.0])), ["7"]);
        let crowded: Vec<f64> = (0..100).map(f64::from).collect();
        assert!(Axis::values("", &crowded).ticks.len() < 20);
        // The last value has its label, and one that would touch it has none.
        let rates = [140e3, 5.7e6, 8.6e6, 11e6, 14e6, 17e6];
        assert_eq!(labels(&Axis::values("", &rates)), ["140k", "5.7M", "17M"]);
        let apart = [140e3, 5.7e6, 17e6];
        assert_eq!(labels(&Axis::values("", &apart)), ["140k", "5.7M", "17M"]);
        let long = [37_667.0, 117_713.0, 188_339.0, 376_678.0, 4_520_136.0];
        assert_eq!(labels(&Axis::values("", &long)), ["37,667", "117,713", "376,678", "4.52M"]);
    }

    #[test]
    fn labels_are_found_by_their_place() {
        let axis = Axis::names("", &["p50".to_owned(), "p99".to_owned()]);
        assert_eq!((axis.label(1.0), axis.label(0.5)), ("p99".to_owned(), String::new()));
        assert_eq!(axis.places, (-0.5, 1.5));
        let rows = Axis::rows(&["first".to_owned(), "last".to_owned()]);
        assert_eq!((rows.places, rows.label(0.0)), ((1.5, -0.5), "first".to_owned()));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, -0.0, 2.0, 0.25, 120.0, 1e3, 1024.0, 12_500.0, 16_384.0, 2e6, 0.001].map(short),
            ["0", "0", "2", "0.25", "120", "1k", "1,024", "12.5k", "16,384", "2M", "0.001"]
        );
    }
}

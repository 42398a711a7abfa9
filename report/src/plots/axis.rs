//! Axes: where they begin and end, and which values get a label.
//!
//! Labels stand at round values (1, 2 or 5 times a power of ten), or at the measured values where
//! those are few. plotters draws them; it does not choose them.

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
            (value, format!("{value:.digits$}"))
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
                    ticks.push((value.log10(), short(value)));
                }
            }
        }
        let places = (from.log10(), to.log10());
        Self { title: title.into(), places, ticks, logarithmic: true }
    }

    /// An axis labelled at the measured values: logarithmic if they span a factor of eight or more.
    pub(crate) fn values(title: impl Into<String>, values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (least, most) = (values[0], values[values.len() - 1]);
        let logarithmic = least > 0.0 && most >= 8.0 * least;
        let place = |value: f64| if logarithmic { value.log10() } else { value };
        let span = (place(most) - place(least)).max(if logarithmic { 0.3 } else { 1e-9 });
        let margin = if span > 1e-9 { 0.06 * span } else { 0.5 };
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for value in values {
            // A letter takes about 3% of the axis.
            let label = short(value).len();
            let room = ticks.last().is_none_or(|(last, text)| {
                place(value) - last > 0.029 * span * (label + text.len()) as f64 / 2.0
            });
            if room {
                ticks.push((place(value), short(value)));
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
        _ => (number, ""),
    };
    let digits = if number != 0.0 && number.abs() < 0.01 { 4 } else { 2 };
    let text = format!("{number:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    format!("{text}{suffix}")
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
        assert_eq!(labels(&Axis::decades("", 5.0, 5.0)), ["5", "10"], "a single value has an axis");
        assert_eq!(axis.place(0.0), axis.places.0);
        assert_eq!(axis.place(10.0), 1.0);
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
        let long = [37_667.0, 117_713.0, 188_339.0, 376_678.0, 4_520_136.0];
        assert_eq!(labels(&Axis::values("", &long)), ["37667", "117713", "376678", "4.52M"]);
    }

    #[test]
    fn labels_are_found_by_their_place() {
        let axis = Axis::names("", &["p50".to_owned(), "p99".to_owned()]);
        assert_eq!((axis.label(1.0), axis.label(0.5)), ("p99".to_owned(), String::new()));
        assert_eq!(axis.places, (-0.5, 1.5));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, -0.0, 2.0, 0.25, 120.0, 1e3, 1024.0, 12_500.0, 16_384.0, 2e6, 0.001].map(short),
            ["0", "0", "2", "0.25", "120", "1k", "1024", "12.5k", "16384", "2M", "0.001"]
        );
    }
}

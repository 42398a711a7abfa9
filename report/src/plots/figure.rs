//! What a picture shows, before it is drawn: panels one above the other, series in them, a legend.

use super::axis::Axis;

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// From top to bottom; they share what lies below the lowest one.
    pub(crate) panels: Vec<Panel>,
}

/// One pair of axes with what stands between them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Panel {
    /// To the right.
    pub(crate) x: Axis,
    /// Upwards.
    pub(crate) y: Axis,
    /// In the order of the legend.
    pub(crate) series: Vec<Series>,
    /// Horizontal lines that the series are to be held against.
    pub(crate) rules: Vec<Rule>,
    /// The measured window, as values of `x`.
    pub(crate) window: Option<(f64, f64)>,
}

impl Panel {
    /// Whether its bars lie in rows.
    pub(crate) fn has_rows(&self) -> bool {
        self.series.iter().any(|series| series.form == Form::Rows)
    }
}

/// A horizontal line with a name, such as a link's speed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Where it lies.
    pub(crate) y: f64,
    /// What the legend calls it.
    pub(crate) name: String,
}

/// Values that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// What the legend calls it; without a name it has no entry there.
    pub(crate) name: String,
    /// Its colour and marker: a number, so that it looks alike in all pictures of a run.
    pub(crate) look: usize,
    /// How its points are drawn.
    pub(crate) form: Form,
    /// In order of `x`.
    pub(crate) points: Vec<Point>,
    /// A value that a dashed line marks.
    pub(crate) median: Option<f64>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A line; a marker now and then tells it from others.
    TimeLine,
    /// A marker at each point, with its error bar, joined by a line.
    Marks,
    /// An upright bar from zero for each point.
    Bars,
    /// A lying bar for each point, in the row `y` and as long as `x`, which stands at its end; the
    /// error bar lies along it.
    Rows,
}

/// One value, with what it varies between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// To the right.
    pub(crate) x: f64,
    /// Upwards.
    pub(crate) y: f64,
    /// The ends of its error bar; equal where it has none.
    pub(crate) bar: (f64, f64),
}

impl Point {
    /// A point without error bar.
    pub(crate) fn new(x: f64, y: f64) -> Self {
        Self { x, y, bar: (y, y) }
    }
}

/// What stands before a name in the legend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sign {
    /// A series' line or bar.
    Series(usize, Form),
    /// A median's dashes.
    Median,
    /// A rule's dashes; the number is that of the rule.
    Rule(usize),
    /// The window's shade.
    Window,
}

/// Series that each have an entry in the legend and a look of their own; with more, they share
/// one entry.
pub(crate) const SERIES_NAMED_MAX: usize = 8;

impl Figure {
    /// The legend's entries: the series as far as they can be told apart, then the common signs.
    pub(crate) fn legend(&self) -> Vec<(String, Sign)> {
        let mut entries: Vec<(String, Sign)> = Vec::new();
        let mut add = |name: &str, sign: Sign| {
            if !name.is_empty() && !entries.iter().any(|(known, _)| known == name) {
                entries.push((name.to_owned(), sign));
            }
        };
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            add(&series.name, Sign::Series(series.look, series.form));
        }
        for (index, rule) in self.panels.iter().flat_map(|panel| panel.rules.iter().enumerate()) {
            add(&rule.name, Sign::Rule(index));
        }
        if self.panels.iter().flat_map(|panel| &panel.series).any(|series| series.median.is_some())
        {
            add("median", Sign::Median);
        }
        if self.panels.iter().any(|panel| panel.window.is_some()) {
            add("measured", Sign::Window);
        }
        let count = entries.iter().filter(|entry| matches!(entry.1, Sign::Series(..))).count();
        if count > SERIES_NAMED_MAX {
            let Sign::Series(_, form) = entries[0].1 else { unreachable!("series come first") };
            let name = format!("{count} lines");
            entries.drain(1..count);
            entries[0] = (name, Sign::Series(SERIES_NAMED_MAX, form));
        }
        entries
    }
}

/// At most this many points a line: a page stays small however long the run was.
const POINTS_MAX: usize = 600;

/// Means of equal parts of a series that has more than [`POINTS_MAX`] points.
pub(crate) fn thinned(points: Vec<Point>) -> Vec<Point> {
    let part = points.len().div_ceil(POINTS_MAX);
    if part <= 1 {
        return points;
    }
    let mean = |part: &[Point], pick: fn(&Point) -> f64| {
        part.iter().map(pick).sum::<f64>() / part.len() as f64
    };
    points.chunks(part).map(|part| Point::new(mean(part, |p| p.x), mean(part, |p| p.y))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, look: usize, median: Option<f64>) -> Series {
        let points = vec![Point::new(0.0, 1.0), Point::new(1.0, 2.0)];
        Series { name: name.to_owned(), look, form: Form::TimeLine, points, median }
    }

    fn figure(series: Vec<Series>) -> Figure {
        let axis = Axis::linear("", 0.0, 1.0, 2);
        let rules = vec![Rule { y: 1.0, name: "link".to_owned() }];
        let panel = Panel { x: axis.clone(), y: axis, series, rules, window: Some((0.0, 1.0)) };
        Figure { panels: vec![panel.clone(), panel] }
    }

    fn names(figure: &Figure) -> Vec<String> {
        figure.legend().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_several_panels_share_has_one_entry() {
        let figure = figure(vec![series("server 1", 0, Some(1.0)), series("server 2", 1, None)]);
        assert_eq!(names(&figure), ["server 1", "server 2", "link", "median", "measured"]);
    }

    #[test]
    fn a_series_without_a_name_has_no_entry() {
        let figure = figure(vec![series("", 0, None)]);
        assert_eq!(names(&figure), ["link", "measured"]);
    }

    #[test]
    fn many_series_share_one_entry() {
        let many = |count: usize| {
            figure(
                (0..count).map(|index| series(&format!("server {index}"), index, None)).collect(),
            )
        };
        assert_eq!(names(&many(8)).len(), 10);
        assert_eq!(names(&many(9)), ["9 lines", "link", "measured"]);
    }

    #[test]
    fn a_long_series_is_thinned_to_means() {
        let points = |count: usize| (0..count).map(|i| Point::new(i as f64, 2.0 * i as f64));
        assert_eq!(thinned(points(600).collect()).len(), 600);
        let thin = thinned(points(1_200).collect());
        assert_eq!(thin.len(), 600);
        assert_eq!(thin[1], Point::new(2.5, 5.0));
    }
}

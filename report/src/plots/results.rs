//! Pictures of measured tables: one column against another, a line for each value of a third; or
//! several columns of one unit against another, a line each. Over names, each gets a row with lying
//! bars.

use super::Picture;
use super::axis::Axis;
use super::figure::{Figure, Form, Panel, Point, Series};
use crate::results::{Cell, Column, Results};
use crate::wording::{self, BYTES, RATES, Scale, TIMES, TRAFFIC, scale};

/// What of a table is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// The column to the right.
    pub x: String,
    /// The columns upwards, of one unit, a line each; their cells are numbers.
    pub y: Vec<String>,
    /// The column whose values each get a line of their own; with one `y` only.
    pub by: Option<String>,
    /// Where error bars come from.
    pub bars: Bars,
}

/// Where a picture's error bars come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bars {
    /// From rows that agree in `x` and `by`: the standard deviation to either side of their mean.
    #[default]
    Repeats,
    /// From a column that holds the deviation.
    Deviation(String),
    /// From two columns that hold the least and the greatest.
    Ends(String, String),
}

/// Why a table's picture could not be drawn.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// The table has no such column.
    #[error("the table {table} has no column {column}; it has {}", columns.join(", "))]
    NoColumn {
        /// The table.
        table: String,
        /// What was asked for.
        column: String,
        /// What there is.
        columns: Vec<String>,
    },
    /// Columns of several units cannot share an axis.
    #[error("the columns {} of the table {table} differ in their units; draw them apart",
        columns.join(", "))]
    Units {
        /// The table.
        table: String,
        /// The columns.
        columns: Vec<String>,
    },
    /// No row has a number under `y` and something under `x`.
    #[error("the table {table} has no row with a number under {column}; measure it again")]
    NoNumber {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

/// Values above this ratio to the least are drawn on a logarithmic axis.
const LINEAR_RATIO_MAX: f64 = 100.0;

/// Draws `curve` of a table. Rows that agree in `x` and `by` are repeats: the point is their mean,
/// its error bar their standard deviation to either side.
///
/// # Errors
///
/// When the table lacks a column or has nothing to draw.
pub fn of_results(name: &str, results: &Results, curve: &Curve) -> Result<Picture, CurveError> {
    let table = Table { results };
    let x = table.column(&curve.x)?;
    let ys = table.of_one_unit(&curve.y)?;
    let by = curve.by.as_ref().map(|by| table.column(by)).transpose()?;
    let bars = match &curve.bars {
        Bars::Repeats => None,
        Bars::Deviation(column) => {
            let column = table.column(column)?;
            Some((column, column))
        }
        Bars::Ends(low, high) => Some((table.column(low)?, table.column(high)?)),
    };
    let columns = &results.header.columns;
    let rows_of = |y: usize| {
        // Of several columns each is a line, and so a value of its own.
        let line = (ys.len() > 1).then(|| wording::title(&columns[y]));
        results.rows.iter().filter_map(move |row| Row::of(row, (x, y), by, line.clone(), bars))
    };
    let rows: Vec<Row> = ys.iter().flat_map(|y| rows_of(*y)).collect();
    if rows.is_empty() {
        let column = curve.y.join(", ");
        return Err(CurveError::NoNumber { table: results.header.name.clone(), column });
    }
    let names = names_of_places(&rows);
    let lines = group(&rows, names.as_deref());
    let repeats = lines.iter().map(|(_, repeats, _)| *repeats).max().unwrap_or(1);
    let by_title = by.map(|by| wording::title(&columns[by]));
    let form = if names.is_some() { Form::Rows } else { Form::Marks };
    // The axis says what the bars of a single series are.
    let is_told = form == Form::Rows && lines.len() == 1;
    let series: Vec<Series> = lines
        .into_iter()
        .enumerate()
        .map(|(look, (name, _, points))| {
            let value = name.unwrap_or_else(|| wording::title(&columns[ys[0]]));
            let name = match &by_title {
                Some(title) if value.parse::<f64>().is_ok() => format!("{title} {value}"),
                _ if is_told => String::new(),
                _ => value,
            };
            Series { name, look, form, points, median: None }
        })
        .collect();
    let panel = panel(columns, x, &ys, names.as_deref(), series);
    let (means, whiskers) = match form {
        Form::Rows => ("bars are means", "whiskers"),
        _ => ("points are means", "bars"),
    };
    let bars = match &curve.bars {
        Bars::Repeats if repeats == 1 => String::new(),
        Bars::Repeats => {
            format!("; {means} of {repeats} runs, {whiskers} their standard deviation")
        }
        Bars::Deviation(_) => format!("; {whiskers} are standard deviations"),
        Bars::Ends(..) => format!("; {whiskers} reach from the least to the greatest"),
    };
    let caption = format!("{}{bars}.", results.header.title.trim_end_matches('.'));
    Ok(Picture { name: name.to_owned(), caption, figure: Figure { panels: vec![panel] } })
}

struct Table<'a> {
    results: &'a Results,
}

impl Table<'_> {
    fn column(&self, name: &str) -> Result<usize, CurveError> {
        self.results.column(name).ok_or_else(|| CurveError::NoColumn {
            table: self.results.header.name.clone(),
            column: name.to_owned(),
            columns: self.results.header.columns.iter().map(|c| c.name.clone()).collect(),
        })
    }

    /// The places of columns that can share an axis; at least one.
    fn of_one_unit(&self, names: &[String]) -> Result<Vec<usize>, CurveError> {
        assert!(!names.is_empty(), "a picture draws a column");
        let places: Vec<usize> =
            names.iter().map(|name| self.column(name)).collect::<Result<_, _>>()?;
        let unit = |place: &usize| &self.results.header.columns[*place].unit;
        if places.iter().any(|place| unit(place) != unit(&places[0])) {
            let table = self.results.header.name.clone();
            return Err(CurveError::Units { table, columns: names.to_vec() });
        }
        Ok(places)
    }
}

/// What of a row is drawn.
struct Row {
    x: Cell,
    y: f64,
    by: Option<String>,
    bar: Option<(f64, f64)>,
}

impl Row {
    fn of(
        row: &[Cell],
        (x, y): (usize, usize),
        by: Option<usize>,
        line: Option<String>,
        bars: Option<(usize, usize)>,
    ) -> Option<Self> {
        let y = row[y].number()?;
        let bar = bars.and_then(|(low, high)| {
            let (one, other) = (row[low].number()?, row[high].number()?);
            // One column alone is a deviation to either side.
            Some(if low == high { (y - one, y + one) } else { (one, other) })
        });
        let by = line.or_else(|| by.map(|by| row[by].text()));
        (row[x] != Cell::Empty).then(|| Self { x: row[x].clone(), y, by, bar })
    }
}

/// The names along the x axis, if it has names and no numbers.
fn names_of_places(rows: &[Row]) -> Option<Vec<String>> {
    if rows.iter().all(|row| row.x.number().is_some()) {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().map(|row| row.x.text()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names)
}

/// The lines in the order in which the table names them: name, most repeats of a point, points.
type Line = (Option<String>, usize, Vec<Point>);

fn group(rows: &[Row], names: Option<&[String]>) -> Vec<Line> {
    let place = |x: &Cell| match (x.number(), names) {
        (Some(number), None) => number,
        (_, Some(names)) => {
            names.iter().position(|name| *name == x.text()).expect("every name has its place")
                as f64
        }
        (None, None) => unreachable!("an axis without names has numbers"),
    };
    let mut order: Vec<&Option<String>> = Vec::new();
    for row in rows {
        if !order.contains(&&row.by) {
            order.push(&row.by);
        }
    }
    let line = |by: &Option<String>| {
        let mut values: Vec<(f64, Vec<&Row>)> = Vec::new();
        for row in rows.iter().filter(|row| row.by == *by) {
            let x = place(&row.x);
            match values.iter_mut().find(|(known, _)| *known == x) {
                Some((_, repeats)) => repeats.push(row),
                None => values.push((x, vec![row])),
            }
        }
        values.sort_by(|one, other| one.0.total_cmp(&other.0));
        let repeats = values.iter().map(|(_, repeats)| repeats.len()).max().unwrap_or(1);
        (by.clone(), repeats, values.into_iter().map(|(x, repeats)| point(x, &repeats)).collect())
    };
    order.into_iter().map(line).collect()
}

/// The mean of repeats, with their standard deviation to either side.
fn point(x: f64, repeats: &[&Row]) -> Point {
    let mean = repeats.iter().map(|row| row.y).sum::<f64>() / repeats.len() as f64;
    if let [row] = repeats {
        return Point { x, y: mean, bar: row.bar.unwrap_or((mean, mean)) };
    }
    let squares = repeats.iter().map(|row| (row.y - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (repeats.len() - 1) as f64).sqrt();
    Point { x, y: mean, bar: (mean - deviation, mean + deviation) }
}

fn panel(
    columns: &[Column],
    x: usize,
    ys: &[usize],
    names: Option<&[String]>,
    mut series: Vec<Series>,
) -> Panel {
    let points = || series.iter().flat_map(|series| &series.points);
    let most = points().map(|point| point.bar.1).fold(0.0, f64::max);
    let least = points().map(|point| point.bar.0).fold(f64::INFINITY, f64::min);
    let is_wide = least > 0.0 && most > LINEAR_RATIO_MAX * least;
    let y_unit = columns[ys[0]].unit.as_str();
    let Scale { size, name: unit } = match y_unit {
        "op/s" => scale(most, RATES),
        "B" => scale(most, BYTES),
        "B/s" => scale(most, TRAFFIC),
        // A latency is what most are on a logarithmic axis, and else what the longest is.
        "us" if is_wide => scale((least * most).sqrt(), TIMES),
        "us" => scale(most, TIMES),
        _ => Scale { size: 1.0, name: "" },
    };
    let unit = if unit.is_empty() { wording::unit(y_unit) } else { unit };
    for point in series.iter_mut().flat_map(|series| &mut series.points) {
        *point =
            Point { x: point.x, y: point.y / size, bar: (point.bar.0 / size, point.bar.1 / size) };
    }
    let (least, most) = (least / size, most / size);
    let y_title = match ys {
        [y] => wording::title(&columns[*y]),
        [first, .., last] => {
            format!("{} to {}", wording::title(&columns[*first]), wording::title(&columns[*last]))
        }
        [] => unreachable!("a picture draws a column"),
    };
    let y_title = in_unit(y_title, unit);
    let y_axis = if is_wide {
        Axis::decades(y_title, least, most)
    } else if least < 0.0 {
        Axis::linear(y_title, least, most, 6)
    } else {
        Axis::from_zero(y_title, most, 6)
    };
    let (x, y) = match names {
        Some(names) => {
            for point in series.iter_mut().flat_map(|series| &mut series.points) {
                (point.x, point.y) = (point.y, point.x);
            }
            (y_axis, Axis::rows(names))
        }
        None => {
            let title = in_unit(wording::title(&columns[x]), wording::unit(&columns[x].unit));
            let places = series.iter().flat_map(|series| &series.points).map(|point| point.x);
            (Axis::values(title, &places.collect::<Vec<_>>()), y_axis)
        }
    };
    Panel { x, y, series, rules: Vec::new(), window: None }
}

fn in_unit(title: String, unit: &str) -> String {
    if unit.is_empty() { title } else { format!("{title} in {unit}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    /// A table of batch sizes with repeats, and two stores.
    pub(crate) fn batch_sizes() -> Results {
        let header = r#"{"version":1,"name":"batch_sizes","title":"Throughput against batch size",
            "command":"kvs-lab sweep -batch_size 1,100","environment":{"cpu":"Xeon","cores":2,
            "kernel":"6.18","commit":"abc","date":"2026-11-21"},"columns":[
            {"name":"batch_size","unit":""},{"name":"store","unit":""},{"name":"ops_s","unit":"op/s"},
            {"name":"p99_us","unit":"us"}],"notes":["Runs of 4 s."]}"#
            .replace('\n', " ");
        let rows = [
            "[1,\"scc\",300000,null]",
            "[1,\"scc\",500000,150]",
            "[100,\"scc\",4000000,1640.5]",
            "[1,\"partitioned\",390000,150]",
            "[100,\"partitioned\",10400000,null]",
        ]
        .join("\n");
        let text = format!("{header}\n{rows}\n{{\"rows\":5}}\n");
        Results::parse(&text, Path::new("results/batch_sizes.jsonl")).unwrap()
    }

    fn curve(x: &str, y: &str, by: Option<&str>) -> Curve {
        let y = y.split(',').map(str::to_owned).collect();
        Curve { x: x.to_owned(), y, by: by.map(str::to_owned), bars: Bars::Repeats }
    }

    #[test]
    fn repeats_become_a_point_with_an_error_bar() {
        let by_store = curve("batch_size", "ops_s", Some("store"));
        let picture = of_results("batch", &batch_sizes(), &by_store).unwrap();
        let panel = &picture.figure.panels[0];
        let names: Vec<_> = panel.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["scc", "partitioned"]);
        let deviation = 0.1 * 2f64.sqrt();
        let first = panel.series[0].points[0];
        assert_eq!((first.x, first.y), (1.0, 0.4));
        assert!((first.bar.0 - (0.4 - deviation)).abs() < 1e-9, "{first:?}");
        assert!((first.bar.1 - (0.4 + deviation)).abs() < 1e-9, "{first:?}");
        assert_eq!(panel.series[0].points[1], Point::new(100.0, 4.0));
        assert_eq!(panel.y.title, "throughput in million op/s");
        assert_eq!(panel.x.title, "batch size");
        assert!(panel.x.logarithmic);
        assert!(picture.caption.contains("means of 2 runs"), "{}", picture.caption);
    }

    #[test]
    fn error_bars_may_stand_in_the_table() {
        let bars = |bars: Bars| {
            let mut results = batch_sizes();
            results.rows = vec![[1.0, 7.0, 10.0, 2.0].map(Cell::Number).to_vec()];
            let curve = Curve { bars, ..curve("batch_size", "ops_s", None) };
            let picture = of_results("batch", &results, &curve).unwrap();
            (picture.figure.panels[0].series[0].points[0].bar, picture.caption)
        };
        let (ends, caption) = bars(Bars::Ends("store".to_owned(), "ops_s".to_owned()));
        assert_eq!(ends, (7.0, 10.0));
        assert!(caption.ends_with("from the least to the greatest."), "{caption}");
        assert_eq!(bars(Bars::Deviation("p99_us".to_owned())).0, (8.0, 12.0));
        assert_eq!(bars(Bars::Repeats).0, (10.0, 10.0));
    }

    /// A table of latencies against a rate.
    fn percentiles() -> Results {
        let mut results = batch_sizes();
        let column = |name: &str, unit: &str| Column { name: name.into(), unit: unit.into() };
        results.header.columns =
            vec![column("rate", "op/s"), column("p50", "us"), column("p999", "us")];
        results.rows = vec![
            [1e3, 60.0, 900.0].map(Cell::Number).to_vec(),
            [1e4, 80.0, 9_000.0].map(Cell::Number).to_vec(),
        ];
        results
    }

    #[test]
    fn columns_of_one_unit_get_a_line_each() {
        let picture = of_results("p", &percentiles(), &curve("rate", "p50,p999", None)).unwrap();
        let panel = &picture.figure.panels[0];
        let lines: Vec<_> = panel
            .series
            .iter()
            .map(|series| (series.name.as_str(), series.points.iter().map(|p| p.y).collect()))
            .collect();
        assert_eq!(lines, [("p50", vec![60.0, 80.0]), ("p99.9", vec![900.0, 9_000.0])]);
        assert_eq!(panel.y.title, "p50 to p99.9 in µs");
        let mut slow = percentiles();
        slow.rows[1][2] = Cell::Number(1.7e6);
        let picture = of_results("p", &slow, &curve("rate", "p50,p999", None)).unwrap();
        assert_eq!(picture.figure.panels[0].y.title, "p50 to p99.9 in ms");
        assert!(panel.y.logarithmic);
    }

    #[test]
    fn columns_of_several_units_are_refused() {
        let error = of_results("p", &percentiles(), &curve("rate", "p50,rate", None)).unwrap_err();
        assert!(matches!(error, CurveError::Units { .. }), "{error}");
        assert!(error.to_string().contains("columns p50, rate"), "{error}");
    }

    #[test]
    fn rows_without_a_number_are_left_out() {
        let picture = of_results("p99", &batch_sizes(), &curve("batch_size", "p99_us", None));
        let panel = &picture.unwrap().figure.panels[0];
        assert_eq!(panel.series.len(), 1);
        assert_eq!(panel.series[0].name, "p99");
        assert_eq!(panel.series[0].points.len(), 2);
        assert_eq!(panel.y.title, "p99 in ms");
    }

    #[test]
    fn names_have_rows_with_a_bar_for_each_line() {
        let by_size = curve("store", "ops_s", Some("batch_size"));
        let picture = of_results("store", &batch_sizes(), &by_size).unwrap();
        let panel = &picture.figure.panels[0];
        assert_eq!((panel.has_rows(), panel.y.label(1.0).as_str()), (true, "partitioned"));
        let names: Vec<_> = panel.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["batch size 1", "batch size 100"]);
        assert_eq!(panel.series[1].points[1], Point { x: 10.4, y: 1.0, bar: (10.4, 10.4) });
        assert_eq!(panel.x.title, "throughput in million op/s");
        let sizes = curve("batch_size", "ops_s", None);
        assert!(picture.caption.contains("; bars are means of 2 runs, whiskers their standard"));
        let numbers = of_results("size", &batch_sizes(), &sizes).unwrap();
        assert!(!numbers.figure.panels[0].has_rows(), "numbers have an axis");
    }

    #[test]
    fn rows_tell_their_names_and_values_however_long_they_are() {
        let mut results = batch_sizes();
        let long = "one operation per call, one mutex";
        let row = |name: &str, rate| {
            vec![Cell::Empty, Cell::Text(name.to_owned()), Cell::Number(rate), Cell::Empty]
        };
        results.rows = vec![row(long, 1e4), row("scc", 5e5), row("partitioned", 10.4e6)];
        let picture = of_results("step", &results, &curve("store", "ops_s", None)).unwrap();
        let panel = &picture.figure.panels[0];
        assert!(panel.x.logarithmic && panel.series[0].name.is_empty());
        let svg = picture.svg();
        for text in [long, "scc", "partitioned", "0.0100", "throughput in million op/s"] {
            assert_eq!(svg.matches(text).count(), 1, "{text}");
        }
        results.rows.truncate(1);
        let one = of_results("step", &results, &curve("store", "ops_s", None)).unwrap();
        assert!(!one.figure.panels[0].x.logarithmic, "a single value spans nothing");
    }

    #[test]
    fn what_the_table_lacks_is_named() {
        let error = of_results("x", &batch_sizes(), &curve("size", "ops_s", None)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the table batch_sizes has no column size; it has batch_size, store, ops_s, p99_us"
        );
        let error =
            of_results("x", &batch_sizes(), &curve("batch_size", "store", None)).unwrap_err();
        assert!(matches!(error, CurveError::NoNumber { .. }), "{error}");
    }
}

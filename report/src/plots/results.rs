//! Pictures of measured tables: one column against another, a line for each value of a third; or
//! several columns of one unit against another, a line each.

use super::Picture;
use super::axis::Axis;
use super::figure::{Figure, Form, Panel, Point, Series};
use crate::results::{Cell, Column, Results};
use crate::wording::{self, BYTES, RATES, Scale, TRAFFIC, scale};

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
    let mut series = group(&rows, names.as_deref());
    let key = names.as_deref().filter(|names| !fit(names)).map(numbered);
    let names = match &key {
        Some(_) => names.map(|names| (1..=names.len()).map(|number| number.to_string()).collect()),
        None => names,
    };
    let repeats = series.iter().map(|(_, repeats, _)| *repeats).max().unwrap_or(1);
    if names.is_some() {
        beside_each_other(&mut series);
    }
    let by_title = by.map(|by| wording::title(&columns[by]));
    let series: Vec<Series> = series
        .into_iter()
        .enumerate()
        .map(|(look, (name, _, points))| {
            let value = name.unwrap_or_else(|| wording::title(&columns[ys[0]]));
            let name = match &by_title {
                Some(title) if value.parse::<f64>().is_ok() => format!("{title} {value}"),
                _ => value,
            };
            Series { name, look, form: Form::Marks, points, median: None }
        })
        .collect();
    let panel = panel(columns, x, &ys, names.as_deref(), series);
    let bars = match &curve.bars {
        Bars::Repeats if repeats == 1 => String::new(),
        Bars::Repeats => {
            format!("; points are means of {repeats} runs, bars their standard deviation")
        }
        Bars::Deviation(_) => "; bars are standard deviations".to_owned(),
        Bars::Ends(..) => "; bars reach from the least to the greatest".to_owned(),
    };
    let key = key.map_or(String::new(), |key| format!("; {key}"));
    let caption = format!("{}{bars}{key}.", results.header.title.trim_end_matches('.'));
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

/// Letters that fit below an axis.
const LETTERS_MAX: usize = 40;

/// Whether names can stand beside each other below an axis.
fn fit(names: &[String]) -> bool {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    (longest + 1) * names.len() <= LETTERS_MAX
}

/// The names with the numbers that stand for them on the axis.
fn numbered(names: &[String]) -> String {
    let pairs = names.iter().enumerate().map(|(index, name)| format!("{}: {name}", index + 1));
    pairs.collect::<Vec<_>>().join(", ")
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

/// Over names, lines are shifted against each other, so that equal ones do not hide one another.
fn beside_each_other(lines: &mut [Line]) {
    let middle = (lines.len() - 1) as f64 / 2.0;
    for (index, (_, _, points)) in lines.iter_mut().enumerate() {
        for point in points {
            point.x += 0.1 * (index as f64 - middle);
        }
    }
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
    let y_unit = columns[ys[0]].unit.as_str();
    let Scale { size, name: unit } = match y_unit {
        "op/s" => scale(most, RATES),
        "B" => scale(most, BYTES),
        "B/s" => scale(most, TRAFFIC),
        _ => Scale { size: 1.0, name: "" },
    };
    let unit = if unit.is_empty() { wording::unit(y_unit) } else { unit };
    for point in series.iter_mut().flat_map(|series| &mut series.points) {
        *point =
            Point { x: point.x, y: point.y / size, bar: (point.bar.0 / size, point.bar.1 / size) };
    }
    let points = || series.iter().flat_map(|series| &series.points);
    let least = points().map(|point| point.bar.0).fold(f64::INFINITY, f64::min);
    let most = most / size;
    let y_title = match ys {
        [y] => wording::title(&columns[*y]),
        [first, .., last] => {
            format!("{} to {}", wording::title(&columns[*first]), wording::title(&columns[*last]))
        }
        [] => unreachable!("a picture draws a column"),
    };
    let y_title = in_unit(y_title, unit);
    let y_axis = if least > 0.0 && most > LINEAR_RATIO_MAX * least {
        Axis::decades(y_title, least, most)
    } else if least < 0.0 {
        Axis::linear(y_title, least, most, 6)
    } else {
        Axis::from_zero(y_title, most, 6)
    };
    let x_title = in_unit(wording::title(&columns[x]), wording::unit(&columns[x].unit));
    let x_axis = match names {
        Some(names) => Axis::names(x_title, names),
        None => Axis::values(x_title, &points().map(|point| point.x).collect::<Vec<_>>()),
    };
    Panel { x: x_axis, y: y_axis, series, rules: Vec::new(), window: None }
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
            "command":"scripts/sweep -batch_size 1,100","environment":{"cpu":"Xeon","cores":2,
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
        assert_eq!(panel.y.title, "p99 in µs");
    }

    #[test]
    fn names_stand_beside_each_other() {
        let picture =
            of_results("store", &batch_sizes(), &curve("store", "ops_s", Some("batch_size")));
        let panel = &picture.unwrap().figure.panels[0];
        assert_eq!(panel.x.label(1.0), "partitioned");
        let names: Vec<_> = panel.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["batch size 1", "batch size 100"]);
        assert_eq!(panel.series[1].points[0].x, 0.05);
    }

    #[test]
    fn names_too_long_for_the_axis_become_numbers() {
        let mut results = batch_sizes();
        let long = "one operation per call, one mutex";
        results.rows[0][1] = Cell::Text(long.to_owned());
        let picture = of_results("step", &results, &curve("store", "ops_s", None)).unwrap();
        let axis = &picture.figure.panels[0].x;
        assert_eq!((axis.label(0.0), axis.label(2.0)), ("1".to_owned(), "3".to_owned()));
        assert!(picture.caption.contains(&format!("; 1: {long}, 2: scc, 3: partitioned.")));
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

//! A sweep's table summed up: a row for each point, over its repeats.
//!
//! `kvs-lab sweep` writes one row per run: first the columns that say what was set, then `repeat`,
//! then what came out. Rows that agree in everything before `repeat` are one point.

use crate::plots::{Bars, Curve};
use crate::results::{Cell, Column, Header, Results};
use crate::statistics::Sample;
use crate::table::aligned;

/// The column that parts what was set from what came out.
pub const REPEAT: &str = "repeat";

/// What came out, and is summed up: the throughput in full, the latency in short.
const THROUGHPUT: &str = "ops_s";
const LATENCY: &str = "p99_us";

/// What limited a run, in words.
const LIMITED_BY: &str = "limited_by";

/// One setting of everything that was swept.
#[derive(Debug, PartialEq)]
struct PointOfSweep {
    set: Vec<String>,
    throughput: Option<Sample>,
    latency: Option<Sample>,
    failed: usize,
    limited_by: String,
}

/// The whole text; `None` if the table is not a sweep's.
pub fn render(results: &Results) -> Option<String> {
    let points = points(results)?;
    let set = results.column(REPEAT)?;
    let columns = &results.header.columns[..set];
    let mut header: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    header.extend(["runs", "failed", "mean op/s", "deviation", "min", "max"]);
    header.extend(["p99 us", "deviation", "limited by"]);
    let rows = points.iter().map(|point| {
        let mut row = point.set.clone();
        let runs = point.throughput.map_or(0, |sample| sample.count);
        row.extend([runs.to_string(), point.failed.to_string()]);
        row.extend(match point.throughput {
            Some(rates) => [rates.mean, rates.deviation, rates.min, rates.max].map(whole),
            None => [const { String::new() }; 4].map(|_| "-".to_owned()),
        });
        row.extend(match point.latency {
            Some(latency) => [latency.mean, latency.deviation].map(whole),
            None => ["-".to_owned(), "-".to_owned()],
        });
        row.push(point.limited_by.clone());
        row
    });
    let notes: String = results.header.notes.iter().map(|note| format!("\n{note}\n")).collect();
    let title = &results.header.title;
    Some(format!("{title}\n\n{}\n{notes}", aligned(&header, rows)))
}

/// The table of the points: what was swept, the runs' mean throughput with its spread, the mean
/// latency, what limited most runs. `None` if the table is not a sweep's.
pub fn summed_up(results: &Results) -> Option<Results> {
    let points = points(results)?;
    let set = results.column(REPEAT)?;
    // What is the same in all runs stands in the command.
    let swept: Vec<usize> = (0..set).filter(|column| distinct(results, *column) > 1).collect();
    let column = |name: &str, unit: &str| Column { name: name.to_owned(), unit: unit.to_owned() };
    let mut columns: Vec<Column> =
        swept.iter().map(|column| results.header.columns[*column].clone()).collect();
    columns.push(column("runs", ""));
    columns.extend([THROUGHPUT, "deviation", "min", "max"].map(|name| column(name, "op/s")));
    columns.push(column(LATENCY, "us"));
    columns.push(column(LIMITED_BY, ""));
    let row = |point: &PointOfSweep| {
        // A number that was set stays a number.
        let cell = |text: &String| text.parse::<f64>().map_or(text.as_str().into(), Cell::Number);
        let mut row: Vec<Cell> = swept.iter().map(|column| cell(&point.set[*column])).collect();
        let rates = point.throughput;
        row.push(Cell::Number(rates.map_or(0, |rates| rates.count) as f64));
        row.extend(
            [
                rates.map(|rates| rates.mean),
                rates.map(|rates| rates.deviation),
                rates.map(|rates| rates.min),
                rates.map(|rates| rates.max),
                point.latency.map(|latency| latency.mean),
            ]
            .map(Cell::from),
        );
        row.push(point.limited_by.as_str().into());
        row
    };
    let rows = points.iter().map(row).collect();
    Some(Results { header: Header { columns, ..results.header.clone() }, rows })
}

/// What of a sweep is drawn: throughput against what has most values, a line for each value of
/// what has the next most. `None` where nothing was swept.
pub fn curve(results: &Results) -> Option<Curve> {
    let set = results.column(REPEAT)?;
    let mut swept: Vec<(usize, usize)> = (0..set)
        .map(|column| (column, distinct(results, column)))
        .filter(|(_, values)| *values > 1)
        .collect();
    // Stable: of equals, the first column.
    swept.sort_by_key(|(_, values)| std::cmp::Reverse(*values));
    let name = |column: usize| results.header.columns[column].name.clone();
    let (x, _) = swept.first()?;
    let by = swept.get(1).map(|(column, _)| name(*column));
    results.column(THROUGHPUT)?;
    Some(Curve { x: name(*x), y: vec![THROUGHPUT.to_owned()], by, bars: Bars::Repeats })
}

fn distinct(results: &Results, column: usize) -> usize {
    let mut values: Vec<String> = results.rows.iter().map(|row| row[column].text()).collect();
    values.sort_unstable();
    values.dedup();
    values.len()
}

/// The points in the order in which they stand first; `None` if the table is not a sweep's.
fn points(results: &Results) -> Option<Vec<PointOfSweep>> {
    let set = results.column(REPEAT)?;
    let throughput = results.column(THROUGHPUT)?;
    let mut groups: Vec<(&[Cell], Vec<&Vec<Cell>>)> = Vec::new();
    for row in &results.rows {
        match groups.iter_mut().find(|(key, _)| *key == &row[..set]) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((&row[..set], vec![row])),
        }
    }
    let sample = |rows: &[&Vec<Cell>], column: usize| {
        Sample::of(rows.iter().filter_map(|row| row[column].number()))
    };
    let point = |(key, rows): (&[Cell], Vec<&Vec<Cell>>)| PointOfSweep {
        set: key.iter().map(Cell::text).collect(),
        throughput: sample(&rows, throughput),
        latency: results.column(LATENCY).and_then(|column| sample(&rows, column)),
        failed: rows.iter().filter(|row| row[throughput] == Cell::Empty).count(),
        limited_by: results.column(LIMITED_BY).map_or(String::new(), |column| most(&rows, column)),
    };
    Some(groups.into_iter().map(point).collect())
}

/// The text that most rows have under a column; of equals the first.
fn most(rows: &[&Vec<Cell>], column: usize) -> String {
    let texts: Vec<String> = rows
        .iter()
        .filter(|row| row[column] != Cell::Empty)
        .map(|row| row[column].text())
        .collect();
    let count = |text: &String| texts.iter().filter(|other| *other == text).count();
    let found = texts.iter().rev().max_by_key(|text| count(text));
    found.cloned().unwrap_or_else(|| "-".to_owned())
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    /// Two stores at two batch sizes, three repeats; one run failed.
    fn sweep() -> Results {
        let column = |name: &str| Column { name: name.to_owned(), unit: String::new() };
        let mut results = sample();
        results.header.columns =
            ["workers", "store", "batch_size", "repeat", "ops_s", "p99_us", "limited_by"]
                .map(column)
                .to_vec();
        results.rows = Vec::new();
        for repeat in 1..=3 {
            for (store, batch_size, rate) in [
                ("scc", 1.0, 10.0),
                ("scc", 10.0, 100.0),
                ("scc", 100.0, 500.0),
                ("mutex", 1.0, 9.0),
            ] {
                let failed = repeat == 3 && store == "mutex";
                let rate = (!failed).then_some(rate * f64::from(repeat));
                let mut row: Vec<Cell> = vec![64.0.into(), store.into(), batch_size.into()];
                row.extend([f64::from(repeat).into(), rate.into(), rate.map(|r| r / 2.0).into()]);
                row.push(if failed { Cell::Empty } else { "CPU".into() });
                results.rows.push(row);
            }
        }
        results
    }

    #[test]
    fn a_sweep_becomes_a_table_of_what_was_swept() {
        let table = summed_up(&sweep()).unwrap();
        let names: Vec<&str> = table.header.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "store",
                "batch_size",
                "runs",
                "ops_s",
                "deviation",
                "min",
                "max",
                "p99_us",
                "limited_by"
            ]
        );
        assert_eq!(table.rows.len(), points(&sweep()).unwrap().len());
        assert_eq!(table.rows[0][1], Cell::Number(1.0));
        assert_eq!(summed_up(&sample()), None, "no sweep");
    }

    #[test]
    fn a_point_is_summed_up_over_its_repeats() {
        let text = render(&sweep()).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(
            lines.contains(&vec![
                "64", "scc", "10", "3", "0", "200", "100", "100", "300", "100", "50", "CPU"
            ]),
            "{text}"
        );
        assert!(
            lines.contains(&vec![
                "64", "mutex", "1", "2", "1", "14", "6", "9", "18", "7", "3", "CPU"
            ]),
            "{text}"
        );
        let mut results = sweep();
        results.rows.retain(|row| row[4] == Cell::Empty);
        let text = render(&results).unwrap();
        assert!(text.contains(" 0       1          -"), "{text}");
    }

    #[test]
    fn what_has_most_values_is_drawn_to_the_right() {
        let curve = super::curve(&sweep()).unwrap();
        assert_eq!((curve.x.as_str(), curve.by.as_deref()), ("batch_size", Some("store")));
        let mut results = sweep();
        results.rows.retain(|row| row[1] == Cell::from("scc"));
        assert_eq!(super::curve(&results).unwrap().by, None);
        results.rows.truncate(1);
        assert_eq!(super::curve(&results), None);
    }

    #[test]
    fn other_tables_are_no_sweeps() {
        assert_eq!(render(&sample()), None);
        assert_eq!(curve(&sample()), None);
    }
}

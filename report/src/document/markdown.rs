//! Measured tables and runs as Markdown.

use crate::results::{Cell, Environment, Results};
use crate::sweep;
use crate::wording::{self, BYTES, RATES_SHORT, Scale, TRAFFIC, scale};

/// The table, the command that measures it again, where it was measured, and its notes.
pub(super) fn of_table(results: &Results) -> String {
    let summed_up = sweep::summed_up(results);
    let results = summed_up.as_ref().unwrap_or(results);
    let columns: Vec<Column> =
        (0..results.header.columns.len()).map(|index| Column::of(results, index)).collect();
    let titles: Vec<String> = columns.iter().map(|column| escaped(&column.title)).collect();
    let rules: Vec<&str> =
        columns.iter().map(|column| if column.numbers { "---:" } else { "---" }).collect();
    let mut text = format!("{}{}", line(&titles), line(&rules));
    for row in &results.rows {
        let cells: Vec<String> =
            columns.iter().zip(row).map(|(column, cell)| escaped(&column.text(cell))).collect();
        text += &line(&cells);
    }
    let header = &results.header;
    text += &format!(
        "\n*{}. {}.* {}\n",
        escaped(header.title.trim_end_matches('.')),
        escaped(&place(&header.environment)),
        header.notes.iter().map(|note| sentence(note)).collect::<Vec<_>>().join(" ")
    );
    let text = text.trim_end().to_owned();
    format!("{text}\n\n{}", command(&header.command))
}

/// A command as a block that readers can copy.
pub(super) fn command(command: &str) -> String {
    let mut text = String::new();
    for line in command.lines() {
        text += &format!("    {line}\n");
    }
    text
}

/// Where something was measured, in words.
pub(super) fn place(environment: &Environment) -> String {
    let Environment { cpu, cores, kernel, commit, date } = environment;
    format!("{cpu}, {cores} cores, Linux {kernel}, commit {commit}, {date}")
}

/// One cell as it stands in its table.
pub(super) fn cell(results: &Results, row: usize, column: usize) -> String {
    Column::of(results, column).text(&results.rows[row][column])
}

fn line(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn sentence(note: &str) -> String {
    format!("{}.", escaped(note.trim_end_matches('.')))
}

/// A text that cannot end a cell, begin a tag or a comment.
pub(super) fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*").replace(['\n', '\r'], " ")
}

/// How a column is written.
struct Column {
    title: String,
    numbers: bool,
    scale: f64,
    digits: Option<usize>,
}

impl Column {
    fn of(results: &Results, index: usize) -> Self {
        let column = &results.header.columns[index];
        let values: Vec<f64> = results.numbers(index).into_iter().flatten().collect();
        let numbers = results.rows.iter().all(|row| !matches!(row[index], Cell::Text(_)));
        // Columns of one unit have one scale, so that they can be compared.
        let same = results.header.columns.iter().enumerate().filter(|(_, c)| c.unit == column.unit);
        let all = same.flat_map(|(index, _)| results.numbers(index)).flatten();
        let most = all.fold(0.0, |most: f64, value| most.max(value.abs()));
        let Scale { size, name } = match column.unit.as_str() {
            "op/s" => scale(most, RATES_SHORT),
            "B" if most >= BYTES[1].size => scale(most, BYTES),
            "B/s" => scale(most, TRAFFIC),
            _ => Scale { size: 1.0, name: "" },
        };
        let unit = if name.is_empty() { wording::unit(&column.unit) } else { name };
        let title = match (wording::title(column), unit) {
            (title, "") => title,
            (title, unit) if title == "throughput" => unit.to_owned(),
            (title, unit) => format!("{title}, {unit}"),
        };
        // Whole numbers stay whole where they are not scaled.
        let whole = size == 1.0 && values.iter().all(|value| value.fract() == 0.0);
        Self { title, numbers, scale: size, digits: whole.then_some(0) }
    }

    fn text(&self, cell: &Cell) -> String {
        match cell {
            Cell::Number(number) if self.digits == Some(0) => wording::grouped(*number),
            Cell::Number(number) => wording::number(number / self.scale),
            other => other.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plots::tests_of_results::batch_sizes;

    #[test]
    fn a_table_is_written_with_its_command_and_place() {
        assert_eq!(
            of_table(&batch_sizes()),
            "\
| batch size | store | Mop/s | p99, µs |
| ---: | --- | ---: | ---: |
| 1 | scc | 0.300 | - |
| 1 | scc | 0.500 | 150 |
| 100 | scc | 4.00 | 1,640 |
| 1 | partitioned | 0.390 | 150 |
| 100 | partitioned | 10.4 | - |

*Throughput against batch size. Xeon, 2 cores, Linux 6.18, commit abc, 2026-11-21.* Runs of 4 s.

    kvs-lab sweep -batch_size 1,100
"
        );
    }

    #[test]
    fn cells_cannot_break_the_table() {
        assert_eq!(escaped("a|b <!-- end -->\n*c*"), "a\\|b &lt;!-- end --> \\*c\\*");
    }

    #[test]
    fn numbers_that_were_not_whole_do_not_look_whole() {
        let mut results = batch_sizes();
        results.rows[0][3] = Cell::Number(1.0);
        assert_eq!(cell(&results, 0, 3), "1.00");
        assert_eq!(cell(&results, 2, 3), "1,640");
        assert_eq!(cell(&results, 0, 0), "1");
        assert_eq!(cell(&results, 4, 2), "10.4");
    }
}

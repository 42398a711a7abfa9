//! Measured tables.

use std::path::{Path, PathBuf};

use anyhow::Context;
use report::results::{Cell, Column, Environment, Header, RESULTS_VERSION, Results};
use report::statistics::significant;
use resources::Machine;

use crate::say::say;
use crate::workspace;

/// Digits of a number in a table: more than any measurement has.
const DIGITS: usize = 10;

/// A table that is being measured. Its file appears whole, at [`Table::write`], or not at all.
pub(crate) struct Table {
    results: Results,
    path: PathBuf,
}

/// The cells of a row, each from a number, a text, or an `Option` of one.
macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$(::report::results::Cell::from($cell)),*] };
}
pub(crate) use cells;

impl Table {
    /// Begins the table `name` with what it shows, `title`, the command that measures it again, and
    /// its columns, each `name` or `name:unit`, spaces between them where a text has several. It
    /// will lie in RESULTS_DIR, else in `results/`.
    ///
    /// # Errors
    ///
    /// When that folder can't be written to: better told before the measurements than after.
    pub(crate) async fn new(
        name: &str,
        title: &str,
        command: &str,
        columns: &[&str],
    ) -> anyhow::Result<Self> {
        Ok(Self::new_in(&folder()?, name, title, command, columns).await)
    }

    /// The same in a folder.
    pub(crate) async fn new_in(
        folder: &Path,
        name: &str,
        title: &str,
        command: &str,
        columns: &[&str],
    ) -> Self {
        let header = Header {
            version: RESULTS_VERSION,
            name: name.to_owned(),
            title: title.to_owned(),
            command: command.to_owned(),
            environment: Environment { commit: workspace::commit().await, ..machine() },
            columns: columns.iter().flat_map(|text| text.split(' ')).map(column).collect(),
            notes: Vec::new(),
        };
        let path = folder.join(format!("{name}.jsonl"));
        Self { results: Results { header, rows: Vec::new() }, path }
    }

    /// Adds a row.
    ///
    /// # Panics
    ///
    /// When it has not a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let rounded = |cell| match cell {
            Cell::Number(number) => Cell::Number(significant(number, DIGITS)),
            other => other,
        };
        let row: Vec<Cell> = cells.into_iter().map(rounded).collect();
        let columns = self.results.header.columns.len();
        assert_eq!(row.len(), columns, "a row has a cell for each column: {row:?}");
        self.results.rows.push(row);
    }

    /// Adds what a reader should know beside the figures.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.results.header.notes.push(text.into());
    }

    /// Writes the table's file; its path.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn save(self) -> anyhow::Result<PathBuf> {
        self.results.write(&self.path)?;
        Ok(self.path)
    }

    /// Writes the table's file, and says where it is; returns its path.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn write(self) -> anyhow::Result<PathBuf> {
        let path = self.save()?;
        say!("written to {}; now run: make report", path.display());
        Ok(path)
    }

    /// The same, and prints the table.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub(crate) fn print_and_write(self) -> anyhow::Result<PathBuf> {
        say!("\n{}\n", report::table::of_results(&self.results));
        self.write()
    }
}

/// The folder of tables: RESULTS_DIR, else `results/`.
///
/// # Errors
///
/// When it can't be written to.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("RESULTS_DIR").filter(|folder| !folder.is_empty());
    let folder = folder.map_or_else(|| workspace::root().join("results"), PathBuf::from);
    std::fs::create_dir_all(&folder)
        .and_then(|()| tempfile::tempfile_in(&folder))
        .with_context(|| format!("RESULTS_DIR: cannot write to {}", folder.display()))?;
    Ok(folder)
}

/// The number with so many decimals.
pub(crate) fn decimals(number: f64, digits: usize) -> f64 {
    format!("{number:.digits$}").parse().expect("a number reads back")
}

/// A column that is written as `name` or `name:unit`.
fn column(text: &str) -> Column {
    let (name, unit) = text.split_once(':').unwrap_or((text, ""));
    Column { name: name.to_owned(), unit: unit.to_owned() }
}

/// The machine and the day, without the code.
fn machine() -> Environment {
    let Machine { cpu, cores, kernel, .. } = Machine::look();
    Environment {
        cpu,
        cores,
        kernel: kernel.trim_start_matches("Linux ").to_owned(),
        date: jiff::Timestamp::now().strftime("%F").to_string(),
        ..Environment::default()
    }
}

/// The cores that this process may use.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str]) -> Table {
        let header = Header {
            version: RESULTS_VERSION,
            name: "sizes".to_owned(),
            title: "Sizes".to_owned(),
            command: "kvs-lab sizes".to_owned(),
            environment: Environment::default(),
            columns: columns.iter().copied().map(column).collect(),
            notes: Vec::new(),
        };
        let results = Results { header, rows: Vec::new() };
        Table { results, path: PathBuf::new() }
    }

    #[test]
    fn a_table_that_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = table(&["store", "ops_s:op/s", "note"]);
        table.path = folder.path().join("sizes.jsonl");
        table.row(cells!["ours", 17_196_666.666_666_668, None::<f64>]);
        table.row(cells!["peer".to_owned(), 5_u32, Some("slow")]);
        table.note("one, with a comma");
        let results = Results::read(&table.write().unwrap()).unwrap();
        let units: Vec<&str> = results.header.columns.iter().map(|it| it.unit.as_str()).collect();
        assert_eq!(units, ["", "op/s", ""]);
        assert_eq!(results.header.notes, ["one, with a comma"]);
        assert_eq!(results.rows[0], cells!["ours", 17_196_666.67, Cell::Empty]);
        assert_eq!(results.rows[1], cells!["peer", 5.0, "slow"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    #[should_panic(expected = "a row has a cell for each column")]
    fn a_row_with_a_cell_too_few_is_our_mistake() {
        table(&["store", "ops_s:op/s"]).row(cells!["ours"]);
    }

    #[test]
    fn the_machine_is_noted() {
        let found = machine();
        assert!(found.cores > 0 && !found.kernel.is_empty());
        assert_eq!(found.date.len(), "2026-11-21".len());
    }
}

//! Measured tables: the one file form that sweeps, comparisons and benchmarks write, and that
//! REPORT.md's tables and plots are made from.
//!
//! A file `<name>.jsonl` has a JSON text per line:
//!
//! 1. the [`Header`], an object: what was measured, by which command, where, and the columns;
//! 2. then one array per row, with as many cells as there are columns: numbers, strings or `null`;
//! 3. last `{"rows":N}`. A file without it, or with another count, was cut off.
//!
//! # Example
//!
//! ```no_run
//! let results = report::results::Results::read("results/batch_sizes.jsonl".as_ref())?;
//! let rates = results.column("ops_s").map(|column| results.numbers(column));
//! # Ok::<(), report::results::ResultsError>(())
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::result::write_whole;

/// The version of the file form. It rises when an older reader would misread a file.
pub const RESULTS_VERSION: u32 = 1;

/// The most cells that a row may have.
pub const COLUMNS_MAX: usize = 64;

/// A measured table.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// What was measured, and where.
    pub header: Header,
    /// The rows, each with a cell per column.
    pub rows: Vec<Vec<Cell>>,
}

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The file form, [`RESULTS_VERSION`].
    pub version: u32,
    /// The table's name: lower-case letters, digits, `_` and `-`. REPORT.md's block bears it too.
    pub name: String,
    /// What the table shows, in words.
    pub title: String,
    /// The one command that measures it again.
    pub command: String,
    /// Where it was measured.
    pub environment: Environment,
    /// The columns in the rows' order.
    pub columns: Vec<Column>,
    /// What a reader should know beside the figures.
    pub notes: Vec<String>,
}

/// Where a table was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The processor's name.
    pub cpu: String,
    /// Its cores, as the system counts them.
    pub cores: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The commit of the measured code; `-dirty` behind it if files were changed.
    pub commit: String,
    /// The day, as `2026-11-21`.
    pub date: String,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, unlike any other column's.
    pub name: String,
    /// The unit of its numbers, e.g. `op/s`; empty for counts, ratios and texts.
    pub unit: String,
}

/// What stands in a row under a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A finite number.
    Number(f64),
    /// A text, such as a store's name.
    Text(String),
    /// Nothing was measured.
    Empty,
}

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file is not there or may not be read.
    #[error("cannot read {}: {source}; name a results file, e.g. results/batch_sizes.jsonl",
        path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no end, or fewer rows than its end counts.
    #[error("{} is cut off ({reason}): its writer was stopped or the disk is full; \
        measure again{}", path.display(), again(command))]
    CutOff {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
        /// The command that measures again; empty if not even that is known.
        command: String,
    },
    /// A line is not what must stand there.
    #[error("{} line {line} is not of a results file ({reason}); \
        measure one with kvs-lab", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by another version of the program.
    #[error("{} has version {found}, this program reads version {RESULTS_VERSION}; \
        read it with the program that wrote it, or measure again", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}; name a file in a folder that you may write to",
        path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How an error names the command that measures again.
fn again(command: &str) -> String {
    if command.is_empty() { String::new() } else { format!(" with: {command}") }
}

impl Results {
    /// Reads a table from its file.
    ///
    /// # Errors
    ///
    /// See [`ResultsError`]; each names the file and the mend.
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ResultsError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a table from its text; `path` is what errors name.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ResultsError> {
        let malformed = |line: usize, reason: String| ResultsError::Malformed {
            path: path.to_owned(),
            line,
            reason,
        };
        let cut_off = |reason: &str, command: &str| ResultsError::CutOff {
            path: path.to_owned(),
            reason: reason.to_owned(),
            command: command.to_owned(),
        };
        let mut lines = text.split_inclusive('\n').enumerate();
        let Some((_, first)) = lines.next() else {
            return Err(cut_off("it is empty", ""));
        };
        let header = match parse_header(first) {
            Ok(header) => header,
            Err(HeaderError::Version(found)) => {
                return Err(ResultsError::UnknownVersion { path: path.to_owned(), found });
            }
            // A half line with more behind it is damage; alone, it is where the writer stopped.
            Err(_) if !first.ends_with('\n') && first.starts_with('{') => {
                return Err(cut_off("its first line has no end", ""));
            }
            Err(HeaderError::Wrong(reason)) => return Err(malformed(1, reason)),
        };
        let mut rows = Vec::new();
        for (index, line) in lines {
            match parse_line(line, header.columns.len()) {
                Ok(Line::Row(row)) => rows.push(row),
                Ok(Line::End(count)) if text.lines().count() > index + 1 => {
                    let reason = format!("{{\"rows\":{count}}} is not the last line");
                    return Err(malformed(index + 1, reason));
                }
                Ok(Line::End(count)) if count == rows.len() as u64 => {
                    return Ok(Self { header, rows });
                }
                Ok(Line::End(count)) => {
                    let reason = format!("it counts {count} rows and has {}", rows.len());
                    return Err(cut_off(&reason, &header.command));
                }
                Err(_) if !line.ends_with('\n') => break,
                Err(reason) => return Err(malformed(index + 1, reason)),
            }
        }
        let reason = format!("after {} rows, without the line {{\"rows\":N}}", rows.len());
        Err(cut_off(&reason, &header.command))
    }

    /// Writes the table, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ResultsError::Write`].
    ///
    /// # Panics
    ///
    /// When the table is none: a row with another number of cells, a number that is not finite, two
    /// columns of one name.
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        let text = self.to_text();
        let reads_back = Self::parse(&text, path);
        assert!(reads_back.is_ok(), "a table reads back: {}", reads_back.unwrap_err());
        write_whole(path, text.trim_end())
            .map_err(|source| ResultsError::Write { path: path.to_owned(), source })
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let json = |value: &Value| format!("{value}\n");
        let header = serde_json::to_string(&self.header).expect("a header has string keys only");
        let mut text = header + "\n";
        for row in &self.rows {
            text += &json(&Value::Array(row.iter().map(Cell::to_json).collect()));
        }
        text + &json(&serde_json::json!({"rows": self.rows.len()}))
    }

    /// The place of the column of this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.columns.iter().position(|column| column.name == name)
    }

    /// The numbers of a column, in the rows' order; `None` where there is no number.
    pub fn numbers(&self, column: usize) -> Vec<Option<f64>> {
        self.rows.iter().map(|row| row[column].number()).collect()
    }
}

impl Cell {
    /// Its number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Empty => None,
        }
    }

    /// The cell as people read it: whole numbers without a point, `-` for nothing.
    pub fn text(&self) -> String {
        match self {
            Self::Number(_) => self.to_json().to_string(),
            Self::Text(text) => text.clone(),
            Self::Empty => "-".to_owned(),
        }
    }

    /// A whole number is written without a point, so that a file keeps the look of its writer.
    fn to_json(&self) -> Value {
        /// From here on not every whole number is an `f64`.
        const EXACT_MAX: f64 = (1_u64 << 53) as f64;
        match self {
            Self::Number(number) if number.fract() == 0.0 && number.abs() < EXACT_MAX => {
                Value::from(*number as i64)
            }
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
            Self::Empty => Value::Null,
        }
    }

    fn of_json(value: Value) -> Result<Self, String> {
        match value {
            Value::Number(number) => {
                number.as_f64().map(Self::Number).ok_or_else(|| format!("{number} is too large"))
            }
            Value::String(text) => Ok(Self::Text(text)),
            Value::Null => Ok(Self::Empty),
            other => Err(format!("{other} is no number, no text and not null")),
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

/// Whether a table may have this name.
pub fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(is_of_name)
}

enum HeaderError {
    Version(u64),
    Wrong(String),
}

fn parse_header(line: &str) -> Result<Header, HeaderError> {
    let wrong = |reason: String| Err(HeaderError::Wrong(reason));
    let value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return wrong(error.to_string()),
    };
    // The version alone first: a later version's other fields may have changed.
    match value.get("version").and_then(Value::as_u64) {
        None => return wrong("the first line has no version".to_owned()),
        Some(version) if version != u64::from(RESULTS_VERSION) => {
            return Err(HeaderError::Version(version));
        }
        Some(_) => {}
    }
    let header: Header = match serde_json::from_value(value) {
        Ok(header) => header,
        Err(error) => return wrong(error.to_string()),
    };
    let names: Vec<&str> = header.columns.iter().map(|column| column.name.as_str()).collect();
    if !is_name(&header.name) {
        return wrong(format!("{:?} is no name: use a-z, 0-9, _ and -", header.name));
    }
    if names.is_empty() || names.len() > COLUMNS_MAX {
        return wrong(format!("it has {} columns, not 1 to {COLUMNS_MAX}", names.len()));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || names[..index].contains(name) {
            return wrong(format!("column {} has no name of its own: {name:?}", index + 1));
        }
    }
    Ok(header)
}

enum Line {
    Row(Vec<Cell>),
    End(u64),
}

fn parse_line(line: &str, columns: usize) -> Result<Line, String> {
    match serde_json::from_str(line).map_err(|error| error.to_string())? {
        Value::Array(values) if values.len() == columns => {
            Ok(Line::Row(values.into_iter().map(Cell::of_json).collect::<Result<_, _>>()?))
        }
        Value::Array(values) => Err(format!("{} cells under {columns} columns", values.len())),
        Value::Object(end) if end.len() == 1 => match end.get("rows").and_then(Value::as_u64) {
            Some(rows) => Ok(Line::End(rows)),
            None => Err("neither a row nor {\"rows\":N}".to_owned()),
        },
        _ => Err("neither a row nor {\"rows\":N}".to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests;

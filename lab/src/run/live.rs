//! What the user sees while a run lasts: on a terminal a table of all processes, in place, once a
//! second; else the first client's newest progress, line by line.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use super::end::End;
use super::logs;

/// How often the table is drawn.
const PERIOD: Duration = Duration::from_secs(1);

/// The size that is taken where a terminal does not tell its own: rows, columns.
const SIZE: (usize, usize) = (24, 80);

/// Prints a line on stdout.
///
/// # Errors
///
/// When nobody reads it, or it can't be written: then the run should end.
pub(crate) fn say(line: &str) -> Result<(), End> {
    print(&format!("{line}\n"))
}

/// Prints a text on stdout.
///
/// # Errors
///
/// As [`say`].
pub(crate) fn print(text: &str) -> Result<(), End> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| unwritable(&error))
}

/// What ends a run whose output can't be written; a reader that is gone needs no telling.
fn unwritable(error: &std::io::Error) -> End {
    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    let lines = if gone { vec![] } else { vec![format!("cannot write to stdout: {error}")] };
    End::Stop { status: 1, lines }
}

/// The view of a run.
#[derive(Debug)]
pub(crate) struct Live {
    is_terminal: bool,
    /// Of the table that stands on the terminal.
    lines: usize,
    drawn: Option<Instant>,
    told: String,
}

impl Live {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { is_terminal: stdout().is_terminal(), lines: 0, drawn: None, told: String::new() }
    }

    /// Shows what is new in the run's folder.
    pub(crate) fn show(&mut self, folder: &Path) -> Result<(), End> {
        if self.is_terminal {
            return self.draw(folder);
        }
        match logs::progress(&folder.join("kvs-client-1.log")) {
            Some(line) if line != self.told => {
                say(&format!("client 1: {line}"))?;
                self.told = line;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn draw(&mut self, folder: &Path) -> Result<(), End> {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < PERIOD) {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        let Ok(table) = report::live::render(folder) else { return Ok(()) };
        let (rows, columns) = terminal_size();
        let lines = fitting(&table, rows, columns);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.clear()?;
        print(&text)?;
        self.lines = lines.len();
        Ok(())
    }

    /// Takes the table off the terminal.
    pub(crate) fn clear(&mut self) -> Result<(), End> {
        match std::mem::take(&mut self.lines) {
            0 => Ok(()),
            lines => print(&format!("\u{1b}[{lines}A\r\u{1b}[J")),
        }
    }
}

fn terminal_size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(stdout()).ok();
    let size = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(SIZE, |size| (size.ws_row.into(), size.ws_col.into()))
}

/// The lines of a table that fit. What does not would scroll; the total, in the last line, always does.
fn fitting(table: &str, rows: usize, columns: usize) -> Vec<String> {
    let mut lines: Vec<&str> = table.lines().collect();
    if rows > 2 && lines.len() >= rows {
        let last = lines.pop().unwrap_or_default();
        lines.truncate(rows - 2);
        lines.push(last);
    }
    let width = if columns > 1 { columns - 1 } else { SIZE.1 - 1 };
    lines.into_iter().map(|line| line.chars().take(width).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal() {
        let table = "header\n1\n2\n3\ntotal of all";
        assert_eq!(fitting(table, 24, 80), ["header", "1", "2", "3", "total of all"]);
        assert_eq!(fitting(table, 5, 6), ["heade", "1", "2", "total"]);
        assert_eq!(fitting(table, 1, 80).len(), 5, "a terminal of one row shows what it can");
    }

    #[test]
    fn a_reader_that_is_gone_needs_no_telling() {
        let lines = |kind: std::io::ErrorKind| match unwritable(&kind.into()) {
            End::Stop { status: 1, lines } => lines.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(lines(std::io::ErrorKind::BrokenPipe), 0);
        assert_eq!(lines(std::io::ErrorKind::StorageFull), 1);
    }
}

//! Documents whose figures come from saved results: REPORT.md.
//!
//! A document has blocks between comments. What stands in a block is made from the folder
//! `results/` beside the document; pictures go to `images/`:
//!
//! ```text
//! <!-- table: NAME -->                        the table results/NAME.jsonl, with its command;
//!                                             a sweep summed up over its repeats
//! <!-- plot: PICTURE NAME x=COL y=COL -->     images/PICTURE.png from results/NAME.jsonl;
//!     y=COL,COL,..                            with a line for each of these columns,
//!     by=COL                                  or for each value of COL,
//!     low=COL high=COL, or deviation=COL      with error bars that stand in the table
//! <!-- run: NAME -->                          the total and the pictures of the run results/NAME/
//! <!-- capacity: NAME -->                     what the costs of the run results/NAME/ predict
//! <!-- image: NAME.svg -->                    images/NAME.svg, which a script has drawn
//! <!-- value: NAME COL KEY=VALUE .. -->       one cell, inside a line: of the row with these values
//! <!-- end -->                                ends each of them
//! ```
//!
//! Everything else in the document is prose and stays as it is. To regenerate a document twice
//! changes nothing the second time. A table that nobody has measured yet says so.
//!
//! - `markdown`: how tables are written;
//! - `block`: how blocks are found in a text.

mod block;
mod markdown;
mod published;

use std::path::{Path, PathBuf};

use crate::cluster::ClusterError;
use crate::plots::{self, CurveError, Picture, PlotError};
use crate::result::write_whole;
use crate::results::{Results, ResultsError};
use crate::run_folder::FolderError;
use block::{Kind, Part};

/// Why a document could not be regenerated.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The document cannot be read.
    #[error("cannot read {}: {source}; name a Markdown file, e.g. REPORT.md", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A comment is not one of a block.
    #[error("{} line {line}: {reason}", path.display())]
    Block {
        /// The document.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// A table cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A table cannot be drawn.
    #[error(transparent)]
    Curve(#[from] CurveError),
    /// A published run cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A published run has no total.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A published run cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two blocks draw different pictures of one name.
    #[error("two blocks draw different pictures as {}; give one of them another name",
        path.display())]
    Twice {
        /// The picture.
        path: PathBuf,
    },
    /// The document or a picture is not what the results say.
    #[error("{} not what results/ says; run: make report", told(files))]
    Stale {
        /// The files that would change.
        files: Vec<PathBuf>,
    },
}

fn told(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

/// A document as the results have it, not written yet.
pub struct Document {
    /// The document with its text, and the pictures with their bytes.
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Document {
    /// Makes a document's blocks anew from the results beside it.
    ///
    /// # Errors
    ///
    /// When the document, its results or their columns are not what its blocks name.
    pub fn regenerate(path: &Path) -> Result<Self, DocumentError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DocumentError::Read { path: path.to_owned(), source })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut maker = Maker { folder, path, files: Vec::new() };
        let mut made = String::with_capacity(text.len());
        let wrong = |(line, reason)| DocumentError::Block { path: path.to_owned(), line, reason };
        for part in block::parts(&text).map_err(wrong)? {
            match part {
                Part::Text(text) => made += text,
                Part::Block { line, begin, kind, inline } => {
                    let content = maker.content(line, &kind)?;
                    let gap = if inline { "" } else { "\n" };
                    let content = if inline { content } else { with_newline(content) };
                    made += &format!("{begin}{gap}{content}{}", block::END);
                }
            }
        }
        maker.files.insert(0, (path.to_owned(), made.into_bytes()));
        Ok(Self { files: maker.files })
    }

    /// Writes what changes; says what that was.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self) -> Result<Vec<PathBuf>, DocumentError> {
        let changed = self.changed();
        for (path, bytes) in self.files.iter().filter(|(path, _)| changed.contains(path)) {
            let failed = |source| DocumentError::Write { path: path.clone(), source };
            if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
            match std::str::from_utf8(bytes) {
                // write_whole ends the file with a newline of its own.
                Ok(text) if text.ends_with('\n') => write_whole(path, &text[..text.len() - 1]),
                _ => std::fs::write(path, bytes),
            }
            .map_err(failed)?;
        }
        Ok(changed)
    }

    /// Fails if writing would change anything.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Stale`], which names the files.
    pub fn check(&self) -> Result<(), DocumentError> {
        let files = self.changed();
        if files.is_empty() { Ok(()) } else { Err(DocumentError::Stale { files }) }
    }

    fn changed(&self) -> Vec<PathBuf> {
        let differs = |(path, bytes): &&(PathBuf, Vec<u8>)| {
            std::fs::read(path).map_or(true, |found| found != *bytes)
        };
        self.files.iter().filter(differs).map(|(path, _)| path.clone()).collect()
    }
}

fn with_newline(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Makes blocks, and collects the pictures that they show.
struct Maker<'a> {
    folder: PathBuf,
    path: &'a Path,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Maker<'_> {
    /// What stands in a block.
    fn content(&mut self, line: usize, kind: &Kind) -> Result<String, DocumentError> {
        match kind {
            Kind::Table { name } => Ok(match self.results(name)? {
                Some(results) => markdown::of_table(&results),
                None => not_measured(name),
            }),
            Kind::Plot { picture, name, curve } => {
                let Some(results) = self.results(name)? else { return Ok(not_measured(name)) };
                let picture = plots::of_results(picture, &results, curve)?;
                let shown = self.picture(&picture)?;
                Ok(format!("{shown}{}", markdown::command(&results.header.command)))
            }
            Kind::Run { name } => {
                let folder = self.folder.join("results").join(name);
                if !folder.exists() {
                    return Ok(not_measured(name));
                }
                let run = published::Run::read(&folder)?;
                let mut text = run.text();
                for picture in &run.pictures {
                    text += &self.picture(picture)?;
                }
                Ok(text)
            }
            Kind::Capacity { name } => {
                let folder = self.folder.join("results").join(name);
                if !folder.exists() {
                    return Ok(not_measured(name));
                }
                Ok(match published::capacity(&folder)? {
                    Some(predicted) => markdown::of_table(&predicted),
                    None => format!(
                        "*Not predicted: the run results/{name} tells no clock of its cores.*\n"
                    ),
                })
            }
            Kind::Image { file } => {
                let drawn = format!("images/{file}");
                if !self.folder.join(&drawn).exists() {
                    return Ok(format!("*Not drawn yet: there is no {drawn}.*\n"));
                }
                let title = file.trim_end_matches(".svg").replace(['-', '_'], " ");
                Ok(format!("[<img src=\"{drawn}\" alt=\"{title}\" width=\"960\">]({drawn})\n"))
            }
            Kind::Value { name, column, keys } => {
                let Some(results) = self.results(name)? else { return Ok("?".to_owned()) };
                value(&results, column, keys).map_err(|reason| DocumentError::Block {
                    path: self.path.to_owned(),
                    line,
                    reason,
                })
            }
        }
    }

    /// A measured table; `None` if there is no such file yet.
    fn results(&self, name: &str) -> Result<Option<Results>, DocumentError> {
        let path = self.folder.join("results").join(format!("{name}.jsonl"));
        Ok(if path.exists() { Some(Results::read(&path)?) } else { None })
    }

    /// Draws a picture; the Markdown that shows it.
    fn picture(&mut self, picture: &Picture) -> Result<String, DocumentError> {
        let name = format!("images/{}.png", picture.name);
        let (path, bytes) = (self.folder.join(&name), picture.png());
        match self.files.iter().find(|(known, _)| *known == path) {
            None => self.files.push((path, bytes)),
            Some((_, known)) if *known == bytes => {}
            Some(_) => return Err(DocumentError::Twice { path }),
        }
        let caption = markdown::escaped(&picture.caption);
        // 84 mm at the resolution that pages are laid out in.
        Ok(format!(
            "<img src=\"{name}\" alt=\"{}\" width=\"480\">\n\n*{caption}*\n\n",
            quoted(&caption)
        ))
    }
}

fn quoted(text: &str) -> String {
    text.replace('"', "&quot;")
}

fn not_measured(name: &str) -> String {
    format!("*Not measured yet: there is no results/{name}.*\n")
}

/// The one cell under `column` in the row in which every key has its value.
fn value(results: &Results, column: &str, keys: &[(String, String)]) -> Result<String, String> {
    let table = &results.header.name;
    let place = |name: &str| {
        results.column(name).ok_or_else(|| format!("the table {table} has no column {name}"))
    };
    let mut rows: Vec<usize> = (0..results.rows.len()).collect();
    for (name, value) in keys {
        let column = place(name)?;
        rows.retain(|row| results.rows[*row][column].text() == *value);
    }
    match rows[..] {
        [row] => Ok(markdown::cell(results, row, place(column)?)),
        _ => Err(format!(
            "{} rows of the table {table} have these values, not one; name more columns as \
             COLUMN=VALUE",
            rows.len()
        )),
    }
}

#[cfg(test)]
mod tests;

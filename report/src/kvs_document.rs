//! `kvs-document REPORT.md`: the tables and pictures of a document, from the results beside it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use report::document::Document;
use report::tell;

/// Makes the tables and pictures of a document anew from the folder results/ beside it.
#[derive(Parser)]
#[command(name = "kvs-document", version)]
struct Cli {
    /// The document, e.g. REPORT.md
    document: PathBuf,

    /// Change nothing, but fail if anything would change
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let Cli { document, check } = flags::parse();
    tell::ended("kvs-document", run(&document, check))
}

fn run(path: &Path, check: bool) -> anyhow::Result<()> {
    let document = Document::regenerate(path)?;
    if check {
        return Ok(document.check()?);
    }
    let written = document.write()?;
    let lines = written.iter().map(|changed| format!("written {}\n", changed.display()));
    tell::print(&mut std::io::stdout(), &lines.collect::<String>())
}

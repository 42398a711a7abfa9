//! `kvs-document REPORT.md`: the tables and pictures of a document, from the results beside it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use report::document::{Document, DocumentError};

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
    match run(&document, check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-document: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &std::path::Path, check: bool) -> Result<(), DocumentError> {
    let document = Document::regenerate(path)?;
    if check {
        return document.check();
    }
    for changed in document.write()? {
        println!("written {}", changed.display());
    }
    Ok(())
}

//! Go-style command-line flags over clap.
//!
//! The scripts of cluster testbeds pass flags as Go's `flag` package reads them. All of these mean
//! the same:
//!
//! ```text
//! -batch_size 10000    --batch_size 10000    -batch_size=10000    -batch-size 10000
//! ```
//!
//! clap reads long flags with two dashes only, so [`go_style`] rewrites each flag's *name* to its
//! canonical form, `--batch_size`, and clap does the rest. [`parse`] adds what a program needs
//! around that: help that shows the flags as they are typed, and errors of one line.
//!
//! # Rules
//!
//! - A flag has one name, written with underscores: `#[arg(long = "batch_size")]`. Hyphens in it
//!   are accepted from users. There are no short flags, because `-port` would be four of them.
//! - Values are never touched: only what begins with a dash and a letter is a flag, up to its `=`.
//!   Negative numbers and a lone `-` are values; whatever follows `--` is left alone.
//! - A flag that is given twice takes its last value, as in Go, so that a script's defaults can
//!   stand before a user's own flags.
//! - Help goes to stdout and exits 0. An error is one line on stderr and exits 2.
//!
//! Left on purpose: a value that begins with a dash and a letter must be written `-name=-value`.

mod parse;
mod rewrite;

pub use parse::{Stop, parse, try_parse_from};
pub use rewrite::go_style;

//! JSON in lines, for people and for tools that look at one line: each element of a list has its
//! own, with a space behind every colon and comma.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::result::{ResultError, write_whole};

/// Writes `value` to `path`, whole or not at all.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), ResultError> {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Lines));
    written.expect("what is written has string keys only");
    let text = String::from_utf8(bytes).expect("JSON is UTF-8");
    write_whole(path, &text).map_err(|source| ResultError::Write { path: path.to_owned(), source })
}

struct Lines;

impl Formatter for Lines {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b",\n " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

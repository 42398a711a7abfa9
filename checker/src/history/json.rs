//! Histories of other tools, one JSON object per line and operation:
//!
//! ```text
//! {"client": 3, "key": "k17", "op": "put", "inv": 1200, "res": 1950, "outcome": "ok", "written": "3-41"}
//! ```
//!
//! - `client`: a number. Optional `worker` and `stamp`, numbers too: operations with both take
//!   effect on a key in the order of their worker's stamps.
//! - `key`: a text of 1 to 1,024 bytes.
//! - `op`: `put`, `get`, `delete`, `cas` or `incr`.
//! - `inv`, `res`: nanoseconds on one clock, `res` null or absent when unknown.
//! - `outcome`: `ok`, `fail` (it changed nothing: not executed, or an incr of no integer) or `unknown`.
//! - `written`: the unique id, a text, that the operation wrote. A put has one, or an integer when
//!   it sets a counter; a delete's is its tombstone's; a cas that did not match has none.
//! - `read`: the id that the operation saw: of a get; of a cas, the expected one when it matched or
//!   when its outcome is unknown, else the current one. Null means that the key was missing, which
//!   is also each key's initial state. A get that saw a tombstone may name its id or null. A get
//!   of a counter has the integer. A delete with null found nothing, one with an id removed that.
//!   A put and an incr have none, or null. Absent means not known.
//! - `by`, `result`: what an incr adds, and its result when known.
//! - `boot`: text or number that changes when a server loses its data. Operations without one belong
//!   to the only life that the history names; if it names several, each operation must name its own.
//!
//! Any other field is refused, as a misspelt one would be lost in silence. Null stands for an absent
//! field everywhere but in `read`.
//!
//! Ids are kept in memory while the history is read, whatever the memory's limit.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Stdin};
use std::path::{Path, PathBuf};

use rapidhash::RapidHashMap;
use serde::{Deserialize, Deserializer};

use super::{KEY_BYTES_MAX, Key, Kind, Operation, Outcome, Unreadable, Value, Written};

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The texts of the ids, which are numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    numbers: RapidHashMap<String, u64>,
    texts: Vec<String>,
    boots: RapidHashMap<String, u64>,
}

impl Ids {
    fn number(&mut self, text: String) -> u64 {
        let next = self.texts.len() as u64;
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        self.texts.push(text.clone());
        self.numbers.insert(text, next);
        next
    }

    /// The text of an id, if the history had texts.
    pub(crate) fn text(&self, number: u64) -> Option<&str> {
        self.texts.get(usize::try_from(number).ok()?).map(String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    client: u32,
    key: String,
    op: Op,
    inv: u64,
    #[serde(default)]
    res: Option<u64>,
    outcome: End,
    #[serde(default)]
    written: Option<Id>,
    /// Absent: `None`; null: `Some(None)`.
    #[serde(default, deserialize_with = "present")]
    read: Option<Option<Id>>,
    #[serde(default)]
    by: Option<i64>,
    #[serde(default)]
    result: Option<i64>,
    #[serde(default)]
    worker: Option<u32>,
    #[serde(default)]
    stamp: Option<u64>,
    #[serde(default)]
    boot: Option<Id>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Id>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Op {
    Get,
    Put,
    Delete,
    Cas,
    Incr,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Ok,
    Fail,
    Unknown,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

/// One operation of a history in JSON lines.
#[derive(Debug)]
pub(crate) struct Line {
    key: String,
    kind: Kind,
    outcome: Outcome,
    read: Value,
    written: Written,
    by: i64,
    pub(crate) client: u32,
    pub(crate) worker: Option<u32>,
    pub(crate) stamp: Option<u64>,
    pub(crate) inv_ns: u64,
    pub(crate) res_ns: u64,
    /// Its boot's number, from 1.
    pub(crate) boot: Option<u64>,
}

impl Line {
    /// The operation.
    pub(crate) fn operation(&self) -> Operation<'_> {
        Operation {
            key: Key::parse(self.key.as_bytes()),
            stamp: self.stamp.unwrap_or(0),
            kind: self.kind,
            outcome: self.outcome,
            read: self.read,
            written: self.written,
            by: self.by,
            sequence: None,
            boot: self.boot.unwrap_or(0),
        }
    }

    /// Whether it may have taken effect.
    pub(crate) fn may_have_run(&self) -> bool {
        self.outcome != Outcome::Fail
    }
}

/// A history in JSON lines that is being read.
#[derive(Debug)]
pub(crate) struct JsonHistory {
    path: PathBuf,
    input: BufReader<Input>,
    offset: u64,
    lines: u64,
    line: Vec<u8>,
}

/// Where lines come from.
#[derive(Debug)]
enum Input {
    File(File),
    Stdin(Stdin),
}

impl io::Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stdin(stdin) => stdin.read(buffer),
        }
    }
}

impl JsonHistory {
    /// Opens a file, a pipe, or for `-` the standard input; `None` when it is a file that does not
    /// start like JSON lines.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Unreadable> {
        let failure = |reason: String| Unreadable { path: path.to_owned(), offset: 0, reason };
        let broken = |source: io::Error| failure(source.to_string());
        let (input, is_file) = if path.as_os_str() == "-" {
            (Input::Stdin(io::stdin()), false)
        } else {
            let file = File::open(path).map_err(broken)?;
            let is_file = file.metadata().map_err(broken)?.is_file();
            (Input::File(file), is_file)
        };
        let mut input = BufReader::with_capacity(256 << 10, input);
        // Nothing at all is a history in JSON lines without operations.
        let start = input.fill_buf().map_err(broken)?.trim_ascii_start().first().copied();
        if start.is_none_or(|byte| byte == b'{') {
            let path = path.to_owned();
            return Ok(Some(Self { path, input, offset: 0, lines: 0, line: Vec::new() }));
        }
        if is_file {
            return Ok(None);
        }
        Err(failure("these are no JSON lines; a binary history is read from a file only".into()))
    }

    /// Where the next line starts, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn failure(&self, offset: u64, reason: String) -> Unreadable {
        Unreadable { path: self.path.clone(), offset, reason }
    }

    /// The next line that is not blank.
    ///
    /// # Errors
    ///
    /// When it is no operation; the offset is the line's, or the place in it.
    pub(crate) fn next(&mut self, ids: &mut Ids) -> Result<Option<Line>, Unreadable> {
        loop {
            self.line.clear();
            let mut limited = io::Read::take(&mut self.input, LINE_BYTES_MAX);
            let got = limited.read_until(b'\n', &mut self.line);
            let got = got.map_err(|source| self.failure(self.offset, source.to_string()))? as u64;
            if got == 0 {
                return Ok(None);
            }
            let start = self.offset;
            if got == LINE_BYTES_MAX && self.line.last() != Some(&b'\n') {
                return Err(self.failure(start, "the line passes 1 MiB".into()));
            }
            self.offset += got;
            self.lines += 1;
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            if self.line.trim_ascii_start()[0] != b'{' {
                return Err(self.failure(start, "the line is no JSON object".into()));
            }
            let fields: Fields = serde_json::from_slice(&self.line).map_err(|error| {
                let column = error.column().saturating_sub(1) as u64;
                // Its own place is one in this line.
                let text = error.to_string();
                let text = text.split(" at line ").next().unwrap_or_default();
                let is_cut = error.is_eof() && self.line.last() != Some(&b'\n');
                let cut = if is_cut { "; the file is cut off there" } else { "" };
                self.failure(start + column, format!("line {}: {text}{cut}", self.lines))
            })?;
            let number = self.lines;
            let line = read_fields(fields, ids)
                .map_err(|why| self.failure(start, format!("line {number}: {why}")))?;
            return Ok(Some(line));
        }
    }
}

fn read_fields(fields: Fields, ids: &mut Ids) -> Result<Line, &'static str> {
    if !(1..=KEY_BYTES_MAX).contains(&fields.key.len()) {
        return Err("a key has 1 to 1024 bytes");
    }
    let kind = match fields.op {
        Op::Get => Kind::Get,
        Op::Put => Kind::Put,
        Op::Delete => Kind::Delete,
        Op::Cas => Kind::CompareAndSwap,
        Op::Incr => Kind::Increment,
    };
    let outcome = match fields.outcome {
        End::Ok => Outcome::Ok,
        End::Fail => Outcome::Fail,
        End::Unknown => Outcome::Unknown,
    };
    let res_ns = match (fields.res, outcome) {
        (Some(res), _) => res,
        (None, Outcome::Ok) => return Err("an operation with outcome ok has no res"),
        (None, _) => fields.inv,
    };
    if res_ns < fields.inv {
        return Err("the response is before the invocation");
    }
    if res_ns > i64::MAX as u64 {
        return Err("a time is beyond 2^63 nanoseconds");
    }
    if (fields.by.is_some() || fields.result.is_some()) != (kind == Kind::Increment) {
        return Err("by and result belong to incr, and incr needs by");
    }
    if kind == Kind::Increment && (fields.by.is_none() || fields.written.is_some()) {
        return Err("incr needs by, and has result instead of written");
    }
    if kind == Kind::CompareAndSwap && outcome == Outcome::Unknown && fields.written.is_none() {
        return Err("a cas with unknown outcome needs the id that it would write");
    }
    if fields.worker.is_some_and(|worker| worker == u32::MAX) {
        return Err("a worker's number is too great");
    }
    // These see nothing, and null is how some tools write that.
    let sees_nothing = matches!(kind, Kind::Put | Kind::Increment);
    let read = match fields.read.filter(|read| read.is_some() || !sees_nothing) {
        None => Value::NotKnown,
        Some(None) => Value::Missing,
        Some(Some(Id::Number(number))) => Value::Number(number),
        Some(Some(Id::Text(text))) => Value::Id { client: 0, stamp: ids.number(text) },
    };
    let written = match (fields.written, fields.result) {
        (None, None) => Written::Nothing,
        (None, Some(result)) => Written::Number(result),
        (Some(Id::Number(number)), _) => Written::Number(number),
        (Some(Id::Text(text)), _) => Written::Id { client: 0, stamp: ids.number(text) },
    };
    let boot = fields.boot.map(|boot| {
        let text = match boot {
            Id::Number(number) => number.to_string(),
            Id::Text(text) => text,
        };
        let next = ids.boots.len() as u64 + 1;
        *ids.boots.entry(text).or_insert(next)
    });
    Ok(Line {
        key: fields.key,
        kind,
        outcome,
        read,
        written,
        by: fields.by.unwrap_or(0),
        client: fields.client,
        worker: fields.worker,
        stamp: fields.stamp,
        inv_ns: fields.inv,
        res_ns,
        boot,
    })
}

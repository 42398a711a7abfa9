//! memcached's text protocol: batches into commands, replies into answers. No socket here.
//!
//! Neighbouring GETs of a batch share one `get` of up to [`GET_KEYS_MAX`] keys. The reply has the
//! items that were found in the order of the keys, then `END`; a key that is passed over is missing.

use std::collections::HashSet;
use std::ops::Range;

use kvs_client::{FailureClass, OperationError};

use super::super::super::batches::Requests;
use super::super::peer::{PeerBatch, PeerFailure};
use super::answers::{Answer, PeerAnswers};

/// Most keys in one `get`.
const GET_KEYS_MAX: usize = 1000;

/// Longest line of a reply that is no value, in bytes: keys and errors are shorter.
const LINE_BYTES_MAX: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A key of a `get`; `is_last` when the command ends with it.
    Get {
        is_last: bool,
    },
    /// The same with the item's version.
    Gets {
        is_last: bool,
    },
    Set,
    Delete,
    Increment,
    /// `cas`, or `add` where the key is expected to be missing.
    Swap,
}

#[derive(Clone, Debug)]
struct Operation {
    kind: Kind,
    key: Range<usize>,
}

/// A CAS whose command can be written when the item's version is known.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    key: Vec<u8>,
    expected: Option<Vec<u8>>,
    value: Vec<u8>,
}

/// Commands, and what has to come back.
#[derive(Debug)]
pub(crate) struct MemcachedBatch {
    first_stamp: u64,
    pub(super) swaps: Vec<Swap>,
    commands: MemcachedCommands,
}

/// Commands as they are sent, operation by operation.
#[derive(Debug, Default)]
pub(crate) struct MemcachedCommands {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    /// Keys in the `get` that is being written.
    keys_open: usize,
}

impl MemcachedCommands {
    fn key(&mut self, kind: Kind, key: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.operations.push(Operation { kind, key: start..self.bytes.len() });
    }

    /// Adds a key to the open `get`, or opens one.
    fn get(&mut self, verb: &[u8], kind: impl Fn(bool) -> Kind, key: &[u8]) {
        if self.keys_open == GET_KEYS_MAX {
            self.close();
        }
        if self.keys_open == 0 {
            self.bytes.extend_from_slice(verb);
        } else if let Some(last) = self.operations.last_mut() {
            last.kind = kind(false);
        }
        self.bytes.push(b' ');
        self.key(kind(true), key);
        self.keys_open += 1;
    }

    /// Ends the open `get`.
    fn close(&mut self) {
        if self.keys_open > 0 {
            self.bytes.extend_from_slice(b"\r\n");
            self.keys_open = 0;
        }
    }

    fn store(&mut self, verb: &[u8], kind: Kind, key: &[u8], value: &[u8], version: Option<u64>) {
        self.close();
        self.bytes.extend_from_slice(verb);
        self.bytes.push(b' ');
        self.key(kind, key);
        self.bytes.extend_from_slice(b" 0 0 ");
        let mut digits = itoa::Buffer::new();
        self.bytes.extend_from_slice(digits.format(value.len()).as_bytes());
        if let Some(version) = version {
            self.bytes.push(b' ');
            self.bytes.extend_from_slice(digits.format(version).as_bytes());
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The bytes to send, with every command at its end.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.close();
        &self.bytes
    }

    /// How many operations have to be answered.
    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }
}

impl MemcachedBatch {
    /// The commands of a batch without CAS.
    pub(super) fn into_commands(self) -> MemcachedCommands {
        self.commands
    }

    /// What asks for the items that the batch's CAS compare with.
    pub(super) fn versions(&self) -> MemcachedCommands {
        let mut commands = MemcachedCommands::default();
        for swap in &self.swaps {
            commands.get(b"gets", |is_last| Kind::Gets { is_last }, &swap.key);
        }
        commands
    }

    /// The commands when the items are known: those CAS that still can match, then all else.
    /// Beside them, the outcomes of the others.
    pub(super) fn with_versions(
        self,
        items: &PeerAnswers,
    ) -> (MemcachedCommands, Vec<Option<Answer>>) {
        let mut commands = MemcachedCommands::default();
        let mut known = Vec::with_capacity(self.swaps.len());
        // What was read of a key is no news to a swap that comes after another of the same key.
        let mut swapped = HashSet::new();
        for (swap, item) in self.swaps.iter().zip(items.answers()) {
            let (key, value) = (&swap.key, &swap.value);
            let is_later = !swapped.insert(key.clone());
            known.push(match (&swap.expected, item) {
                (None, Answer::Missing) => {
                    commands.store(b"add", Kind::Swap, key, value, None);
                    None
                }
                (Some(expected), Answer::Item { value: held, version })
                    if *items.slice(held) == expected[..] =>
                {
                    commands.store(b"cas", Kind::Swap, key, value, Some(*version));
                    None
                }
                (_, Answer::Missing | Answer::Item { .. }) if is_later => {
                    Some(Answer::MismatchUntold)
                }
                (_, Answer::Missing) => Some(Answer::Mismatch(None)),
                (_, Answer::Item { value, .. }) => Some(Answer::Mismatch(Some(items.slice(value)))),
                (_, other) => Some(other.clone()),
            });
        }
        let MemcachedCommands { mut bytes, operations, .. } = commands;
        let shift = bytes.len();
        let mut all = operations;
        let rest = self.commands;
        bytes.extend_from_slice(&rest.bytes);
        all.extend(rest.operations.into_iter().map(|operation| Operation {
            kind: operation.kind,
            key: operation.key.start + shift..operation.key.end + shift,
        }));
        (MemcachedCommands { bytes, operations: all, keys_open: rest.keys_open }, known)
    }
}

impl PeerBatch for MemcachedBatch {
    fn new(first_stamp: u64, operations_max: usize) -> Self {
        let commands = MemcachedCommands {
            bytes: Vec::with_capacity(operations_max * 8),
            operations: Vec::with_capacity(operations_max),
            keys_open: 0,
        };
        Self { first_stamp, swaps: Vec::new(), commands }
    }

    fn len(&self) -> usize {
        self.swaps.len() + self.commands.operations.len()
    }
}

impl Requests for MemcachedBatch {
    fn first_stamp(&self) -> u64 {
        self.first_stamp
    }

    fn get(&mut self, key: &[u8]) -> Result<(), OperationError> {
        self.commands.get(b"get", |is_last| Kind::Get { is_last }, key);
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), OperationError> {
        self.commands.store(b"set", Kind::Set, key, value, None);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), OperationError> {
        self.commands.close();
        self.commands.bytes.extend_from_slice(b"delete ");
        self.commands.key(Kind::Delete, key);
        self.commands.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn compare_and_swap(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), OperationError> {
        assert!(self.commands.operations.is_empty(), "a plan has its swaps at its start");
        let expected = expected.map(<[u8]>::to_vec);
        self.swaps.push(Swap { key: key.to_vec(), expected, value: value.to_vec() });
        Ok(())
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Result<(), OperationError> {
        let verb: &[u8] = if by < 0 { b"decr " } else { b"incr " };
        self.commands.close();
        self.commands.bytes.extend_from_slice(verb);
        self.commands.key(Kind::Increment, key);
        self.commands.bytes.push(b' ');
        let mut digits = itoa::Buffer::new();
        self.commands.bytes.extend_from_slice(digits.format(by.unsigned_abs()).as_bytes());
        self.commands.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Reads the replies to some commands, as their bytes arrive.
#[derive(Debug, Default)]
pub(crate) struct MemcachedDecoder {
    answers: Vec<Answer>,
    /// The last key of a `get` was found, and its `END` must follow.
    end_is_due: bool,
    /// Bytes that are done with.
    consumed: usize,
}

impl MemcachedDecoder {
    /// Reads on in `bytes`, which start where they did in the call before. `true` when all
    /// operations are answered.
    ///
    /// # Errors
    ///
    /// What memcached never sends.
    pub(super) fn decode(
        &mut self,
        commands: &MemcachedCommands,
        bytes: &[u8],
    ) -> Result<bool, String> {
        loop {
            let operation = commands.operations.get(self.answers.len());
            if operation.is_none() && !self.end_is_due {
                return Ok(true);
            }
            let Some((line, after)) = line(bytes, self.consumed)? else { return Ok(false) };
            let Some(operation) = operation.filter(|_| !self.end_is_due) else {
                if line != b"END" {
                    return Err(unexpected(line));
                }
                (self.end_is_due, self.consumed) = (false, after);
                continue;
            };
            let is_done = match operation.kind {
                Kind::Get { .. } | Kind::Gets { .. } => self.item(commands, bytes, line, after)?,
                kind => {
                    self.answers.push(answer(kind, line)?);
                    self.consumed = after;
                    true
                }
            };
            if !is_done {
                return Ok(false);
            }
        }
    }

    /// Bytes that are done with.
    pub(super) fn consumed(&self) -> usize {
        self.consumed
    }

    /// The answers, when all are there.
    pub(super) fn finish(self) -> Vec<Answer> {
        self.answers
    }

    /// Takes a line of the reply to a `get`; `false` when the item's value is not there yet.
    fn item(
        &mut self,
        commands: &MemcachedCommands,
        bytes: &[u8],
        line: &[u8],
        after: usize,
    ) -> Result<bool, String> {
        if line == b"END" {
            self.pass(commands, None, &Answer::Missing)?;
            self.consumed = after;
            return Ok(true);
        }
        let Some(item) = line.strip_prefix(b"VALUE ") else {
            let failed = failed(line, FailureClass::NotApplied)?;
            self.pass(commands, None, &failed)?;
            self.consumed = after;
            return Ok(true);
        };
        let mut words = item.split(|byte| *byte == b' ');
        let (key, _flags) = (words.next().unwrap_or_default(), words.next());
        let length = words.next().and_then(number).ok_or_else(|| unexpected(line))? as usize;
        let version = words.next().and_then(number);
        let end = after.checked_add(length).ok_or_else(|| unexpected(line))?;
        if bytes.len() < end.saturating_add(2) {
            return Ok(false);
        }
        if bytes[end..end + 2] != *b"\r\n" {
            return Err("a value is longer than was announced".to_owned());
        }
        self.pass(commands, Some(key), &Answer::Missing)?;
        self.answers.push(match version {
            Some(version) => Answer::Item { value: after..end, version },
            None => Answer::Value(after..end),
        });
        self.consumed = end + 2;
        let operation = &commands.operations[self.answers.len() - 1];
        self.end_is_due =
            matches!(operation.kind, Kind::Get { is_last: true } | Kind::Gets { is_last: true });
        Ok(true)
    }

    /// Gives the command's next keys this answer: up to the one that is found, or all.
    fn pass(
        &mut self,
        commands: &MemcachedCommands,
        found: Option<&[u8]>,
        answer: &Answer,
    ) -> Result<(), String> {
        loop {
            let operation = commands.operations.get(self.answers.len());
            let Some(Operation { kind, key }) = operation else {
                return Err("it sent a key that was not asked for".to_owned());
            };
            let (Kind::Get { is_last } | Kind::Gets { is_last }) = *kind else {
                return Err("it sent a key that was not asked for".to_owned());
            };
            if found.is_some_and(|found| commands.bytes[key.clone()] == *found) {
                return Ok(());
            }
            self.answers.push(answer.clone());
            if is_last {
                return match found {
                    None => Ok(()),
                    Some(_) => Err("it sent a key that was not asked for".to_owned()),
                };
            }
        }
    }
}

/// What a reply of one line means.
fn answer(kind: Kind, line: &[u8]) -> Result<Answer, String> {
    Ok(match (kind, line) {
        (Kind::Set | Kind::Swap, b"STORED") | (Kind::Delete, b"DELETED") => Answer::Done,
        (Kind::Delete, b"NOT_FOUND") => Answer::Missing,
        (Kind::Swap, b"NOT_FOUND") => Answer::Mismatch(None),
        (Kind::Swap, b"EXISTS" | b"NOT_STORED") => Answer::MismatchUntold,
        (Kind::Increment, b"NOT_FOUND") => Answer::Failed(PeerFailure {
            class: FailureClass::NotApplied,
            text: "memcached: incr does not create a counter".to_owned(),
        }),
        (Kind::Increment, line) if line.first().is_some_and(u8::is_ascii_digit) => {
            let count = number(line).and_then(|count| i64::try_from(count).ok());
            count.map_or(Answer::Overflow, Answer::Counter)
        }
        (Kind::Increment, line) if line.ends_with(b"non-numeric value") => Answer::NotAnInteger,
        // A SET that fails removes what was there.
        (_, line) => failed(line, FailureClass::Unknown)?,
    })
}

/// An error in memcached's words.
fn failed(line: &[u8], class: FailureClass) -> Result<Answer, String> {
    let is_error = line.starts_with(b"SERVER_ERROR ") || line.starts_with(b"CLIENT_ERROR ");
    if !is_error {
        return Err(unexpected(line));
    }
    let text = format!("memcached: {}", String::from_utf8_lossy(line));
    Ok(Answer::Failed(PeerFailure { class, text }))
}

/// The line from `start` without its end, and where the next one starts; `None` when its end is
/// not there yet.
///
/// # Errors
///
/// When it is longer than [`LINE_BYTES_MAX`].
#[inline]
fn line(bytes: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = &bytes[start..];
    let head = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match head.iter().position(|byte| *byte == b'\n') {
        Some(newline) => {
            let line = &head[..newline];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), start + newline + 1)))
        }
        None if head.len() == LINE_BYTES_MAX => Err("a line does not end".to_owned()),
        None => Ok(None),
    }
}

/// What is wrong when a peer sends this.
fn unexpected(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(&line[..line.len().min(60)]);
    format!("it sent `{}`", line.escape_debug())
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;

//! Reads the binary histories that a [`super::HistoryWriter`] left.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rapidhash::v3::rapidhash_v3;

use super::{Decoder, Record};

/// First bytes of a binary history.
pub(crate) const MAGIC: [u8; 8] = *b"KVSHIST2";
/// Longest configuration text, in bytes.
pub(crate) const CONFIGURATION_BYTES_MAX: usize = 64 << 10;
/// Longest body of a block, in bytes: a full block and the operation that filled it fit, with room to
/// spare.
const BODY_BYTES_MAX: u32 = 1 << 20;
/// Length of a block's numbers before its body.
const BLOCK_HEADER_BYTES: usize = 16;
/// Length of the file's end.
const END_BYTES: usize = 40;

/// How a file's clock relates to the run's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// To be added to the file's times, in nanoseconds.
    pub offset_ns: i64,
    /// How wrong that may be, in nanoseconds.
    pub error_ns: u64,
}

/// What a history says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The run's id, shared by all files of one check.
    pub run: u64,
    /// The client's number, different in all files of one check.
    pub client: u32,
    /// The client's clock.
    pub clock: Clock,
    /// How the run was configured, for people; at most 65,536 bytes.
    pub configuration: String,
}

/// Why a history can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: unreadable at offset {offset}: {reason}", path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Where, in bytes from the file's start.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// A binary history that is being read.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    file: BufReader<File>,
    /// What it says about itself, with the clock of its end if it has one.
    pub header: Header,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// Whether the writer did not finish it, and `allow_truncated` said to read it all the same.
    pub is_truncated: bool,
    allow_truncated: bool,
    offset: u64,
    operations: u64,
    body: Vec<u8>,
}

impl HistoryFile {
    /// Opens a history and reads its header and end.
    ///
    /// # Errors
    ///
    /// When it can't be read, is no binary history, or has no end and `allow_truncated` is not set.
    pub fn open(path: &Path, allow_truncated: bool) -> Result<Self, Unreadable> {
        let failure = |offset, reason: String| Unreadable { path: path.into(), offset, reason };
        let broken = |source: io::Error| failure(0, source.to_string());
        let file = File::open(path).map_err(broken)?;
        let bytes = file.metadata().map_err(broken)?.len();
        let mut file = BufReader::with_capacity(256 << 10, file);
        let (mut header, offset) =
            read_header(&mut file).map_err(|(offset, reason)| failure(offset, reason))?;
        let end = read_end(&mut file, bytes, offset).map_err(broken)?;
        let is_truncated = end.is_none();
        if let Some((_, clock)) = end {
            header.clock = clock;
        }
        let (path, body) = (path.to_owned(), Vec::new());
        let operations = 0;
        Ok(Self {
            path,
            file,
            header,
            bytes,
            is_truncated,
            allow_truncated,
            offset,
            operations,
            body,
        })
    }

    /// Where the next block starts, in bytes from the file's start.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block and hands its records to `take`; returns whether there was one.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and where. With `allow_truncated`, a block that is cut off by
    /// the file's end counts as the end.
    pub(crate) fn next_block(
        &mut self,
        mut take: impl FnMut(&Record<'_>) -> Result<(), String>,
    ) -> Result<bool, Unreadable> {
        let Some(operations) = self.read_block()? else { return Ok(false) };
        let start = self.offset + BLOCK_HEADER_BYTES as u64;
        let mut decoder = Decoder::new(&self.body);
        let mut seen = 0;
        loop {
            let record = decoder.next().map_err(str::to_owned).and_then(|record| {
                seen += u32::from(matches!(record, Some(Record::Operation(_))));
                record.map(|record| take(&record)).transpose()
            });
            match record {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(reason) => {
                    let offset = start + decoder.position() as u64;
                    return Err(Unreadable { path: self.path.clone(), offset, reason });
                }
            }
        }
        if seen != operations {
            return Err(self.failure(format!("a block of {operations} operations has {seen}")));
        }
        self.operations += u64::from(operations);
        self.offset = start + self.body.len() as u64;
        Ok(true)
    }

    /// Reads the block at the offset into `body`; `None` at the file's end.
    fn read_block(&mut self) -> Result<Option<u32>, Unreadable> {
        let mut header = [0; BLOCK_HEADER_BYTES];
        let got = self.fill(&mut header)?;
        if got < header.len() {
            return self.cut_off();
        }
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let (length, operations) = (word(0), word(4));
        let last = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
        if length == 0 {
            return self.check_end(operations, last);
        }
        if length > BODY_BYTES_MAX {
            return Err(self.failure(format!("a block of {length} bytes is too long")));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length as usize, 0);
        let got = self.fill(&mut body)?;
        self.body = body;
        if got < length as usize {
            return self.cut_off();
        }
        if block_checksum(&self.body, operations) != last {
            return Err(self.failure("the block's checksum is wrong".into()));
        }
        Ok(Some(operations))
    }

    fn check_end(&mut self, zero: u32, operations: u64) -> Result<Option<u32>, Unreadable> {
        if self.offset + END_BYTES as u64 > self.bytes && zero == 0 {
            return self.cut_off();
        }
        if self.is_truncated || self.offset + (END_BYTES as u64) < self.bytes || zero != 0 {
            return Err(self.failure("the file's end is wrong".into()));
        }
        if operations != self.operations {
            let (had, path) = (self.operations, self.path.clone());
            let reason = format!("the file ends after {had} of {operations} operations");
            return Err(Unreadable { path, offset: self.offset, reason });
        }
        Ok(None)
    }

    fn cut_off(&self) -> Result<Option<u32>, Unreadable> {
        if self.allow_truncated {
            return Ok(None);
        }
        Err(self.failure(
            "the file is cut off: its writer did not finish; -allow_truncated checks what is there"
                .into(),
        ))
    }

    /// Reads as much of `buffer` as the file still has.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Unreadable> {
        read_up_to(&mut self.file, buffer).map_err(|source| self.failure(source.to_string()))
    }

    fn failure(&self, reason: String) -> Unreadable {
        Unreadable { path: self.path.clone(), offset: self.offset, reason }
    }
}

/// Checksum of a block, over its length, its count and its body.
pub(crate) fn block_checksum(body: &[u8], operations: u32) -> u64 {
    let lengths = u64::from(operations) << 32 | body.len() as u64;
    rapidhash_v3(body) ^ rapidhash_v3(&lengths.to_le_bytes())
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Reads the header; returns its length too.
fn read_header(file: &mut impl Read) -> Result<(Header, u64), (u64, String)> {
    let mut bytes = vec![0; 40];
    let broken = |source: io::Error| (0, source.to_string());
    let got = read_up_to(file, &mut bytes).map_err(broken)?;
    if bytes.starts_with(&MAGIC[..7]) && bytes[7] != MAGIC[7] {
        return Err((
            7,
            "another version's history; check it with the kvs-check of its run".into(),
        ));
    }
    if !bytes.starts_with(&MAGIC) {
        return Err((0, "this is neither a binary history nor JSON lines".into()));
    }
    let cut = "the header is cut off".to_owned();
    if got < bytes.len() {
        return Err((got as u64, cut));
    }
    let length = u32::from_le_bytes(bytes[36..].try_into().expect("4 bytes")) as usize;
    if length > CONFIGURATION_BYTES_MAX {
        return Err((36, format!("a configuration of {length} bytes is too long")));
    }
    bytes.resize(40 + length + 8, 0);
    let got = 40 + read_up_to(file, &mut bytes[40..]).map_err(broken)?;
    if got < bytes.len() {
        return Err((got as u64, cut));
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    if rapidhash_v3(&bytes[..40 + length]) != word(40 + length) {
        return Err((0, "the header's checksum is wrong".into()));
    }
    let configuration = String::from_utf8(bytes[40..40 + length].to_vec())
        .map_err(|_| (40, "the configuration is not UTF-8".to_owned()))?;
    let client = u32::from_le_bytes(bytes[16..20].try_into().expect("4 bytes"));
    let clock = Clock { offset_ns: word(20) as i64, error_ns: word(28) };
    Ok((Header { run: word(8), client, clock, configuration }, bytes.len() as u64))
}

/// Reads the file's end, if it has one, and goes back to `offset`.
fn read_end(
    file: &mut BufReader<File>,
    bytes: u64,
    offset: u64,
) -> io::Result<Option<(u64, Clock)>> {
    let mut end = [0; END_BYTES];
    let mut found = None;
    if offset + END_BYTES as u64 <= bytes {
        file.seek(SeekFrom::Start(bytes - END_BYTES as u64))?;
        file.read_exact(&mut end)?;
        let word = |at: usize| u64::from_le_bytes(end[at..at + 8].try_into().expect("8 bytes"));
        if word(0) == 0 && rapidhash_v3(&end[..32]) == word(32) {
            let clock = Clock { offset_ns: word(16) as i64, error_ns: word(24) };
            found = Some((word(8), clock));
        }
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok(found)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

//! Splits a history by key, in memory while there is room and on disk beyond.
//!
//! A part holds all operations of its keys in the records of `history`, so it takes about as much
//! room as its share of the file. What does not fit into memory goes to one file that has no name
//! any more, and is gone when the process is.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::history::{Batch, Encoder, Key, Operation};

/// A stretch of the file on disk.
#[derive(Clone, Copy, Debug)]
struct Extent {
    offset: u64,
    bytes: usize,
}

/// One part of a history.
#[derive(Debug, Default)]
struct Part {
    encoder: Encoder,
    extents: Vec<Extent>,
    /// Number of the batch that the encoder is in.
    batch: u64,
    operations: u64,
}

/// The parts of a history.
#[derive(Debug)]
pub(crate) struct Parts {
    parts: Vec<Part>,
    resident_bytes_max: u64,
    file: Option<File>,
    file_bytes: u64,
    batch: u64,
}

impl Parts {
    /// `count` parts that keep at most about `resident_bytes_max` in memory.
    pub(crate) fn new(count: usize, resident_bytes_max: u64) -> Self {
        assert!(count.is_power_of_two(), "parts are told apart by bits of the key's hash");
        let parts = (0..count).map(|_| Part::default()).collect();
        Self { parts, resident_bytes_max, file: None, file_bytes: 0, batch: 0 }
    }

    /// Says that the next operations are of another batch.
    pub(crate) fn begin(&mut self) {
        self.batch += 1;
    }

    /// Adds an operation of `batch`, which is the one that was begun last.
    #[inline]
    pub(crate) fn push(&mut self, batch: &Batch, operation: &Operation<'_>) {
        let index = hash(operation.key) as usize & (self.parts.len() - 1);
        let part = &mut self.parts[index];
        if part.batch != self.batch {
            part.batch = self.batch;
            part.encoder.batch(batch);
        }
        part.encoder.operation(operation);
        part.operations += 1;
    }

    /// Moves everything to a file in `folder` if too much is in memory.
    ///
    /// # Errors
    ///
    /// When the file can't be made or written.
    pub(crate) fn make_room(&mut self, folder: &Path) -> io::Result<()> {
        let resident: u64 = self.parts.iter().map(|part| part.encoder.bytes().len() as u64).sum();
        if resident <= self.resident_bytes_max {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(nameless_file(folder)?);
        }
        let file = self.file.as_mut().expect("the file was just made");
        for part in &mut self.parts {
            let bytes = part.encoder.drain();
            if !bytes.is_empty() {
                file.write_all(&bytes)?;
                part.extents.push(Extent { offset: self.file_bytes, bytes: bytes.len() });
                self.file_bytes += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Bytes that went to disk.
    pub(crate) fn spilled_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The parts, to be read one by one from several threads, and their file.
    pub(crate) fn finish(self) -> (Vec<ReadyPart>, Option<File>) {
        let ready = self.parts.into_iter().map(|mut part| ReadyPart {
            extents: part.extents,
            rest: part.encoder.drain(),
            operations: part.operations,
        });
        (ready.collect(), self.file)
    }
}

/// A part that is complete.
#[derive(Debug)]
pub(crate) struct ReadyPart {
    extents: Vec<Extent>,
    rest: Vec<u8>,
    pub(crate) operations: u64,
}

impl ReadyPart {
    /// The part's records.
    ///
    /// # Errors
    ///
    /// When the file can't be read.
    pub(crate) fn read(self, file: Option<&File>) -> io::Result<Vec<u8>> {
        let Some(file) = file else { return Ok(self.rest) };
        let on_disk: usize = self.extents.iter().map(|extent| extent.bytes).sum();
        let mut bytes = vec![0; on_disk];
        let mut end = 0;
        for extent in &self.extents {
            let start = end;
            end += extent.bytes;
            file.read_exact_at(&mut bytes[start..end], extent.offset)?;
        }
        bytes.extend(self.rest);
        Ok(bytes)
    }
}

#[inline]
fn hash(key: Key<'_>) -> u64 {
    match key {
        // The upper half of a product with 2^64 over the golden ratio spreads neighbours.
        Key::Number(number) => number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32,
        Key::Counter(number) => (!number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32,
        Key::Bytes(bytes) => rapidhash::v3::rapidhash_v3(bytes),
    }
}

fn nameless_file(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!("kvs-check-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

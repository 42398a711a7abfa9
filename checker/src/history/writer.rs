//! Writes a history while the run goes on.
//!
//! A [`BatchRecorder`] packs the operations of workers that take turns into a buffer of its own. A full
//! buffer goes to one thread that checksums and writes it, and comes back empty. Recorders wait
//! for that thread when [`BLOCKS_QUEUED_MAX`] blocks are queued: a slow disk slows the run down
//! instead of filling the memory.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use rapidhash::v3::rapidhash_v3;

use super::reader::{CONFIGURATION_BYTES_MAX, Clock, Header, MAGIC};
use super::{Batch, Encoder, Operation};

/// A block is sent when it has this many bytes: some ten thousand operations, so that the hand-over
/// costs nothing, and few enough for a core's cache.
const BLOCK_BYTES: usize = 256 << 10;
/// Most blocks that wait for the disk: 16 MiB.
const BLOCKS_QUEUED_MAX: usize = 64;

/// Why a history is not whole.
#[derive(Debug, thiserror::Error)]
#[error("can't write the history {path}: {source}; free disk space or name another file")]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// What a finished history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryTotals {
    /// Operations recorded.
    pub operations: u64,
    /// Size of the file, in bytes.
    pub bytes: u64,
}

enum Message {
    Block(Encoder, Sender<Encoder>),
    End(Clock),
}

/// Writes one client's history to a file.
///
/// Dropped without [`HistoryWriter::finish`], it leaves a file without an end, which
/// readers refuse as cut off.
#[derive(Debug)]
pub struct HistoryWriter {
    path: PathBuf,
    queue: SyncSender<Message>,
    failed: Arc<AtomicBool>,
    /// Held by each recorder too, so that its count tells whether one is left.
    recorders: Arc<()>,
    thread: JoinHandle<io::Result<HistoryTotals>>,
}

impl HistoryWriter {
    /// Creates the file, or empties it, and starts its thread.
    ///
    /// # Errors
    ///
    /// When the file can't be created or written.
    ///
    /// # Panics
    ///
    /// When the header's configuration is longer than 65,536 bytes.
    pub fn create(path: &Path, header: &Header) -> Result<Self, WriteError> {
        let failure = |source| WriteError { path: path.to_owned(), source };
        let mut file = File::create(path).map_err(failure)?;
        let bytes = encode_header(header);
        file.write_all(&bytes).map_err(failure)?;
        let (queue, blocks) = sync_channel(BLOCKS_QUEUED_MAX);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || {
                let written = write_blocks(&mut file, &blocks, bytes.len() as u64);
                flag.store(written.is_err(), Ordering::Relaxed);
                written
            })
            .map_err(failure)?;
        let recorders = Arc::new(());
        Ok(Self { path: path.to_owned(), queue, failed, recorders, thread })
    }

    /// A recorder for the batches of one worker, or of several that take turns.
    pub fn recorder(&self) -> BatchRecorder {
        let (give_back, returned) = channel();
        BatchRecorder {
            encoder: Encoder::default(),
            batch: None,
            queue: self.queue.clone(),
            give_back,
            returned,
            failed: Arc::clone(&self.failed),
            _alive: Arc::clone(&self.recorders),
        }
    }

    /// Whether writing has failed, so that it makes no sense to go on; [`HistoryWriter::finish`]
    /// tells why.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes what is queued and the file's end. `clock` is the better of the header's and what was
    /// measured since.
    ///
    /// # Errors
    ///
    /// The first error of writing; the file is then not whole.
    ///
    /// # Panics
    ///
    /// When a recorder still exists: its last operations would be missing.
    pub fn finish(self, clock: Clock) -> Result<HistoryTotals, WriteError> {
        assert_eq!(
            Arc::strong_count(&self.recorders),
            1,
            "every recorder is dropped before its history is finished"
        );
        // A thread that is gone has left its error behind.
        let _ = self.queue.send(Message::End(clock));
        let written = self.thread.join().expect("the history's thread does not panic");
        written.map_err(|source| WriteError { path: self.path, source })
    }
}

/// Records the batches of a worker. Dropping it hands over the last ones.
#[derive(Debug)]
pub struct BatchRecorder {
    encoder: Encoder,
    batch: Option<Batch>,
    queue: SyncSender<Message>,
    give_back: Sender<Encoder>,
    returned: Receiver<Encoder>,
    failed: Arc<AtomicBool>,
    _alive: Arc<()>,
}

impl BatchRecorder {
    /// Whether writing has failed, so that it makes no sense to go on.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Starts a batch: the operations that follow share its times. Waits for the disk when too
    /// much is queued.
    #[inline]
    pub fn begin(&mut self, batch: Batch) {
        if self.encoder.bytes().len() >= BLOCK_BYTES {
            self.hand_over();
        }
        self.encoder.batch(&batch);
        self.batch = Some(batch);
    }

    /// Records an operation of the batch that was begun last.
    ///
    /// # Panics
    ///
    /// When no batch was begun, or the key has no bytes or more than 1,024.
    #[inline]
    pub fn record(&mut self, operation: &Operation<'_>) {
        self.encoder.operation(operation);
        if self.encoder.bytes().len() >= BLOCK_BYTES {
            self.split();
        }
    }

    /// Goes on in a new block with the batch that is open.
    #[cold]
    fn split(&mut self) {
        self.hand_over();
        let batch = self.batch.expect("a batch was begun before its operations");
        self.encoder.batch(&batch);
    }

    #[cold]
    fn hand_over(&mut self) {
        let next = self.returned.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.encoder, next);
        if full.operations() == 0 || self.failed.load(Ordering::Relaxed) {
            return;
        }
        // The thread ends early only with an error, which `finish` reports.
        let _ = self.queue.send(Message::Block(full, self.give_back.clone()));
    }
}

impl Drop for BatchRecorder {
    fn drop(&mut self) {
        self.hand_over();
    }
}

fn write_blocks(
    file: &mut File,
    queue: &Receiver<Message>,
    header: u64,
) -> io::Result<HistoryTotals> {
    let mut written = HistoryTotals { operations: 0, bytes: header };
    let mut block = Vec::new();
    while let Ok(message) = queue.recv() {
        block.clear();
        match message {
            Message::Block(mut encoder, give_back) => {
                encode_block_header(&encoder, &mut block);
                file.write_all(&block)?;
                file.write_all(encoder.bytes())?;
                written.bytes += (block.len() + encoder.bytes().len()) as u64;
                written.operations += u64::from(encoder.operations());
                encoder.clear();
                // A recorder that is gone needs no buffer.
                let _ = give_back.send(encoder);
            }
            Message::End(clock) => {
                encode_end(&mut block, written.operations, clock);
                file.write_all(&block)?;
                written.bytes += block.len() as u64;
                return Ok(written);
            }
        }
    }
    Ok(written)
}

fn encode_header(header: &Header) -> Vec<u8> {
    let configuration = header.configuration.as_bytes();
    assert!(configuration.len() <= CONFIGURATION_BYTES_MAX, "a configuration has 64 KiB at most");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(header.run.to_le_bytes());
    bytes.extend(header.client.to_le_bytes());
    bytes.extend(header.clock.offset_ns.to_le_bytes());
    bytes.extend(header.clock.error_ns.to_le_bytes());
    bytes.extend((configuration.len() as u32).to_le_bytes());
    bytes.extend(configuration);
    bytes.extend(rapidhash_v3(&bytes).to_le_bytes());
    bytes
}

fn encode_block_header(encoder: &Encoder, block: &mut Vec<u8>) {
    let body = encoder.bytes();
    block.extend((body.len() as u32).to_le_bytes());
    block.extend(encoder.operations().to_le_bytes());
    block.extend(super::reader::block_checksum(body, encoder.operations()).to_le_bytes());
}

fn encode_end(block: &mut Vec<u8>, operations: u64, clock: Clock) {
    block.extend([0; 8]);
    block.extend(operations.to_le_bytes());
    block.extend(clock.offset_ns.to_le_bytes());
    block.extend(clock.error_ns.to_le_bytes());
    block.extend(rapidhash_v3(block).to_le_bytes());
}

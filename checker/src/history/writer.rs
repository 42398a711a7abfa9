//! Writes a history while the run goes on.
//!
//! A [`BatchRecorder`] packs the operations of workers that take turns into a buffer of its own. A full
//! buffer goes to one thread that checksums and writes it, and comes back empty. Recorders wait
//! for that thread when [`BLOCKS_QUEUED_MAX`] blocks are queued: a slow disk slows the run down
//! instead of filling the memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;

use rapidhash::v3::rapidhash_v3;

use super::columns::{self, Columns, Place, Told};
use super::reader::{CONFIGURATION_BYTES_MAX, Clock, Header, MAGIC};
use super::sink::Sink;
use super::{Batch, Encoder, Operation};

/// A block is sent when it has this many bytes: some ten thousand operations, so that the hand-over
/// costs nothing, and few enough for a core's cache.
const BLOCK_BYTES: usize = 256 << 10;
/// Most blocks that wait for the disk: 16 MiB.
const BLOCKS_QUEUED_MAX: usize = 64;

/// Why a history is not whole.
#[derive(Debug, thiserror::Error)]
#[error("can't write the history {path}: {error}; free disk space or name another file")]
pub struct WriteError {
    path: PathBuf,
    error: io::Error,
}

/// What a finished history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryTotals {
    /// Operations recorded.
    pub operations: u64,
    /// Size of the file, in bytes.
    pub bytes: u64,
}

/// What the recorders and the thread tell each other.
#[derive(Debug, Default)]
struct Flags {
    /// Writing has failed.
    failed: AtomicBool,
    /// The queue was full: the disk does not keep up.
    is_behind: AtomicBool,
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
    flags: Arc<Flags>,
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
        let failure = |error| WriteError { path: path.to_owned(), error };
        let mut sink = Sink::create(path).map_err(failure)?;
        sink.write(&encode_header(header)).map_err(failure)?;
        let (queue, blocks) = sync_channel(BLOCKS_QUEUED_MAX);
        let flags = Arc::new(Flags::default());
        let shared = Arc::clone(&flags);
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || {
                let written = write_blocks(sink, &blocks, &shared);
                shared.failed.store(written.is_err(), Ordering::Relaxed);
                written
            })
            .map_err(failure)?;
        let recorders = Arc::new(());
        Ok(Self { path: path.to_owned(), queue, flags, recorders, thread })
    }

    /// A recorder for the batches of one worker, or of several that take turns.
    pub fn recorder(&self) -> BatchRecorder {
        let (give_back, returned) = channel();
        BatchRecorder {
            encoder: Encoder::default(),
            batch: None,
            told: Vec::new(),
            queue: self.queue.clone(),
            give_back,
            returned,
            flags: Arc::clone(&self.flags),
            _alive: Arc::clone(&self.recorders),
        }
    }

    /// Whether writing has failed, so that it makes no sense to go on; [`HistoryWriter::finish`]
    /// tells why.
    pub fn has_failed(&self) -> bool {
        self.flags.failed.load(Ordering::Relaxed)
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
        written.map_err(|error| WriteError { path: self.path, error })
    }
}

/// Records the batches of a worker. Dropping it hands over the last ones.
#[derive(Debug)]
pub struct BatchRecorder {
    encoder: Encoder,
    batch: Option<Batch>,
    told: Vec<Told>,
    queue: SyncSender<Message>,
    give_back: Sender<Encoder>,
    returned: Receiver<Encoder>,
    flags: Arc<Flags>,
    _alive: Arc<()>,
}

impl BatchRecorder {
    /// Whether writing has failed, so that it makes no sense to go on.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.flags.failed.load(Ordering::Relaxed)
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

    /// Memory for what becomes of a batch's operations, empty.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Records operations of the batch that was begun last, `told[i]` with the stamp of the batch's
    /// first and `i`, the number `i` of `keys` as its key, and the place `places[place_of[i]]`. Those
    /// that are [`Told::ELSEWHERE`] are left out. `told` is the memory for a later batch.
    ///
    /// # Panics
    ///
    /// When no batch was begun, or there are more than [`PLACES_MAX`](columns::PLACES_MAX) places.
    pub fn record_told<K, P>(
        &mut self,
        mut told: Vec<Told>,
        keys: &K,
        place_of: &P,
        places: &[Place],
    ) where
        K: Iterator<Item = u64> + Clone,
        P: Iterator<Item = u32> + Clone,
    {
        let batch = self.batch.expect("a batch was begun before its operations");
        for (number, part) in told.chunks(columns::OPERATIONS_MAX).enumerate() {
            let before = number * columns::OPERATIONS_MAX;
            self.encoder.columns(Columns {
                first_stamp: batch.first_stamp + before as u64,
                told: part,
                keys: keys.clone().skip(before),
                place_of: place_of.clone().skip(before),
                places,
            });
            if self.encoder.bytes().len() >= BLOCK_BYTES {
                self.split();
            }
        }
        told.clear();
        self.told = told;
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
        if full.operations() == 0 || self.flags.failed.load(Ordering::Relaxed) {
            return;
        }
        // The thread ends early only with an error, which `finish` reports.
        let block = Message::Block(full, self.give_back.clone());
        if let Err(TrySendError::Full(block)) = self.queue.try_send(block) {
            self.flags.is_behind.store(true, Ordering::Relaxed);
            let _ = self.queue.send(block);
        }
    }
}

impl Drop for BatchRecorder {
    fn drop(&mut self) {
        self.hand_over();
    }
}

fn write_blocks(
    mut sink: Sink,
    queue: &Receiver<Message>,
    flags: &Flags,
) -> io::Result<HistoryTotals> {
    let mut operations = 0;
    let mut header = Vec::new();
    while let Ok(message) = queue.recv() {
        if flags.is_behind.load(Ordering::Relaxed) {
            sink.use_page_cache()?;
        }
        header.clear();
        match message {
            Message::Block(mut encoder, give_back) => {
                encode_block_header(&encoder, &mut header);
                sink.write(&header)?;
                sink.write(encoder.bytes())?;
                operations += u64::from(encoder.operations());
                encoder.clear();
                // A recorder that is gone needs no buffer.
                let _ = give_back.send(encoder);
            }
            Message::End(clock) => {
                encode_end(&mut header, operations, clock);
                sink.write(&header)?;
                return Ok(HistoryTotals { operations, bytes: sink.finish()? });
            }
        }
    }
    // Nobody finishes this history: it has no end, but all that was recorded.
    Ok(HistoryTotals { operations, bytes: sink.finish()? })
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

//! The thread that touches blocks ahead of their use.

use std::sync::Once;
use std::thread;

use super::pool;
use super::region::{Block, blocks};

/// An ordinary page, where the kernel backs a block with these.
const PAGE_BYTES: usize = 4 << 10;

/// Starts the thread, unless it runs. Where it cannot start, tables grow on ordinary pages.
pub(super) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let mut blocks = blocks();
        // The first is waited for: an empty store takes it, and the oldest parts of its index,
        // which is what all lookups need most, stand there.
        pool::lock().add(blocks.next().expect("blocks have no end"));
        let _ = thread::Builder::new().name("memory".to_owned()).spawn(|| make_ready(blocks));
    });
}

/// Adds blocks to the pool as they are wanted, as long as the process lives.
///
/// On first touch the kernel finds a huge page, if need be by moving others, and zeroes it. That
/// takes a fraction of a millisecond, and in a virtual machine whose host has to find memory as
/// well, ten and more; it is no work for a thread that holds a table's lock.
fn make_ready(blocks: impl Iterator<Item = Block>) {
    for block in blocks {
        pool::wait_until_block_is_wanted();
        for page in block.as_flattened_mut().chunks_mut(PAGE_BYTES) {
            // A write, because reads get a page of zeros that all share.
            page[0] = std::hint::black_box(0);
        }
        pool::lock().add(block);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pieces;
    use super::*;

    #[test]
    fn blocks_are_made_ready_ahead_of_their_use() {
        Pieces::default().grow();
        // The thread ends only with the process, so it gets there.
        loop {
            if let Some(ready_blocks) = pool::lock().ready_blocks() {
                assert!(ready_blocks >= 2);
                break;
            }
            thread::yield_now();
        }
    }
}

//! The process's pool of pieces that no table has.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::advice::{Advice, advise};
use super::region::{BLOCK_PIECES, Block, Piece, region};

/// Fewest and most blocks' worth of pieces that are kept ready ahead of their use.
const READY_BLOCKS: (usize, usize) = (2, 16);
/// Of so many blocks, one more is kept ready: a thirty-second is little to waste.
const BLOCKS_PER_READY: usize = 32;

pub(super) struct Pool {
    /// Pieces on huge pages, all but the first touched: whoever writes to them meets no page fault.
    huge: VecDeque<&'static mut Piece>,
    /// Pieces on ordinary pages, without memory until somebody writes to them.
    ordinary: Vec<&'static mut Piece>,
    /// Blocks that were added.
    blocks: usize,
}

static POOL: Mutex<Pool> =
    Mutex::new(Pool { huge: VecDeque::new(), ordinary: Vec::new(), blocks: 0 });

/// Told when a block should be added.
static WANTED: Condvar = Condvar::new();

/// Nothing that happens under the pool's lock leaves it in disorder, not even a panic.
pub(super) fn lock() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when a block should be added.
pub(super) fn wait_until_block_is_wanted() {
    drop(WANTED.wait_while(lock(), |pool| pool.huge.len() >= pool.pieces_kept_ready()));
}

/// Takes back a piece on ordinary pages; its memory goes back to the operating system.
pub(super) fn give_back_ordinary(piece: &'static mut Piece) {
    advise(piece, Advice::Forget);
    lock().ordinary.push(piece);
}

impl Pool {
    /// A piece on a huge page, if one is ready.
    pub(super) fn take(&mut self) -> Option<&'static mut Piece> {
        let piece = self.huge.pop_front();
        // Who waits looks first, so it has to be told of the first missing piece only.
        if self.huge.len() + 1 == self.pieces_kept_ready() {
            WANTED.notify_one();
        }
        piece
    }

    /// The same, for a table that can go on waiting: those that grow come first.
    pub(super) fn take_to_move(&mut self) -> Option<&'static mut Piece> {
        if self.huge.len() < READY_BLOCKS.0 * BLOCK_PIECES { None } else { self.take() }
    }

    /// A piece on ordinary pages.
    pub(super) fn take_ordinary(&mut self) -> &'static mut Piece {
        if self.ordinary.is_empty() {
            self.ordinary.extend(region(Advice::OrdinaryPages));
        }
        self.ordinary.pop().expect("a region holds pieces")
    }

    /// Takes back pieces on huge pages.
    pub(super) fn give_back(&mut self, pieces: impl Iterator<Item = &'static mut Piece>) {
        self.huge.extend(pieces);
    }

    /// Adds a block's pieces.
    pub(super) fn add(&mut self, block: Block) {
        self.huge.extend(block);
        self.blocks += 1;
    }

    fn pieces_kept_ready(&self) -> usize {
        let (least, most) = READY_BLOCKS;
        (self.blocks / BLOCKS_PER_READY).clamp(least, most) * BLOCK_PIECES
    }
}

#[cfg(test)]
mod tests {
    use super::super::region::blocks;
    use super::*;

    const EMPTY: Pool = Pool { huge: VecDeque::new(), ordinary: Vec::new(), blocks: 0 };

    impl Pool {
        pub(in super::super) fn has_on_huge_page(&self, piece: *const u8) -> bool {
            self.huge.iter().any(|other| other.as_ptr() == piece)
        }

        /// So many blocks' worth of pieces are ready, once there are enough.
        pub(in super::super) fn ready_blocks(&self) -> Option<usize> {
            let is_enough = self.huge.len() >= self.pieces_kept_ready();
            is_enough.then_some(self.huge.len() / BLOCK_PIECES)
        }
    }

    #[test]
    fn a_table_that_overtakes_the_thread_gets_pieces_on_ordinary_pages() {
        let mut pool = EMPTY;
        let mut blocks = blocks();
        blocks.by_ref().take(2).for_each(|block| pool.add(block));
        for _ in 0..2 * BLOCK_PIECES {
            assert!(pool.take().is_some());
        }
        assert!(pool.take().is_none() && pool.take_to_move().is_none());
        pool.add(blocks.next().unwrap());
        assert!(pool.take_to_move().is_none(), "those that grow come first");
        pool.add(blocks.next().unwrap());
        assert!(pool.take_to_move().is_some());
    }

    #[test]
    fn what_is_kept_ready_grows_with_what_is_used_within_bounds() {
        for (used, expected) in [(0, READY_BLOCKS.0), (32, 2), (96, 3), (10_000, READY_BLOCKS.1)] {
            let mut pool = Pool { blocks: used, ..EMPTY };
            let mut blocks = blocks();
            while pool.ready_blocks().is_none() {
                pool.add(blocks.next().unwrap());
            }
            assert_eq!(pool.ready_blocks(), Some(expected));
        }
    }
}

//! Memory in pieces of one size, cut from regions that the kernel may back with huge pages.
//!
//! Tables look things up at random places in much memory. With pages of 4 KiB, most of these
//! places miss the processor's page table cache as well, and that miss holds up even a prefetch:
//! pages of 2 MiB made lookups 15 to 20% faster in a virtual machine, where page walks are
//! longest. Kernels give them on request (transparent huge pages, mode `madvise`), and where they
//! do not, nothing else changes.
//!
//! The pool is shared by the process, so that many small tables fill the same huge pages. Pieces
//! that a dropped table gave back are handed out again; the operating system gets none back.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A piece's size. Small enough that taking one is no pause, large enough that what does not fit
/// into its end is little.
pub(super) const PIECE_BYTES: usize = 32 << 10;

/// A huge page's size on x86-64 and on AArch64 with pages of 4 KiB. A wrong guess costs speed only.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// How much memory is asked for at once. Allocators take so much straight from the kernel, which
/// backs and zeroes it a huge page at a time, when that page is first touched: see [`make_ready`].
const REGION_BYTES: usize = 64 << 20;

const _: () = assert!(REGION_BYTES.is_multiple_of(HUGE_PAGE_BYTES), "regions are whole pages");
const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(PIECE_BYTES), "pieces lie in one page");

type Piece = [u8; PIECE_BYTES];

/// Pieces by number. They go back to the pool when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<&'static mut Piece>);

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> &Piece {
        self.0[number]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: usize) -> &mut Piece {
        self.0[number]
    }

    /// Adds a piece, whose content is arbitrary, and returns it.
    pub(super) fn grow(&mut self) -> &mut Piece {
        let piece = pool().take();
        self.0.push(piece);
        self.0.last_mut().expect("a piece was added")
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        pool().spare.append(&mut self.0);
    }
}

/// Fewest and most blocks that are made ready ahead of their use.
const READY_BLOCKS: (usize, usize) = (2, 16);
/// Of so many blocks in use, one more is made ready: a thirty-second is little to waste, and enough
/// that loading keys at full speed does not overtake the thread.
const BLOCKS_PER_READY: usize = 32;

/// As many pieces as a huge page holds: what one page fault of the kernel makes usable.
type Block = &'static mut [Piece];

/// Pieces that no table has.
struct Pool {
    /// Pieces that were given back.
    spare: Vec<&'static mut Piece>,
    /// The rest of the newest block.
    fresh: Block,
    /// Blocks that have been touched, so that whoever writes to them meets no page fault.
    ready: VecDeque<Block>,
    /// The rest of the newest region.
    untouched: Block,
    /// Blocks that were handed out.
    used_blocks: usize,
    has_thread: bool,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    spare: Vec::new(),
    fresh: &mut [],
    ready: VecDeque::new(),
    untouched: &mut [],
    used_blocks: 0,
    has_thread: false,
});

/// Told when blocks should be made ready.
static WANTED: Condvar = Condvar::new();

/// Nothing that happens under the pool's lock leaves it in disorder, not even a panic.
fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn take(&mut self) -> &'static mut Piece {
        if let Some(piece) = self.spare.pop() {
            return piece;
        }
        if self.fresh.is_empty() {
            self.fresh = self.next_block();
        }
        let fresh = std::mem::take(&mut self.fresh);
        let (piece, rest) = fresh.split_first_mut().expect("a block holds pieces");
        self.fresh = rest;
        piece
    }

    fn next_block(&mut self) -> Block {
        self.used_blocks += 1;
        if !self.has_thread {
            // Without it, whoever writes to a block first waits for the kernel.
            let thread = std::thread::Builder::new().name("memory".to_owned());
            self.has_thread = thread.spawn(make_ready).is_ok();
        }
        WANTED.notify_one();
        self.ready.pop_front().unwrap_or_else(|| self.cut_block())
    }

    /// A block that nobody has touched.
    fn cut_block(&mut self) -> Block {
        if self.untouched.is_empty() {
            self.untouched = region();
        }
        let untouched = std::mem::take(&mut self.untouched);
        let (block, rest) = untouched.split_at_mut(HUGE_PAGE_BYTES / PIECE_BYTES);
        self.untouched = rest;
        block
    }

    fn wants_blocks(&self) -> bool {
        let (least, most) = READY_BLOCKS;
        self.ready.len() < (self.used_blocks / BLOCKS_PER_READY).clamp(least, most)
    }
}

/// Touches blocks ahead of their use, as long as the process lives.
///
/// On first touch the kernel finds a huge page, if need be by moving others, and zeroes it. That
/// takes a fraction of a millisecond, and in a virtual machine whose host has to find memory as
/// well, ten and more; it is no work for a thread that holds a table's lock.
fn make_ready() {
    let mut pool = pool();
    loop {
        while !pool.wants_blocks() {
            pool = WANTED.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        let block = pool.cut_block();
        drop(pool);
        for page in block.as_flattened_mut().chunks_mut(PAGE_BYTES) {
            // A write, because reads get a page of zeros that all share.
            page[0] = std::hint::black_box(0);
        }
        pool = self::pool();
        pool.ready.push_back(block);
    }
}

/// An ordinary page, where the kernel backs a block with these.
const PAGE_BYTES: usize = 4 << 10;

/// A new region, aligned to huge pages.
fn region() -> Block {
    let memory = vec![0; REGION_BYTES + HUGE_PAGE_BYTES].leak();
    let start = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
    let region = &mut memory[start..][..REGION_BYTES];
    advise_huge_pages(region);
    region.as_chunks_mut().0
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn advise_huge_pages(region: &mut [u8]) {
    // SAFETY: the range is that of a slice which is borrowed exclusively, and the advice changes
    // how its memory is backed, not what it holds. Whether the kernel follows it is its business.
    unsafe { libc::madvise(region.as_mut_ptr().cast(), region.len(), libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_region: &mut [u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_apart_and_aligned() {
        let mut pieces = Pieces::default();
        for number in 0..100 {
            let piece = pieces.grow();
            assert_eq!(piece.as_ptr().align_offset(PIECE_BYTES), 0);
            piece.fill(number);
        }
        for number in 0..100 {
            assert!(pieces.get(number).iter().all(|byte| usize::from(*byte) == number));
        }
    }

    #[test]
    fn blocks_are_made_ready_ahead_of_their_use() {
        Pieces::default().grow();
        // The thread ends only with the process, so it gets there.
        loop {
            let pool = pool();
            if !pool.wants_blocks() {
                assert!(pool.ready.len() >= READY_BLOCKS.0 && pool.ready.len() <= READY_BLOCKS.1);
                break;
            }
            drop(pool);
            std::thread::yield_now();
        }
    }
}

//! Memory in pieces of one size, cut from regions that the kernel may back with huge pages.
//!
//! Tables look things up at random places in much memory. With pages of 4 KiB, most of these
//! places miss the processor's page table cache as well, and that miss holds up even a prefetch:
//! pages of 2 MiB made lookups 15 to 20% faster in a virtual machine, where page walks are
//! longest. Kernels give them on request (transparent huge pages, mode `madvise`), and where they
//! do not, nothing else changes.
//!
//! The pool is shared by the process, so that many small tables fill the same huge pages. Pieces
//! that a dropped table gave back are handed out again; the operating system gets back only what was lent.
//!
//! No table waits for a huge page. A thread touches them ahead of their use, and a table that
//! overtakes it is *lent* a piece on ordinary pages, whose faults are short. It moves to a huge
//! page when the thread has caught up: pieces are named by number, so nothing else changes.

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
pub(super) struct Pieces {
    pieces: Vec<&'static mut Piece>,
    /// The numbers of those that are lent.
    lent: Vec<u32>,
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> &Piece {
        self.pieces[number]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: usize) -> &mut Piece {
        self.pieces[number]
    }

    /// Adds a piece, whose content is arbitrary, and returns it.
    pub(super) fn grow(&mut self) -> &mut Piece {
        let mut pool = pool();
        let piece = pool.take().unwrap_or_else(|| {
            self.lent.push(self.pieces.len() as u32);
            pool.lend()
        });
        drop(pool);
        self.pieces.push(piece);
        self.pieces.last_mut().expect("a piece was added")
    }

    /// Moves a lent piece to a huge page, if there is one for it.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.lent.is_empty() {
            self.settle_last();
        }
    }

    #[cold]
    fn settle_last(&mut self) {
        let Some(piece) = pool().take_to_settle() else { return };
        let number = self.lent.pop().expect("a piece is lent");
        let lent = std::mem::replace(&mut self.pieces[number as usize], piece);
        self.pieces[number as usize].copy_from_slice(lent);
        pool().give_back([lent]);
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut pool = pool();
        // In falling order none of them moves before its turn.
        self.lent.sort_unstable_by(|some, other| other.cmp(some));
        pool.give_back(self.lent.drain(..).map(|number| self.pieces.swap_remove(number as usize)));
        pool.spare.append(&mut self.pieces);
    }
}

/// Fewest and most blocks that are made ready ahead of their use.
const READY_BLOCKS: (usize, usize) = (2, 16);
/// Of so many blocks in use, one more is made ready: a thirty-second is little to waste.
const BLOCKS_PER_READY: usize = 32;

/// The first blocks are waited for: an empty store takes them, and the oldest parts of its index,
/// which is what all lookups need most, stand there.
const BLOCKS_WAITED_FOR: usize = 2;

/// As many pieces as a huge page holds: what one page fault of the kernel makes usable.
type Block = &'static mut [Piece];

/// Pieces that no table has.
struct Pool {
    /// Pieces that were given back.
    spare: Vec<&'static mut Piece>,
    /// Pieces to lend that were touched; the thread gives their memory to the operating system.
    returned: Vec<&'static mut Piece>,
    /// Pieces to lend that hold no memory.
    lendable: Vec<&'static mut Piece>,
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

impl Pool {
    const fn new() -> Self {
        Self {
            spare: Vec::new(),
            returned: Vec::new(),
            lendable: Vec::new(),
            fresh: &mut [],
            ready: VecDeque::new(),
            untouched: &mut [],
            used_blocks: 0,
            has_thread: false,
        }
    }
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Told when blocks should be made ready.
static WANTED: Condvar = Condvar::new();

/// Nothing that happens under the pool's lock leaves it in disorder, not even a panic.
fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A piece on a huge page, if one is ready.
    fn take(&mut self) -> Option<&'static mut Piece> {
        if let Some(piece) = self.spare.pop() {
            return Some(piece);
        }
        if self.fresh.is_empty() {
            self.fresh = self.next_block()?;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let (piece, rest) = fresh.split_first_mut().expect("a block holds pieces");
        self.fresh = rest;
        Some(piece)
    }

    /// The same for a lent piece that can go on waiting: those that grow come first.
    fn take_to_settle(&mut self) -> Option<&'static mut Piece> {
        if self.ready.len() < READY_BLOCKS.0 { None } else { self.take() }
    }

    /// A piece on ordinary pages.
    fn lend(&mut self) -> &'static mut Piece {
        if self.returned.is_empty() && self.lendable.is_empty() {
            self.lendable.extend(region(Advice::Ordinary));
        }
        let piece = self.returned.pop().or_else(|| self.lendable.pop());
        piece.expect("a region holds pieces")
    }

    /// Takes back what was lent.
    fn give_back(&mut self, pieces: impl IntoIterator<Item = &'static mut Piece>) {
        self.returned.extend(pieces);
        WANTED.notify_one();
    }

    fn next_block(&mut self) -> Option<Block> {
        if !self.has_thread {
            // Without it, whoever writes to a block first waits for the kernel.
            let thread = std::thread::Builder::new().name("memory".to_owned());
            self.has_thread = thread.spawn(make_ready).is_ok();
        }
        WANTED.notify_one();
        let is_waited_for = !self.has_thread || self.used_blocks < BLOCKS_WAITED_FOR;
        let block = self.ready.pop_front().or_else(|| is_waited_for.then(|| self.cut_block()))?;
        self.used_blocks += 1;
        Some(block)
    }

    /// A block that nobody has touched.
    fn cut_block(&mut self) -> Block {
        if self.untouched.is_empty() {
            self.untouched = region(Advice::Huge);
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
            if let Some(piece) = pool.returned.pop() {
                drop(pool);
                advise(piece, Advice::Forget);
                pool = self::pool();
                pool.lendable.push(piece);
                continue;
            }
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
fn region(pages: Advice) -> Block {
    let memory = vec![0; REGION_BYTES + HUGE_PAGE_BYTES].leak();
    let start = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
    let region = &mut memory[start..][..REGION_BYTES];
    advise(region, pages);
    region.as_chunks_mut().0
}

/// What the kernel is told of memory.
#[derive(Clone, Copy)]
enum Advice {
    Huge,
    Ordinary,
    /// Its content is not needed any more; it reads as it was or as zeros.
    Forget,
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn advise(memory: &mut [u8], advice: Advice) {
    let advice = match advice {
        Advice::Huge => libc::MADV_HUGEPAGE,
        Advice::Ordinary => libc::MADV_NOHUGEPAGE,
        Advice::Forget => libc::MADV_DONTNEED,
    };
    // SAFETY: the range is that of a slice which is borrowed exclusively. Advice on pages changes
    // how it is backed, not what it holds, and memory that is forgotten reads as zeros, which are
    // bytes like any others; the kernel refuses a range that is not whole pages. Whether it follows
    // is its business.
    unsafe { libc::madvise(memory.as_mut_ptr().cast(), memory.len(), advice) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_memory: &mut [u8], _advice: Advice) {}

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
    fn lent_pieces_move_with_their_content() {
        let mut pieces = Pieces::default();
        for number in 0..100 {
            let piece = pool().lend();
            piece.fill(number);
            pieces.pieces.push(piece);
            pieces.lent.push(2 * u32::from(number));
            pieces.grow().fill(number);
        }
        // The thread ends only with the process, so it gets there.
        while !pieces.lent.is_empty() {
            pieces.settle();
            std::thread::yield_now();
        }
        for number in 0..200 {
            assert!(pieces.get(number).iter().all(|byte| usize::from(*byte) == number / 2));
        }
    }

    #[test]
    fn lent_pieces_go_back_to_where_they_came_from() {
        let mut pieces = Pieces::default();
        let mut lent = Vec::new();
        for number in 0..30 {
            if number % 3 == 0 {
                let piece = pool().lend();
                lent.push(piece.as_ptr());
                pieces.pieces.push(piece);
                pieces.lent.push(number);
            } else {
                pieces.grow();
            }
        }
        drop(pieces);
        let pool = pool();
        for piece in lent {
            assert!(pool.spare.iter().all(|spare| spare.as_ptr() != piece));
        }
    }

    #[test]
    fn forgotten_memory_is_zeros_and_usable() {
        let piece = &mut region(Advice::Ordinary)[0];
        piece.fill(7);
        advise(piece, Advice::Forget);
        if cfg!(target_os = "linux") {
            assert!(piece.iter().all(|byte| *byte == 0));
        }
        piece.fill(8);
        assert!(piece.iter().all(|byte| *byte == 8));
    }

    #[test]
    fn a_table_that_overtakes_the_thread_is_lent_pieces() {
        let mut pool = Pool { has_thread: true, ..Pool::new() };
        let waited_for = BLOCKS_WAITED_FOR * HUGE_PAGE_BYTES / PIECE_BYTES;
        for _ in 0..waited_for {
            assert!(pool.take().is_some());
        }
        assert!(pool.take().is_none() && pool.take_to_settle().is_none());
        let block = pool.cut_block();
        pool.ready.push_back(block);
        assert!(pool.take_to_settle().is_none(), "those that grow come first");
        let block = pool.cut_block();
        pool.ready.push_back(block);
        assert!(pool.take_to_settle().is_some());
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

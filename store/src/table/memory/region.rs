//! Regions: how memory comes from the allocator, and how it is cut.

use super::advice::{Advice, advise};

/// A piece's size. Small enough that taking one is no pause, large enough that what does not fit
/// into its end is little.
pub(in crate::table) const PIECE_BYTES: usize = 32 << 10;

/// A huge page's size on x86-64 and on AArch64 with pages of 4 KiB. A wrong guess costs speed only.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// How much memory is asked for at once. Allocators take so much straight from the kernel, which
/// backs and zeroes it a page at a time, when that page is first touched.
const REGION_BYTES: usize = 64 << 20;

const _: () = assert!(REGION_BYTES.is_multiple_of(HUGE_PAGE_BYTES), "regions are whole pages");
const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(PIECE_BYTES), "pieces lie in one page");

pub(super) const BLOCK_PIECES: usize = HUGE_PAGE_BYTES / PIECE_BYTES;

pub(super) type Piece = [u8; PIECE_BYTES];

/// As many pieces as a huge page holds: what one page fault of the kernel makes usable.
pub(super) type Block = &'static mut [Piece];

/// A new region, aligned to huge pages.
pub(super) fn region(pages: Advice) -> &'static mut [Piece] {
    let memory = vec![0; REGION_BYTES + HUGE_PAGE_BYTES].leak();
    let start = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
    let region = &mut memory[start..][..REGION_BYTES];
    advise(region, pages);
    region.as_chunks_mut().0
}

/// Blocks that nobody has touched, without end.
pub(super) fn blocks() -> impl Iterator<Item = Block> + Send {
    let regions = std::iter::repeat_with(|| region(Advice::HugePages));
    regions.flat_map(|region| region.chunks_exact_mut(BLOCK_PIECES))
}

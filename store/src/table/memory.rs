//! Memory in pieces of one size, cut from regions that the kernel may back with huge pages.
//!
//! Tables look things up at random places in much memory. With pages of 4 KiB, most of these
//! places miss the processor's page table cache as well, and that miss holds up even a prefetch:
//! pages of 2 MiB made lookups 15 to 20% faster in a virtual machine, where page walks are
//! longest. Kernels give them on request (transparent huge pages, mode `madvise`), and where they
//! do not, nothing else changes.
//!
//! The [`pool`] is shared by the process, so that many small tables fill the same huge pages. The
//! pieces of a dropped table are handed out again; the operating system gets back only the memory
//! of those on ordinary pages.
//!
//! No table waits for a huge page. A thread touches them [`ahead`] of their use, and a table that
//! overtakes it gets a piece on ordinary pages, whose faults are short. It moves to a huge page
//! when the thread has caught up: [`pieces`] are named by number, so nothing else changes.

mod advice;
mod ahead;
mod pieces;
mod pool;
mod region;

pub(super) use pieces::Pieces;
pub(super) use region::PIECE_BYTES;

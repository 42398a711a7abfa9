//! What the kernel is told of memory.

#[derive(Clone, Copy)]
pub(super) enum Advice {
    HugePages,
    OrdinaryPages,
    /// Its content is not needed any more; it reads as it was or as zeros.
    Forget,
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn advise(memory: &mut [u8], advice: Advice) {
    let advice = match advice {
        Advice::HugePages => libc::MADV_HUGEPAGE,
        Advice::OrdinaryPages => libc::MADV_NOHUGEPAGE,
        Advice::Forget => libc::MADV_DONTNEED,
    };
    // SAFETY: the range is that of a slice which is borrowed exclusively. Advice on pages changes
    // how it is backed, not what it holds, and memory that is forgotten reads as zeros, which are
    // bytes like any others; the kernel refuses a range that is not whole pages. Whether it follows
    // is its business.
    unsafe { libc::madvise(memory.as_mut_ptr().cast(), memory.len(), advice) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn advise(_memory: &mut [u8], _advice: Advice) {}

#[cfg(test)]
mod tests {
    use super::super::region::region;
    use super::*;

    #[test]
    fn forgotten_memory_is_zeros_and_usable() {
        let piece = &mut region(Advice::OrdinaryPages)[0];
        piece.fill(7);
        advise(piece, Advice::Forget);
        if cfg!(target_os = "linux") {
            assert!(piece.iter().all(|byte| *byte == 0));
        }
        piece.fill(8);
        assert!(piece.iter().all(|byte| *byte == 8));
    }
}

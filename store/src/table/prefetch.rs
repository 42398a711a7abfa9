//! Asking the processor for cache lines that will be read soon.

/// Bytes in a cache line of the processors that matter here. A wrong guess costs speed only.
const LINE_BYTES: usize = 64;

/// How many lines of an entry are asked for: the header, a short key and a value of 128 bytes lie
/// in three. The processor's own prefetcher follows longer values.
const LINES: usize = 3;

/// Asks for the line of `place`.
#[inline]
pub(super) fn line<T>(place: &T) {
    address(std::ptr::from_ref(place).cast());
}

/// Asks for the first lines of `bytes`.
#[inline]
pub(super) fn lines(bytes: &[u8]) {
    for line in 0..LINES {
        address(bytes.as_ptr().wrapping_add(line * LINE_BYTES));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
pub(super) fn address(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Other processors have to find their lines themselves: the standard library offers them no
/// stable prefetch.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn address(_address: *const u8) {}

//! Every bound of the wire, each with its reason.
//!
//! A peer that passes one of these gets a typed refusal; nothing is allocated for a length before
//! it has been compared with the bound here.

use model::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Most operations in one batch frame. A server's table of a batch is 24 bytes an operation, so
/// this bounds it to 1.5 MiB for each batch that is applied at the same time.
pub const BATCH_OPERATIONS_MAX: usize = 65_536;

/// Most groups in one batch frame: each partition may appear more than once when its operations
/// were split by size, but never more groups than operations.
pub const BATCH_GROUPS_MAX: usize = BATCH_OPERATIONS_MAX;

/// Largest body of a batch request, in bytes: a CAS with two greatest values and its key fit, with
/// room for the header. Clients split what is larger into several frames.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Largest body of a batch reply, in bytes. GETs whose values do not fit are answered *deferred*.
pub const REPLY_BYTES_MAX: usize = 4 << 20;

/// Largest body of a control message, in bytes: they hold a handful of numbers and short names.
pub const CONTROL_BYTES_MAX: usize = 64 << 10;

/// Largest frame body that a decoder accepts, whatever its kind.
pub const FRAME_BYTES_MAX: usize = REQUEST_BYTES_MAX;

/// Longest text in an error, in bytes, so that an error fits into a small frame.
pub const DETAIL_BYTES_MAX: usize = 1024;

/// The longest start of `text` that fits into an error.
pub(crate) fn bounded_detail(text: &str) -> &str {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

const _: () = assert!(
    REQUEST_BYTES_MAX >= 2 * VALUE_BYTES_MAX + KEY_BYTES_MAX + 1024,
    "a CAS with two greatest values fits into one frame"
);
const _: () = assert!(
    REPLY_BYTES_MAX >= VALUE_BYTES_MAX + 64 + BATCH_OPERATIONS_MAX * 16,
    "a reply has room for the fixed part of every outcome and at least one greatest value"
);
const _: () = assert!(FRAME_BYTES_MAX >= REPLY_BYTES_MAX && FRAME_BYTES_MAX >= REQUEST_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize, "offsets into a frame are u32");

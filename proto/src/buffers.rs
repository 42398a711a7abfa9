//! Buffers that are used again.
//!
//! Memory that a process gets anew costs a page fault for each 4 KiB, and on a virtual machine often a
//! way to the host, many times what it costs to fill it. So the buffers of frames stay with the
//! process: what was given back last is taken next, while the caches still hold it.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

/// Most buffers that a pool keeps, and the largest that it keeps, in bytes: 64 MiB in all.
const POOL_BUFFERS_MAX: usize = 32;
const POOL_BUFFER_BYTES_MAX: usize = 2 << 20;
/// Smallest buffer that is worth its way back into the pool when it is shared, in bytes.
pub(crate) const SHARED_BYTES_MIN: usize = 64 << 10;

/// Buffers that frames are built in and arrive in.
///
/// All connections of a server share one pool, and those of a client, so idle connections hold
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct BufferPool(Arc<Mutex<Vec<BytesMut>>>);

impl BufferPool {
    /// Takes a buffer, or an empty one.
    pub fn take(&self) -> BytesMut {
        self.lock().pop().unwrap_or_default()
    }

    /// Takes an empty buffer with room for `bytes` bytes; a new one for few bytes.
    pub fn take_room(&self, bytes: usize) -> BytesMut {
        if bytes < SHARED_BYTES_MIN {
            return BytesMut::with_capacity(bytes);
        }
        let mut buffers = self.lock();
        let fitting = buffers.iter().rposition(|buffer| buffer.capacity() >= bytes);
        match fitting {
            Some(index) => buffers.remove(index),
            None => {
                // Frames of one kind differ a little: the next ones shall fit as well.
                let capacity = (bytes + bytes / 8).next_multiple_of(4096);
                // One that is too small for a frame is too small for most of those to come.
                let full = buffers.len() >= POOL_BUFFERS_MAX;
                let too_small = if full { Some(buffers.remove(0)) } else { None };
                drop(buffers);
                drop(too_small);
                BytesMut::with_capacity(capacity)
            }
        }
    }

    /// Shares a buffer's bytes; the buffer comes back when the last view of them is dropped.
    pub fn share(&self, buffer: BytesMut) -> Bytes {
        if buffer.capacity() < SHARED_BYTES_MIN {
            return buffer.freeze();
        }
        Bytes::from_owner(Shared { buffer, pool: self.clone() })
    }

    /// Gives back a buffer whose bytes nobody needs any more.
    pub(crate) fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        // The front of a buffer that was sent is behind it; this takes it back where possible.
        if !buffer.try_reclaim(1) || buffer.capacity() > POOL_BUFFER_BYTES_MAX {
            return;
        }
        let mut buffers = self.lock();
        if buffers.len() < POOL_BUFFERS_MAX {
            buffers.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// A buffer that goes back to its pool.
struct Shared {
    buffer: BytesMut,
    pool: BufferPool,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_buffer_comes_back_with_its_last_view() {
        let pool = BufferPool::default();
        let mut buffer = pool.take_room(100_000);
        buffer.extend_from_slice(b"some bytes of a frame");
        let (address, capacity) = (buffer.as_ptr(), buffer.capacity());
        let all = pool.share(buffer);
        let word = all.slice(5..10);
        drop(all);
        assert_eq!(&word[..], b"bytes");
        assert_eq!(pool.take().capacity(), 0, "a view is left");
        drop(word);
        let again = pool.take_room(capacity);
        assert_eq!((again.as_ptr(), again.capacity(), again.len()), (address, capacity, 0));
    }

    #[test]
    fn a_small_buffer_is_not_worth_it() {
        let pool = BufferPool::default();
        drop(pool.share(BytesMut::with_capacity(1000)));
        assert_eq!(pool.take().capacity(), 0);
    }

    #[test]
    fn a_buffer_that_is_too_small_stays_and_the_pool_is_bounded() {
        let pool = BufferPool::default();
        for _ in 0..2 * POOL_BUFFERS_MAX {
            pool.give_back(BytesMut::with_capacity(70_000));
        }
        assert_eq!(pool.lock().len(), POOL_BUFFERS_MAX);
        let large = pool.take_room(1 << 20);
        assert!(large.capacity() >= 1 << 20);
        assert_eq!(pool.lock().len(), POOL_BUFFERS_MAX - 1, "one makes room for it");
        pool.give_back(large);
        assert!(pool.take_room(1 << 20).capacity() >= 1 << 20);
        pool.give_back(BytesMut::with_capacity(POOL_BUFFER_BYTES_MAX + 1));
        assert!(pool.take().capacity() <= POOL_BUFFER_BYTES_MAX);
    }
}

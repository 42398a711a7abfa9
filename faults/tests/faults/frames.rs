//! Cuts a stream into frames by the 16-byte header of [`proto::frame`], and looks no further.

use bytes::{Buf, Bytes, BytesMut};
use proto::frame::FRAME_HEADER_BYTES;

/// Kind of a batch request.
pub(crate) const BATCH_REQUEST: u8 = 1;
/// Kind of a batch reply.
pub(crate) const BATCH_REPLY: u8 = 4;

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its kind.
    pub(crate) kind: u8,
    /// All its bytes, header included.
    pub(crate) bytes: Bytes,
}

/// The next whole frame at the start of `received`, which is taken out; `None` while it is not
/// whole.
pub(crate) fn next_frame(received: &mut BytesMut) -> Option<Frame> {
    if received.len() < FRAME_HEADER_BYTES {
        return None;
    }
    // 1. `u32` length of what follows; 2. `u8` version; 3. `u8` kind.
    let length = received.chunk()[..4].try_into().map(u32::from_le_bytes).expect("four bytes");
    let total = 4 + length as usize;
    if received.len() < total {
        return None;
    }
    let kind = received[5];
    Some(Frame { kind, bytes: received.split_to(total).freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_their_bytes_are_split() {
        let mut stream = Vec::new();
        for (kind, body) in [(1u8, 0usize), (4, 5), (2, 300)] {
            stream.extend((12 + body as u32).to_le_bytes());
            stream.extend([2, kind, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
            stream.extend(vec![kind; body]);
        }
        let mut received = BytesMut::new();
        let mut frames = Vec::new();
        for byte in &stream {
            received.extend([*byte]);
            frames.extend(next_frame(&mut received));
        }
        assert!(received.is_empty());
        let seen: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.bytes.len())).collect();
        assert_eq!(seen, [(1, 16), (4, 21), (2, 316)]);
        let joined: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        assert_eq!(joined, stream);
        let mut partial = BytesMut::from(&stream[..15]);
        assert_eq!(next_frame(&mut partial), None);
        assert_eq!(partial.len(), 15);
    }
}

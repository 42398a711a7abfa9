use super::*;

/// All kinds, each with its greatest body.
const KINDS: [(u8, usize); 6] = [
    (kind::BATCH_REQUEST, FRAME_BYTES_MAX),
    (kind::CONTROL_REQUEST, CONTROL_BYTES_MAX),
    (kind::CANCEL, 0),
    (kind::BATCH_REPLY, FRAME_BYTES_MAX),
    (kind::CONTROL_REPLY, CONTROL_BYTES_MAX),
    (kind::ERROR, DETAIL_BYTES_MAX),
];

fn reader() -> FrameReader {
    const TAKEN: &[u8] = &[
        kind::BATCH_REQUEST,
        kind::CONTROL_REQUEST,
        kind::CANCEL,
        kind::BATCH_REPLY,
        kind::CONTROL_REPLY,
        kind::ERROR,
    ];
    FrameReader::new(TAKEN, None)
}

/// The header of a frame that announces these many bytes behind its length.
fn announcing(kind: u8, bytes: u32) -> BytesMut {
    let mut header = BytesMut::new();
    put_frame(&mut header, kind, 77, &[]);
    header[..LENGTH_BYTES].copy_from_slice(&bytes.to_le_bytes());
    header
}

#[test]
fn sides_speak_the_highest_version_of_both() {
    let span = |(least, most)| VersionSpan { least, most };
    for (one, other, common) in [
        ((2, 2), (2, 2), Some(2)),
        ((2, 5), (3, 4), Some(4)),
        ((2, 4), (3, 6), Some(4)),
        ((2, 4), (4, 6), Some(4)),
        ((0, 255), (255, 255), Some(255)),
        ((2, 2), (1, 1), None),
        ((2, 4), (5, 6), None),
        // A span that runs backwards holds nothing, even inside another.
        ((2, 6), (5, 4), None),
        ((5, 4), (5, 4), None),
    ] {
        assert_eq!(span(one).common(span(other)), common, "{one:?} {other:?}");
        assert_eq!(span(other).common(span(one)), common, "{other:?} {one:?}");
    }
}

#[test]
fn a_span_holds_its_ends() {
    let span = VersionSpan { least: 2, most: 4 };
    let held: Vec<u8> = (0..=u8::MAX).filter(|version| span.contains(*version)).collect();
    assert_eq!(held, [2, 3, 4]);
    assert_eq!(span.to_string(), "2 to 4");
}

#[test]
fn the_fourth_byte_of_the_largest_frame_is_zero() {
    for (kind, most) in KINDS {
        let mut header = [0xa5; FRAME_HEADER_BYTES];
        put_frame_header(&mut header, kind, u64::MAX, most);
        assert_eq!((header[3], header[VERSION_AT]), (0, VERSIONS.least), "{kind}");
        // Nor is a frame taken whose fourth byte is another.
        assert!(reader().next(&mut BytesMut::from(&header[..])).is_ok());
        header[3] = 1;
        let error = reader().next(&mut BytesMut::from(&header[..])).unwrap_err();
        assert!(matches!(error, FrameError::Length { .. }), "{error}");
    }
}

#[test]
fn bodies_over_their_bound_are_not_sent() {
    for (kind, most) in KINDS {
        let put = || put_frame_header(&mut [0; FRAME_HEADER_BYTES], kind, 77, most + 1);
        assert!(std::panic::catch_unwind(put).is_err(), "{kind}");
    }
}

#[test]
fn lengths_out_of_bounds_are_refused_as_soon_as_the_header_is_there() {
    for (kind, most) in KINDS {
        let next = |announced: u32| {
            let mut buffer = announcing(kind, announced);
            let outcome = reader().next(&mut buffer).map(|frame| frame.is_some());
            assert!(buffer.capacity() <= FRAME_HEADER_BYTES + UNTRUSTED_BYTES);
            outcome
        };
        for announced in [0, 11, 12 + most as u32 + 1, u32::MAX] {
            let error = next(announced).unwrap_err();
            assert!(matches!(error, FrameError::Length { bytes, least: 12, most: greatest }
                    if bytes == u64::from(announced) && greatest == 12 + most));
        }
        assert_eq!(next(12 + most as u32).unwrap(), most == 0, "more is awaited");
    }
}

#[test]
fn an_announced_frame_gets_memory_only_as_its_bytes_arrive() {
    let total = FRAME_HEADER_BYTES + FRAME_BYTES_MAX;
    let header = announcing(kind::BATCH_REQUEST, (total - LENGTH_BYTES) as u32);
    let mut reader = reader();
    let mut buffer = BytesMut::from(&header[..]);
    assert!(reader.next(&mut buffer).unwrap().is_none());
    assert!(buffer.capacity() >= UNTRUSTED_BYTES, "the next read has room");
    assert!(buffer.capacity() <= FRAME_HEADER_BYTES + UNTRUSTED_BYTES);
    while buffer.len() < total {
        let arrives = 8_000.min(total - buffer.len());
        buffer.put_bytes(7, arrives);
        let arrived = buffer.len();
        let frame = reader.next(&mut buffer).unwrap();
        assert_eq!(frame.is_some(), arrived == total);
        assert!(buffer.capacity() <= 4 * arrived + 2 * UNTRUSTED_BYTES);
        assert!(buffer.capacity() <= 2 * total);
        if frame.is_some() {
            break;
        }
    }
    // The peer has filled so much once, so its next frame gets its memory at once.
    let mut buffer = BytesMut::from(&header[..]);
    assert!(reader.next(&mut buffer).unwrap().is_none());
    assert!((total..2 * total).contains(&buffer.capacity()));
}

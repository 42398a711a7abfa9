use bytes::{BufMut, Bytes, BytesMut};
use model::limits::VALUE_BYTES_MAX;
use model::outcome::{Outcome, Replies, Shape};
use model::refusal::Refusal;
use proptest::collection::vec;
use proptest::prelude::*;

use super::header::{BODY, FLAG_SEQUENCES, put_header};
use super::*;
use crate::limits::{DETAIL_BYTES_MAX, REPLY_BYTES_MAX};
use crate::testing::{config, damaged, damages};
use crate::varint;

pub(super) const HEADER: ReplyHeader = ReplyHeader { data_id: 21, number: 22, epoch: 23 };

/// What an operation came to; `None` is a deferred read.
type Told<V> = Option<Outcome<V>>;

pub(super) fn shape(operations: usize, send_repeats_once: bool) -> Shape {
    Shape { operations, groups: 1, has_sequences: false, is_recorded: false, send_repeats_once }
}

/// The finished bytes of a reply with these outcomes, each with its key's hash.
fn build(
    builder: &mut ReplyBuilder,
    buffer: BytesMut,
    outcomes: &[(u64, Told<&[u8]>)],
    send_repeats_once: bool,
) -> BytesMut {
    builder.prepare(buffer, HEADER);
    builder.begin(&shape(outcomes.len(), send_repeats_once));
    for (hash, outcome) in outcomes {
        match outcome {
            Some(outcome) => {
                assert!(builder.outcome(*hash, *outcome), "small replies have room");
            }
            None => builder.not_kept(),
        }
    }
    builder.finish()
}

fn build_fresh(outcomes: &[(u64, Told<&[u8]>)], send_repeats_once: bool) -> Bytes {
    let mut builder = ReplyBuilder::default();
    build(&mut builder, BytesMut::new(), outcomes, send_repeats_once).freeze()
}

/// The frame of an applied reply, made by hand: one group, no sequences.
fn raw_frame(operations: u32, outcomes: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    put_header(&mut bytes, &HEADER, 0, 0, operations, 1);
    bytes.put_slice(outcomes);
    bytes.freeze()
}

fn refusal_of(operations: u32, outcomes: &[u8]) -> ReplyError {
    Reply::decode(raw_frame(operations, outcomes)).expect_err("the frame is not a reply")
}

fn outcomes_of(reply: &Reply) -> Vec<Told<&[u8]>> {
    (0..reply.len()).map(|index| reply.outcome(index)).collect()
}

/// Random outcomes on few keys and values, so that values repeat; some hashes differ only in the
/// bits that the table does not index by, and some not at all.
fn outcomes() -> impl Strategy<Value = Vec<(u64, Told<Vec<u8>>)>> {
    let hash = prop_oneof![
        4 => 0..8u64,
        2 => (0..4u64).prop_map(|high| high << 32 | 1),
        1 => any::<u64>(),
    ];
    let value = || {
        prop_oneof![
            6 => (0..4u8, prop_oneof![0..6usize, 120..140usize])
                .prop_map(|(byte, length)| vec![byte; length]),
            1 => vec(any::<u8>(), 0..40),
            1 => Just(vec![7; 0x4001]),
        ]
    };
    let outcome = prop_oneof![
        8 => value().prop_map(Outcome::Value),
        2 => value().prop_map(|value| Outcome::Mismatch(Some(value))),
        1 => any::<i64>().prop_map(Outcome::Counter),
        4 => prop::sample::select(vec![
            Outcome::Missing,
            Outcome::Done,
            Outcome::Mismatch(None),
            Outcome::MismatchUntold,
            Outcome::NotAnInteger,
            Outcome::Overflow,
        ]),
    ];
    let told = prop_oneof![9 => outcome.prop_map(Some), 1 => Just(None)];
    vec((hash, told), 1..100)
}

fn borrow(outcomes: &[(u64, Told<Vec<u8>>)]) -> Vec<(u64, Told<&[u8]>)> {
    outcomes
        .iter()
        .map(|(hash, told)| (*hash, told.as_ref().map(|outcome| outcome.as_deref())))
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn decoded_outcomes_are_those_that_were_pushed(
        replies in vec((outcomes(), any::<bool>()), 1..4),
    ) {
        // One builder and one buffer serve all replies, as on a connection.
        let mut builder = ReplyBuilder::default();
        let mut buffer = BytesMut::new();
        for (outcomes, send_repeats_once) in &replies {
            let pushed = borrow(outcomes);
            buffer = build(&mut builder, buffer, &pushed, *send_repeats_once);
            let frame = Bytes::copy_from_slice(&buffer);
            prop_assert_eq!(&build_fresh(&pushed, *send_repeats_once), &frame);
            let in_full = build_fresh(&pushed, false);
            prop_assert!(frame.len() <= in_full.len(), "repeats never cost");
            let reply = Reply::decode(frame).unwrap();
            prop_assert_eq!(reply.header(), &HEADER);
            prop_assert_eq!(reply.len(), pushed.len());
            prop_assert_eq!(reply.has_deferred(), pushed.iter().any(|(_, told)| told.is_none()));
            for (index, (_, told)) in outcomes.iter().enumerate() {
                prop_assert_eq!(reply.outcome(index), pushed[index].1);
                let shared = reply.shared_outcome(index);
                prop_assert_eq!(shared.map(|outcome| outcome.map(|value| value.to_vec())),
                    told.clone());
            }
        }
    }

    #[test]
    fn a_reply_cut_off_anywhere_is_refused(outcomes in outcomes(), repeats in any::<bool>()) {
        let frame = build_fresh(&borrow(&outcomes), repeats);
        // A long value is cut in a few places only.
        let lengths = (0..frame.len()).filter(|length| length % 97 == 0 || frame[*length] != 7);
        for length in lengths {
            prop_assert!(Reply::decode(frame.slice(..length)).is_err(), "at {} bytes", length);
        }
    }

    #[test]
    fn a_damaged_reply_is_refused_or_is_another_reply(
        outcomes in outcomes(),
        repeats in any::<bool>(),
        damages in damages(),
    ) {
        let frame = build_fresh(&borrow(&outcomes), repeats);
        let body = damaged(&frame[BODY..], &damages);
        let frame = Bytes::from([&[0; BODY][..], &body].concat());
        if let Ok(reply) = Reply::decode(frame) {
            prop_assert!(reply.refusal().is_none_or(|(_, text)| text.len() <= DETAIL_BYTES_MAX));
            for group in 0..reply.groups() {
                reply.apply_sequence(group);
            }
            for index in 0..reply.len() {
                match reply.outcome(index) {
                    Some(Outcome::Value(value) | Outcome::Mismatch(Some(value))) => {
                        prop_assert!(value.len() <= VALUE_BYTES_MAX);
                    }
                    Some(_) => {}
                    None => prop_assert!(reply.has_deferred()),
                }
                reply.shared_outcome(index);
            }
        }
    }

    #[test]
    fn garbage_is_refused(
        garbage in vec(any::<u8>(), 0..300),
        outcomes in vec(0..16u8, 0..100),
    ) {
        prop_assert!(Reply::decode(Bytes::from(garbage)).is_err());
        // Garbage that gets further: the header is right, and the rest is small numbers.
        for operations in [outcomes.len() / 3, outcomes.len() / 2, outcomes.len()] {
            if let Ok(reply) = Reply::decode(raw_frame(operations as u32, &outcomes)) {
                prop_assert_eq!(outcomes_of(&reply).len(), operations);
            }
        }
    }
}

// Repeats.

#[test]
fn a_value_that_repeats_is_sent_once_when_asked_for() {
    let value = [7; 128];
    let outcomes = [(5, Some(Outcome::Value(&value[..]))); 10];
    let in_full = build_fresh(&outcomes, false);
    let once = build_fresh(&outcomes, true);
    assert_eq!(in_full.len(), BODY + HEADER_BYTES + 10 * (3 + 128));
    assert_eq!(once.len(), BODY + HEADER_BYTES + (3 + 128) + 9 * 2);
    let (in_full, once) = (Reply::decode(in_full).unwrap(), Reply::decode(once).unwrap());
    assert_eq!(outcomes_of(&in_full), outcomes_of(&once));
    // Repeats share the one value's bytes.
    let address = |reply: &Reply, index| match reply.outcome(index) {
        Some(Outcome::Value(value)) => value.as_ptr() as usize,
        other => panic!("not a value: {other:?}"),
    };
    assert_eq!(address(&once, 0), address(&once, 9));
    assert_ne!(address(&in_full, 0), address(&in_full, 9));
}

#[test]
fn other_values_and_other_keys_are_sent_in_full() {
    for (hash, value) in
        [(5, &b"VALUE"[..]), (5, b"value "), (5 | 1 << 40, b"value"), (6, b"value")]
    {
        let outcomes = [(5, &b"value"[..]), (hash, value)]
            .map(|(hash, value)| (hash, Some(Outcome::Value(value))));
        assert_eq!(build_fresh(&outcomes, true), build_fresh(&outcomes, false), "{hash} {value:?}");
    }
    // Nor do mismatches repeat a value or give one to repeat.
    let value = &b"value"[..];
    let mismatch = Outcome::Mismatch(Some(value));
    for outcomes in [[mismatch, Outcome::Value(value)], [Outcome::Value(value), mismatch]] {
        let outcomes = outcomes.map(|outcome| (5, Some(outcome)));
        assert_eq!(build_fresh(&outcomes, true), build_fresh(&outcomes, false));
    }
}

#[test]
fn equal_values_of_colliding_hashes_are_found_by_their_bytes() {
    let values = [&b"first"[..], b"other", b"other", b"first"];
    let reply = build_fresh(&values.map(|value| (5, Some(Outcome::Value(value)))), true);
    // The last one was displaced from the table, so it stands there in full.
    assert_eq!(reply.len(), BODY + HEADER_BYTES + 3 * 7 + 2);
    let reply = Reply::decode(reply).unwrap();
    assert_eq!(outcomes_of(&reply), values.map(|value| Some(Outcome::Value(value))));
}

#[test]
fn values_shorter_than_a_reference_are_sent_in_full() {
    for (value, repeats) in [(&b""[..], false), (b"1", false), (b"12", false), (b"123", true)] {
        let mut outcomes = vec![(5, Some(Outcome::Missing)); 40_000];
        outcomes[0].1 = Some(Outcome::Value(value));
        outcomes[39_999].1 = Some(Outcome::Value(value));
        let (once, in_full) = (build_fresh(&outcomes, true), build_fresh(&outcomes, false));
        assert_eq!(once.len() < in_full.len(), repeats);
        assert_eq!(once == in_full, !repeats);
        assert_eq!(Reply::decode(once).unwrap().outcome(39_999), Some(Outcome::Value(value)));
    }
}

#[test]
fn references_that_name_no_earlier_full_value_are_refused() {
    let value = [code::VALUE, 3, b'a', b'b', b'c'];
    let repeat = |distance| [code::REPEAT, distance];
    let missing = [code::MISSING];
    let reply =
        Reply::decode(raw_frame(4, &[&value[..], &repeat(1), &missing, &repeat(3)].concat()));
    let abc = Some(Outcome::Value(&b"abc"[..]));
    assert_eq!(outcomes_of(&reply.unwrap()), [abc, abc, Some(Outcome::Missing), abc]);

    let mismatch = [code::MISMATCH, 3, b'a', b'b', b'c'];
    let cases: [(&str, usize, Vec<u8>); 9] = [
        ("itself", 1, [&value[..], &repeat(0)].concat()),
        ("before the first", 1, [&value[..], &repeat(2)].concat()),
        ("nothing", 0, [&repeat(1)[..], &value].concat()),
        ("a repeat", 2, [&value[..], &repeat(1), &repeat(1)].concat()),
        ("a miss", 1, [&missing[..], &repeat(1)].concat()),
        ("a deferred read", 1, [&[code::DEFERRED][..], &repeat(1)].concat()),
        ("a mismatch", 1, [&mismatch[..], &repeat(1)].concat()),
        (
            "a later one, around the end of 64 bits",
            0,
            [&[code::REPEAT][..], &[0xff; 9], &[0x01], &value].concat(),
        ),
        ("4 GiB back", 1, [&value[..], &[code::REPEAT, 0x81, 0x80, 0x80, 0x80, 0x10]].concat()),
    ];
    for (target, index, outcomes) in cases {
        let operations = if target == "a repeat" { 3 } else { 2 };
        let error = refusal_of(operations, &outcomes);
        assert_eq!(error, ReplyError::Reference { index }, "{target}");
    }
    let overlong = [&value[..], &[code::REPEAT, 0x81, 0x00]].concat();
    assert_eq!(refusal_of(2, &overlong), ReplyError::Malformed { what: "reference" });
}

// Heads.

#[test]
fn lengths_of_values_take_one_to_three_bytes() {
    for length in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, VALUE_BYTES_MAX] {
        let value = vec![9; length];
        let frame = build_fresh(&[(0, Some(Outcome::Value(&value)))], false);
        assert_eq!(frame.len(), BODY + HEADER_BYTES + 1 + varint::length(length as u64) + length);
        assert_eq!(Reply::decode(frame).unwrap().outcome(0), Some(Outcome::Value(&value[..])));
    }
}

#[test]
fn apply_sequences_come_back_by_group() {
    for has_sequences in [true, false] {
        let mut builder = ReplyBuilder::default();
        let shape = Shape { groups: 2, has_sequences, is_recorded: true, ..shape(2, true) };
        builder.prepare(BytesMut::new(), HEADER);
        builder.begin(&shape);
        builder.outcome(1, Outcome::Done);
        if has_sequences {
            builder.apply_sequence(1, u64::MAX);
            builder.apply_sequence(0, 77);
        }
        builder.outcome(1, Outcome::Missing);
        let reply = Reply::decode(builder.finish().freeze()).unwrap();
        assert_eq!((reply.groups(), reply.is_recorded(), reply.is_empty()), (2, true, false));
        assert_eq!(reply.apply_sequence(0), has_sequences.then_some(77));
        assert_eq!(reply.apply_sequence(1), has_sequences.then_some(u64::MAX));
        assert_eq!(outcomes_of(&reply), [Some(Outcome::Done), Some(Outcome::Missing)]);
    }
}

// Refusals of whole batches.

#[test]
fn refusals_come_back_with_their_text() {
    for code in 0..=u8::MAX {
        let Some(refusal) = Refusal::from_code(code) else {
            assert!(code == 0 || code > Refusal::NoSuchShard as u8);
            continue;
        };
        assert_eq!(refusal as u8, code);
        let reply = Reply::decode(refuse(&HEADER, refusal, "no: \u{fc}ber").freeze()).unwrap();
        assert_eq!(reply.refusal(), Some((refusal, "no: \u{fc}ber")));
        assert_eq!(reply.header(), &HEADER);
        assert!(reply.is_empty() && reply.groups() == 0 && !reply.is_recorded());
    }
    let applied = Reply::decode(build_fresh(&[(0, Some(Outcome::Done))], true)).unwrap();
    assert_eq!(applied.refusal(), None);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let text = "\u{fc}".repeat(DETAIL_BYTES_MAX);
    let reply = Reply::decode(refuse(&HEADER, Refusal::Malformed, &text).freeze()).unwrap();
    assert_eq!(reply.refusal().unwrap().1, &text[..DETAIL_BYTES_MAX]);
    let shifted = format!("x{text}");
    let reply = Reply::decode(refuse(&HEADER, Refusal::Malformed, &shifted).freeze()).unwrap();
    assert_eq!(reply.refusal().unwrap().1, &shifted[..DETAIL_BYTES_MAX - 1]);
}

#[test]
fn refusals_with_wrong_texts_or_counts_are_refused() {
    let good = refuse(&HEADER, Refusal::Throttled, "");
    let with_text = |text: &[u8]| Bytes::from([&good[..], text].concat());
    let malformed = ReplyError::Malformed { what: "refusal" };
    Reply::decode(with_text(&[b'x'; DETAIL_BYTES_MAX])).unwrap();
    let over = [b'x'; DETAIL_BYTES_MAX + 1];
    assert_eq!(Reply::decode(with_text(&over)).unwrap_err(), malformed);
    assert_eq!(Reply::decode(with_text(&[0xff])).unwrap_err(), malformed);
    // An operation, a group, a flag: a refusal has none.
    for (offset, expected) in [
        (24, malformed.clone()),
        (28, ReplyError::Count { what: "groups", got: 1 }),
        (21, malformed),
    ] {
        let mut bytes = good.clone();
        bytes[BODY + offset] = 1;
        assert_eq!(Reply::decode(bytes.freeze()).unwrap_err(), expected);
    }
}

// Reject twins by name.

#[test]
fn a_frame_shorter_than_its_header_is_refused() {
    for length in 0..BODY + HEADER_BYTES {
        let error = Reply::decode(Bytes::from(vec![0; length])).unwrap_err();
        assert_eq!(error, ReplyError::CutOff { part: "the header" });
    }
}

#[test]
fn a_reply_over_the_limit_is_refused() {
    let frame = Bytes::from(vec![0; BODY + REPLY_BYTES_MAX + 1]);
    let got = REPLY_BYTES_MAX as u32 + 1;
    assert_eq!(Reply::decode(frame).unwrap_err(), ReplyError::Count { what: "bytes", got });
}

#[test]
fn unknown_codes_and_flags_are_refused() {
    let altered = |offset: usize, byte| {
        let mut bytes = BytesMut::from(&raw_frame(1, &[code::DONE])[..]);
        bytes[BODY + offset] = byte;
        Reply::decode(bytes.freeze()).unwrap_err()
    };
    for code in [Refusal::NoSuchShard as u8 + 1, 255] {
        assert_eq!(altered(20, code), ReplyError::UnknownCode { what: "status", code });
    }
    for (offset, byte) in [(21, 4), (21, 0x80), (22, 1), (23, 1)] {
        assert_eq!(altered(offset, byte), ReplyError::Malformed { what: "flags" });
    }
    for code in [code::DEFERRED + 1, 255] {
        assert_eq!(refusal_of(1, &[code]), ReplyError::UnknownCode { what: "outcome", code });
    }
}

#[test]
fn counts_that_lie_are_refused() {
    for operations in [65_537, u32::MAX] {
        let expected = ReplyError::Count { what: "operations", got: operations };
        assert_eq!(refusal_of(operations, &[code::DONE]), expected);
    }
    for operations in [2, 65_536] {
        let error = refusal_of(operations, &[code::DONE]);
        assert_eq!(error, ReplyError::CutOff { part: "the outcomes" });
    }
    // As many bytes as outcomes, but some outcomes are longer.
    let error = refusal_of(2, &[code::VALUE, 0]);
    assert_eq!(error, ReplyError::CutOff { part: "the outcomes" });
    for groups in [2u32, u32::MAX] {
        let mut bytes = BytesMut::from(&raw_frame(1, &[code::DONE])[..]);
        bytes[BODY + 28..BODY + 32].copy_from_slice(&groups.to_le_bytes());
        let expected = ReplyError::Count { what: "groups", got: groups };
        assert_eq!(Reply::decode(bytes.freeze()).unwrap_err(), expected);
    }
    // Sequences are announced, and there is room for half of one.
    let mut bytes = BytesMut::from(&raw_frame(1, &[code::DONE; 4])[..]);
    bytes[BODY + 21] = FLAG_SEQUENCES;
    let error = Reply::decode(bytes.freeze()).unwrap_err();
    assert_eq!(error, ReplyError::CutOff { part: "the outcomes" });
}

#[test]
fn values_longer_than_the_reply_or_the_limit_are_refused() {
    Reply::decode(raw_frame(1, &[code::VALUE, 1, b'v'])).unwrap();
    for code in [code::VALUE, code::MISMATCH] {
        assert_eq!(refusal_of(1, &[code, 2, b'v']), ReplyError::CutOff { part: "a value" });
        let endless = [&[code][..], &[0xff; 9], &[0x01]].concat();
        for lengths in [&[code, 0x81, 0x00, b'v'][..], &[code, 0x80], &[code], &endless] {
            assert_eq!(refusal_of(1, lengths), ReplyError::Malformed { what: "value length" });
        }
        let mut over = vec![code, 0x81, 0x80, 0x40];
        over.resize(4 + VALUE_BYTES_MAX + 1, 0);
        assert_eq!(refusal_of(1, &over), ReplyError::Malformed { what: "value length" });
        over[1] = 0x80;
        over.pop();
        Reply::decode(raw_frame(1, &over)).unwrap();
    }
    let counter = [code::COUNTER, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refusal_of(1, &counter), ReplyError::CutOff { part: "an outcome" });
}

#[test]
fn bytes_after_the_last_outcome_are_refused() {
    let error = refusal_of(1, &[code::DONE, code::DONE]);
    assert_eq!(error, ReplyError::TrailingBytes { bytes: 1 });
}

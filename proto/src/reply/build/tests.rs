use crate::limits::BATCH_GROUPS_MAX;
use crate::reply::Reply;
use crate::reply::tests::{HEADER, shape};
use model::outcome::{Replies, Shape};

use super::*;

/// A builder of a reply with so many outcomes.
fn begun(operations: usize, send_repeats_once: bool) -> ReplyBuilder {
    let mut builder = ReplyBuilder::default();
    builder.prepare(BytesMut::new(), HEADER);
    builder.begin(&shape(operations, send_repeats_once));
    builder
}

fn finished(mut builder: ReplyBuilder) -> Reply {
    Reply::decode(builder.finish().freeze()).expect("what is built is a reply")
}

#[test]
fn what_does_not_fit_is_deferred_or_untold_and_the_reply_stays_within_its_bound() {
    for (value_bytes, send_repeats_once) in [(128, false), (1 << 10, true), (VALUE_BYTES_MAX, true)]
    {
        let mut value = vec![b'v'; value_bytes];
        let mut builder = ReplyBuilder::default();
        let shape = Shape {
            groups: BATCH_GROUPS_MAX,
            has_sequences: true,
            ..shape(BATCH_OPERATIONS_MAX, send_repeats_once)
        };
        builder.prepare(BytesMut::new(), HEADER);
        builder.begin(&shape);
        let mut took = Vec::new();
        for index in 0..BATCH_OPERATIONS_MAX {
            value[..8].copy_from_slice(&index.to_le_bytes());
            let outcome = match index % 4 {
                0 | 1 => Outcome::Value(&value[..]),
                2 => Outcome::Mismatch(Some(&value[..])),
                // The longest of those that always fit.
                _ => Outcome::Counter(index as i64),
            };
            took.push(builder.outcome(index as u64, outcome));
        }
        let frame = builder.finish();
        let body_bytes = frame.len() - BODY;
        assert!(body_bytes <= REPLY_BYTES_MAX);
        assert!(
            body_bytes + value_bytes + BATCH_OPERATIONS_MAX * FIXED_BYTES_MAX > REPLY_BYTES_MAX
        );
        let reply = Reply::decode(frame.freeze()).unwrap();
        assert!(reply.has_deferred());
        for (index, took) in took.iter().enumerate() {
            match (index % 4, reply.outcome(index)) {
                (0 | 1, Some(Outcome::Value(held))) | (2, Some(Outcome::Mismatch(Some(held)))) => {
                    assert!(*took);
                    assert_eq!(held[..8], index.to_le_bytes());
                }
                (0 | 1, None) | (2, Some(Outcome::MismatchUntold)) => assert!(!took),
                (3, Some(Outcome::Counter(count))) => assert!(count == index as i64 && *took),
                (_, other) => panic!("outcome {index} is {other:?}"),
            }
        }
        assert!(took[0], "one greatest value fits beside all fixed parts");
        assert!(took.contains(&false));
    }
}

#[test]
fn a_value_takes_the_last_room_and_one_more_byte_does_not() {
    let room = REPLY_BYTES_MAX - HEADER_BYTES;
    let full = vec![1; VALUE_BYTES_MAX];
    for (last, fits) in [(0, true), (1, false)] {
        // Three greatest values with their heads, then what is left but for the fixed part.
        let rest = vec![2; room - 3 * (VALUE_BYTES_MAX + 4) - FIXED_BYTES_MAX + last];
        // A read can be made again, a CAS can not.
        for (outcome, without_room) in [
            (Outcome::Value(&rest[..]), None),
            (Outcome::Mismatch(Some(&rest[..])), Some(Outcome::MismatchUntold)),
        ] {
            let mut builder = begun(4, false);
            for _ in 0..3 {
                assert!(builder.outcome(0, Outcome::Value(&full)));
            }
            assert_eq!(builder.outcome(0, outcome), fits);
            let reply = finished(builder);
            let expected = if fits { Some(outcome) } else { without_room };
            assert_eq!(reply.outcome(3), expected);
            assert_eq!(reply.has_deferred(), expected.is_none());
        }
    }
}

#[test]
fn outcomes_without_values_need_no_room() {
    let (full, without_values) = (
        vec![1; VALUE_BYTES_MAX],
        [
            Outcome::Missing,
            Outcome::Done,
            Outcome::Counter(i64::MIN),
            Outcome::Mismatch(None),
            Outcome::MismatchUntold,
            Outcome::NotAnInteger,
            Outcome::Overflow,
        ],
    );
    let mut builder = begun(4 + without_values.len(), false);
    let took = [(); 4].map(|()| builder.outcome(0, Outcome::Value(&full)));
    assert_eq!(took, [true, true, true, false]);
    assert!(without_values.iter().all(|outcome| builder.outcome(0, *outcome)));
    let reply = finished(builder);
    assert_eq!(reply.outcome(3), None);
    for (index, outcome) in without_values.into_iter().enumerate() {
        assert_eq!(reply.outcome(4 + index), Some(outcome));
    }
}

#[test]
fn a_deferred_read_counts_among_the_outcomes() {
    let value = Outcome::Value(&b"value"[..]);
    let mut builder = begun(4, true);
    builder.not_kept();
    assert!(builder.outcome(5, value));
    builder.not_kept();
    assert!(builder.outcome(5, value));
    let reply = finished(builder);
    let outcomes: Vec<_> = (0..4).map(|index| reply.outcome(index)).collect();
    assert_eq!(outcomes, [None, Some(value), None, Some(value)]);
    assert_eq!(reply.shared_outcome(2), None);
    assert!(reply.has_deferred());

    let mut builder = begun(1, true);
    assert!(builder.outcome(5, value));
    assert!(!finished(builder).has_deferred());
}

#[test]
#[should_panic(expected = "the reply has room for the group's apply sequence")]
fn an_apply_sequence_is_not_written_over_outcomes() {
    let mut builder = begun(1, true);
    builder.outcome(1, Outcome::Value(b"a value of some length"));
    builder.apply_sequence(0, 1);
}

#[test]
#[should_panic(expected = "every operation has an outcome")]
fn a_reply_that_lacks_outcomes_is_not_finished() {
    begun(1, true).finish();
}

#[test]
#[should_panic(expected = "one outcome an operation")]
fn a_reply_takes_no_more_outcomes_than_announced() {
    let mut builder = begun(1, true);
    builder.outcome(1, Outcome::Done);
    builder.outcome(1, Outcome::Done);
}

#[test]
#[should_panic(expected = "one outcome an operation")]
fn a_reply_takes_no_more_deferred_reads_than_announced() {
    let mut builder = begun(1, true);
    builder.outcome(1, Outcome::Done);
    builder.not_kept();
}

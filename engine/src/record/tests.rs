use super::*;

fn record(outcomes: &[Outcome<&[u8]>], apply_sequences: &[u64]) -> Record {
    let mut writer = RecordWriter::with_capacity(outcomes.len(), apply_sequences.len());
    outcomes.iter().for_each(|outcome| writer.push(outcome));
    apply_sequences.iter().for_each(|sequence| writer.push_apply_sequence(*sequence));
    writer.finish(7)
}

#[test]
fn outcomes_of_mutations_survive() {
    let outcomes = [
        Outcome::Done,
        Outcome::Missing,
        Outcome::Counter(0),
        Outcome::Counter(-7),
        Outcome::Counter(i64::MIN),
        Outcome::Counter(i64::MAX),
        Outcome::Mismatch(None),
        Outcome::MismatchUntold,
        Outcome::NotAnInteger,
        Outcome::Overflow,
        Outcome::Done,
    ];
    let record = record(&outcomes, &[3, u64::MAX]);
    assert_eq!((record.digest(), record.apply_sequences()), (7, &[3, u64::MAX][..]));
    let mut read = record.outcomes();
    for outcome in outcomes {
        assert_eq!(read.next_outcome(), outcome);
    }
}

#[test]
fn values_are_not_kept() {
    let value = [1; 5_000];
    let record = record(&[Outcome::Mismatch(Some(&value)), Outcome::Mismatch(Some(b""))], &[]);
    let mut read = record.outcomes();
    assert_eq!(read.next_outcome(), Outcome::MismatchUntold);
    assert_eq!(read.next_outcome(), Outcome::MismatchUntold);
    assert_eq!(record.bytes(), size_of::<Record>() + 2);
}

#[test]
fn the_room_that_is_reserved_is_enough() {
    let counters = record(&[Outcome::Counter(1); 5], &[1, 2, 3]);
    assert_eq!(counters.bytes(), Record::bytes_max(5, 3), "the greatest outcome is a counter");
    let smaller = record(&[Outcome::Done; 5], &[]);
    assert!(smaller.bytes() < Record::bytes_max(5, 3));
}

#[test]
#[should_panic(expected = "a record holds every mutation")]
fn a_record_is_not_read_for_another_batch() {
    let record = record(&[Outcome::Done], &[]);
    let mut read = record.outcomes();
    read.next_outcome();
    read.next_outcome();
}

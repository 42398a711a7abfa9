use model::outcome::Outcome;
use model::session::SessionId;

use super::*;
use crate::record::RecordWriter;

fn origin(number: u64, digest: u64) -> Origin {
    let session = SessionId { data_id: 9, number: 1 };
    Origin { session, lane: 0, number, lowest_open: 1, digest }
}

fn record(digest: u64, outcomes: &[Outcome<&[u8]>]) -> Record {
    let mut writer = RecordWriter::default();
    outcomes.iter().for_each(|outcome| writer.push(outcome));
    writer.finish(digest)
}

/// A lane that has taken so many batches, whose digests are ten times their numbers.
fn lane(last: u64) -> Lane {
    let mut lane = Lane::default();
    (1..=last).for_each(|number| lane.complete(record(10 * number, &[])));
    lane
}

/// What a lane says to a batch: the digest of the record that answers it, if one does.
fn turn(lane: &Lane, number: u64, digest: u64) -> Result<Option<u64>, Refusal> {
    match lane.turn(&origin(number, digest)) {
        Ok(Turn::Now) => Ok(None),
        Ok(Turn::Again(record)) => Ok(Some(record.digest())),
        Err(refused) => Err(refused.refusal),
    }
}

#[test]
fn numbers_are_taken_in_turn() {
    let mut lane = Lane::default();
    for last in 0..3 {
        assert_eq!(turn(&lane, last + 1, 7), Ok(None));
        for early in [last + 2, last + 3, u64::MAX] {
            let refused = lane.turn(&origin(early, 7)).unwrap_err();
            assert_eq!((refused.refusal, refused.next), (Refusal::OutOfTurn, Some(last + 1)));
        }
        lane.complete(record(7, &[]));
    }
    assert_eq!(turn(&lane, 0, 7), Err(Refusal::RecordGone), "numbers begin with 1");
}

#[test]
fn a_retry_is_answered_from_its_record_and_other_bytes_are_refused() {
    let mut lane = Lane::default();
    lane.complete(record(10, &[Outcome::Counter(-7), Outcome::Missing]));
    lane.complete(record(20, &[]));
    let Ok(Turn::Again(record)) = lane.turn(&origin(1, 10)) else { panic!("the record is there") };
    let mut outcomes = record.outcomes();
    assert_eq!(outcomes.next_outcome(), Outcome::Counter(-7));
    assert_eq!(outcomes.next_outcome(), Outcome::Missing);
    assert_eq!(turn(&lane, 2, 20), Ok(Some(20)));
    assert_eq!(turn(&lane, 1, 11), Err(Refusal::DifferentBytes));
    assert_eq!(turn(&lane, 1, 20), Err(Refusal::DifferentBytes), "each number has its own");
}

#[test]
fn records_go_when_the_client_holds_their_replies() {
    let mut lane = lane(4);
    assert_eq!(lane.forget(1), 0);
    assert_eq!(lane.forgettable_bytes(4), 3 * size_of::<Record>());
    assert_eq!(lane.forget(4), 3 * size_of::<Record>());
    assert_eq!(lane.forgettable_bytes(4), 0);
    assert_eq!(lane.forget(3), 0, "a late number brings nothing back");
    lane.complete(record(50, &[]));
    for number in 1..=3 {
        assert_eq!(turn(&lane, number, 10 * number), Err(Refusal::RecordGone));
    }
    assert_eq!(turn(&lane, 4, 40), Ok(Some(40)));
    assert_eq!(turn(&lane, 5, 50), Ok(Some(50)));
    assert_eq!(turn(&lane, 6, 60), Ok(None));
    assert_eq!(lane.forget(u64::MAX), 2 * size_of::<Record>(), "no more than there are");
    assert_eq!(turn(&lane, 5, 50), Err(Refusal::RecordGone));
    assert_eq!(turn(&lane, 6, 60), Ok(None), "numbers stay");
}

#[test]
fn a_closed_lane_takes_nothing_more_and_frees_its_records() {
    let mut lane = lane(2);
    assert_eq!(lane.close(), 2 * size_of::<Record>());
    assert_eq!(lane.close(), 0, "once");
    for number in [1, 2, 3, 4] {
        assert_eq!(turn(&lane, number, 10 * number), Err(Refusal::LaneClosed));
        assert_eq!(lane.turn_of_reads(number), Err(Refusal::LaneClosed.into()));
    }
}

#[test]
fn reads_run_after_exactly_the_number_that_they_name() {
    for last in 0..3 {
        let lane = lane(last);
        assert_eq!(lane.turn_of_reads(last), Ok(()));
        for early in [last + 1, last + 2, u64::MAX] {
            let refused = lane.turn_of_reads(early).unwrap_err();
            assert_eq!((refused.refusal, refused.next), (Refusal::OutOfTurn, Some(last + 1)));
        }
        for late in 0..last {
            assert_eq!(lane.turn_of_reads(late), Err(Refusal::Passed.into()));
        }
    }
}

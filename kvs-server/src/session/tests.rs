use proto::control::SessionOptions;

use super::*;
use crate::environment::SeededEnvironment;

const OPTIONS: SessionOptions = SessionOptions { send_repeats_once: true };

fn record(digest: u64, outcomes: &[Outcome<&[u8]>]) -> Record {
    let mut writer = RecordWriter::default();
    for outcome in outcomes {
        writer.push(outcome);
    }
    Record::new(digest, &writer, &[])
}

fn no_sessions(environment: &SeededEnvironment) -> Sessions {
    Sessions::new(9, RECORD_BYTES_TOTAL, environment)
}

fn is_refused(turn: &Turn<'_>, with: Refusal) -> bool {
    matches!(turn, Turn::Refused(refusal) if *refusal == with)
}

#[test]
fn a_lane_takes_its_numbers_in_turn() {
    let mut lane = Lane::default();
    assert!(matches!(lane.turn(1, 10), Turn::Now));
    assert!(is_refused(&lane.turn(2, 20), Refusal::OutOfTurn));
    lane.complete(record(10, &[Outcome::Done]));
    assert!(matches!(lane.turn(2, 20), Turn::Now));
    assert!(is_refused(&lane.turn(3, 30), Refusal::OutOfTurn));
}

#[test]
fn a_retry_is_answered_from_its_record_and_other_bytes_are_refused() {
    let mut lane = Lane::default();
    let outcomes = [
        Outcome::Done,
        Outcome::Missing,
        Outcome::Counter(-7),
        Outcome::Mismatch(None),
        Outcome::NotAnInteger,
        Outcome::Overflow,
    ];
    lane.complete(record(10, &outcomes));
    lane.complete(record(20, &[]));
    let Turn::Again(record) = lane.turn(1, 10) else { panic!("the record is there") };
    let mut read = record.outcomes();
    for outcome in outcomes {
        assert_eq!(read.next_outcome(), outcome);
    }
    assert!(matches!(lane.turn(2, 20), Turn::Again(_)));
    assert!(is_refused(&lane.turn(1, 11), Refusal::DifferentBytes));
}

#[test]
fn values_are_not_recorded() {
    let record = record(1, &[Outcome::Mismatch(Some(b"current")), Outcome::Deferred]);
    let mut read = record.outcomes();
    assert_eq!(read.next_outcome(), Outcome::MismatchNotRecorded);
    assert_eq!(read.next_outcome(), Outcome::NotRecorded);
}

#[test]
fn records_go_when_the_client_holds_their_replies() {
    let mut lane = Lane::default();
    for sequence in 1..=4 {
        assert_eq!(lane.forget(1), 0);
        lane.complete(record(sequence, &[]));
    }
    assert_eq!(lane.forget(4), 3 * size_of::<Record>());
    assert_eq!(lane.forget(3), 0, "a late number brings nothing back");
    lane.complete(record(5, &[]));
    for sequence in 1..=3 {
        assert!(is_refused(&lane.turn(sequence, sequence), Refusal::RecordGone));
    }
    assert!(matches!(lane.turn(4, 4), Turn::Again(_)));
    assert!(matches!(lane.turn(5, 5), Turn::Again(_)));
    assert!(matches!(lane.turn(6, 6), Turn::Now));
}

#[test]
fn a_closed_lane_takes_nothing_more_and_frees_its_records() {
    let environment = SeededEnvironment::new(1);
    let sessions = no_sessions(&environment);
    let id = sessions.open(OPTIONS, &environment).unwrap();
    let session = sessions.find(id, &environment).unwrap();
    let lane = session.lane(7).unwrap();
    let one = record(1, &[Outcome::Counter(1)]);
    sessions.take_record_room(&session, one.bytes(), &environment).unwrap();
    lane.lock().unwrap().complete(one);
    session.close_lane(7).unwrap();
    assert!(is_refused(&lane.lock().unwrap().turn(1, 1), Refusal::LaneClosed));
    assert!(is_refused(&lane.lock().unwrap().turn(2, 2), Refusal::LaneClosed));
    assert_eq!(sessions.record_bytes(), 0, "the records' bytes came back");
}

#[test]
fn records_are_bounded_in_a_session_and_in_all() {
    let environment = SeededEnvironment::new(1);
    let sessions = Sessions::new(9, RECORD_BYTES_MAX + 100, &environment);
    let open = || {
        let id = sessions.open(OPTIONS, &environment).unwrap();
        (id, sessions.find(id, &environment).unwrap())
    };
    let take = |session: &Session, bytes| sessions.take_record_room(session, bytes, &environment);
    let ((first_id, first), (_, second)) = (open(), open());
    assert_eq!(take(&first, RECORD_BYTES_MAX + 1), Err(NoRecordRoom::Session));
    assert_eq!(take(&first, RECORD_BYTES_MAX), Ok(()));
    assert_eq!(take(&first, 1), Err(NoRecordRoom::Session));
    let full = NoRecordRoom::Server(RECORD_BYTES_MAX + 100);
    assert_eq!(take(&second, 101), Err(full));
    assert_eq!(take(&second, 100), Ok(()));
    assert_eq!(take(&second, 1), Err(full));
    second.give_record_room(1);
    assert_eq!(take(&second, 1), Ok(()), "what was refused took nothing");
    assert!(full.to_string().contains("-record_bytes_max"));
    sessions.close(first_id);
    drop(first);
    assert_eq!(sessions.record_bytes(), 100, "a session's records go with it");
}

/// Nobody asks for an expired session any more, so its records go when their room is wanted.
#[test]
fn records_of_expired_sessions_make_room() {
    let environment = SeededEnvironment::new(1);
    let sessions = Sessions::new(9, 1000, &environment);
    let old = sessions.open(OPTIONS, &environment).unwrap();
    let session = sessions.find(old, &environment).unwrap();
    assert_eq!(sessions.take_record_room(&session, 900, &environment), Ok(()));
    drop(session);
    environment.advance(LEASE);
    let new = sessions.open(OPTIONS, &environment).unwrap();
    let session = sessions.find(new, &environment).unwrap();
    let refused = sessions.take_record_room(&session, 200, &environment);
    assert_eq!(refused, Err(NoRecordRoom::Server(1000)), "its lease has not ended");
    environment.advance(Duration::from_millis(1));
    assert_eq!(sessions.take_record_room(&session, 200, &environment), Ok(()));
    assert_eq!((sessions.record_bytes(), sessions.len()), (200, 1));
}

#[test]
fn sessions_expire_and_are_not_made_anew() {
    let environment = SeededEnvironment::new(1);
    let sessions = no_sessions(&environment);
    let id = sessions.open(OPTIONS, &environment).unwrap();
    let other = sessions.open(OPTIONS, &environment).unwrap();
    assert_ne!(id, other);
    environment.advance(LEASE);
    assert!(sessions.find(id, &environment).is_ok(), "used within its lease");
    environment.advance(Duration::from_millis(1));
    assert!(sessions.find(id, &environment).is_ok(), "its lease began again");
    let expired = sessions.find(other, &environment).unwrap_err();
    assert_eq!(expired, Refusal::SessionExpired);
    environment.advance(LEASE * 2);
    assert_eq!(sessions.find(id, &environment).unwrap_err(), Refusal::SessionExpired);
    assert!(sessions.is_empty());
    let elsewhere = SessionId { boot_id: 8, number: id.number };
    assert_eq!(sessions.find(elsewhere, &environment).unwrap_err(), Refusal::WrongBoot);
}

#[test]
fn sessions_and_lanes_are_bounded() {
    let environment = SeededEnvironment::new(1);
    let sessions = no_sessions(&environment);
    let ids: Vec<SessionId> =
        (0..SESSIONS_MAX).map(|_| sessions.open(OPTIONS, &environment).unwrap()).collect();
    assert_eq!(sessions.open(OPTIONS, &environment), Err(Refusal::Throttled));
    sessions.close(ids[0]);
    assert!(sessions.open(OPTIONS, &environment).is_ok());
    let session = sessions.find(ids[1], &environment).unwrap();
    for lane in 0..LANES_MAX as u32 {
        session.lane(lane).unwrap();
    }
    assert!(session.lane(0).is_ok(), "a known lane is no new one");
    assert_eq!(session.lane(LANES_MAX as u32).unwrap_err(), Refusal::Throttled);
}

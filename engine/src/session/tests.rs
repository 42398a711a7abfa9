use model::outcome::Outcome;

use super::*;
use crate::record::RecordWriter;

const OPTIONS: SessionOptions = SessionOptions { send_repeats_once: true };
const DATA: u64 = 9;

fn id(number: u64) -> SessionId {
    SessionId { data_id: DATA, number }
}

/// Sessions with these numbers.
fn sessions(numbers: &[u64]) -> Sessions {
    let sessions = Sessions::new(DATA);
    numbers.iter().for_each(|number| assert!(sessions.open(*number, OPTIONS, 0)));
    sessions
}

/// Notes a batch in a lane, and returns the bytes of its record.
fn complete(session: &Session, lane: u32) -> usize {
    let mut writer = RecordWriter::default();
    writer.push(&Outcome::Counter(1));
    let record = writer.finish(7);
    let bytes = record.bytes();
    session.open_lane(lane).unwrap();
    session.take_record_bytes(bytes);
    lock(session.enter().unwrap().lane(lane).unwrap()).complete(record);
    bytes
}

#[test]
fn sessions_end_and_are_not_found_again() {
    let sessions = sessions(&[1, 2]);
    assert_eq!(sessions.count(), 2);
    let found = sessions.find(id(1)).unwrap();
    assert_eq!(found.options(), OPTIONS);
    assert!(found.enter().is_ok());
    sessions.close(SessionId { data_id: 8, number: 1 });
    assert!(found.enter().is_ok(), "it is of other data");
    sessions.close(id(1));
    sessions.close(id(1));
    assert_eq!(sessions.count(), 1);
    assert_eq!(sessions.find(id(1)).unwrap_err(), Refusal::SessionExpired);
    assert_eq!(found.enter().err(), Some(Refusal::SessionExpired), "found before it ended");
    assert_eq!(found.open_lane(1), Err(Refusal::SessionExpired));
    assert!(sessions.find(id(2)).is_ok());
    let elsewhere = SessionId { data_id: 8, number: 2 };
    assert_eq!(sessions.find(elsewhere).unwrap_err(), Refusal::OtherData);
}

#[test]
fn a_number_is_opened_once() {
    let sessions = sessions(&[1]);
    let other = SessionOptions { send_repeats_once: false };
    assert!(!sessions.open(1, other, 0));
    assert_eq!(sessions.find(id(1)).unwrap().options(), OPTIONS, "it is left as it was");
    assert!(sessions.open(2, other, 0));
}

#[test]
fn sessions_that_nobody_touches_are_told() {
    let sessions = sessions(&[]);
    (1..=3).for_each(|number| assert!(sessions.open(number, OPTIONS, 100 * number)));
    let unused = |before_ms| {
        let mut numbers: Vec<u64> =
            sessions.unused_since(before_ms).iter().map(|id| id.number).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(unused(100), [], "used at that very time");
    assert_eq!(unused(101), [1]);
    assert_eq!(unused(1_000), [1, 2, 3]);
    sessions.find(id(1)).unwrap().touch(250);
    assert_eq!(unused(250), [2]);
    assert_eq!(unused(251), [1, 2]);
    sessions.close(id(2));
    assert_eq!(unused(1_000), [1, 3]);
}

#[test]
fn rooms_are_bounded_in_a_session_and_in_all() {
    let sessions = sessions(&[1, 2]);
    let [first, second] = [1, 2].map(|number| sessions.find(id(number)).unwrap());
    let reserve = |session, bytes| sessions.reserve(session, bytes, 1_000, 1_100);
    assert_eq!(reserve(&first, 1_001).unwrap_err(), NoRoom::Session(1_000));
    let whole = reserve(&first, 1_000).unwrap();
    assert_eq!(reserve(&first, 1).unwrap_err(), NoRoom::Session(1_000));
    let full = reserve(&second, 101).unwrap_err();
    assert_eq!(full, NoRoom::Shard(1_100));
    assert!(full.to_string().contains("-record_bytes_max"));
    let rest = reserve(&second, 100).unwrap();
    assert_eq!(sessions.record_bytes(), 1_100, "what was refused took nothing");
    assert_eq!(reserve(&second, 1).unwrap_err(), NoRoom::Shard(1_100));
    drop(whole);
    assert_eq!(sessions.record_bytes(), 100, "room goes back");
    let again = reserve(&second, 900).unwrap();
    assert_eq!(reserve(&second, 1).unwrap_err(), NoRoom::Session(1_000), "to whose it was");
    drop((rest, again));
    assert_eq!(sessions.record_bytes(), 0);
}

#[test]
fn records_go_with_their_session() {
    let sessions = sessions(&[1, 2]);
    let [first, second] = [1, 2].map(|number| sessions.find(id(number)).unwrap());
    let bytes = complete(&first, 1) + complete(&first, 1) + complete(&first, 2);
    let kept = complete(&second, 1);
    assert_eq!(sessions.record_bytes(), bytes + kept);
    let room = sessions.reserve(&first, 50, usize::MAX, usize::MAX).unwrap();
    sessions.close(id(1));
    assert_eq!(sessions.record_bytes(), 50 + kept, "what is reserved is not kept");
    drop(room);
    assert_eq!(sessions.record_bytes(), kept);
}

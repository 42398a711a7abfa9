//! Batches one after another: numbers, records, epochs, judgements, room.

mod support;

use engine::{Change, Engine, LANES_MAX, Refused};
use model::outcome::Outcome;
use model::refusal::Refusal;
use model::session::{SessionId, SessionOptions};
use store::AnyStore;
use support::{
    Ask, EPOCH, Layout, Request, Told, UNJUDGED, apply_batch, ask, change, get, open, own,
    partitioned, session, shard, shard_with_session,
};

const ADD: (&str, Ask) = ("count", Ask::Add(1));
const GET: (&str, Ask) = ("count", Ask::Get);

fn number(value: &str) -> Outcome<Vec<u8>> {
    Outcome::Value(value.into())
}

fn refusal(engine: &Engine<AnyStore>, request: &Request) -> Refusal {
    ask(engine, request).unwrap_err().refusal
}

#[test]
fn a_retried_batch_takes_effect_once_and_answers_from_its_record() {
    let engine = shard_with_session();
    let swap = |expected: &[u8]| Ask::Swap(Some(expected.to_vec()), b"new".to_vec());
    let first = Request::new(3, 1, &[ADD, GET, ("count", swap(b"other")), ADD, GET]);
    let answer = ask(&engine, &first).unwrap();
    let one = Outcome::Mismatch(Some(b"1".to_vec()));
    let expected = [Outcome::Counter(1), number("1"), one, Outcome::Counter(2), number("2")];
    assert_eq!(answer.outcomes(), expected);
    assert!(!answer.is_recorded);
    assert_eq!((answer.tally.operations(), answer.tally.replayed), (5, 0));

    let again = ask(&engine, &first).unwrap();
    let expected = [Outcome::Counter(1), Outcome::MismatchUntold, Outcome::Counter(2)];
    assert_eq!(again.outcomes(), expected);
    assert_eq!((&again.told[1], &again.told[4]), (&Told::NotKept, &Told::NotKept));
    assert_eq!(again.sequences, answer.sequences);
    assert!(again.is_recorded);
    assert_eq!((again.tally.operations(), again.tally.replayed), (0, 5));
    assert_eq!(get(&engine, "count"), number("2"), "the retry had no effect");

    assert_eq!(refusal(&engine, &Request::new(3, 1, &[ADD])), Refusal::DifferentBytes);
    assert_eq!(get(&engine, "count"), number("2"), "nor had other operations");
    assert!(!ask(&engine, &Request::new(3, 2, &first.operations)).unwrap().is_recorded);
    assert_eq!(get(&engine, "count"), number("4"), "the next number has");
}

#[test]
fn records_go_below_the_lowest_open_number() {
    let engine = shard_with_session();
    let request = |number, lowest_open| {
        let mut request = Request::new(3, number, &[ADD]);
        request.origin.as_mut().unwrap().lowest_open = lowest_open;
        request
    };
    (1..=3).for_each(|number| assert!(ask(&engine, &request(number, 1)).is_ok()));
    let three = engine.sessions().record_bytes();
    assert!(ask(&engine, &request(4, 4)).is_ok());
    assert_eq!(engine.sessions().record_bytes(), three / 3);
    assert_eq!(refusal(&engine, &request(3, 1)), Refusal::RecordGone);
    assert!(ask(&engine, &request(4, 1)).unwrap().is_recorded);
    change(&engine, Change::CloseLane(session(1), 3)).unwrap();
    assert_eq!(engine.sessions().record_bytes(), 0);
}

#[test]
fn records_answer_whatever_the_epoch_and_new_batches_do_not() {
    let engine = shard_with_session();
    let first = Request::new(3, 1, &[ADD]).at_epoch(EPOCH);
    let answer = ask(&engine, &first).unwrap();
    change(&engine, Change::Own(own(EPOCH + 1, &["elsewhere"]))).unwrap();
    let again = ask(&engine, &first).unwrap();
    assert_eq!((again.is_recorded, again.told), (true, answer.told));

    let second = Request::new(3, 2, &[ADD]);
    for (epoch, expected) in [
        (EPOCH, Refusal::StaleEpoch),
        (EPOCH + 2, Refusal::StaleEpoch),
        (EPOCH + 1, Refusal::NotOwned),
    ] {
        let request = second.clone().at_epoch(epoch);
        assert_eq!(refusal(&engine, &request), expected);
        let reads = Request::new(3, 1, &[GET]).at_epoch(epoch);
        assert_eq!(refusal(&engine, &reads), expected);
    }
    assert_eq!(refusal(&engine, &second), Refusal::NotOwned, "also by no map");
    assert_eq!(get(&engine, "count"), number("1"));

    change(&engine, Change::Own(own(EPOCH + 2, &["count"]))).unwrap();
    let answer = ask(&engine, &second.at_epoch(EPOCH + 2)).unwrap();
    assert_eq!(answer.outcomes(), [Outcome::Counter(2)], "refusals took no number");
}

#[test]
fn only_newer_epochs_change_the_slots() {
    let engine = shard(partitioned(1));
    change(&engine, Change::Own(own(7, &["a"]))).unwrap();
    for old in [0, EPOCH, 6, 7] {
        let refused = change(&engine, Change::Own(own(old, &["b"]))).unwrap_err();
        assert_eq!(refused.refusal, Refusal::StaleEpoch);
    }
    assert_eq!(*engine.ownership(), own(7, &["a"]));
    change(&engine, Change::Own(own(8, &["b"]))).unwrap();
    assert_eq!(*engine.ownership(), own(8, &["b"]));
}

#[test]
fn judgements_count_at_their_epoch_only() {
    let engine = shard(partitioned(1));
    change(&engine, Change::Own(own(5, &["mine"]))).unwrap();
    let judge = |key, judged| {
        let request = Request::unnumbered(&[(key, Ask::Add(1))]);
        let layout = Layout::new(&engine, &request);
        let answer = apply_batch(&engine, (0, 0), &layout.batch(judged), None, usize::MAX);
        answer.map(|_| ()).map_err(|refused| refused.refusal)
    };
    for epoch in [0, 4, 6] {
        for is_owner in [true, false] {
            assert_eq!(judge("mine", (epoch, is_owner)), Ok(()));
            assert_eq!(judge("foreign", (epoch, is_owner)), Err(Refusal::NotOwned));
        }
    }
    // At the shard's own epoch they are taken at their word, right or wrong.
    assert_eq!(judge("mine", (5, true)), Ok(()));
    assert_eq!(judge("mine", (5, false)), Err(Refusal::NotOwned));
    assert_eq!(judge("foreign", (5, true)), Ok(()));
}

#[test]
fn a_batch_is_whole_or_not_at_all() {
    let engine = shard_with_session();
    change(&engine, Change::Own(own(EPOCH + 1, &["count"]))).unwrap();
    let mixed = [ADD, ("foreign", Ask::Add(1))];
    assert_eq!(refusal(&engine, &Request::new(1, 1, &mixed)), Refusal::NotOwned);
    assert_eq!(get(&engine, "count"), Outcome::Missing);
    assert!(ask(&engine, &Request::new(1, 1, &mixed[..1])).is_ok());
}

#[test]
fn batches_without_origin_run_each_time() {
    let engine = shard(partitioned(1));
    let request = Request::unnumbered(&[ADD, GET]);
    for count in 1..4 {
        let answer = ask(&engine, &request).unwrap();
        assert_eq!(answer.outcomes(), [Outcome::Counter(count), number(&count.to_string())]);
    }
    assert_eq!(refusal(&engine, &request.at_epoch(EPOCH + 1)), Refusal::StaleEpoch);
    assert_eq!((engine.sessions().count(), engine.sessions().record_bytes()), (0, 0));
}

#[test]
fn sessions_and_their_numbers_are_looked_up() {
    let engine = shard_with_session();
    let of = |id| {
        let mut request = Request::new(1, 1, &[ADD]);
        request.origin.as_mut().unwrap().session = id;
        request
    };
    let elsewhere = SessionId { data_id: 8, number: 1 };
    assert_eq!(refusal(&engine, &of(elsewhere)), Refusal::OtherData);
    assert_eq!(refusal(&engine, &of(session(2))), Refusal::SessionExpired);
    assert_eq!(change(&engine, open(1)).unwrap_err().refusal, Refusal::Throttled);
    assert!(ask(&engine, &of(session(1))).is_ok(), "it is not opened anew");
    assert!(change(&engine, Change::CloseSession(session(2))).is_ok(), "it has ended");
    assert!(change(&engine, Change::CloseSession(elsewhere)).is_ok());
    assert!(ask(&engine, &of(session(1))).unwrap().is_recorded, "and this has not");
    let closed = |id| change(&engine, Change::CloseLane(id, 1)).unwrap_err().refusal;
    assert_eq!(closed(elsewhere), Refusal::OtherData);
    assert_eq!(closed(session(2)), Refusal::SessionExpired);
}

#[test]
fn closed_lanes_take_nothing_also_if_they_were_never_used() {
    let engine = shard_with_session();
    assert!(ask(&engine, &Request::new(1, 1, &[ADD])).is_ok());
    for lane in [1, 2] {
        change(&engine, Change::CloseLane(session(1), lane)).unwrap();
        for request in [&[ADD], &[GET]].map(|operations| Request::new(lane, 1, operations)) {
            assert_eq!(refusal(&engine, &request), Refusal::LaneClosed);
        }
        assert!(change(&engine, Change::CloseLane(session(1), lane)).is_ok(), "it stays closed");
    }
    assert!(ask(&engine, &Request::new(3, 1, &[ADD])).is_ok());
}

#[test]
fn the_clock_never_goes_back() {
    let engine = shard(partitioned(1));
    let request = Request::unnumbered(&[ADD]);
    let layout = Layout::new(&engine, &request);
    for (now_ms, clock_ms) in [(5, 5), (3, 5), (0, 5), (6, 6), (u64::MAX, u64::MAX), (7, u64::MAX)]
    {
        let batch = layout.batch(UNJUDGED);
        apply_batch(&engine, (0, now_ms), &batch, None, usize::MAX).unwrap();
        assert_eq!(engine.clock_ms(), clock_ms);
    }
}

/// What is reserved for a batch, in bytes, at most so many in its session.
fn reserve(
    engine: &Engine<AnyStore>,
    request: &Request,
    bytes_max: usize,
) -> Result<Option<usize>, Refused> {
    let layout = Layout::new(engine, request);
    let session = engine.sessions().find(session(1)).unwrap();
    let before = engine.sessions().record_bytes();
    let origin = &request.origin.unwrap();
    let batch = layout.batch(UNJUDGED);
    let room = engine.reserve(&batch, origin, &session, bytes_max, usize::MAX)?;
    Ok(room.map(|_room| engine.sessions().record_bytes() - before))
}

#[test]
fn room_is_reserved_for_what_will_be_applied() {
    let engine = shard_with_session();
    let all = usize::MAX;
    let add = |number| Request::new(1, number, &[ADD]);
    assert_eq!(reserve(&engine, &Request::new(1, 0, &[GET]), 0), Ok(None), "reads need none");
    let bytes = reserve(&engine, &add(1), all).unwrap().unwrap();
    assert!(bytes > 0);
    assert_eq!(reserve(&engine, &add(1), bytes), Ok(Some(bytes)));
    let refused = reserve(&engine, &add(1), bytes - 1).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Throttled);
    assert!(refused.detail.contains(&(bytes - 1).to_string()), "{}", refused.detail);
    assert_eq!(engine.sessions().record_bytes(), 0);

    assert!(ask(&engine, &add(1)).is_ok());
    assert!(engine.sessions().record_bytes() <= bytes);
    assert_eq!(reserve(&engine, &add(1), 0), Ok(None), "retries need none");
    assert_eq!(reserve(&engine, &add(2), bytes).unwrap_err().refusal, Refusal::Throttled);
    let mut goes_on = add(2);
    goes_on.origin.as_mut().unwrap().lowest_open = 2;
    assert_eq!(reserve(&engine, &goes_on, bytes), Ok(Some(0)), "by its own old record");

    let late = Refused { next: Some(2), ..Refusal::OutOfTurn.into() };
    assert_eq!(reserve(&engine, &add(3), all), Err(late));
    let other = Request::new(1, 1, &[ADD, ADD]);
    assert_eq!(reserve(&engine, &other, all), Err(Refusal::DifferentBytes.into()));
    change(&engine, Change::CloseLane(session(1), 1)).unwrap();
    assert_eq!(reserve(&engine, &add(2), all), Err(Refusal::LaneClosed.into()));
}

#[test]
fn reserved_room_goes_when_the_record_is_kept() {
    let engine = shard_with_session();
    let session = engine.sessions().find(session(1)).unwrap();
    let apply = |number| {
        let request = Request::new(1, number, &[ADD]);
        let (layout, origin) = (Layout::new(&engine, &request), request.origin.unwrap());
        let batch = layout.batch(UNJUDGED);
        let room = engine.reserve(&batch, &origin, &session, usize::MAX, usize::MAX).unwrap();
        assert!(room.is_some());
        apply_batch(&engine, (0, 0), &batch, room, usize::MAX)
    };
    assert!(ask(&engine, &Request::new(1, 1, &[ADD])).is_ok(), "without room");
    let kept = engine.sessions().record_bytes();
    assert!(kept > 0 && apply(2).is_ok());
    assert_eq!(engine.sessions().record_bytes(), 2 * kept, "the record alone is counted");
    change(&engine, Change::Own(own(EPOCH + 1, &[]))).unwrap();
    assert_eq!(apply(3).unwrap_err().refusal, Refusal::NotOwned);
    assert_eq!(engine.sessions().record_bytes(), 2 * kept, "and nothing that was refused");
}

#[test]
fn repeats_are_sent_once_to_sessions_that_want_it() {
    let engine = shard_with_session();
    let once = |request: &Request| ask(&engine, request).unwrap().send_repeats_once;
    let mut other = Request::new(1, 1, &[ADD]);
    assert!(once(&other) && once(&Request::new(1, 1, &[GET])));
    assert!(!once(&other), "a record has no values");
    assert!(!once(&Request::unnumbered(&[GET])));
    let options = SessionOptions { send_repeats_once: false };
    change(&engine, Change::OpenSession { number: 2, options }).unwrap();
    other.origin.as_mut().unwrap().session = session(2);
    assert!(!once(&other));
}

#[test]
fn lanes_are_bounded_and_reads_make_none() {
    let engine = shard_with_session();
    let (first, new) = (Request::new(0, 1, &[ADD]), LANES_MAX as u32);
    assert!(ask(&engine, &first).is_ok());
    for lane in 1..new {
        // Reads and whatever is reserved would fill the last places.
        assert!(ask(&engine, &Request::new(new + lane, 0, &[GET])).is_ok());
        assert_eq!(engine.reserve_lane(session(1), lane), Ok(()));
        change(&engine, Change::CloseLane(session(1), lane)).unwrap();
    }
    assert_eq!(engine.reserve_lane(session(1), new), Err(Refusal::Throttled.into()));
    let batch = Request::new(new, 1, &[ADD]);
    assert_eq!(reserve(&engine, &batch, usize::MAX), Err(Refusal::Throttled.into()));
    assert!(ask(&engine, &Request::new(new, 0, &[GET])).is_ok(), "reads need no lane");
    assert_eq!(engine.reserve_lane(session(1), new), Err(Refusal::Throttled.into()));

    assert_eq!(engine.reserve_lane(session(1), 0), Ok(()), "a known lane is no new one");
    assert_eq!(engine.reserve_lane(session(1), new - 1), Ok(()));
    assert!(reserve(&engine, &Request::new(0, 2, &[ADD]), usize::MAX).unwrap().is_some());
    assert_eq!(engine.reserve_lane(session(2), 0), Err(Refusal::SessionExpired.into()));
}

#[test]
fn reads_leave_no_record_and_run_where_they_stand() {
    let engine = shard_with_session();
    let reads = |after| Request::new(1, after, &[GET, GET]);
    assert_eq!(ask(&engine, &reads(0)).unwrap().outcomes(), [Outcome::Missing, Outcome::Missing]);
    let refused = ask(&engine, &reads(1)).unwrap_err();
    assert_eq!((refused.refusal, refused.next), (Refusal::OutOfTurn, Some(1)));
    assert_eq!(engine.sessions().record_bytes(), 0);
    assert!(ask(&engine, &Request::new(1, 1, &[ADD])).is_ok(), "they took no number");
    let bytes = engine.sessions().record_bytes();
    for _ in 0..3 {
        let answer = ask(&engine, &reads(1)).unwrap();
        assert_eq!((answer.is_recorded, answer.outcomes()), (false, vec![number("1"); 2]));
    }
    assert_eq!(refusal(&engine, &reads(0)), Refusal::Passed);
    assert_eq!(engine.sessions().record_bytes(), bytes);
}

//! Each rule by name: a history that breaks it is caught, its legal twin passes, and with the rule
//! switched off the broken one would pass.

use crate::event::{Contradiction, Event, NEVER, Rule, Rules};
use crate::history::{Kind, Outcome, Value};
use crate::object::{Bound, Decision, How, Swept, decide, decide_with_losses};
use crate::oracle::{HOW, event, id, is_linearizable};
use crate::search::Found;
use crate::witness::{Replay, Stamps, replay};

fn put(stamp: u64, inv: i64, res: i64) -> Event {
    Event { written: id(stamp), ..event(Kind::Put, inv, res) }
}

fn get(stamp: u64, inv: i64, res: i64) -> Event {
    Event { read: id(stamp), ..event(Kind::Get, inv, res) }
}

fn miss(inv: i64, res: i64) -> Event {
    Event { read: Value::Missing, ..event(Kind::Get, inv, res) }
}

fn delete(stamp: u64, inv: i64, res: i64) -> Event {
    Event { written: id(stamp), ..event(Kind::Delete, inv, res) }
}

fn swap(from: u64, to: u64, inv: i64, res: i64) -> Event {
    Event { read: id(from), written: id(to), ..event(Kind::CompareAndSwap, inv, res) }
}

fn increment(result: i64, inv: i64, res: i64) -> Event {
    let written = if res == NEVER { Value::NotKnown } else { Value::Number(result) };
    Event { by: 1, written, ..event(Kind::Increment, inv, res) }
}

fn count(number: i64, inv: i64, res: i64) -> Event {
    Event { read: Value::Number(number), ..event(Kind::Get, inv, res) }
}

/// The event as its worker's operation with this stamp.
fn of(worker: u32, stamp: u64, event: Event) -> Event {
    Event { worker, stamp, ..event }
}

/// The events in the order that the servers report.
fn witnessed(events: &[Event]) -> Vec<Event> {
    let sequences = events.iter().enumerate();
    let with = |(sequence, event): (usize, &Event)| Event { sequence: sequence as u64, ..*event };
    sequences.map(with).collect()
}

/// What the sweep says; `None` when it leaves the word to a search.
fn sweep(events: &[Event], rules: &Rules) -> Result<Option<()>, Contradiction> {
    let how = How { rules: *rules, ..HOW };
    let swept = crate::object::sweep(events, &how)?;
    Ok((swept == Swept::Legal).then_some(()))
}

fn rule(events: &[Event]) -> Option<Rule> {
    sweep(events, &Rules::ALL).err().map(|contradiction| contradiction.rule)
}

/// Checks that `broken` breaks `expected`, that switching the rule off hides it, and that the twin
/// is legal.
fn kills(expected: Rule, broken: &[Event], twin: &[Event], off: impl Fn(&mut Rules)) {
    assert!(!is_linearizable(broken), "brute force agrees that it is broken");
    assert!(is_linearizable(twin), "brute force agrees that the twin is legal");
    assert_eq!(rule(broken), Some(expected));
    assert_eq!(sweep(twin, &Rules::ALL), Ok(Some(())));
    let mut rules = Rules::ALL;
    off(&mut rules);
    assert_ne!(sweep(broken, &rules).err().map(|found| found.rule), Some(expected), "the mutant");
    assert!(sweep(broken, &rules).is_ok(), "the mutant lets it pass");
}

#[test]
fn a_stale_read_is_a_crossing() {
    kills(
        Rule::Crossing,
        &[put(1, 0, 1), put(2, 2, 3), get(1, 4, 5)],
        &[put(1, 0, 1), put(2, 2, 4), get(1, 4, 5)],
        |rules| rules.crossing = false,
    );
}

#[test]
fn a_resurrected_value_is_a_crossing() {
    kills(
        Rule::Crossing,
        &[put(1, 0, 1), put(2, 2, 3), get(2, 4, 5), get(1, 6, 7)],
        &[put(1, 0, 1), put(2, 2, 3), get(1, 3, 5), get(2, 6, 7)],
        |rules| rules.crossing = false,
    );
}

#[test]
fn a_miss_after_a_write_is_a_crossing() {
    kills(Rule::Crossing, &[put(1, 0, 1), miss(2, 3)], &[put(1, 0, 2), miss(2, 3)], |rules| {
        rules.crossing = false;
    });
}

#[test]
fn a_write_that_ran_twice_is_a_crossing() {
    // Value 1 comes back after 2 because the retry of its write took effect again.
    kills(
        Rule::Crossing,
        &[put(1, 0, 9), get(1, 1, 2), put(2, 3, 4), get(2, 5, 6), get(1, 7, 8)],
        &[put(1, 0, 9), put(2, 3, 4), get(2, 5, 6), get(1, 7, 8)],
        |rules| rules.crossing = false,
    );
}

#[test]
fn a_value_that_nobody_wrote_is_a_phantom() {
    kills(Rule::Phantom, &[put(1, 0, 1), get(2, 2, 3)], &[put(1, 0, 1), get(1, 2, 3)], |rules| {
        rules.phantom = false;
    });
    let foreign = Event { read: Value::Foreign, ..get(1, 2, 3) };
    assert_eq!(rule(&[put(1, 0, 1), foreign]), Some(Rule::Phantom));
}

#[test]
fn a_value_of_a_failed_write_is_a_phantom() {
    let failed = Event { outcome: Outcome::Fail, ..put(1, 0, 1) };
    kills(Rule::Phantom, &[failed, get(1, 2, 3)], &[put(1, 0, 1), get(1, 2, 3)], |rules| {
        rules.phantom = false;
    });
    let found = sweep(&[failed, get(1, 2, 3)], &Rules::ALL).unwrap_err();
    assert_eq!(found.events, [0, 1], "the failed write is shown too");
}

#[test]
fn a_read_before_its_write_is_from_the_future() {
    kills(Rule::Future, &[get(1, 0, 1), put(1, 2, 3)], &[get(1, 0, 2), put(1, 2, 3)], |rules| {
        rules.future = false;
    });
}

#[test]
fn two_updates_of_one_value_are_a_lost_update() {
    kills(
        Rule::LostUpdate,
        &[put(1, 0, 1), swap(1, 2, 2, 9), swap(1, 3, 2, 9)],
        &[put(1, 0, 1), swap(1, 2, 2, 9), swap(2, 3, 2, 9)],
        |rules| rules.one_successor = false,
    );
}

#[test]
fn updates_in_a_circle_are_caught() {
    kills(
        Rule::Circle,
        &[swap(1, 2, 0, 9), swap(2, 1, 0, 9)],
        &[put(1, 0, 9), swap(1, 2, 0, 9)],
        |rules| rules.circle = false,
    );
}

#[test]
fn a_chain_against_time_is_caught() {
    kills(
        Rule::Chain,
        &[put(1, 4, 5), swap(1, 2, 0, 3)],
        &[put(1, 4, 5), swap(1, 2, 0, 4)],
        |rules| rules.chain = false,
    );
    // The clusters in between overlap both.
    let long = [put(1, 5, 9), swap(1, 2, 0, 9), swap(2, 3, 0, 9), swap(3, 4, 0, 4)];
    assert_eq!(rule(&long), Some(Rule::Chain));
}

#[test]
fn an_unneeded_unknown_write_is_dropped() {
    // Had the unknown swap to be placed, it would compete with the completed one.
    let legal = [put(1, 0, 1), swap(1, 2, 2, 3), swap(1, 3, 2, NEVER)];
    assert!(is_linearizable(&legal));
    assert_eq!(sweep(&legal, &Rules::ALL), Ok(Some(())));
    let mutant = Rules { drop_unneeded: false, ..Rules::ALL };
    assert!(sweep(&legal, &mutant).is_err(), "the mutant raises a false alarm");
}

#[test]
fn an_unknown_write_that_an_unknown_one_needs_is_kept() {
    // 3 was read, so the unknown swap from 2 ran, so the unknown put of 2 ran, which reads 9.
    let broken = [swap(9, 2, 0, NEVER), swap(2, 3, 0, NEVER), get(3, 4, 5)];
    let twin = [put(9, 0, 1), swap(9, 2, 0, NEVER), swap(2, 3, 0, NEVER), get(3, 4, 5)];
    kills(Rule::Phantom, &broken, &twin, |rules| rules.keep_transitively = false);
}

#[test]
fn two_writes_of_one_id_are_caught() {
    let broken = [put(1, 0, 1), put(1, 2, 3)];
    assert_eq!(rule(&broken), Some(Rule::SameId));
    assert_eq!(rule(&[put(1, 0, 1), put(2, 2, 3)]), None);
    assert!(sweep(&broken, &Rules { own_ids: false, ..Rules::ALL }).is_ok());
}

#[test]
fn two_operations_with_one_stamp_are_caught() {
    kills(
        Rule::SameStamp,
        &[of(0, 5, put(1, 0, 9)), of(0, 5, put(2, 0, 9))],
        &[of(0, 5, put(1, 0, 9)), of(1, 5, put(2, 0, 9))],
        |rules| rules.own_stamps = false,
    );
}

#[test]
fn program_order_is_kept_between_blocks() {
    // The worker wrote 1 and then 2, all in flight together, and 1 came last.
    let gets = [of(1, 1, get(2, 10, 11)), of(1, 2, get(1, 12, 13))];
    let broken = [of(0, 1, put(1, 0, 20)), of(0, 2, put(2, 0, 20)), gets[0], gets[1]];
    let twin = [of(0, 2, put(1, 0, 20)), of(0, 1, put(2, 0, 20)), gets[0], gets[1]];
    kills(Rule::ProgramOrder, &broken, &twin, |rules| rules.program_order = false);
}

#[test]
fn program_order_is_kept_inside_a_block() {
    let broken = [of(0, 1, get(1, 0, 9)), of(0, 2, put(1, 0, 9))];
    let twin = [of(0, 2, get(1, 0, 9)), of(0, 1, put(1, 0, 9))];
    kills(Rule::ProgramOrder, &broken, &twin, |rules| rules.program_order = false);
}

#[test]
fn program_order_and_real_time_must_agree() {
    let broken = [of(0, 2, put(1, 0, 1)), of(0, 1, put(2, 2, 3))];
    let twin = [of(0, 1, put(1, 0, 1)), of(0, 2, put(2, 2, 3))];
    kills(Rule::ProgramOrder, &broken, &twin, |rules| rules.program_order = false);
}

#[test]
fn a_count_that_nobody_made_is_caught() {
    kills(
        Rule::Count,
        &[increment(1, 0, 1), increment(3, 2, 3)],
        &[increment(1, 0, 1), increment(0, 0, NEVER), increment(3, 2, 3)],
        |rules| rules.gaps = false,
    );
}

/// An unknown INCR.
fn lost(inv: i64) -> Event {
    increment(0, inv, NEVER)
}

#[test]
fn an_unknown_count_comes_after_what_had_ended_before_it() {
    // Stamps alone would let the later one make 2, which was read before it began.
    let (late, early) = (of(0, 1, lost(5)), of(1, 2, lost(2)));
    let legal = [increment(1, 0, 1), late, early, count(2, 3, 4), count(3, 6, 7)];
    assert!(is_linearizable(&legal));
    assert_eq!(sweep(&legal, &Rules::ALL), Ok(Some(())));
    let mutant = Rules { windows: false, ..Rules::ALL };
    assert!(sweep(&legal, &mutant).is_err(), "the mutant raises a false alarm");
    let broken = [increment(1, 0, 1), late, count(2, 3, 4)];
    assert!(!is_linearizable(&broken));
    assert_eq!(rule(&broken), Some(Rule::Count));
}

#[test]
fn an_unknown_count_stays_in_its_workers_order() {
    // The worker's INCR with an answer made 1, so that the lost one before it made nothing.
    let answered = |number| of(0, 2, increment(number, 0, 5));
    let (lost, seen) = (of(0, 1, lost(0)), of(1, 3, count(2, 6, 7)));
    kills(Rule::Count, &[lost, answered(1), seen], &[lost, answered(2), seen], |rules| {
        rules.program_order = false;
    });
}

#[test]
fn an_unknown_count_that_its_worker_asked_for_before_the_start_never_ran() {
    let start = of(0, 2, Event { written: Value::Number(0), ..event(Kind::Put, 0, 1) });
    let (barred, other) = (of(0, 1, lost(4)), of(1, 1, lost(5)));
    let legal = [start, barred, other, count(1, 8, 9)];
    assert!(is_linearizable(&legal));
    assert_eq!(sweep(&legal, &Rules::ALL), Ok(Some(())));
    let broken = [start, barred, count(1, 8, 9)];
    assert!(!is_linearizable(&broken));
    assert_eq!(rule(&broken), Some(Rule::Count));
}

#[test]
fn gaps_are_filled_by_the_first_deadline() {
    // Worker 0 read 1 afterwards, so that its lost INCR can only have made 1; the other's can make
    // either.
    let (urgent, other) = (of(0, 9, lost(0)), of(1, 1, lost(0)));
    let seen = [of(0, 10, count(1, 0, 20)), count(2, 30, 31)];
    let legal = [other, urgent, seen[0], seen[1]];
    assert!(is_linearizable(&legal));
    assert_eq!(sweep(&legal, &Rules::ALL), Ok(Some(())));
    let none = of(0, 10, count(0, 0, 20));
    let broken = [other, urgent, none, seen[1]];
    assert!(!is_linearizable(&broken));
    assert_eq!(rule(&broken), Some(Rule::Count));
}

#[test]
fn counts_that_were_invoked_against_their_stamps_are_searched() {
    let (first, second) = (of(0, 1, lost(8)), of(0, 2, lost(0)));
    let legal = [increment(1, 0, 1), first, second, count(2, 4, 5)];
    assert!(is_linearizable(&legal));
    assert_eq!(sweep(&legal, &Rules::ALL), Ok(None));
    assert_eq!(decide(&legal, &HOW, &mut Stamps::default()).0, Decision::Search);
    // The second was seen, so the first can't follow.
    let broken = [legal[0], first, second, legal[3], count(3, 9, 10)];
    assert!(!is_linearizable(&broken));
    let decision = decide(&broken, &HOW, &mut Stamps::default()).0;
    assert!(matches!(decision, Decision::Violation(found) if found.rule == Rule::NoOrder));
}

/// What is shown of a contradiction: the operations' kinds and numbers.
fn shown(events: &[Event]) -> Vec<(Kind, Value)> {
    let Decision::Violation(found) = decide(events, &HOW, &mut Stamps::default()).0 else {
        panic!("{events:?} are legal");
    };
    let (_, shown) = crate::shrink::shrink(events, &found, &HOW);
    let number = |e: &Event| if e.kind == Kind::Increment { e.written } else { e.read };
    shown.iter().map(|event| (event.kind, number(event))).collect()
}

#[test]
fn a_counters_contradiction_is_shown_without_what_does_not_matter() {
    let made = |number| (Kind::Increment, Value::Number(number));
    let seen = |number| (Kind::Get, Value::Number(number));
    let counts = |number: i64| increment(number, 10 * number, 10 * number + 5);
    // 3 was made before 2 was read, whatever made 1 and 2.
    let stale = [counts(1), counts(2), counts(3), lost(32), count(2, 40, 41), count(3, 50, 51)];
    assert_eq!(shown(&stale), [made(3), seen(2)]);
    // Only two can have made it 3.
    let few = [counts(1), lost(12), count(3, 40, 41)];
    assert_eq!(shown(&few), [made(1), (Kind::Increment, Value::NotKnown), seen(3)]);
    let started = Event { written: Value::Number(0), ..event(Kind::Put, 0, 1) };
    let stale = [started, counts(1), counts(2), counts(3), count(2, 40, 41)];
    assert_eq!(shown(&stale)[1..], [made(3), seen(2)]);
}

#[test]
fn a_count_that_was_returned_twice_is_a_lost_update() {
    kills(
        Rule::LostUpdate,
        &[increment(1, 0, 9), increment(1, 0, 9)],
        &[increment(1, 0, 9), increment(2, 0, 9)],
        |rules| rules.one_successor = false,
    );
}

#[test]
fn a_count_that_is_not_in_step_is_caught() {
    let by_two = |result, inv, res| Event { by: 2, ..increment(result, inv, res) };
    assert_eq!(rule(&[by_two(2, 0, 1), by_two(3, 2, 3)]), Some(Rule::Count));
    assert_eq!(rule(&[by_two(2, 0, 1), by_two(4, 2, 3)]), None);
    assert_eq!(rule(&[by_two(2, 0, 1), count(0, 2, 3)]), Some(Rule::Count));
    assert_eq!(rule(&[by_two(2, 0, 1), count(2, 2, 3)]), None);
}

#[test]
fn a_counter_may_start_with_a_put_and_end_with_a_delete() {
    let zero = Event { written: Value::Number(0), ..event(Kind::Put, 0, 1) };
    let found = Event { read: Value::Present, ..delete(9, 8, 9) };
    let legal = [zero, count(0, 2, 3), increment(1, 2, 6), count(1, 5, 7), found, miss(10, 11)];
    assert!(is_linearizable(&legal));
    assert_eq!(sweep(&legal, &Rules::ALL), Ok(Some(())));
    let mut broken = legal;
    broken[5] = count(1, 10, 11);
    assert_eq!(rule(&broken), Some(Rule::Count));
    let mut broken = legal;
    broken[1] = miss(2, 3);
    assert_eq!(rule(&broken), Some(Rule::Count));
}

/// Checks that `twin` is decided to be legal, `broken` to be not, and that `broken` would pass with
/// the rule switched off.
fn kills_presence(broken: &[Event], twin: &[Event], off: impl Fn(&mut Rules)) {
    assert!(!is_linearizable(broken), "brute force agrees that it is broken");
    assert!(is_linearizable(twin), "brute force agrees that the twin is legal");
    let base = Rules { presence_between: false, ..Rules::ALL };
    let swept = |events: &[Event], rules| crate::object::sweep(events, &How { rules, ..HOW });
    assert_eq!(swept(twin, base), Ok(Swept::Searched(Found::Order)));
    assert_eq!(swept(broken, base), Ok(Swept::Searched(Found::NoOrder)));
    assert_eq!(swept(twin, Rules::ALL), Ok(Swept::Searched(Found::Order)));
    let mut rules = base;
    off(&mut rules);
    assert_eq!(swept(broken, rules), Ok(Swept::Searched(Found::Order)), "the mutant");
}

#[test]
fn a_miss_needs_a_missing_key() {
    let with = |deleted| {
        [miss(-3, -2), put(1, 0, 1), delete(8, deleted, 20), miss(11, 12), put(2, 30, 31)]
    };
    kills_presence(&with(13), &with(10), |rules| rules.presence_states = false);
    kills_presence(&with(13), &with(10), |rules| rules.presence_times = false);
}

#[test]
fn a_delete_that_found_something_needs_a_value_of_its_own() {
    let remove = |inv, res| Event { read: Value::Present, ..delete(0, inv, res) };
    let remove = |stamp, inv, res| Event { written: id(stamp), ..remove(inv, res) };
    let with = |second| [put(1, 0, 9), remove(8, 0, 9), remove(9, 0, 9), put(2, second, second)];
    kills_presence(&with(10), &with(9), |rules| rules.presence_states = false);
    kills_presence(&with(10), &with(9), |rules| rules.presence_times = false);
    // An unknown PUT may have been the one, unless it began too late.
    let with = |second| [put(1, 0, 9), remove(8, 0, 9), remove(9, 0, 9), put(2, second, NEVER)];
    kills_presence(&with(10), &with(9), |rules| rules.presence_times = false);
}

#[test]
fn something_stands_between_a_write_and_a_miss() {
    let off = Rules { presence_between: false, ..Rules::ALL };
    let how = |rules| How { rules, ..HOW };
    let deletes = [delete(8, -9, 1), delete(9, 12, 30)];
    let broken = [put(1, 2, 3), miss(10, 11), deletes[0], deletes[1]];
    let found = crate::object::sweep(&broken, &how(Rules::ALL)).unwrap_err();
    assert_eq!(found, Contradiction::new(Rule::Presence, [0, 1]));
    assert!(crate::object::sweep(&broken, &how(off)).is_ok(), "the mutant leaves it to the search");
    for legal in [delete(8, -9, 2), delete(9, 11, 30), delete(9, 4, NEVER)] {
        let legal = [broken[0], broken[1], legal];
        assert!(is_linearizable(&legal));
        assert_eq!(
            crate::object::sweep(&legal, &how(Rules::ALL)),
            Ok(Swept::Searched(Found::Order))
        );
    }
    let remove = |inv, res| Event { read: Value::Present, ..delete(7, inv, res) };
    let puts = [put(1, -9, 1), put(2, 12, 30)];
    let broken = [deletes[0], remove(10, 11), puts[1]];
    assert_eq!(rule(&broken), Some(Rule::Presence));
    assert_eq!(
        rule(&[Event { inv: 2, res: 3, ..deletes[0] }, remove(10, 11), puts[0]]),
        Some(Rule::Presence)
    );
    assert_eq!(rule(&[broken[0], broken[1], put(1, 0, 1)]), None);
    assert_eq!(rule(&[broken[0], broken[1], put(2, 11, 30)]), None);
}

#[test]
fn a_miss_stays_in_its_workers_order() {
    let with = |stamp| {
        let [first, second] = [of(0, 5, put(1, 0, 9)), of(0, stamp, miss(0, 9))];
        [first, second, of(1, 1, delete(8, 20, 21))]
    };
    kills_presence(&with(6), &with(4), |rules| rules.presence_program = false);
}

#[test]
fn an_unknown_delete_comes_before_what_its_worker_did_later() {
    let with = |stamp| {
        [
            of(1, 1, put(1, 0, 1)),
            of(0, stamp, delete(8, 2, NEVER)),
            of(0, 5, miss(3, 4)),
            of(1, 2, put(2, 5, 6)),
            of(1, 3, delete(9, 7, 8)),
        ]
    };
    kills_presence(&with(6), &with(4), |rules| rules.presence_program = false);
}

#[test]
fn a_value_may_come_and_go_between_two_misses() {
    // The swap made it from nothing, and the DELETE names what it took away.
    let create = |inv, res| Event { read: Value::Missing, written: id(1), ..swap(0, 0, inv, res) };
    let take = |inv| Event { read: id(1), written: Value::NotKnown, ..delete(0, inv, inv + 2) };
    let with = |at| [miss(-9, -8), create(0, 1), get(1, 4, 5), take(8), miss(at, at + 1)];
    for at in [-3, 9, 12] {
        assert!(is_linearizable(&with(at)));
        assert_eq!(decide(&with(at), &HOW, &mut Stamps::default()).0, Decision::Search);
    }
    assert!(!is_linearizable(&with(6)));
    let found = decide(&with(6), &HOW, &mut Stamps::default()).0;
    assert!(matches!(found, Decision::Violation(_)), "{found:?}");
}

#[test]
fn a_delete_that_found_nothing_may_leave_a_tombstone_all_the_same() {
    // Both tombstones are there in turn, and the swap names the first.
    let nothing = |stamp, inv, res| Event { read: Value::Missing, ..delete(stamp, inv, res) };
    let with = |inv| [nothing(8, 0, 5), nothing(9, 0, 20), swap(8, 1, 6, 20), get(9, inv, 20)];
    assert!(is_linearizable(&with(0)) && !is_linearizable(&with(6)));
    assert_eq!(decide(&with(0), &HOW, &mut Stamps::default()).0, Decision::Search);
    assert!(matches!(decide(&with(6), &HOW, &mut Stamps::default()).0, Decision::Violation(_)));
}

#[test]
fn an_unknown_swap_of_an_unknown_tombstone_makes_a_key_present() {
    let with = |named| {
        let remove = Event { read: Value::Present, ..delete(9, 5, 12) };
        [remove, miss(8, 12), delete(named, -2, NEVER), swap(7, 8, 1, NEVER)]
    };
    assert!(is_linearizable(&with(7)) && !is_linearizable(&with(6)));
    assert_eq!(decide(&with(7), &HOW, &mut Stamps::default()).0, Decision::Search);
    assert_eq!(rule(&with(6)), Some(Rule::Presence));
}

#[test]
fn who_names_a_tombstone_saw_that_one() {
    // Both tombstones were seen after the second PUT, so none is left for the miss before it.
    let with = |inv| {
        let deletes = [delete(8, 0, 20), delete(9, 0, 20)];
        let gets = [get(8, 10, 11), get(9, inv, 11)];
        [put(1, 5, 6), miss(7, 8), put(2, 9, 9), deletes[0], deletes[1], gets[0], gets[1]]
    };
    kills_presence(&with(10), &with(7), |rules| rules.presence_names = false);
}

/// Checks that the replay passes the twin and not `broken`, and that it would without the rule.
fn kills_replay(broken: &[Event], twin: &[Event], off: impl Fn(&mut Rules)) {
    let (broken, twin) = (witnessed(broken), witnessed(twin));
    let mut rules = Rules::ALL;
    assert_eq!(replay(&twin, &mut Stamps::default(), &rules), Replay::Holds);
    assert_eq!(replay(&broken, &mut Stamps::default(), &rules), Replay::Mismatch);
    off(&mut rules);
    assert_eq!(replay(&broken, &mut Stamps::default(), &rules), Replay::Holds, "the mutant");
}

#[test]
fn the_replay_compares_outcomes() {
    kills_replay(
        &[put(1, 0, 9), put(2, 0, 9), get(1, 0, 9)],
        &[put(2, 0, 9), put(1, 0, 9), get(1, 0, 9)],
        |rules| rules.replay_outcomes = false,
    );
}

#[test]
fn the_replay_keeps_real_time() {
    kills_replay(&[put(2, 2, 3), put(1, 0, 1)], &[put(2, 0, 3), put(1, 0, 1)], |rules| {
        rules.replay_times = false;
    });
}

#[test]
fn the_replay_keeps_program_order() {
    kills_replay(
        &[of(0, 2, put(1, 0, 9)), of(0, 1, put(2, 0, 9))],
        &[of(0, 1, put(1, 0, 9)), of(0, 2, put(2, 0, 9))],
        |rules| rules.replay_stamps = false,
    );
}

#[test]
fn the_replay_places_unknown_mutations() {
    let unknown = [put(5, 0, NEVER), swap(5, 6, 0, NEVER), delete(7, 9, NEVER)];
    let mut legal = witnessed(&[put(1, 0, 1), get(6, 2, 3), miss(10, 11)]);
    legal.extend(unknown);
    assert_eq!(replay(&legal, &mut Stamps::default(), &Rules::ALL), Replay::Holds);
    let mut broken = witnessed(&[put(1, 0, 1), get(6, 2, 3), miss(4, 5)]);
    broken.extend(unknown);
    assert_eq!(replay(&broken, &mut Stamps::default(), &Rules::ALL), Replay::Mismatch);
    let mut counts = witnessed(&[increment(1, 0, 1), increment(4, 2, 3), count(4, 4, 5)]);
    counts.extend([increment(0, 0, NEVER), increment(0, 0, NEVER), increment(0, 0, NEVER)]);
    assert_eq!(replay(&counts, &mut Stamps::default(), &Rules::ALL), Replay::Holds);
    counts.truncate(4);
    assert_eq!(replay(&counts, &mut Stamps::default(), &Rules::ALL), Replay::Mismatch);
}

#[test]
fn a_wrong_witness_costs_the_proof_and_no_more() {
    let legal = [put(1, 0, 1), put(2, 2, 3), get(2, 4, 5)];
    let mut wrong = witnessed(&legal);
    wrong.reverse();
    let stamps = &mut Stamps::default();
    assert_eq!(decide(&witnessed(&legal), &HOW, stamps), (Decision::Witness, false));
    assert_eq!(decide(&wrong, &HOW, stamps), (Decision::Sweep, true));
    assert_eq!(decide(&legal, &HOW, stamps), (Decision::Sweep, false), "no witness, no mismatch");
    let without = How { use_witness: false, ..HOW };
    assert_eq!(decide(&wrong, &without, stamps), (Decision::Sweep, false));
}

#[test]
fn what_a_killed_client_wrote_is_no_phantom() {
    let events = [put(1, 0, 1), get(9, 2, 3), miss(4, 5)];
    assert!(!is_linearizable(&events));
    assert_eq!(decide_with_losses(&events, &HOW, |client| client == 0), Decision::Sweep);
    let other = decide_with_losses(&events, &HOW, |client| client == 1);
    assert!(matches!(other, Decision::Violation(found) if found.rule == Rule::Phantom));
    // What is wrong whatever was lost stays wrong.
    let stale = [put(1, 0, 1), put(2, 2, 3), get(2, 4, 5), get(1, 6, 7)];
    let stale = decide_with_losses(&stale, &HOW, |_| true);
    assert!(matches!(stale, Decision::Violation(found) if found.rule == Rule::Crossing));
    let counts = decide_with_losses(&[increment(2, 0, 1)], &HOW, |_| true);
    assert_eq!(counts, Decision::Undecided(Bound::Losses));
}

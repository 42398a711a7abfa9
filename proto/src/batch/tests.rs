use std::sync::LazyLock;

use bytes::Bytes;
use model::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use model::operation::{Action, Operation, OperationKind};
use model::operations::{Group, OperationEntry, Operations};
use model::session::SessionId;
use model::slot::slot_of;
use model::slots::{Partitions, Shard, SlotSet};
use proptest::collection::vec;
use proptest::prelude::*;
use rapidhash::v3::rapidhash_v3;

use super::header::{COUNTS, RESERVED};
use super::*;
use crate::limits::{BATCH_GROUPS_MAX, BATCH_OPERATIONS_MAX, REQUEST_BYTES_MAX};
use crate::testing::{config, damaged, damages};
use crate::varint;

const HEADER: BatchHeader = BatchHeader {
    session: SessionId { data_id: 11, number: 12 },
    shard: 17,
    lane: 13,
    epoch: 14,
    number: 16,
    lowest_open: 15,
    first_stamp: 1_000,
};

/// A shard's partitions and slots.
struct Map(Partitions, SlotSet);

impl Map {
    fn new(shard: Shard, partitions: u32) -> Self {
        Self(Partitions::new(partitions), shard.first_slots())
    }
}

impl Placement for Map {
    fn place(&self, key: &[u8]) -> (u32, bool) {
        let slot = slot_of(key);
        (self.0.of(slot), self.1.contains(slot))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        !rapidhash_v3(key)
    }
}

/// A shard that owns all keys, in one partition.
fn sole() -> &'static Map {
    static SOLE: LazyLock<Map> = LazyLock::new(|| Map::new(Shard::SOLE, 1));
    &SOLE
}

fn decode_by(
    placement: &Map,
    body: &[u8],
) -> Result<(Decoded, Vec<Group>, Vec<OperationEntry>), BatchError> {
    // What an earlier batch left behind must not show.
    let mut groups = vec![Group { partition: 7, operations: 7 }];
    let mut entries = vec![OperationEntry {
        hash: 7,
        key_offset: 7,
        argument_offset: 7,
        argument_bytes: 7,
        key_bytes: 7,
        kind: OperationKind::Increment,
    }];
    decode(body, placement, &mut groups, &mut entries).map(|decoded| (decoded, groups, entries))
}

fn refusal(body: &[u8]) -> BatchError {
    decode_by(sole(), body).expect_err("the body is not a batch")
}

/// Where each operation starts, and where the last one ends.
fn boundaries(body: &[u8], groups: &[Group], entries: &[OperationEntry]) -> Vec<usize> {
    let mut boundaries = vec![HEADER_BYTES + groups.len() * GROUP_BYTES];
    boundaries.extend(
        entries.iter().map(|entry| entry.argument_offset as usize + entry.argument_bytes as usize),
    );
    assert_eq!(boundaries.last(), Some(&body.len()));
    boundaries
}

/// Writes a batch again from what its decoding yields.
fn encode_again(
    body: &[u8],
    header: &BatchHeader,
    groups: &[Group],
    entries: &[OperationEntry],
) -> Bytes {
    let operations = Operations::new(body, entries);
    let starts = boundaries(body, groups, entries);
    let mut index = 0;
    let mut encoders = Vec::new();
    for group in groups {
        let mut encoder = GroupEncoder::default();
        let mut offset = 0;
        for _ in 0..group.operations {
            let difference = varint::read(body, &mut (starts[index] + 1));
            offset += difference.expect("the batch was decoded");
            encoder.push(offset, &operations.get(index));
            index += 1;
        }
        encoders.push((group.partition, encoder));
    }
    let groups: Vec<_> = encoders.iter().map(|(partition, group)| (*partition, group)).collect();
    assemble(header, &groups)
}

/// A body made by hand: the counts are what the caller says.
fn raw_body(operations: u32, groups: &[(u32, u32)], bytes: &[u8]) -> Vec<u8> {
    let mut body = assemble(&HEADER, &[(0, &one_get())])[..HEADER_BYTES].to_vec();
    body[COUNTS..COUNTS + 4].copy_from_slice(&operations.to_le_bytes());
    body[COUNTS + 4..].copy_from_slice(&(groups.len() as u32).to_le_bytes());
    for (partition, operations) in groups {
        body.extend_from_slice(&partition.to_le_bytes());
        body.extend_from_slice(&operations.to_le_bytes());
    }
    body.extend_from_slice(bytes);
    body
}

fn one_get() -> GroupEncoder {
    group_of(&[Operation { key: b"k", action: Action::Get }])
}

fn group_of(operations: &[Operation<'_>]) -> GroupEncoder {
    let mut group = GroupEncoder::default();
    for operation in operations {
        group.push(0, operation);
    }
    group
}

/// The body of a batch of operations on one key, which may break limits.
fn body_under(header: &BatchHeader, actions: &[Action<'_>]) -> Bytes {
    let operations = actions.iter().map(|action| Operation { key: b"k", action: *action });
    assemble(header, &[(0, &group_of(&operations.collect::<Vec<_>>()))])
}

fn body_of(action: Action<'_>) -> Bytes {
    body_under(&HEADER, &[action])
}

const ACTIONS: [Action<'static>; 5] = [
    Action::Get,
    Action::Put { value: b"value" },
    Action::Delete,
    Action::CompareAndSwap { expected: Some(b"a"), value: b"b" },
    Action::Increment { by: 1 },
];

// Random batches.

#[derive(Clone, Debug)]
enum OwnedAction {
    Get,
    Put(Vec<u8>),
    Delete,
    CompareAndSwap(Option<Vec<u8>>, Vec<u8>),
    Increment(i64),
}

impl OwnedAction {
    fn borrow(&self) -> Action<'_> {
        match self {
            Self::Get => Action::Get,
            Self::Put(value) => Action::Put { value },
            Self::Delete => Action::Delete,
            Self::CompareAndSwap(expected, value) => {
                Action::CompareAndSwap { expected: expected.as_deref(), value }
            }
            Self::Increment(by) => Action::Increment { by: *by },
        }
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 120..300)]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 1..20), 1 => vec(any::<u8>(), 1000..=KEY_BYTES_MAX)]
}

fn action() -> impl Strategy<Value = OwnedAction> {
    prop_oneof![
        3 => Just(OwnedAction::Get),
        2 => value().prop_map(OwnedAction::Put),
        1 => Just(OwnedAction::Delete),
        2 => (proptest::option::of(value()), value())
            .prop_map(|(expected, value)| OwnedAction::CompareAndSwap(expected, value)),
        1 => any::<i64>().prop_map(OwnedAction::Increment),
    ]
}

/// What a client sends: keys, actions and the gap of each stamp to the one before.
fn operations() -> impl Strategy<Value = Vec<(Vec<u8>, OwnedAction, u64)>> {
    let gap = prop_oneof![8 => 1..3u64, 1 => Just(0), 1 => 100..17_000u64, 1 => 0..1u64 << 50];
    vec((key(), action(), gap), 1..60)
}

/// The decoded batch as a list: partition, stamp offset, operation; and its bytes.
type Listed<'a> = Vec<(u32, u64, Operation<'a>)>;

/// Groups operations as a client does; returns what the decoder should yield, and the body.
fn encode_random<'a>(
    header: &BatchHeader,
    map: &Map,
    operations: &'a [(Vec<u8>, OwnedAction, u64)],
) -> (Listed<'a>, Bytes) {
    let mut offset = 0;
    let mut listed: Listed<'a> = Vec::new();
    for (key, action, gap) in operations {
        let (partition, _) = map.place(key);
        listed.push((partition, offset, Operation { key, action: action.borrow() }));
        offset += gap;
    }
    // Stable, so stamps ascend in each group.
    listed.sort_by_key(|(partition, ..)| *partition);
    let mut groups: Vec<(u32, GroupEncoder)> = Vec::new();
    for (partition, offset, operation) in &listed {
        // Groups of at most ten, so that partitions appear more than once.
        if groups.last().is_none_or(|(last, group)| last != partition || group.operations() == 10) {
            groups.push((*partition, GroupEncoder::default()));
        }
        groups.last_mut().expect("one was pushed").1.push(*offset, operation);
    }
    let groups: Vec<_> = groups.iter().map(|(partition, group)| (*partition, group)).collect();
    (listed, assemble(header, &groups))
}

prop_compose! {
    fn random_header()(
        (data_id, session_number) in any::<(u64, u64)>(),
        (shard, lane, epoch) in any::<(u32, u32, u32)>(),
        number in 1..=u64::MAX,
        open in any::<u64>(),
        first_stamp in 0..1u64 << 60,
    ) -> BatchHeader {
        let session = SessionId { data_id, number: session_number };
        let lowest_open = open % number + 1;
        BatchHeader { session, shard, lane, epoch, number, lowest_open, first_stamp }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_batches_survive_the_round_trip(
        header in random_header(),
        operations in operations(),
        partitions in 1..200u32,
        shards in 1..4u32,
    ) {
        let map = Map::new(Shard::new(1, shards).unwrap(), partitions);
        let (listed, body) = encode_random(&header, &map, &operations);
        let (read, groups, entries) = decode_by(&map, &body).unwrap();
        let mutations = listed.iter().filter(|(.., operation)| operation.action != Action::Get);
        let is_owned = listed.iter().all(|(.., operation)| map.place(operation.key).1);
        prop_assert_eq!(read, Decoded { header, mutations: mutations.count(), is_owned });
        prop_assert_eq!(read_header(&body), Some(header));
        prop_assert_eq!(entries.len(), listed.len());
        let decoded = Operations::new(&body, &entries);
        let partitions = groups
            .iter()
            .flat_map(|group| std::iter::repeat_n(group.partition, group.operations as usize));
        for (index, partition) in partitions.enumerate() {
            let (listed_partition, _, operation) = listed[index];
            prop_assert_eq!(partition, listed_partition);
            prop_assert_eq!(decoded.get(index), operation);
            prop_assert_eq!(decoded.hash(index), map.hash(operation.key));
        }
        // Each batch has one encoding, stamps included.
        prop_assert_eq!(encode_again(&body, &header, &groups, &entries), &body);
    }

    #[test]
    fn a_batch_cut_off_anywhere_is_refused(operations in operations()) {
        let (_, body) = encode_random(&HEADER, sole(), &operations);
        for length in 0..body.len() {
            prop_assert!(decode_by(sole(), &body[..length]).is_err(), "at {} bytes", length);
        }
    }

    #[test]
    fn a_damaged_batch_is_refused_or_is_another_batch(
        operations in operations(),
        damages in damages(),
    ) {
        let (_, body) = encode_random(&HEADER, sole(), &operations);
        let body = damaged(&body, &damages);
        if let Ok((Decoded { header, .. }, groups, entries)) = decode_by(sole(), &body) {
            let decoded = Operations::new(&body, &entries);
            for index in 0..decoded.len() {
                prop_assert_eq!(decoded.get(index).check(), Ok(()));
            }
            prop_assert_eq!(encode_again(&body, &header, &groups, &entries), &body);
        }
    }

    #[test]
    fn garbage_is_refused(
        garbage in vec(any::<u8>(), 0..300),
        operations in vec((0..7u8, 0..4u8, 0..4u8, any::<u8>(), 0..4u8, any::<u8>()), 1..20),
    ) {
        prop_assert!(decode_by(sole(), &garbage).is_err(), "random counts are out of bounds");
        // Garbage that gets further: the header is right and the operations look like some.
        let bytes: Vec<u8> =
            operations.iter().flat_map(|o| [o.0, o.1, o.2, o.3, o.4, o.5]).collect();
        let count = operations.len() as u32;
        let body = raw_body(count, &[(0, count)], &bytes);
        if let Ok((Decoded { header, .. }, groups, entries)) = decode_by(sole(), &body) {
            prop_assert_eq!(encode_again(&body, &header, &groups, &entries), &body);
        }
    }
}

// Reject twins by name.

#[test]
fn the_raw_body_of_the_tests_is_a_batch() {
    let (decoded, groups, entries) =
        decode_by(sole(), &raw_body(1, &[(0, 1)], &get(b"k"))).unwrap();
    assert_eq!(decoded, Decoded { header: HEADER, mutations: 0, is_owned: true });
    assert_eq!(groups, [Group { partition: 0, operations: 1 }]);
    assert_eq!(entries.len(), 1);
}

/// A GET's bytes with a short key.
fn get(key: &[u8]) -> Vec<u8> {
    [&[0, 0, key.len() as u8], key].concat()
}

#[test]
fn a_body_shorter_than_its_header_is_refused() {
    for length in 0..HEADER_BYTES {
        let error = refusal(&vec![0xa5; length]);
        assert_eq!(error, BatchError::CutOff { part: "the header", offset: length });
        assert_eq!(read_header(&vec![0xa5; length]), None);
    }
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let error = refusal(&vec![0; REQUEST_BYTES_MAX + 1]);
    assert!(matches!(error, BatchError::OutOfBounds { what: "the length of the batch", .. }));
}

fn numbered(number: u64, lowest_open: u64) -> BatchHeader {
    BatchHeader { number, lowest_open, ..HEADER }
}

#[test]
fn numbers_of_lanes_start_at_one_and_do_not_pass_each_other() {
    let number_is_0 = ("the number of a batch that mutates", 0);
    let open = |got| ("the lowest open number", got);
    for action in &ACTIONS[1..] {
        // One mutation among reads is enough.
        for actions in [&[*action][..], &[Action::Get, *action, Action::Get]] {
            for (number, lowest_open) in [(1, 1), (5, 5), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
                let header = numbered(number, lowest_open);
                let (decoded, ..) = decode_by(sole(), &body_under(&header, actions)).unwrap();
                assert_eq!(decoded, Decoded { header, mutations: 1, is_owned: true });
            }
            for (number, lowest_open, expected) in [
                (0, 0, number_is_0),
                (0, 1, number_is_0),
                (1, 0, open(0)),
                (1, 2, open(2)),
                (5, 6, open(6)),
                (5, u64::MAX, open(u64::MAX)),
            ] {
                let error = refusal(&body_under(&numbered(number, lowest_open), actions));
                assert!(
                    matches!(error, BatchError::OutOfBounds { what, got, .. }
                        if (what, got) == expected),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn reads_alone_follow_any_number_and_open_at_most_the_next() {
    for actions in [&[Action::Get][..], &[Action::Get; 3]] {
        for (number, lowest_open) in
            [(0, 1), (1, 1), (1, 2), (5, 6), (u64::MAX, 1), (u64::MAX, u64::MAX)]
        {
            let header = numbered(number, lowest_open);
            let (decoded, ..) = decode_by(sole(), &body_under(&header, actions)).unwrap();
            assert_eq!(decoded, Decoded { header, mutations: 0, is_owned: true });
        }
        for (number, lowest_open) in [(0, 0), (0, 2), (1, 0), (1, 3), (5, 7), (5, u64::MAX)] {
            let error = refusal(&body_under(&numbered(number, lowest_open), actions));
            assert!(matches!(error, BatchError::OutOfBounds { what, got, .. }
                    if what == "the lowest open number" && got == lowest_open));
        }
    }
}

#[test]
fn a_reserved_number_that_is_not_zero_is_refused() {
    let good = body_of(Action::Get);
    assert!(good[RESERVED..RESERVED + 4] == [0; 4] && decode_by(sole(), &good).is_ok());
    for at in 0..4 {
        let mut body = good.to_vec();
        body[RESERVED + at] = 1;
        let expected =
            BatchError::OutOfBounds { what: "a reserved number", got: 1 << (8 * at), bounds: "0" };
        assert_eq!(refusal(&body), expected);
    }
}

#[test]
fn mutations_are_counted() {
    let actions = [Action::Get, ACTIONS[1], Action::Get, ACTIONS[2], ACTIONS[3], ACTIONS[4]];
    assert_eq!(decode_by(sole(), &body_under(&HEADER, &actions)).unwrap().0.mutations, 4);
    assert_eq!(decode_by(sole(), &body_of(Action::Get)).unwrap().0.mutations, 0);
}

#[test]
fn one_foreign_key_makes_a_batch_foreign() {
    let (first, second) = (Shard::new(1, 2).unwrap(), Shard::new(2, 2).unwrap());
    let key_of = |shard: Shard| {
        let slots = shard.first_slots();
        let mut keys = (0..100u8).map(|number| [b'k', number]);
        keys.find(|key| slots.contains(slot_of(key))).expect("each shard owns half of the slots")
    };
    let (own, foreign) = (key_of(first), key_of(second));
    for (keys, owners) in [
        (&[own, own][..], &[first][..]),
        (&[foreign], &[second]),
        (&[own, own, foreign], &[]),
        (&[foreign, own, own], &[]),
    ] {
        for action in ACTIONS {
            let operations: Vec<_> = keys.iter().map(|key| Operation { key, action }).collect();
            let body = assemble(&HEADER, &[(0, &group_of(&operations))]);
            for shard in [first, second, Shard::SOLE] {
                let map = Map::new(shard, 1);
                let (decoded, _, entries) = decode_by(&map, &body).unwrap();
                let is_owned = shard == Shard::SOLE || owners.contains(&shard);
                assert_eq!(decoded.is_owned, is_owned, "{keys:?} of {shard}");
                // Whoever owns the keys, the operations are read as they are.
                let read = Operations::new(&body, &entries);
                for (position, operation) in operations.iter().enumerate() {
                    assert_eq!(read.get(position), *operation);
                    assert_eq!(read.hash(position), map.hash(operation.key));
                }
            }
        }
    }
}

#[test]
fn another_header_leaves_the_operations_as_they_are() {
    let body = body_under(&HEADER, &ACTIONS);
    let header = BatchHeader {
        session: SessionId { data_id: 21, number: 22 },
        shard: 23,
        lane: 24,
        epoch: 25,
        number: 26,
        lowest_open: 26,
        first_stamp: 27,
    };
    let again = with_header(&body, &header);
    assert_eq!(operation_bytes(&again), operation_bytes(&body));
    assert_eq!(operation_bytes(&body).len(), body.len() - COUNTS);
    assert_eq!(again, body_under(&header, &ACTIONS));
}

#[test]
fn counts_that_lie_allocate_nothing() {
    let (mut groups, mut entries) = (Vec::new(), Vec::new());
    for (operations, group_count) in [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 2),
        (65_537, 1),
        (u32::MAX, 1),
        (u32::MAX, u32::MAX),
        (65_536, 65_536),
        (65_536, 1),
        (2, 1),
    ] {
        let mut body = raw_body(operations, &[(0, 1)], &get(b"k"));
        body[COUNTS + 4..COUNTS + 8].copy_from_slice(&group_count.to_le_bytes());
        let error = decode(&body, sole(), &mut groups, &mut entries).unwrap_err();
        assert!(
            matches!(error, BatchError::OutOfBounds { .. } | BatchError::CutOff { .. }),
            "{operations} operations, {group_count} groups: {error}"
        );
        assert_eq!((groups.capacity(), entries.capacity()), (0, 0));
    }
}

#[test]
fn groups_that_do_not_add_up_are_refused() {
    let two = [get(b"a"), get(b"b")].concat();
    decode_by(sole(), &raw_body(2, &[(0, 1), (0, 1)], &two)).unwrap();
    for (counts, sum) in [
        (&[(0, 1)][..], 1),
        (&[(0, 3)], 3),
        (&[(0, 1), (0, 2)], 3),
        (&[(0, u32::MAX), (0, 3)], (1 << 32) + 2),
    ] {
        let error = refusal(&raw_body(2, counts, &two));
        assert_eq!(error, BatchError::CountsLie { groups: sum, header: 2 });
    }
}

#[test]
fn groups_without_operations_are_refused() {
    let two = [get(b"a"), get(b"b")].concat();
    let error = refusal(&raw_body(2, &[(0, 2), (0, 0)], &two));
    let what = "a group's number of operations";
    assert!(matches!(error, BatchError::OutOfBounds { what: it, got: 0, .. } if it == what));
}

#[test]
fn partitions_that_descend_or_are_none_are_refused() {
    let two = [get(b"a"), get(b"b")].concat();
    for (partitions, wrong) in [([1, 0], 0), ([0, 4096], 4096), ([u32::MAX, u32::MAX], u32::MAX)] {
        let error = refusal(&raw_body(2, &partitions.map(|partition| (partition, 1)), &two));
        let what = "a group's partition";
        assert!(matches!(error, BatchError::OutOfBounds { what: it, got, .. }
                if it == what && got == u64::from(wrong)));
    }
}

#[test]
fn unknown_operations_are_refused() {
    for code in [5, 6, 0x80, 0xff] {
        let two = [get(b"a"), vec![code, 0, 1, b'b']].concat();
        let error = refusal(&raw_body(2, &[(0, 2)], &two));
        assert_eq!(error, BatchError::UnknownOperation { index: 1, code });
    }
}

#[test]
fn keys_have_one_to_1024_bytes() {
    for (length, fits) in [(0, false), (1, true), (1024, true), (1025, false)] {
        let key = vec![b'k'; length];
        let group = group_of(&[Operation { key: &key, action: Action::Put { value: b"value" } }]);
        let decoded = decode_by(sole(), &assemble(&HEADER, &[(0, &group)]));
        if fits {
            assert_eq!(decoded.unwrap().2[0].key_bytes as usize, length);
        } else {
            let (bytes, bounds) = (length as u64, "1 to 1,024 bytes");
            let what = "a key";
            let expected = BatchError::Length { index: 0, what, bytes, bounds };
            assert_eq!(decoded.unwrap_err(), expected);
        }
    }
    // A length that no machine can hold.
    let endless = [&[0, 0][..], &[0xff; 9], &[0x01]].concat();
    let error = refusal(&raw_body(1, &[(0, 1)], &endless));
    assert!(matches!(error, BatchError::Length { bytes: u64::MAX, .. }));
}

#[test]
fn keys_and_values_that_pass_the_end_are_refused() {
    let error = refusal(&raw_body(1, &[(0, 1)], &[0, 0, 3, b'k', b'k']));
    assert!(matches!(error, BatchError::CutOff { part: "a key", .. }));
    let put = [1, 0, 1, b'k', 3, b'v', b'v'];
    assert!(matches!(
        refusal(&raw_body(1, &[(0, 1)], &put)),
        BatchError::CutOff { part: "a value", .. }
    ));
    let increment = [4, 0, 1, b'k', 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(
        refusal(&raw_body(1, &[(0, 1)], &increment)),
        BatchError::CutOff { part: "a value", .. }
    ));
}

#[test]
fn values_have_at_most_one_mebibyte() {
    let over = vec![b'v'; VALUE_BYTES_MAX + 1];
    let fits = &over[1..];
    for action in [
        Action::Put { value: fits },
        Action::CompareAndSwap { expected: None, value: fits },
        Action::CompareAndSwap { expected: Some(fits), value: fits },
    ] {
        let body = body_of(action);
        let entries = decode_by(sole(), &body).unwrap().2;
        assert_eq!(Operations::new(&body, &entries).get(0).action, action);
    }
    for action in [
        Action::Put { value: &over },
        Action::CompareAndSwap { expected: None, value: &over },
        Action::CompareAndSwap { expected: Some(&over), value: fits },
        Action::CompareAndSwap { expected: Some(fits), value: &over },
    ] {
        let error = refusal(&body_of(action));
        let length = VALUE_BYTES_MAX as u64 + 1;
        assert!(matches!(error, BatchError::Length { index: 0, bytes, .. } if bytes == length));
    }
    // Said of the length, even where the value is not there.
    let body = body_of(Action::Put { value: &over });
    assert!(matches!(refusal(&body[..1000]), BatchError::Length { index: 0, .. }));
}

#[test]
fn arguments_of_a_cas_that_lie_are_refused() {
    let swap = |argument: &[u8]| {
        raw_body(1, &[(0, 1)], &[&[3, 0, 1, b'k', argument.len() as u8], argument].concat())
    };
    let body = swap(&[2, 0, 0, 0, b'v']);
    let entries = decode_by(sole(), &body).unwrap().2;
    let action = Action::CompareAndSwap { expected: Some(b"v"), value: b"" };
    assert_eq!(Operations::new(&body, &entries).get(0).action, action);
    for argument in [
        // The expected value claims to have two bytes, or 4 GiB less two.
        &[3, 0, 0, 0, b'v'][..],
        &[0xff, 0xff, 0xff, 0xff, b'v'],
        // These do not even say whether a value is expected.
        &[0, 0, 0],
        &[],
    ] {
        let expected = BatchError::Malformed { index: 0, what: "argument of a CAS" };
        assert_eq!(refusal(&swap(argument)), expected, "{argument:?}");
    }
}

#[test]
fn overlong_numbers_are_refused() {
    let bodies: [(&str, &[u8]); 4] = [
        ("stamp difference", &[0, 0x80, 0x00, 1, b'k']),
        ("key length", &[0, 0, 0x81, 0x00, b'k']),
        ("value length", &[1, 0, 1, b'k', 0x81, 0x00, b'v']),
        ("value length", &[3, 0, 1, b'k', 0x84, 0x00, 0, 0, 0, 0]),
    ];
    for (what, bytes) in bodies {
        let body = raw_body(1, &[(0, 1)], bytes);
        assert_eq!(refusal(&body), BatchError::Malformed { index: 0, what });
    }
}

#[test]
fn stamps_do_not_pass_64_bits() {
    let header = BatchHeader { first_stamp: u64::MAX - 1, ..HEADER };
    for (offset, fits) in [(1, true), (2, false), (u64::MAX, false)] {
        let mut group = one_get();
        group.push(offset, &Operation { key: b"k", action: Action::Get });
        let decoded = decode_by(sole(), &assemble(&header, &[(0, &group)]));
        if fits {
            decoded.unwrap();
        } else {
            let expected = BatchError::Malformed { index: 1, what: "stamp" };
            assert_eq!(decoded.unwrap_err(), expected);
        }
    }
}

#[test]
fn bytes_after_the_last_operation_are_refused() {
    let mut body = raw_body(1, &[(0, 1)], &get(b"k"));
    body.extend_from_slice(&get(b"more"));
    assert_eq!(refusal(&body), BatchError::TrailingBytes { bytes: 7 });
    // Numbers come last: which of them may stand there is known when all operations are.
    let body = [&body_under(&numbered(0, 0), &ACTIONS)[..], &[0]].concat();
    assert_eq!(refusal(&body), BatchError::TrailingBytes { bytes: 1 });
}

#[test]
fn an_operation_in_the_group_of_another_partition_is_refused() {
    let map = Map::new(Shard::SOLE, 64);
    let (partition, _) = map.place(b"k");
    decode_by(&map, &assemble(&HEADER, &[(partition, &one_get())])).unwrap();
    for group in [partition - 1, partition + 1, 4095] {
        let error = decode_by(&map, &assemble(&HEADER, &[(group, &one_get())])).unwrap_err();
        assert_eq!(error, BatchError::WrongGroup { index: 0, group, partition });
    }
}

#[test]
fn a_batch_of_the_most_operations_and_groups_is_taken() {
    let groups: Vec<GroupEncoder> = (0..BATCH_GROUPS_MAX).map(|_| one_get()).collect();
    let groups: Vec<_> = groups.iter().map(|group| (0, group)).collect();
    let (_, read, entries) = decode_by(sole(), &assemble(&HEADER, &groups)).unwrap();
    assert_eq!((read.len(), entries.len()), (BATCH_GROUPS_MAX, BATCH_OPERATIONS_MAX));
}

// What we would get wrong ourselves.

#[test]
fn an_encoder_that_is_cleared_gives_the_same_bytes() {
    let mut encoder = GroupEncoder::default();
    assert!(encoder.is_empty());
    let mut bodies = Vec::new();
    for _ in 0..2 {
        encoder.push(5, &Operation { key: b"k", action: Action::Put { value: b"value" } });
        encoder.push(900, &Operation { key: b"k", action: Action::Get });
        assert_eq!((encoder.operations(), encoder.encoded_bytes()), (2, 15));
        bodies.push(assemble(&HEADER, &[(0, &encoder)]));
        encoder.clear();
        assert_eq!((encoder.operations(), encoder.encoded_bytes()), (0, 0));
    }
    assert_eq!(bodies[0], bodies[1]);
}

#[test]
#[should_panic(expected = "stamps ascend in a group")]
fn stamps_that_descend_are_not_encoded() {
    let mut encoder = GroupEncoder::default();
    encoder.push(5, &Operation { key: b"k", action: Action::Get });
    encoder.push(4, &Operation { key: b"k", action: Action::Get });
}

#[test]
#[should_panic(expected = "a batch has a group")]
fn a_batch_without_groups_is_not_assembled() {
    assemble(&HEADER, &[]);
}

#[test]
#[should_panic(expected = "a group has an operation")]
fn an_empty_group_is_not_assembled() {
    assemble(&HEADER, &[(0, &GroupEncoder::default())]);
}

#[test]
#[should_panic(expected = "partitions do not descend")]
fn descending_partitions_are_not_assembled() {
    assemble(&HEADER, &[(1, &one_get()), (0, &one_get())]);
}

#[test]
#[should_panic(expected = "fits into a frame")]
fn a_batch_over_the_limit_is_not_assembled() {
    let value = vec![0; VALUE_BYTES_MAX];
    let put = Operation { key: b"k", action: Action::Put { value: &value } };
    assemble(&HEADER, &[(0, &group_of(&[put; 4]))]);
}

#[test]
#[should_panic(expected = "a batch's operations are bounded")]
fn a_batch_of_too_many_operations_is_not_assembled() {
    let get = Operation { key: b"k", action: Action::Get };
    assemble(&HEADER, &[(0, &group_of(&vec![get; BATCH_OPERATIONS_MAX + 1]))]);
}

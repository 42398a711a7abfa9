//! Batches whose bytes lie: each is refused as a whole, and uses up no number.

use engine::{Change, Ownership};
use kvs_server::errand::Errand;
use kvs_server::order::{Answer, Order};
use model::limits::{KEY_BYTES_MAX, PARTITIONS_MAX, VALUE_BYTES_MAX};
use model::operation::{Action, Operation};
use model::outcome::Outcome;
use model::refusal::Refusal;
use model::slots::{Shard, SlotSet};
use proto::batch::{BatchHeader, GROUP_BYTES, GroupEncoder, HEADER_BYTES, assemble, with_header};
use proto::limits::BATCH_OPERATIONS_MAX;
use proto::varint;

use crate::client::{Client, Lane, get, increment, put};
use crate::harness::{BYSTANDER_KEYS, Bystander, Server};

/// Where the header's numbers stand in a body.
const RESERVED: usize = 28;
pub(crate) const NUMBER: usize = 32;
const LOWEST_OPEN: usize = 40;
const FIRST_STAMP: usize = 48;
pub(crate) const OPERATIONS: usize = 56;
const GROUPS: usize = 60;
/// Where the first two groups' numbers stand.
const PARTITION: [usize; 2] = [HEADER_BYTES, HEADER_BYTES + GROUP_BYTES];
const COUNT: [usize; 2] = [PARTITION[0] + 4, PARTITION[1] + 4];
const _: () = assert!(GROUPS + 4 == HEADER_BYTES && COUNT[0] + 4 == PARTITION[1]);

/// A way to spoil a batch, and the words that it is refused with.
type Case = (fn(&Lane) -> Vec<u8>, &'static str);

/// Sends each spoiled batch in one lane of one connection. Each is refused as malformed, changes
/// nothing, and leaves its number to the correct batch after it.
async fn each_is_refused(cases: &[Case]) {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let mut auditor = server.client().await;
    let victims = client.lane.keys_apart("victim");
    for key in &victims {
        client.put(key, b"kept").await;
    }
    client.put(b"turns", b"0").await;
    let keys = BYSTANDER_KEYS + 3;
    for (turn, (spoil, words)) in (1..).zip(cases) {
        let body = spoil(&client.lane);
        client.is_refused(&body, Refusal::Malformed, words).await;
        assert_eq!(server.service.keys(), keys, "{words}");
        for key in &victims {
            assert_eq!(auditor.get(key).await.as_deref(), Some(&b"kept"[..]), "{words}");
        }
        let counted = client.one(b"turns", Action::Increment { by: 1 }).await;
        assert_eq!(counted, Outcome::Counter(turn), "the lane goes on after: {words}");
        others.goes_on().await;
    }
    others.finish().await;
    server.finish().await;
}

/// A batch of two groups that would overwrite both victims, with some bytes changed.
fn patched(lane: &Lane, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let victims = lane.keys_apart("victim");
    let mut body = lane.body(&[put(&victims[0], b"half"), put(&victims[1], b"half")]);
    for (at, bytes) in patches {
        body[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    body
}

fn with_u32(lane: &Lane, at: usize, number: u32) -> Vec<u8> {
    patched(lane, &[(at, &number.to_le_bytes())])
}

fn with_u64(lane: &Lane, at: usize, number: u64) -> Vec<u8> {
    patched(lane, &[(at, &number.to_le_bytes())])
}

/// Reads after the lane's last number, with this lowest open one.
fn reads(lane: &Lane, lowest_open: u64) -> Vec<u8> {
    let [victim, _] = lane.keys_apart("victim");
    lane.body_with(&BatchHeader { lowest_open, ..lane.after() }, &[get(&victim)])
}

/// A batch whose first operation would overwrite a victim, and whose second is `spoiled`.
fn second(lane: &Lane, spoiled: &[u8]) -> Vec<u8> {
    let [victim, _] = lane.keys_apart("victim");
    let first = operation(1, &victim, &[4, b'h', b'a', b'l', b'f']);
    lane.body_of_raw(lane.partition_of(&victim), &[first, spoiled.to_vec()])
}

/// An operation's bytes: code, no stamp difference, key, and what follows.
fn operation(code: u8, key: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![code, 0];
    varint::write(&mut bytes, key.len() as u64);
    [&bytes, key, rest].concat()
}

/// A batch whose second operation, on the same key, has this code and ends like this.
fn on_victim(lane: &Lane, code: u8, rest: &[u8]) -> Vec<u8> {
    let [victim, _] = lane.keys_apart("victim");
    second(lane, &operation(code, &victim, rest))
}

fn varint_of(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::write(&mut bytes, number);
    bytes
}

#[tokio::test]
async fn numbers_of_the_header_that_lie_are_named() {
    each_is_refused(&[
        (|_| Vec::new(), "cut off in the header at byte 0"),
        (|lane| patched(lane, &[])[..63].to_vec(), "cut off in the header at byte 63"),
        (|lane| with_u32(lane, RESERVED, 1), "a reserved number is 1; it must be 0"),
        (|lane| with_u64(lane, NUMBER, 0), "the number of a batch that mutates is 0"),
        (
            |lane| with_u64(lane, LOWEST_OPEN, lane.header.number + 1),
            "from 1 to the batch's number, or to the one after that which reads follow",
        ),
        (|lane| reads(lane, lane.header.number + 1), "the lowest open number is"),
        (|lane| reads(lane, 0), "the lowest open number is 0"),
        (|lane| with_u64(lane, LOWEST_OPEN, 0), "the lowest open number is 0"),
        (|lane| with_u64(lane, LOWEST_OPEN, u64::MAX), "the lowest open number is 18446744073"),
        (|lane| with_u32(lane, OPERATIONS, 0), "the number of operations is 0"),
        (|lane| with_u32(lane, OPERATIONS, 65_537), "the number of operations is 65537"),
        (|lane| with_u32(lane, OPERATIONS, u32::MAX), "the number of operations is 4294967295"),
        (|lane| with_u32(lane, OPERATIONS, 65_536), "cut off in the operations"),
        (|lane| with_u32(lane, OPERATIONS, 1), "the number of groups is 2"),
        (|lane| with_u32(lane, OPERATIONS, 3), "the groups hold 2 operations, the header says 3"),
        (|lane| with_u32(lane, GROUPS, 0), "the number of groups is 0"),
        (|lane| with_u32(lane, GROUPS, 1), "the groups hold 1 operations, the header says 2"),
        (|lane| with_u32(lane, GROUPS, 3), "the number of groups is 3"),
        (|lane| with_u32(lane, GROUPS, u32::MAX), "the number of groups is 4294967295"),
    ])
    .await;
}

#[tokio::test]
async fn numbers_of_the_groups_that_lie_are_named() {
    each_is_refused(&[
        (|lane| with_u32(lane, COUNT[0], 0), "a group's number of operations is 0"),
        (|lane| with_u32(lane, COUNT[1], 0), "a group's number of operations is 0"),
        (|lane| with_u32(lane, COUNT[0], 2), "the groups hold 3 operations, the header says 2"),
        (|lane| with_u32(lane, COUNT[1], u32::MAX), "the groups hold 4294967296 operations"),
        (
            // Two counts whose sum is right in 32 bits.
            |lane| {
                let counts = [3_u32.to_le_bytes(), u32::MAX.to_le_bytes()];
                patched(lane, &[(COUNT[0], &counts[0]), (COUNT[1], &counts[1])])
            },
            "the groups hold 4294967298 operations, the header says 2",
        ),
        (|lane| with_u32(lane, PARTITION[1], 4096), "a group's partition is 4096"),
        (|lane| with_u32(lane, PARTITION[0], u32::MAX), "a group's partition is 4294967295"),
        (|lane| with_u32(lane, PARTITION[1], 4095), "in the group of partition 4095"),
        (
            |lane| {
                let body = patched(lane, &[]);
                let descending = [&body[PARTITION[1]..COUNT[1]], &body[PARTITION[0]..COUNT[0]]];
                patched(lane, &[(PARTITION[0], descending[0]), (PARTITION[1], descending[1])])
            },
            "not below the one before",
        ),
        (
            // The second key in a group of the first key's partition.
            |lane| {
                let body = patched(lane, &[]);
                patched(lane, &[(PARTITION[1], &body[PARTITION[0]..COUNT[0]])])
            },
            "operation 1 is in the group of partition",
        ),
    ])
    .await;
}

#[tokio::test]
async fn numbers_in_operations_that_lie_are_named() {
    each_is_refused(&[
        (|lane| on_victim(lane, 5, &[]), "operation 1 has the unknown code 5"),
        (|lane| on_victim(lane, 255, &[]), "operation 1 has the unknown code 255"),
        (|lane| [&patched(lane, &[])[..], &[0]].concat(), "1 bytes follow the last operation"),
        (|lane| on_victim(lane, 2, b"value"), "5 bytes follow the last operation"),
        (|lane| second(lane, &[0, 0x80, 0, 1, b'k']), "operation 1: malformed stamp difference"),
        (|lane| second(lane, &[[0].as_slice(), &[0xff; 11]].concat()), "malformed stamp"),
        (|lane| second(lane, &[0, 0, 0x81, 0, b'k']), "operation 1: malformed key length"),
        (|lane| on_victim(lane, 1, &[0x81, 0, b'v']), "operation 1: malformed value length"),
        (|lane| second(lane, &[0, 0, 0, 0]), "operation 1: a key of 0 bytes"),
        (
            |lane| second(lane, &operation(0, &[b'k'; KEY_BYTES_MAX + 1], &[])),
            "operation 1: a key of 1025 bytes; allowed are 1 to 1,024",
        ),
        (
            |lane| second(lane, &[&[0, 0], &varint_of(u64::MAX)[..]].concat()),
            "operation 1: a key of 18446744073709551615 bytes",
        ),
        (|lane| second(lane, &[0, 0, 9, b'k']), "cut off in a key"),
        (|lane| on_victim(lane, 4, &[0; 7]), "cut off in a value"),
        (|lane| on_victim(lane, 1, &[9, b'v']), "cut off in a value"),
        (
            |lane| on_victim(lane, 1, &varint_of(u64::MAX)),
            "operation 1: a value of 18446744073709551615 bytes; allowed are at most 1 MiB",
        ),
        (
            |lane| {
                let length = VALUE_BYTES_MAX + 1;
                let value = [varint_of(length as u64), vec![b'v'; length]].concat();
                on_victim(lane, 1, &value)
            },
            "operation 1: a value of 1048577 bytes; allowed are at most 1 MiB",
        ),
    ])
    .await;
}

#[tokio::test]
async fn arguments_of_a_cas_that_lie_are_named() {
    each_is_refused(&[
        (|lane| on_victim(lane, 3, &[0]), "operation 1: malformed argument of a CAS"),
        (|lane| on_victim(lane, 3, &[3, 1, 0, 0]), "operation 1: malformed argument of a CAS"),
        (|lane| on_victim(lane, 3, &[5, 9, 0, 0, 0, b'k']), "malformed argument of a CAS"),
        (|lane| on_victim(lane, 3, &[5, 3, 0, 0, 0, b'k']), "malformed argument of a CAS"),
        (
            |lane| on_victim(lane, 3, &[5, 0xff, 0xff, 0xff, 0xff, b'k']),
            "operation 1: malformed argument of a CAS",
        ),
        (|lane| on_victim(lane, 3, &[200, 1, 5, b'k']), "cut off in a value"),
        (
            |lane| on_victim(lane, 3, &compare_and_swap(VALUE_BYTES_MAX + 1, 1)),
            "operation 1: a value of 1048577 bytes",
        ),
        (
            |lane| on_victim(lane, 3, &compare_and_swap(1, VALUE_BYTES_MAX + 1)),
            "operation 1: a value of 1048577 bytes",
        ),
    ])
    .await;
}

/// The argument of a CAS with values of these lengths, its own length before it.
fn compare_and_swap(expected_bytes: usize, value_bytes: usize) -> Vec<u8> {
    let mut argument = (expected_bytes as u32 + 1).to_le_bytes().to_vec();
    argument.resize(argument.len() + expected_bytes + value_bytes, b'v');
    [varint_of(argument.len() as u64), argument].concat()
}

#[tokio::test]
async fn stamps_beyond_64_bits_are_refused() {
    each_is_refused(&[
        // The second operation's stamp is one more than the first's, in a group of its own.
        (|lane| with_u64(lane, FIRST_STAMP, u64::MAX), "operation 1: malformed stamp"),
        (
            |lane| second(lane, &[&[0], &varint_of(u64::MAX)[..], &[1, b'k']].concat()),
            "operation 1: malformed stamp",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_batch_cut_off_anywhere_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let body = patched(&client.lane, &[]);
    for cut in 0..body.len() {
        // The words depend on the part that the cut is in.
        client.is_refused(&body[..cut], Refusal::Malformed, "").await;
        assert_eq!(server.service.keys(), 0, "cut at {cut}");
    }
    client.apply_body(&body).await;
    assert_eq!(server.service.keys(), 2);
    server.finish().await;
}

#[tokio::test]
async fn refusals_of_batches_with_a_legible_header_name_their_number() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.put(b"k", b"v").await;
    let legible = with_u32(&client.lane, OPERATIONS, 0);
    assert_eq!(client.is_refused(&legible, Refusal::Malformed, "operations").await, 2);
    let beyond = with_u64(&client.lane, LOWEST_OPEN, 0);
    assert_eq!(client.is_refused(&beyond, Refusal::Malformed, "lowest open").await, 2);
    let illegible = &legible[..HEADER_BYTES - 1];
    assert_eq!(client.is_refused(illegible, Refusal::Malformed, "the header").await, 0);
    server.finish().await;
}

/// The greatest of everything is taken, where one more was refused.
#[tokio::test]
async fn the_greatest_batches_are_applied() {
    let server = Server::start().await;
    let mut others = Bystander::start(&server).await;
    let mut client = server.client().await;
    let key = [b'k'; KEY_BYTES_MAX];
    let value = vec![b'v'; VALUE_BYTES_MAX];
    client.put(&key, &value).await;
    let expected = Some(&value[..]);
    let action = Action::CompareAndSwap { expected, value: &value };
    assert_eq!(client.one(&key, action).await, Outcome::Done);
    assert_eq!(client.get(&key).await.as_deref(), expected);
    others.goes_on().await;
    let many = vec![increment(b"n"); BATCH_OPERATIONS_MAX];
    let reply = client.apply(&many).await;
    assert_eq!(reply.outcome(BATCH_OPERATIONS_MAX - 1), Some(Outcome::Counter(65_536)));
    // The last stamp is the greatest number.
    let last = with_u64(&client.lane, FIRST_STAMP, u64::MAX - 1);
    client.apply_body(&last).await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + 4);
    others.finish().await;
    server.finish().await;
}

/// One of two servers, a bystander, and a client.
async fn two_servers() -> (Server, Bystander, Client) {
    let server = Server::start_at("1/2").await;
    let others = Bystander::start(&server).await;
    let client = server.client().await;
    (server, others, client)
}

#[tokio::test]
async fn a_foreign_key_refuses_its_batch_as_a_whole() {
    let (server, mut others, mut client) = two_servers().await;
    let (own, foreign) = (client.lane.owned_key("own"), client.lane.foreign_key("foreign"));
    client.put(&own, b"kept").await;
    let batches: [&[Operation<'_>]; 4] = [
        &[put(&foreign, b"v"), put(&own, b"half"), get(&foreign), get(&own)],
        &[put(&own, b"half"), get(&foreign)],
        &[get(&own), put(&foreign, b"v")],
        &[get(&own), get(&foreign)],
    ];
    for operations in batches {
        let body = client.lane.body(operations);
        client.is_refused(&body, Refusal::NotOwned, "belongs to another shard").await;
        assert_eq!(client.get(&own).await.as_deref(), Some(&b"kept"[..]), "no half was applied");
        others.goes_on().await;
    }
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + 1);
    // None of them used the number.
    let reply = client.apply(&[put(&own, b"v"), get(&own)]).await;
    assert_eq!(reply.outcome(0), Some(Outcome::Done));
    assert_eq!(reply.outcome(1), Some(Outcome::Value(&b"v"[..])));
    others.finish().await;
    server.finish().await;
}

/// A foreign key has a partition as its own keys have, and is to stand in its group.
#[tokio::test]
async fn a_foreign_key_in_the_wrong_group_refuses_the_batch() {
    let (server, mut others, mut client) = two_servers().await;
    let (own, foreign) = (client.lane.owned_key("own"), client.lane.foreign_key("foreign"));
    client.put(&own, b"kept").await;
    let [own_partition, partition] = [&own, &foreign].map(|key| client.lane.partition_of(key));
    let count = server.service.engine().partitions().count();
    for wrong in [(partition + 1) % count, count, PARTITIONS_MAX - 1] {
        let mut body = client.lane.body(&[put(&foreign, b"v")]);
        body[PARTITION[0]..COUNT[0]].copy_from_slice(&wrong.to_le_bytes());
        let words = format!("in the group of partition {wrong}, its key in {partition}");
        client.is_refused(&body, Refusal::Malformed, &words).await;
        others.goes_on().await;
    }
    let wrong = PARTITIONS_MAX - 1;
    let body = two_groups(&client.lane, (own_partition, &own), (wrong, &foreign));
    client.is_refused(&body, Refusal::Malformed, "operation 1 is in the group").await;
    assert_eq!(client.get(&own).await.as_deref(), Some(&b"kept"[..]), "no half was applied");
    // In its own group it is refused for what it is.
    let mut placed = [(own_partition, &own[..]), (partition, &foreign[..])];
    placed.sort_by_key(|(partition, _)| *partition);
    let body = two_groups(&client.lane, placed[0], placed[1]);
    client.is_refused(&body, Refusal::NotOwned, "belongs to another shard").await;
    assert_eq!(client.get(&own).await.as_deref(), Some(&b"kept"[..]), "nor a half of this");
    let body = two_groups(&client.lane, (own_partition, &own), (own_partition, &own));
    client.apply_body(&body).await;
    assert_eq!(client.get(&own).await.as_deref(), Some(&b"half"[..]));
    others.finish().await;
    server.finish().await;
}

/// A batch of two PUTs, each in a group of the partition that it is said to be in.
fn two_groups(lane: &Lane, first: (u32, &[u8]), second: (u32, &[u8])) -> Vec<u8> {
    let mut groups = [GroupEncoder::default(), GroupEncoder::default()];
    for (group, (_, key)) in groups.iter_mut().zip([first, second]) {
        group.push(0, &Operation { key, action: Action::Put { value: b"half" } });
    }
    assemble(&lane.header, &[(first.0, &groups[0]), (second.0, &groups[1])]).to_vec()
}

/// Gives the server these slots.
fn own(server: &Server, epoch: u32, slots: SlotSet) {
    let errand = Errand::new(Change::Own(Ownership { epoch, slots }));
    match server.service.order().submit(errand) {
        Answer::Now(errand) => errand.result.expect("the epoch is newer"),
        Answer::Later(_) => panic!("memory answers at once"),
    }
}

/// A client that routes by the old map is told so, and goes on with the new one; what it sent before
/// is answered by whoever has applied it.
#[tokio::test]
async fn batches_that_were_routed_by_another_map_are_refused_and_retries_are_not() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let before = client.lane.body(&[increment(b"n"), get(b"n")]);
    client.apply_body(&before).await;
    own(&server, 2, SlotSet::empty());
    let stale = client.lane.body(&[increment(b"n")]);
    client.is_refused(&stale, Refusal::StaleEpoch, "has epoch 2, the batch 1").await;
    let stale_reads = client.lane.body(&[get(b"n")]);
    client.is_refused(&stale_reads, Refusal::StaleEpoch, "has epoch 2, the batch 1").await;
    // The retry names the old map, or the new one.
    for epoch in [1, 2, 9] {
        let header = BatchHeader { epoch, lowest_open: 1, number: 1, ..client.lane.header };
        let again = client.peer.batch(&with_header(&before, &header)).await;
        assert_eq!((again.refusal(), again.is_recorded()), (None, true));
        assert_eq!((again.outcome(0), again.outcome(1)), (Some(Outcome::Counter(1)), None));
    }
    client.lane.header.epoch = 2;
    let unowned = client.lane.body(&[increment(b"n")]);
    client.is_refused(&unowned, Refusal::NotOwned, "belongs to another shard").await;
    own(&server, 3, Shard::SOLE.first_slots());
    client.is_refused(&unowned, Refusal::StaleEpoch, "has epoch 3, the batch 2").await;
    // A client that comes now is told the new map.
    let (_, hello) = client.peer.open_session().await;
    assert_eq!((hello.epoch, &hello.slots), (3, &Shard::SOLE.first_slots().ranges()));
    client.lane.header.epoch = hello.epoch;
    assert_eq!(client.get(b"n").await.as_deref(), Some(&b"1"[..]));
    let counted = client.one(b"n", Action::Increment { by: 1 }).await;
    assert_eq!(counted, Outcome::Counter(2), "no refusal used the number");
    server.finish().await;
}

//! Batches whose bytes lie: each is refused as a whole, and uses up no sequence number.

use proto::batch::{GroupEncoder, assemble};
use proto::limits::{BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use proto::operation::{Action, Operation, Outcome};
use proto::reply::Refusal;
use proto::varint;

use crate::client::{Client, Lane, get, increment, put};
use crate::harness::{BYSTANDER_KEYS, Bystander, Server};

/// Where the header's numbers stand in a body.
const SEQUENCE: usize = 24;
const LOWEST_OPEN: usize = 32;
const FIRST_STAMP: usize = 40;
const OPERATIONS: usize = 48;
const GROUPS: usize = 52;
/// Where the first two groups' numbers stand.
const PARTITION: [usize; 2] = [56, 64];
const COUNT: [usize; 2] = [60, 68];

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

/// A batch whose first operation would overwrite a victim, and whose second is `spoiled`.
fn second(lane: &Lane, spoiled: &[u8]) -> Vec<u8> {
    let [victim, _] = lane.keys_apart("victim");
    let first = operation(1, &victim, &[4, b'h', b'a', b'l', b'f']);
    lane.body_of_raw(lane.partition_of(&victim).unwrap(), &[first, spoiled.to_vec()])
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
        (|lane| patched(lane, &[])[..55].to_vec(), "cut off in the header at byte 55"),
        (|lane| with_u64(lane, SEQUENCE, 0), "the lowest open number is 1"),
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
        (|lane| on_victim(lane, 3, &[2, 9, b'k']), "operation 1: malformed argument of a CAS"),
        (|lane| on_victim(lane, 3, &[3, 0x85, 0, b'k']), "malformed argument of a CAS"),
        (
            |lane| on_victim(lane, 3, &[vec![11], varint_of(u64::MAX), vec![b'k']].concat()),
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
    let mut argument = varint_of(expected_bytes as u64 + 1);
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
    let illegible = with_u64(&client.lane, LOWEST_OPEN, 0);
    assert_eq!(client.is_refused(&illegible, Refusal::Malformed, "lowest open").await, 0);
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
    assert_eq!(reply.outcome(BATCH_OPERATIONS_MAX - 1), Outcome::Counter(65_536));
    // The last stamp is the greatest number.
    let last = with_u64(&client.lane, FIRST_STAMP, u64::MAX - 1);
    client.apply_body(&last).await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + 4);
    others.finish().await;
    server.finish().await;
}

/// A key of the other server of two.
fn foreign_key(lane: &Lane) -> Vec<u8> {
    (0..)
        .map(|number| format!("foreign{number}").into_bytes())
        .find(|key| lane.partition_of(key).is_none())
        .expect("the other server owns keys")
}

async fn two_servers() -> (Server, Bystander, Client) {
    let server = Server::start_at("1/2").await;
    let others = Bystander::start(&server).await;
    let client = server.client().await;
    (server, others, client)
}

#[tokio::test]
async fn a_foreign_key_refuses_its_operation_alone() {
    let (server, mut others, mut client) = two_servers().await;
    let foreign = foreign_key(&client.lane);
    let own = (0..)
        .map(|number| format!("own{number}").into_bytes())
        .find(|key| client.lane.partition_of(key) == Some(0))
        .unwrap();
    let reply =
        client.apply(&[put(&foreign, b"v"), put(&own, b"v"), get(&foreign), get(&own)]).await;
    let outcomes: Vec<_> = (0..4).map(|index| reply.outcome(index)).collect();
    let refused = Outcome::WrongShard;
    assert_eq!(outcomes, [refused, Outcome::Done, refused, Outcome::Value(&b"v"[..])]);
    others.goes_on().await;
    assert_eq!(server.service.keys(), BYSTANDER_KEYS + 1);
    others.finish().await;
    server.finish().await;
}

/// The partition of a foreign key is nobody's to check by the key, so it is checked by itself.
#[tokio::test]
async fn a_foreign_key_in_a_partition_that_is_none_refuses_the_batch() {
    let (server, mut others, mut client) = two_servers().await;
    let foreign = foreign_key(&client.lane);
    let own = client.lane.owned_key("own");
    client.put(&own, b"kept").await;
    for partition in [server.service.partitions(), 4095] {
        let mut body = client.lane.body(&[put(&foreign, b"v")]);
        body[PARTITION[0]..COUNT[0]].copy_from_slice(&partition.to_le_bytes());
        let words = format!("a group's partition is {partition}");
        client.is_refused(&body, Refusal::Malformed, &words).await;
        others.goes_on().await;
    }
    let own_partition = client.lane.partition_of(&own).unwrap();
    let body = two_groups(&client.lane, (own_partition, &own), (4095, &foreign));
    client.is_refused(&body, Refusal::Malformed, "a group's partition is 4095").await;
    assert_eq!(client.get(&own).await.as_deref(), Some(&b"kept"[..]), "no half was applied");
    // In a partition that there is, the operation alone is refused.
    let body = two_groups(&client.lane, (own_partition, &own), (own_partition, &foreign));
    let reply = client.apply_body(&body).await;
    assert_eq!((reply.outcome(0), reply.outcome(1)), (Outcome::Done, Outcome::WrongShard));
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

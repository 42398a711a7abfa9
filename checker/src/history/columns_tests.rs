use super::*;
use crate::history::{Decoder, Encoder, Record};

const BATCH: Batch = Batch { worker: 1, inv_ns: 5, res_ns: 6, first_stamp: 1000 };

/// Told of every form, with ids up to the greatest.
fn told() -> Vec<Told> {
    let ids = [(0, 0), (0, 255), (3, 1 << 24), ((1 << 16) - 1, (1 << 40) - 1)];
    let with_ids = ids.iter().flat_map(|&(client, stamp)| {
        [Told::get(client, stamp), Told::swap(client, stamp), Told::swap_mismatch(client, stamp)]
    });
    let others =
        [Told::GET_MISSING, Told::PUT, Told::ELSEWHERE, Told::DELETE, Told::DELETE_MISSING];
    with_ids.chain(others).collect()
}

fn places(count: u64) -> Vec<Place> {
    let sequence =
        |place: u64| (!place.is_multiple_of(3)).then_some(place.wrapping_mul(u64::MAX / 5));
    (0..count).map(|place| Place { boot: 7 + place % 2, sequence: sequence(place) }).collect()
}

/// Encodes columns with keys `key_of(0..)`, the operations at all places in turn.
fn encode(told: &[Told], key_of: impl Fn(u64) -> u64 + Clone, places: &[Place]) -> Encoder {
    let mut encoder = Encoder::default();
    encoder.batch(&BATCH);
    let place_of = (0..places.len() as u32).cycle();
    let keys = (0..).map(key_of);
    encoder.columns(Columns { first_stamp: 1010, told, keys, place_of, places });
    encoder
}

fn decode(bytes: &[u8]) -> Result<Vec<Operation<'_>>, &'static str> {
    let mut decoder = Decoder::new(bytes);
    let mut operations = Vec::new();
    while let Some(record) = decoder.next()? {
        match record {
            Record::Batch(batch) => assert_eq!(batch, BATCH),
            Record::Operation(operation) => operations.push(operation),
        }
    }
    assert_eq!(decoder.position(), bytes.len());
    Ok(operations)
}

/// What the decoder has to say of an operation.
fn expected(told: Told, index: usize, key: u64, place: Place) -> Option<Operation<'static>> {
    let id = Value::Id { client: told.client() as u32, stamp: told.stamp() };
    let (kind, read, written) = match told {
        Told::ELSEWHERE => return None,
        Told::GET_MISSING => (Kind::Get, Value::Missing, Written::Nothing),
        Told::PUT => (Kind::Put, Value::NotKnown, Written::Own),
        Told::DELETE => (Kind::Delete, Value::Present, Written::Own),
        Told::DELETE_MISSING => (Kind::Delete, Value::Missing, Written::Own),
        told if told.form() == form::GET => (Kind::Get, id, Written::Nothing),
        told if told.form() == form::SWAP => (Kind::CompareAndSwap, id, Written::Own),
        _ => (Kind::CompareAndSwap, id, Written::Nothing),
    };
    Some(Operation {
        key: Key::Number(key),
        stamp: 1010 + index as u64,
        kind,
        outcome: Outcome::Ok,
        read,
        written,
        by: 0,
        sequence: place.sequence,
        boot: place.boot,
    })
}

#[test]
fn columns_of_all_widths_survive_the_round_trip() {
    let told = told();
    for key_bytes in 1..=8 {
        let key_of = move |index: u64| (u64::MAX >> (64 - 8 * key_bytes)).wrapping_sub(index);
        for place_count in [1, 2, 32, 33, PLACES_MAX as u64] {
            for shown in [1, 2, told.len()] {
                let (told, places) = (&told[..shown], places(place_count));
                let encoder = encode(told, key_of, &places);
                let expected: Vec<_> = (told.iter().enumerate())
                    .filter_map(|(index, told)| {
                        let place = places[index % places.len()];
                        expected(*told, index, key_of(index as u64), place)
                    })
                    .collect();
                assert_eq!(encoder.operations() as usize, expected.len());
                assert_eq!(decode(encoder.bytes()), Ok(expected), "{key_bytes} {place_count}");
            }
        }
    }
}

#[test]
fn ids_that_do_not_fit_are_told_elsewhere() {
    assert_eq!(Told::get(1 << 16, 1), Told::ELSEWHERE);
    assert_eq!(Told::swap(1, 1 << 40), Told::ELSEWHERE);
    assert_ne!(Told::swap_mismatch((1 << 16) - 1, (1 << 40) - 1), Told::ELSEWHERE);
    let encoder = encode(&[Told::ELSEWHERE; 3], |index| index, &places(1));
    assert_eq!(decode(encoder.bytes()), Ok(vec![]), "nothing is left to tell");
}

#[test]
fn columns_that_are_cut_off_are_refused() {
    let encoder = encode(&told(), |index| 300 + index, &places(40));
    let bytes = encoder.bytes();
    assert!(decode(bytes).is_ok());
    let mut batch = Encoder::default();
    batch.batch(&BATCH);
    // Two boot ids stand between the batch and the columns.
    for end in batch.bytes().len() + 20 + 1..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end} of {}", bytes.len());
    }
}

#[test]
fn columns_without_meaning_are_refused() {
    let mut batch = Encoder::default();
    batch.batch(&BATCH);
    let boot = [&[6, 0][..], &[0; 8]].concat();
    let refused = |columns: &[u8]| decode(&[batch.bytes(), &boot, columns].concat()).unwrap_err();
    // Small varints n are the byte 2n + 1. One operation, the place with boot 0 and no sequence.
    let whole = [5, 0, 3, 1, 3, 1, 1, 1, 1, 0, form::GET as u8, 9, 4];
    assert_eq!(decode(&[batch.bytes(), &boot, &whole].concat()).unwrap().len(), 1);
    let with = |at: usize, byte: u8| {
        let mut changed = whole;
        changed[at] = byte;
        changed
    };
    assert_eq!(refused(&with(2, 1)), "columns are longer than their bound", "no operation");
    assert_eq!(refused(&with(5, 5)), "a boot id is used before it is named");
    for (at, width) in [(6, 0), (6, 3), (7, 0), (7, 9), (8, 6), (9, 3)] {
        assert_eq!(refused(&with(at, width)), "no column has this width");
    }
    assert_eq!(refused(&with(10, 1 << 3 | 1)), "an operation has a place that was not named");
    assert_eq!(refused(&with(2, 5)), "a column is cut off", "two operations");
    let many = [&[5, 0][..], &[0x22, 0x4e], &[1, 3, 1, 1, 1, 1, 0]].concat();
    assert_eq!(refused(&many), "columns are longer than their bound");
    let alone = [&boot[..], &whole].concat();
    assert_eq!(decode(&alone).unwrap_err(), "columns stand before the first batch");
}

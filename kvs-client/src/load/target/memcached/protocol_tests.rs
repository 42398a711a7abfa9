//! Commands and replies, whole and cut at every byte.

use bytes::Bytes;
use kvs_client::Outcome;

use super::super::super::peer::Answers;
use super::*;

fn batch(fill: impl FnOnce(&mut MemcachedBatch)) -> MemcachedBatch {
    let mut batch = MemcachedBatch::new(1, 8);
    fill(&mut batch);
    batch
}

/// Reads a reply that arrives byte by byte.
fn decode(commands: &MemcachedCommands, reply: &[u8]) -> Result<PeerAnswers, String> {
    let mut decoder = MemcachedDecoder::default();
    for length in 0..reply.len() {
        assert!(!decoder.decode(commands, &reply[..length])?, "{length} bytes are no whole reply");
    }
    assert!(decoder.decode(commands, reply)?, "the reply is whole");
    assert_eq!(decoder.consumed(), reply.len());
    Ok(PeerAnswers::new(Bytes::copy_from_slice(reply), decoder.finish()))
}

fn outcomes(answers: &PeerAnswers) -> Vec<Result<Outcome<&[u8]>, FailureClass>> {
    let count = answers.answers().len();
    (0..count).map(|index| answers.get(index).map_err(|failure| failure.class)).collect()
}

fn mixed() -> MemcachedCommands {
    let mut commands = batch(|batch| {
        batch.get(b"a").unwrap();
        batch.get(b"b").unwrap();
        batch.put(b"a", b"1\r\n2").unwrap();
        batch.get(b"a").unwrap();
        batch.delete(b"b").unwrap();
        batch.increment(b"n", 1).unwrap();
    })
    .into_commands();
    commands.finish();
    commands
}

#[test]
fn neighbouring_gets_share_a_command() {
    let mut commands = mixed();
    let sent = commands.finish();
    let expected = b"get a b\r\nset a 0 0 4\r\n1\r\n2\r\nget a\r\ndelete b\r\nincr n 1\r\n";
    assert_eq!(String::from_utf8_lossy(sent), String::from_utf8_lossy(expected));
    let mut long = batch(|batch| (0..=GET_KEYS_MAX).for_each(|_| batch.get(b"k").unwrap()));
    let sent = String::from_utf8(long.commands.finish().to_vec()).unwrap();
    assert_eq!(sent.matches("get").count(), 2);
}

#[test]
fn replies_are_read_however_they_are_cut() {
    let reply =
        b"VALUE b 0 5\r\nEND\r\n\r\nEND\r\nSTORED\r\nVALUE a 0 0\r\n\r\nEND\r\nNOT_FOUND\r\n7\r\n";
    let answers = decode(&mixed(), reply).expect("the reply is right");
    let expected = [
        Ok(Outcome::Missing),
        Ok(Outcome::Value(&b"END\r\n"[..])),
        Ok(Outcome::Done),
        Ok(Outcome::Value(&b""[..])),
        Ok(Outcome::Missing),
        Ok(Outcome::Counter(7)),
    ];
    assert_eq!(outcomes(&answers), expected);
}

#[test]
fn errors_are_of_their_operation() {
    let reply =
        b"SERVER_ERROR out of memory\r\nSERVER_ERROR object too large\r\nEND\r\nDELETED\r\n\
        CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    let answers = decode(&mixed(), reply).expect("errors are replies");
    let expected = [
        Err(FailureClass::NotApplied),
        Err(FailureClass::NotApplied),
        Err(FailureClass::Unknown),
        Ok(Outcome::Missing),
        Ok(Outcome::Done),
        Ok(Outcome::NotAnInteger),
    ];
    assert_eq!(outcomes(&answers), expected);
}

#[test]
fn what_memcached_never_sends_is_refused() {
    for reply in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"ERROR\r\n",
        b"VALUE c 0 1\r\nx\r\n",
        b"VALUE a 0 1\r\nxyz\r\n",
        b"VALUE a 0 x\r\n",
        b"VALUE a 0 18446744073709551615\r\n",
        b"VALUE b 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
        b"END\r\nDELETED\r\n",
        &[b'x'; LINE_BYTES_MAX],
    ] {
        let mut decoder = MemcachedDecoder::default();
        let read = decoder.decode(&mixed(), reply);
        assert!(read.is_err(), "{:?}: {read:?}", String::from_utf8_lossy(reply));
    }
}

#[test]
fn a_swap_compares_before_it_sets() {
    let swaps = |count| {
        batch(|batch| {
            for _ in 0..count {
                batch.compare_and_swap(b"k", Some(b"old"), b"new").unwrap();
            }
            batch.compare_and_swap(b"m", None, b"first").unwrap();
            batch.get(b"k").unwrap();
        })
    };
    let mut versions = swaps(1).versions();
    assert_eq!(versions.finish(), b"gets k m\r\n");
    let items = decode(&versions, b"VALUE k 0 3 42\r\nold\r\nEND\r\n").unwrap();
    let (mut commands, known) = swaps(1).with_versions(&items);
    let expected = b"cas k 0 0 3 42\r\nnew\r\nadd m 0 0 5\r\nfirst\r\nget k\r\n";
    assert_eq!(String::from_utf8_lossy(commands.finish()), String::from_utf8_lossy(expected));
    let reply = b"EXISTS\r\nSTORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n";
    let answers = decode(&commands, reply).unwrap().merge(known);
    let expected = [Ok(Outcome::MismatchUntold), Ok(Outcome::Done), Ok(Outcome::Value(&b"x"[..]))];
    assert_eq!(outcomes(&answers), expected);

    // Another value is there already: only the rest is sent.
    let items = decode(&versions, b"VALUE k 0 5 43\r\nother\r\nVALUE m 0 1 1\r\ny\r\nEND\r\n");
    let (mut commands, known) = swaps(1).with_versions(&items.unwrap());
    assert_eq!(commands.finish(), b"get k\r\n");
    let answers = decode(&commands, b"END\r\n").unwrap().merge(known);
    let expected = [
        Ok(Outcome::Mismatch(Some(&b"other"[..]))),
        Ok(Outcome::Mismatch(Some(&b"y"[..]))),
        Ok(Outcome::Missing),
    ];
    assert_eq!(outcomes(&answers), expected);
}

#[test]
fn what_was_read_before_an_earlier_swap_is_no_news_to_a_later_one() {
    let swaps = || {
        batch(|batch| {
            batch.compare_and_swap(b"k", None, b"first").unwrap();
            batch.compare_and_swap(b"k", Some(b"old"), b"new").unwrap();
        })
    };
    let items = decode(&swaps().versions(), b"END\r\n").unwrap();
    let (commands, known) = swaps().with_versions(&items);
    let answers = decode(&commands, b"STORED\r\n").unwrap().merge(known);
    assert_eq!(outcomes(&answers), [Ok(Outcome::Done), Ok(Outcome::MismatchUntold)]);
}

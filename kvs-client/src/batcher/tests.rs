use model::operation::Action;
use model::session::SessionId;

use super::*;
use crate::config::Endpoint;

fn router(servers: u32) -> Arc<Router> {
    let hosts: Vec<Endpoint> =
        (1..=servers).map(|index| format!("h{index}:1").parse().unwrap()).collect();
    let hellos: Vec<_> = (1..=servers)
        .map(|index| crate::router::tests::hello(&format!("{index}/{servers}"), 4))
        .collect();
    let hellos: Vec<_> = hellos.iter().collect();
    Arc::new(Router::new(&hosts, &hellos).unwrap())
}

pub(crate) fn batch(servers: u32, operations_max: usize) -> Batch {
    Batch::new(router(servers), 1000, operations_max, 64, Encoders::default())
}

fn header(shard: u32) -> BatchHeader {
    BatchHeader {
        session: SessionId { data_id: 1, number: 2 },
        shard,
        lane: 3,
        epoch: 1,
        number: 1,
        lowest_open: 1,
        first_stamp: 0,
    }
}

/// All operations of a cut batch, by frame, as the servers will decode them.
fn decoded(servers: u32, cut: &Cut) -> Vec<Decoded> {
    let router = router(servers);
    let decode = |frame: &Frame| {
        let header = header(frame.server as u32 + 1);
        let body = cut.assemble(frame, header, &BufferPool::default());
        assert_eq!(body.len(), cut.request_bytes(frame));
        Decoded::new(&body, &router)
    };
    cut.frames.iter().map(decode).collect()
}

#[test]
fn every_operation_stands_where_the_layout_says() {
    for servers in [1, 3] {
        let mut batch = batch(servers, 500);
        let keys: Vec<String> = (0..500).map(|number| format!("k{}", number % 90)).collect();
        for key in &keys {
            batch.get(key).unwrap();
        }
        let (cut, layout) = batch.cut();
        assert_eq!(cut.frames.len(), servers as usize, "one frame a server");
        let frames = decoded(servers, &cut);
        for (index, key) in keys.iter().enumerate() {
            let placement = layout.placements[index];
            let place = layout.chunks[placement.chunk as usize];
            let operation =
                frames[place.frame as usize].get((place.first + placement.position) as usize);
            assert_eq!(operation, Operation { key: key.as_bytes(), action: Action::Get });
            assert_eq!(
                layout.servers[placement.chunk as usize] as usize,
                cut.frames[place.frame as usize].server
            );
        }
    }
}

#[test]
fn large_values_are_cut_into_frames_and_small_ones_are_not() {
    let value = vec![7; 64 << 10];
    let mut large = batch(1, 200);
    for number in 0..200 {
        large.put(number.to_string(), &value).unwrap();
    }
    let (cut, _) = large.cut();
    assert!((6..=9).contains(&cut.frames.len()), "12.5 MiB make {} frames", cut.frames.len());
    assert!(cut.frames.iter().all(|frame| cut.request_bytes(frame) <= FRAME_BYTES + CHUNK_BYTES));
    let mut small = batch(1, 200);
    for number in 0..200 {
        small.put(number.to_string(), "v").unwrap();
    }
    assert_eq!(small.cut().0.frames.len(), 1);
}

#[test]
fn expected_replies_cut_a_batch_of_reads() {
    let outcome_bytes = 64 << 10;
    let mut batch = Batch::new(router(1), 1, 200, outcome_bytes, Encoders::default());
    for number in 0..200 {
        batch.get(number.to_string()).unwrap();
    }
    let (cut, _) = batch.cut();
    assert!(cut.frames.len() >= 6);
    assert!(cut.frames.iter().all(|frame| frame.reply_bytes <= FRAME_BYTES));
}

#[test]
fn a_key_keeps_its_order_over_frames() {
    let value = vec![7; 100 << 10];
    let mut batch = batch(1, 60);
    for _ in 0..60 {
        batch.put("one key", &value).unwrap();
    }
    let (_, layout) = batch.cut();
    let position = |placement: &Placement| {
        let place = layout.chunks[placement.chunk as usize];
        (place.frame, place.first + placement.position)
    };
    let positions: Vec<_> = layout.placements.iter().map(position).collect();
    assert!(positions.is_sorted(), "later operations stand later");
    assert!(positions.last().unwrap().0 > 0, "there is more than one frame");
}

#[test]
fn a_refused_operation_leaves_the_batch_as_it_was() {
    let mut batch = batch(1, 2);
    batch.get("k").unwrap();
    assert_eq!(batch.get(""), Err(OperationError::KeyEmpty));
    assert!(batch.put("k", vec![0; (1 << 20) + 1]).is_err());
    assert_eq!(batch.len(), 1);
}

#[test]
#[should_panic(expected = "what its stamps were reserved for")]
fn a_batch_takes_no_more_than_its_stamps() {
    let mut batch = batch(1, 1);
    batch.get("a").unwrap();
    let _ = batch.get("b");
}

#[test]
fn memory_is_used_again_and_holds_nothing_old() {
    let mut first = batch(2, 100);
    for number in 0..100 {
        first.put(number.to_string(), "old").unwrap();
    }
    let (cut, _) = first.cut();
    let mut second = Batch::new(router(2), 5, 1, 64, cut.into_encoders());
    second.delete("7").unwrap();
    let (cut, layout) = second.cut();
    assert_eq!((cut.frames.len(), layout.placements.len()), (1, 1));
    let operation = Operation { key: b"7", action: Action::Delete };
    assert_eq!(decoded(2, &cut)[0].get(0), operation);
}

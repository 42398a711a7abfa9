use super::*;
use crate::history::{Batch, HistoryWriter, Key, Kind, Operation, Outcome, Value, Written};
use crate::scratch::Folder;

fn header() -> Header {
    let clock = Clock { offset_ns: -5, error_ns: 7 };
    Header { run: 77, client: 3, clock, configuration: "-workers 2".into() }
}

fn operation(stamp: u64) -> Operation<'static> {
    let read = Value::Id { client: 3, stamp: 5 };
    Operation {
        key: Key::Number(stamp % 100),
        stamp,
        kind: Kind::Get,
        outcome: Outcome::Ok,
        read,
        written: Written::Nothing,
        by: 0,
        sequence: Some(stamp / 100),
        boot: 9,
    }
}

/// A history of two workers with 100 operations a batch.
fn write(path: &Path, batches: u64) -> crate::history::HistoryTotals {
    let writer = HistoryWriter::create(path, &header()).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..2u32 {
            let mut recorder = writer.recorder();
            scope.spawn(move || {
                for batch in 0..batches {
                    let first_stamp = batch * 200 + u64::from(worker) * 100;
                    let inv_ns = batch * 1000;
                    recorder.begin(Batch { worker, inv_ns, res_ns: inv_ns + 900, first_stamp });
                    for stamp in first_stamp..first_stamp + 100 {
                        recorder.record(&operation(stamp));
                    }
                }
            });
        }
    });
    assert!(!writer.has_failed());
    writer.finish(Clock { offset_ns: 1, error_ns: 2 }).unwrap()
}

/// Stamps of all operations, sorted.
fn stamps(path: &Path, allow_truncated: bool) -> Result<Vec<u64>, Unreadable> {
    let mut file = HistoryFile::open(path, allow_truncated)?;
    let mut stamps = Vec::new();
    while file.next_block(|record| {
        if let Record::Operation(read) = record {
            assert_eq!(*read, operation(read.stamp));
            stamps.push(read.stamp);
        }
        Ok(())
    })? {}
    stamps.sort_unstable();
    Ok(stamps)
}

#[test]
fn what_several_recorders_write_is_read_back() {
    let folder = Folder::new();
    let path = folder.path("history");
    let totals = write(&path, 300);
    assert_eq!(totals.operations, 60_000);
    assert_eq!(totals.bytes, path.metadata().unwrap().len());
    assert!(totals.bytes < 60_000 * 12, "{} bytes for 60,000 GETs", totals.bytes);
    let file = HistoryFile::open(&path, false).unwrap();
    let clock = Clock { offset_ns: 1, error_ns: 2 };
    assert_eq!(file.header, Header { clock, ..header() });
    assert!(!file.is_truncated);
    assert_eq!(stamps(&path, false).unwrap(), (0..60_000).collect::<Vec<_>>());
}

#[test]
fn a_history_without_operations_is_read_back() {
    let folder = Folder::new();
    let path = folder.path("history");
    assert_eq!(write(&path, 0).operations, 0);
    assert!(stamps(&path, false).unwrap().is_empty());
}

#[test]
fn a_batch_longer_than_a_block_is_split() {
    let folder = Folder::new();
    let path = folder.path("history");
    let writer = HistoryWriter::create(&path, &header()).unwrap();
    let mut recorder = writer.recorder();
    recorder.begin(Batch { worker: 0, inv_ns: 1, res_ns: 2, first_stamp: 0 });
    for stamp in 0..100_000 {
        recorder.record(&operation(stamp));
    }
    drop(recorder);
    writer.finish(Clock::default()).unwrap();
    assert_eq!(stamps(&path, false).unwrap().len(), 100_000);
}

#[test]
fn a_file_that_is_cut_off_is_refused_with_its_offset() {
    let folder = Folder::new();
    let path = folder.path("history");
    write(&path, 200);
    let whole = std::fs::read(&path).unwrap();
    let lengths = (0..60).chain(60..whole.len()).step_by(977).chain([whole.len() - 1]);
    for length in lengths.chain([47, 57, 58]) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = stamps(&path, false).unwrap_err();
        assert!(error.offset <= length as u64, "{error}");
        let header_bytes = 58;
        match stamps(&path, true) {
            Ok(read) => assert!(read.len() < 40_000 || length > whole.len() - 40),
            Err(error) => assert!(length < header_bytes, "{length}: {error}"),
        }
    }
}

#[test]
fn a_writer_that_does_not_finish_leaves_a_readable_prefix() {
    let folder = Folder::new();
    let path = folder.path("history");
    write(&path, 200);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    let error = stamps(&path, false).unwrap_err();
    assert_eq!(error.offset, whole.len() as u64 - 40);
    assert!(error.to_string().contains("-allow_truncated"), "{error}");
    assert_eq!(stamps(&path, true).unwrap().len(), 40_000);
    assert!(HistoryFile::open(&path, true).unwrap().is_truncated);
}

#[test]
fn every_changed_byte_is_noticed() {
    let folder = Folder::new();
    let path = folder.path("history");
    write(&path, 3);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7).chain(whole.len() - 48..whole.len()).chain(0..80) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        std::fs::write(&path, changed).unwrap();
        let error = stamps(&path, false).unwrap_err();
        assert!(error.offset <= at as u64, "byte {at}: {error}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    std::fs::write(&path, longer).unwrap();
    assert!(stamps(&path, false).is_err());
}

#[test]
fn a_disk_that_is_full_is_reported() {
    let Ok(writer) = HistoryWriter::create(Path::new("/dev/full"), &header()) else { return };
    let mut recorder = writer.recorder();
    for batch in 0..100 {
        recorder.begin(Batch { worker: 0, inv_ns: 1, res_ns: 2, first_stamp: batch * 1000 });
        (0..1000).for_each(|index| recorder.record(&operation(batch * 1000 + index)));
    }
    drop(recorder);
    let error = writer.finish(Clock::default()).unwrap_err();
    assert!(error.to_string().contains("free disk space"), "{error}");
}

#[test]
#[should_panic = "every recorder is dropped"]
fn a_history_is_not_finished_under_a_recorder() {
    let folder = Folder::new();
    let writer = HistoryWriter::create(&folder.path("history"), &header()).unwrap();
    let _recorder = writer.recorder();
    let _ = writer.finish(Clock::default());
}

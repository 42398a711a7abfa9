//! The records of a block, as bytes. The layout stands in the module above.

use super::columns::{ColumnReader, Columns};
use super::{Batch, KEY_BYTES_MAX, Key, Kind, Operation, Outcome, Value, Written, varint};

/// Kind bits of a record with operations in columns.
const COLUMNS: u16 = 5;
/// Kind bits of a record that names a boot id.
const BOOT: u16 = 6;
/// Kind bits of a record that starts a batch.
const BATCH: u16 = 7;
const SEQUENCE_PRESENT: u16 = 1 << 12;
const BOOT_PRESENT: u16 = 1 << 13;

/// Longest record without its key's bytes: a tag and at most nine varints.
const RECORD_BYTES_MAX: usize = 2 + 9 * varint::BYTES_MAX + 8;
/// The buffer grows by this many bytes, so that most records find their room.
const GROWTH_BYTES: usize = 4096;

/// Appends records to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Records, and room for more behind `end`.
    bytes: Vec<u8>,
    end: usize,
    operations: u32,
    last_inv: u64,
    last_stamp: u64,
    first_stamp: u64,
    sequence: u64,
    /// Boot ids named so far, and the index of the one used last.
    boots: Vec<u64>,
    boot: usize,
}

impl Encoder {
    /// The records so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Operations among the records.
    pub(crate) fn operations(&self) -> u32 {
        self.operations
    }

    /// Forgets the records and everything that they define; keeps the memory.
    pub(crate) fn clear(&mut self) {
        let (mut bytes, mut boots) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.boots));
        boots.clear();
        bytes.resize(bytes.capacity(), 0);
        *self = Self { bytes, boots, ..Self::default() };
    }

    /// Takes the records out, for a reader that gets them all in turn: what they define stays
    /// defined.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.end = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Starts a batch.
    pub(crate) fn batch(&mut self, batch: &Batch) {
        let (last_inv, last_stamp) = (self.last_inv, self.last_stamp);
        let (room, start) = self.room(0);
        room[..2].copy_from_slice(&BATCH.to_le_bytes());
        let mut end = 2;
        let difference = batch.inv_ns.wrapping_sub(last_inv) as i64;
        end = varint::write(room, end, varint::fold(difference));
        end = varint::write(room, end, batch.res_ns.saturating_sub(batch.inv_ns));
        let difference = batch.first_stamp.wrapping_sub(last_stamp) as i64;
        end = varint::write(room, end, varint::fold(difference));
        end = varint::write(room, end, u64::from(batch.worker));
        self.end = start + end;
        self.last_inv = batch.inv_ns;
        self.last_stamp = batch.first_stamp;
        self.first_stamp = batch.first_stamp;
        self.sequence = 0;
    }

    /// Appends an operation of the batch that was started last.
    ///
    /// # Panics
    ///
    /// When the key has no bytes or more than [`KEY_BYTES_MAX`].
    #[inline]
    pub(crate) fn operation(&mut self, operation: &Operation<'_>) {
        if self.boots.get(self.boot) != Some(&operation.boot) {
            self.boot = self.boot_index(operation.boot);
        }
        let (first_stamp, sequence, boot) = (self.first_stamp, self.sequence, self.boot);
        let key_bytes = if let Key::Bytes(bytes) = operation.key { bytes.len() } else { 0 };
        let (room, start) = self.room(key_bytes);
        let mut tag = operation.kind as u16 | (operation.outcome as u16) << 3;
        let mut end = varint::write(room, 2, operation.stamp.wrapping_sub(first_stamp));
        let (code, after) = write_key(room, end, operation.key);
        tag |= code << 5;
        let (code, after) = write_read(room, after, operation.read);
        tag |= code << 7;
        let (code, after) = write_written(room, after, operation.written);
        tag |= code << 10;
        end = after;
        if operation.kind == Kind::Increment {
            end = varint::write(room, end, varint::fold(operation.by));
        }
        if let Some(next) = operation.sequence {
            tag |= SEQUENCE_PRESENT;
            end = varint::write(room, end, varint::fold(next.wrapping_sub(sequence) as i64));
        }
        if boot != 0 {
            tag |= BOOT_PRESENT;
            end = varint::write(room, end, boot as u64);
        }
        room[..2].copy_from_slice(&tag.to_le_bytes());
        self.end = start + end;
        self.sequence = operation.sequence.unwrap_or(sequence);
        self.operations += 1;
    }

    /// Appends operations of the batch that was started last, in columns. Those that are told
    /// elsewhere are left out.
    pub(crate) fn columns<K, P>(&mut self, columns: Columns<'_, K, P>)
    where
        K: Iterator<Item = u64> + Clone,
        P: Iterator<Item = u32>,
    {
        let Some(widths) = columns.widths() else { return };
        let boots = columns.places.iter().map(|place| self.boot_index(place.boot));
        let boots: Vec<usize> = boots.collect();
        let batch_stamp = self.first_stamp;
        let (room, start) = self.room(columns.bytes_max(widths));
        room[..2].copy_from_slice(&COLUMNS.to_le_bytes());
        let (end, operations) = columns.write(widths, batch_stamp, &boots, room, 2);
        self.end = start + end;
        self.operations += operations;
    }

    /// Room for one record with `more_bytes` bytes beside its numbers, and where it starts.
    #[inline(always)]
    fn room(&mut self, more_bytes: usize) -> (&mut [u8], usize) {
        let start = self.end;
        let needed = RECORD_BYTES_MAX + more_bytes;
        if self.bytes.len() < start + needed {
            self.bytes.resize(start + needed + GROWTH_BYTES, 0);
        }
        (&mut self.bytes[start..start + needed], start)
    }

    /// Index of a boot id, named now if it was not yet.
    #[cold]
    fn boot_index(&mut self, boot: u64) -> usize {
        if let Some(index) = self.boots.iter().position(|known| *known == boot) {
            return index;
        }
        let (room, start) = self.room(0);
        room[..2].copy_from_slice(&BOOT.to_le_bytes());
        room[2..10].copy_from_slice(&boot.to_le_bytes());
        self.end = start + 10;
        self.boots.push(boot);
        self.boots.len() - 1
    }
}

#[inline(always)]
fn write_key(room: &mut [u8], end: usize, key: Key<'_>) -> (u16, usize) {
    match key {
        Key::Number(number) => (1, varint::write(room, end, number)),
        Key::Counter(number) => (2, varint::write(room, end, number)),
        Key::Bytes(bytes) => {
            assert!((1..=KEY_BYTES_MAX).contains(&bytes.len()), "a key has 1 to 1024 bytes");
            let start = varint::write(room, end, bytes.len() as u64);
            room[start..start + bytes.len()].copy_from_slice(bytes);
            (0, start + bytes.len())
        }
    }
}

#[inline(always)]
fn write_read(room: &mut [u8], end: usize, read: Value) -> (u16, usize) {
    match read {
        Value::NotKnown => (0, end),
        Value::Missing => (1, end),
        Value::Present => (2, end),
        Value::Id { client, stamp } => (3, write_id(room, end, client, stamp)),
        Value::Number(number) => (4, varint::write(room, end, varint::fold(number))),
        Value::Foreign => (5, end),
    }
}

#[inline(always)]
fn write_written(room: &mut [u8], end: usize, written: Written) -> (u16, usize) {
    match written {
        Written::Nothing => (0, end),
        Written::Own => (1, end),
        Written::Id { client, stamp } => (2, write_id(room, end, client, stamp)),
        Written::Number(number) => (3, varint::write(room, end, varint::fold(number))),
    }
}

#[inline(always)]
fn write_id(room: &mut [u8], end: usize, client: u32, stamp: u64) -> usize {
    let end = varint::write(room, end, u64::from(client));
    varint::write(room, end, stamp)
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The next operations belong to this batch.
    Batch(Batch),
    /// An operation of the batch before.
    Operation(Operation<'a>),
}

/// Reads the records that an [`Encoder`] wrote.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
    batch: Option<Batch>,
    sequence: u64,
    boots: Vec<u64>,
    columns: ColumnReader,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let (position, batch, sequence, boots) = (0, None, 0, Vec::new());
        Self { bytes, position, batch, sequence, boots, columns: ColumnReader::default() }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The next record, `None` after the last.
    ///
    /// # Errors
    ///
    /// What is wrong with the record that starts at [`Decoder::position`].
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, &'static str> {
        if !self.columns.is_done()
            && let Some(operation) = self.columns.next(self.bytes)?
        {
            return Ok(Some(Record::Operation(operation)));
        }
        self.next_record()
    }

    #[inline]
    fn next_record(&mut self) -> Result<Option<Record<'a>>, &'static str> {
        while self.position < self.bytes.len() {
            let mut at = self.position;
            let tag = u16::from_le_bytes(*chunk(self.bytes, &mut at).ok_or("a tag is cut off")?);
            let record = match tag & 7 {
                0..=4 => Record::Operation(self.operation(tag, &mut at)?),
                BOOT if tag == BOOT => {
                    let boot = chunk(self.bytes, &mut at).ok_or("a boot id is cut off")?;
                    self.boots.push(u64::from_le_bytes(*boot));
                    self.position = at;
                    continue;
                }
                COLUMNS if tag == COLUMNS => {
                    let batch =
                        self.batch.as_ref().ok_or("columns stand before the first batch")?;
                    self.columns.begin(self.bytes, &mut at, batch, &self.boots)?;
                    let first = self.columns.next(self.bytes)?;
                    self.position = at;
                    match first {
                        Some(operation) => return Ok(Some(Record::Operation(operation))),
                        None => continue,
                    }
                }
                BATCH if tag == BATCH => Record::Batch(self.begin(&mut at)?),
                _ => return Err("no record has this tag"),
            };
            self.position = at;
            return Ok(Some(record));
        }
        Ok(None)
    }

    #[inline]
    fn begin(&mut self, at: &mut usize) -> Result<Batch, &'static str> {
        const CUT: &str = "a batch is cut off";
        let (inv, stamp) = self.batch.map_or((0, 0), |batch| (batch.inv_ns, batch.first_stamp));
        let bytes = self.bytes;
        let mut number = || varint::read(bytes, at).ok_or(CUT);
        let inv_ns = inv.wrapping_add(varint::unfold(number()?) as u64);
        let res_ns = inv_ns
            .checked_add(number()?)
            .filter(|res| *res <= i64::MAX as u64)
            .ok_or("a time is beyond 2^63 nanoseconds")?;
        let first_stamp = stamp.wrapping_add(varint::unfold(number()?) as u64);
        let worker = u32::try_from(number()?).map_err(|_| "a worker's number passes 32 bits")?;
        let batch = Batch { worker, inv_ns, res_ns, first_stamp };
        self.batch = Some(batch);
        self.sequence = 0;
        Ok(batch)
    }

    #[inline]
    fn operation(&mut self, tag: u16, at: &mut usize) -> Result<Operation<'a>, &'static str> {
        const CUT: &str = "an operation is cut off";
        let batch = self.batch.ok_or("an operation stands before the first batch")?;
        let kind = match tag & 7 {
            0 => Kind::Get,
            1 => Kind::Put,
            2 => Kind::Delete,
            3 => Kind::CompareAndSwap,
            _ => Kind::Increment,
        };
        let outcome = match tag >> 3 & 3 {
            0 => Outcome::Ok,
            1 => Outcome::Fail,
            2 => Outcome::Unknown,
            _ => return Err("no outcome has this code"),
        };
        let bytes = self.bytes;
        let stamp = batch.first_stamp.wrapping_add(varint::read(bytes, at).ok_or(CUT)?);
        let key = read_key(bytes, at, tag >> 5 & 3)?;
        let read = match tag >> 7 & 7 {
            0 => Value::NotKnown,
            1 => Value::Missing,
            2 => Value::Present,
            3 => read_id(bytes, at).map(|(client, stamp)| Value::Id { client, stamp })?,
            4 => Value::Number(varint::unfold(varint::read(bytes, at).ok_or(CUT)?)),
            5 => Value::Foreign,
            _ => return Err("no value read has this code"),
        };
        let written = match tag >> 10 & 3 {
            0 => Written::Nothing,
            1 => Written::Own,
            2 => read_id(bytes, at).map(|(client, stamp)| Written::Id { client, stamp })?,
            _ => Written::Number(varint::unfold(varint::read(bytes, at).ok_or(CUT)?)),
        };
        let by = match kind {
            Kind::Increment => varint::unfold(varint::read(bytes, at).ok_or(CUT)?),
            _ => 0,
        };
        let sequence = if tag & SEQUENCE_PRESENT == 0 {
            None
        } else {
            let difference = varint::unfold(varint::read(bytes, at).ok_or(CUT)?);
            self.sequence = self.sequence.wrapping_add(difference as u64);
            Some(self.sequence)
        };
        let boot = match tag & BOOT_PRESENT {
            0 => 0,
            _ => varint::read(bytes, at).ok_or(CUT)? as usize,
        };
        if tag >> 14 != 0 {
            return Err("no record has this tag");
        }
        let boot = *self.boots.get(boot).ok_or("a boot id is used before it is named")?;
        Ok(Operation { key, stamp, kind, outcome, read, written, by, sequence, boot })
    }
}

#[inline(always)]
fn chunk<'a, const N: usize>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8; N]> {
    let chunk = bytes.get(*at..)?.first_chunk()?;
    *at += N;
    Some(chunk)
}

#[inline(always)]
fn read_key<'a>(bytes: &'a [u8], at: &mut usize, form: u16) -> Result<Key<'a>, &'static str> {
    let number = varint::read(bytes, at).ok_or("a key is cut off")?;
    match form {
        0 => {
            if !(1..=KEY_BYTES_MAX as u64).contains(&number) {
                return Err("a key has 1 to 1024 bytes");
            }
            let end = *at + number as usize;
            let key = bytes.get(*at..end).ok_or("a key is cut off")?;
            *at = end;
            match Key::parse(key) {
                Key::Bytes(_) => Ok(Key::Bytes(key)),
                _ => Err("a key of digits is not in its form"),
            }
        }
        1 => Ok(Key::Number(number)),
        2 => Ok(Key::Counter(number)),
        _ => Err("no key has this form"),
    }
}

#[inline(always)]
fn read_id(bytes: &[u8], at: &mut usize) -> Result<(u32, u64), &'static str> {
    const CUT: &str = "an id is cut off";
    let client = varint::read(bytes, at).ok_or(CUT)?;
    let client = u32::try_from(client).map_err(|_| "a client's number passes 32 bits")?;
    Ok((client, varint::read(bytes, at).ok_or(CUT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(worker: u32, inv_ns: u64, res_ns: u64, first_stamp: u64) -> Batch {
        Batch { worker, inv_ns, res_ns, first_stamp }
    }

    /// Operations that use every form of every field.
    fn operations() -> Vec<Operation<'static>> {
        let mut operations = Vec::new();
        let keys = [Key::Number(0), Key::Counter(u64::MAX), Key::Bytes(b"key"), Key::Number(9)];
        let reads = [
            Value::NotKnown,
            Value::Missing,
            Value::Present,
            Value::Id { client: u32::MAX, stamp: u64::MAX },
            Value::Number(i64::MIN),
            Value::Foreign,
        ];
        let writes = [
            Written::Nothing,
            Written::Own,
            Written::Id { client: 3, stamp: 9 },
            Written::Number(-1),
        ];
        let kinds = [Kind::Get, Kind::Put, Kind::Delete, Kind::CompareAndSwap, Kind::Increment];
        let outcomes = [Outcome::Ok, Outcome::Fail, Outcome::Unknown];
        for index in 0..360usize {
            let kind = kinds[index % 5];
            operations.push(Operation {
                key: keys[index % 4],
                stamp: 1000 + index as u64 * 7,
                kind,
                outcome: outcomes[index % 3],
                read: reads[index % 6],
                written: writes[index / 3 % 4],
                by: if kind == Kind::Increment { -(index as i64) } else { 0 },
                sequence: (index % 7 != 0).then_some(u64::MAX - index as u64 * 1000),
                boot: [7, u64::MAX, 8][index / 50 % 3],
            });
        }
        operations
    }

    fn encode(records: &[Record<'_>]) -> Encoder {
        let mut encoder = Encoder::default();
        for record in records {
            match record {
                Record::Batch(batch) => encoder.batch(batch),
                Record::Operation(operation) => encoder.operation(operation),
            }
        }
        encoder
    }

    fn records() -> Vec<Record<'static>> {
        let mut records = vec![];
        for (index, operation) in operations().into_iter().enumerate() {
            if index % 10 == 0 {
                let inv_ns = 5_000_000_000 - index as u64;
                records.push(Record::Batch(batch(index as u32, inv_ns, inv_ns + 99, 1000)));
            }
            records.push(Record::Operation(operation));
        }
        records
    }

    #[test]
    fn records_survive_the_round_trip() {
        let records = records();
        let mut encoder = encode(&records);
        assert_eq!(encoder.operations(), 360);
        for _ in 0..2 {
            let mut decoder = Decoder::new(encoder.bytes());
            for record in &records {
                assert_eq!(decoder.next(), Ok(Some(*record)));
            }
            assert_eq!(decoder.next(), Ok(None));
            assert_eq!(decoder.position(), encoder.bytes().len());
            let bytes = encoder.bytes().to_vec();
            encoder.clear();
            assert!(encoder.bytes().is_empty() && encoder.operations() == 0);
            encoder = encode(&records);
            assert_eq!(encoder.bytes(), bytes);
        }
    }

    #[test]
    fn drained_records_can_be_joined() {
        let records = records();
        let mut encoder = Encoder::default();
        let mut joined = Vec::new();
        for record in &records {
            match record {
                Record::Batch(batch) => encoder.batch(batch),
                Record::Operation(operation) => encoder.operation(operation),
            }
            joined.extend(encoder.drain());
        }
        assert_eq!(joined, encode(&records).bytes());
    }

    #[test]
    fn records_that_are_cut_off_are_refused() {
        for record in records() {
            let Record::Operation(operation) = record else { continue };
            let encoder = encode(&[Record::Batch(batch(1, 1 << 40, 1 << 41, 1000))]);
            let before = encoder.bytes().len();
            let encoder = encode(&[Record::Batch(batch(1, 1 << 40, 1 << 41, 1000)), record]);
            // The boot id is a record of its own, ten bytes long.
            for end in (before + 1..before + 10).chain(before + 11..encoder.bytes().len()) {
                let mut decoder = Decoder::new(&encoder.bytes()[..end]);
                assert!(matches!(decoder.next(), Ok(Some(Record::Batch(_)))));
                assert!(decoder.next().is_err(), "{operation:?} cut at {end}");
            }
        }
    }

    #[test]
    fn records_without_meaning_are_refused() {
        let header = encode(&[Record::Batch(batch(0, 0, 0, 0))]).bytes().to_vec();
        let boot = [&[6, 0][..], &[0; 8]].concat();
        let refused = |parts: &[&[u8]]| {
            let bytes = parts.concat();
            let mut decoder = Decoder::new(&bytes);
            loop {
                match decoder.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(reason) => return Some(reason),
                }
            }
        };
        let get = [0x20, 0, 1, 1];
        assert_eq!(refused(&[&header, &boot, &get]), None);
        assert_eq!(refused(&[&boot, &get]), Some("an operation stands before the first batch"));
        assert_eq!(refused(&[&header, &get]), Some("a boot id is used before it is named"));
        assert_eq!(refused(&[&[5, 1]]), Some("no record has this tag"));
        assert_eq!(refused(&[&[7, 1]]), Some("no record has this tag"));
        assert_eq!(refused(&[&header, &boot, &[0x20, 0x40, 1, 1]]), Some("no record has this tag"));
        assert_eq!(refused(&[&header, &boot, &[0x38, 0, 1, 1]]), Some("no outcome has this code"));
        assert_eq!(refused(&[&header, &boot, &[0x60, 0, 1, 1]]), Some("no key has this form"));
        assert_eq!(refused(&[&header, &boot, &[0, 0, 1, 1]]), Some("a key has 1 to 1024 bytes"));
        let digits = [0, 0, 1, 3, b'7'];
        assert_eq!(refused(&[&header, &boot, &digits]), Some("a key of digits is not in its form"));
        let read = [0x20, 3, 1, 1];
        assert_eq!(refused(&[&header, &boot, &read]), Some("no value read has this code"));
    }
}

//! Operations of a batch in columns: one element of each an operation.
//!
//! What most operations need is told in one word ([`Told`]), their stamps count on by themselves,
//! and operations of one partition share their [`Place`]. So a run of them is packed column by
//! column, which costs a fraction of a record for each. The layout stands in the module above.

use super::{Batch, Key, Kind, Operation, Outcome, Value, Written, varint};

/// Most operations of one record.
pub(crate) const OPERATIONS_MAX: usize = 4096;
/// Most places that the operations of a batch can have here.
pub const PLACES_MAX: usize = 1 << (16 - FORM_BITS);
/// Most places that a tag of one byte can name.
const PLACES_SHORT_MAX: usize = 1 << (8 - FORM_BITS);

const FORM_BITS: u32 = 3;
const STAMP_BITS: u32 = 40;
const CLIENT_BITS: u32 = 16;
const CLIENT_SHIFT: u32 = STAMP_BITS;
const FORM_SHIFT: u32 = STAMP_BITS + CLIENT_BITS;

/// Longest numbers before the columns, the places aside.
const HEAD_BYTES_MAX: usize = 3 * varint::BYTES_MAX + 4;
/// Longest place: a boot's index and an apply sequence.
const PLACE_BYTES_MAX: usize = 2 * varint::BYTES_MAX;
/// Numbers are written as whole words, of which only the first bytes stay.
const WORD_BYTES: usize = 8;

mod form {
    pub(super) const ELSEWHERE: u64 = 0;
    pub(super) const GET: u64 = 1;
    pub(super) const GET_MISSING: u64 = 2;
    pub(super) const PUT: u64 = 3;
    pub(super) const DELETE: u64 = 4;
    pub(super) const DELETE_MISSING: u64 = 5;
    pub(super) const SWAP: u64 = 6;
    pub(super) const SWAP_MISMATCH: u64 = 7;
}

/// What became of an operation, in one word, where that is enough: it was executed, and names at
/// most one id, of a client below 2^16 and a stamp below 2^40.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told(u64);

impl Told {
    /// A record of its own tells it, or none does.
    pub const ELSEWHERE: Self = Self(form::ELSEWHERE << FORM_SHIFT);
    /// A GET of a missing key.
    pub const GET_MISSING: Self = Self(form::GET_MISSING << FORM_SHIFT);
    /// A PUT.
    pub const PUT: Self = Self(form::PUT << FORM_SHIFT);
    /// A DELETE of a key that was there.
    pub const DELETE: Self = Self(form::DELETE << FORM_SHIFT);
    /// A DELETE of a missing key.
    pub const DELETE_MISSING: Self = Self(form::DELETE_MISSING << FORM_SHIFT);

    /// A GET that saw what this operation wrote; [`Told::ELSEWHERE`] if that does not fit.
    #[inline]
    pub fn get(client: u32, stamp: u64) -> Self {
        Self::with_id(form::GET, client, stamp)
    }

    /// A CAS that replaced what this operation wrote; [`Told::ELSEWHERE`] if that does not fit.
    #[inline]
    pub fn swap(client: u32, stamp: u64) -> Self {
        Self::with_id(form::SWAP, client, stamp)
    }

    /// A CAS that found what this operation wrote and left it; [`Told::ELSEWHERE`] if that does not
    /// fit.
    #[inline]
    pub fn swap_mismatch(client: u32, stamp: u64) -> Self {
        Self::with_id(form::SWAP_MISMATCH, client, stamp)
    }

    #[inline]
    fn with_id(form: u64, client: u32, stamp: u64) -> Self {
        if client >> CLIENT_BITS != 0 || stamp >> STAMP_BITS != 0 {
            return Self::ELSEWHERE;
        }
        Self(form << FORM_SHIFT | u64::from(client) << CLIENT_SHIFT | stamp)
    }

    fn stamp(self) -> u64 {
        self.0 & ((1 << STAMP_BITS) - 1)
    }

    fn client(self) -> u64 {
        self.0 >> CLIENT_SHIFT & ((1 << CLIENT_BITS) - 1)
    }

    fn form(self) -> u64 {
        self.0 >> FORM_SHIFT
    }
}

/// Where operations took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Boot id of the server.
    pub boot: u64,
    /// The apply sequence of the group, if the server counts.
    pub sequence: Option<u64>,
}

/// How many bytes `number` takes.
fn width(number: u64) -> usize {
    (64 - number.leading_zeros() as usize).div_ceil(8)
}

/// Writes the numbers one after the other, `WIDTH` bytes each, from `at` on; returns where they end.
/// Up to a word behind that is overwritten.
fn pack<const WIDTH: usize>(
    out: &mut [u8],
    at: usize,
    numbers: impl Iterator<Item = u64>,
) -> usize {
    let mut end = at;
    for number in numbers {
        out[end..end + WORD_BYTES].copy_from_slice(&number.to_le_bytes());
        end += WIDTH;
    }
    end
}

fn pack_column(
    out: &mut [u8],
    at: usize,
    width: usize,
    numbers: impl Iterator<Item = u64>,
) -> usize {
    match width {
        0 => at,
        1 => pack::<1>(out, at, numbers),
        2 => pack::<2>(out, at, numbers),
        3 => pack::<3>(out, at, numbers),
        4 => pack::<4>(out, at, numbers),
        5 => pack::<5>(out, at, numbers),
        6 => pack::<6>(out, at, numbers),
        7 => pack::<7>(out, at, numbers),
        _ => pack::<8>(out, at, numbers),
    }
}

/// Reads a number of `width` bytes, at most eight.
#[inline(always)]
fn load(bytes: &[u8], at: usize, width: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word) & MASKS[width],
        None => {
            let mut word = [0; WORD_BYTES];
            word[..width].copy_from_slice(&bytes[at..at + width]);
            u64::from_le_bytes(word)
        }
    }
}

/// By width, the bits of such a number.
const MASKS: [u64; WORD_BYTES + 1] = {
    let mut masks = [u64::MAX; WORD_BYTES + 1];
    let mut width = 0;
    while width < WORD_BYTES {
        masks[width] = (1 << (8 * width)) - 1;
        width += 1;
    }
    masks
};

/// Operations of one batch, whose stamps are consecutive.
#[derive(Clone, Debug)]
pub(crate) struct Columns<'a, K, P> {
    /// Stamp of the first.
    pub(crate) first_stamp: u64,
    /// What became of each, at most [`OPERATIONS_MAX`].
    pub(crate) told: &'a [Told],
    /// The number of each one's key.
    pub(crate) keys: K,
    /// Where each took effect: an index into `places`.
    pub(crate) place_of: P,
    /// At most [`PLACES_MAX`].
    pub(crate) places: &'a [Place],
}

impl<K, P> Columns<'_, K, P>
where
    K: Iterator<Item = u64> + Clone,
    P: Iterator<Item = u32>,
{
    /// The widths of the columns, in bytes: tags, keys, stamps, clients. `None` when all operations
    /// are told elsewhere.
    ///
    /// # Panics
    ///
    /// When there are more operations or places than their bounds.
    pub(crate) fn widths(&self) -> Option<[usize; 4]> {
        let (count, places) = (self.told.len(), self.places.len());
        assert!(count <= OPERATIONS_MAX && places <= PLACES_MAX, "columns are bounded");
        let all = self.told.iter().fold(0, |all, told| all | told.0);
        if all == 0 {
            return None;
        }
        let tag_bytes = if places <= PLACES_SHORT_MAX { 1 } else { 2 };
        let key_bytes = width(self.keys.clone().take(count).fold(0, |all, key| all | key)).max(1);
        Some([tag_bytes, key_bytes, width(Told(all).stamp()), width(Told(all).client())])
    }

    /// Most bytes that they take, of these widths.
    pub(crate) fn bytes_max(&self, widths: [usize; 4]) -> usize {
        let rows_bytes = self.told.len() * widths.iter().sum::<usize>();
        HEAD_BYTES_MAX + self.places.len() * PLACE_BYTES_MAX + rows_bytes + WORD_BYTES
    }

    /// Writes them of these widths from `end` on; returns where they end, and how many operations
    /// they hold. Those that are told elsewhere are left out. `batch_stamp` is what the batch's
    /// stamps are counted from, `boots` has the index of each place's boot id.
    pub(crate) fn write(
        self,
        widths: [usize; 4],
        batch_stamp: u64,
        boots: &[usize],
        out: &mut [u8],
        mut end: usize,
    ) -> (usize, u32) {
        let Self { first_stamp, told, keys, place_of, places } = self;
        end = varint::write(out, end, told.len() as u64);
        end = varint::write(out, end, first_stamp.wrapping_sub(batch_stamp));
        end = varint::write(out, end, places.len() as u64);
        let mut before = 0;
        for (place, boot) in places.iter().zip(boots) {
            let has_sequence = u64::from(place.sequence.is_some());
            end = varint::write(out, end, (*boot as u64) << 1 | has_sequence);
            if let Some(sequence) = place.sequence {
                let difference = sequence.wrapping_sub(before) as i64;
                end = varint::write(out, end, varint::fold(difference));
                before = sequence;
            }
        }
        out[end..end + 4].copy_from_slice(&widths.map(|width| width as u8));
        end += 4;
        let [tag_bytes, key_bytes, stamp_bytes, client_bytes] = widths;
        let tags = told.iter().zip(place_of).map(|(told, place)| {
            debug_assert!((place as usize) < places.len() || told.form() == form::ELSEWHERE);
            told.form() | u64::from(place) << FORM_BITS
        });
        end = pack_column(out, end, tag_bytes, tags);
        end = pack_column(out, end, key_bytes, keys.take(told.len()));
        end = pack_column(out, end, stamp_bytes, told.iter().map(|told| told.stamp()));
        end = pack_column(out, end, client_bytes, told.iter().map(|told| told.client()));
        let here = told.iter().filter(|told| told.form() != form::ELSEWHERE).count();
        (end, here as u32)
    }
}

/// Columns that are being read.
#[derive(Debug, Default)]
pub(crate) struct ColumnReader {
    next: usize,
    count: usize,
    first_stamp: u64,
    widths: [usize; 4],
    /// Where each column starts.
    starts: [usize; 4],
    places: Vec<Place>,
}

impl ColumnReader {
    /// Whether all operations were read.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.count
    }

    /// Reads what stands before the columns, and moves past them.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn begin(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        batch: &Batch,
        boots: &[u64],
    ) -> Result<(), &'static str> {
        const CUT: &str = "the head of columns is cut off";
        let count = varint::read(bytes, at).ok_or(CUT)?;
        let stamp = varint::read(bytes, at).ok_or(CUT)?;
        let places = varint::read(bytes, at).ok_or(CUT)?;
        if !(1..=OPERATIONS_MAX as u64).contains(&count) || places > PLACES_MAX as u64 {
            return Err("columns are longer than their bound");
        }
        self.places.clear();
        let mut before = 0u64;
        for _ in 0..places {
            let boot = varint::read(bytes, at).ok_or(CUT)?;
            let mut sequence = None;
            if boot & 1 != 0 {
                let difference = varint::unfold(varint::read(bytes, at).ok_or(CUT)?);
                before = before.wrapping_add(difference as u64);
                sequence = Some(before);
            }
            let boot = boots.get((boot >> 1) as usize);
            let boot = *boot.ok_or("a boot id is used before it is named")?;
            self.places.push(Place { boot, sequence });
        }
        let widths: [u8; 4] = *bytes.get(*at..).and_then(<[u8]>::first_chunk).ok_or(CUT)?;
        *at += widths.len();
        let [tag_bytes, key_bytes, stamp_bytes, client_bytes] = widths;
        if !(1..=2).contains(&tag_bytes)
            || !(1..=8).contains(&key_bytes)
            || stamp_bytes > 5
            || client_bytes > 2
        {
            return Err("no column has this width");
        }
        let mut end = *at;
        for ((start, kept), width) in self.starts.iter_mut().zip(&mut self.widths).zip(widths) {
            (*start, *kept) = (end, usize::from(width));
            end += count as usize * usize::from(width);
        }
        if end > bytes.len() {
            return Err("a column is cut off");
        }
        *at = end;
        (self.next, self.count) = (0, count as usize);
        self.first_stamp = batch.first_stamp.wrapping_add(stamp);
        Ok(())
    }

    /// The next operation that is told here, `None` after the last.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    #[inline]
    pub(crate) fn next(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<Operation<'static>>, &'static str> {
        while self.next < self.count {
            let index = self.next;
            self.next += 1;
            let column = |which: usize| {
                let width = self.widths[which];
                load(bytes, self.starts[which] + index * width, width)
            };
            let tag = column(0);
            let form = tag & ((1 << FORM_BITS) - 1);
            if form == form::ELSEWHERE {
                continue;
            }
            let place = self.places.get((tag >> FORM_BITS) as usize);
            let place = *place.ok_or("an operation has a place that was not named")?;
            let id = || Value::Id { client: column(3) as u32, stamp: column(2) };
            let (kind, read, written) = match form {
                form::GET => (Kind::Get, id(), Written::Nothing),
                form::GET_MISSING => (Kind::Get, Value::Missing, Written::Nothing),
                form::PUT => (Kind::Put, Value::NotKnown, Written::Own),
                form::DELETE => (Kind::Delete, Value::Present, Written::Own),
                form::DELETE_MISSING => (Kind::Delete, Value::Missing, Written::Own),
                form::SWAP => (Kind::CompareAndSwap, id(), Written::Own),
                _ => (Kind::CompareAndSwap, id(), Written::Nothing),
            };
            return Ok(Some(Operation {
                key: Key::Number(column(1)),
                stamp: self.first_stamp.wrapping_add(index as u64),
                kind,
                outcome: Outcome::Ok,
                read,
                written,
                by: 0,
                sequence: place.sequence,
                boot: place.boot,
            }));
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;

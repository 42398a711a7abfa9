//! Values that tell who wrote them and where.
//!
//! Little-endian:
//!
//! 1. `u32` the writer's client
//! 2. `u64` the writer's stamp
//! 3. `u64` the key's number
//! 4. `u32` the writer's worker
//! 5. `u32` the operation's ordinal in its worker: unlike the stamp, the same in every replay
//! 6. filler, so that values differ in length: as many bytes as the ordinal modulo 64

use checker::history::Value;

const FIXED_BYTES: usize = 28;

/// Who wrote a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    /// The client.
    pub(crate) client: u32,
    /// The stamp of the write.
    pub(crate) stamp: u64,
    /// The worker in the client.
    pub(crate) worker: u32,
    /// The operation's ordinal in its worker.
    pub(crate) ordinal: u32,
}

/// The value that this write of key `number` leaves.
pub(crate) fn encode(number: u64, writer: &Writer) -> Vec<u8> {
    let mut value = Vec::with_capacity(FIXED_BYTES + 64);
    value.extend(writer.client.to_le_bytes());
    value.extend(writer.stamp.to_le_bytes());
    value.extend(number.to_le_bytes());
    value.extend(writer.worker.to_le_bytes());
    value.extend(writer.ordinal.to_le_bytes());
    value.resize(FIXED_BYTES + (writer.ordinal % 64) as usize, writer.ordinal as u8);
    value
}

/// Who wrote the value of key `number`; `None` when no write of that key leaves such a value.
pub(crate) fn decode(number: u64, value: &[u8]) -> Option<Writer> {
    let u32_at = |at: usize| value[at..at + 4].try_into().map(u32::from_le_bytes);
    let u64_at = |at: usize| value[at..at + 8].try_into().map(u64::from_le_bytes);
    if value.len() < FIXED_BYTES {
        return None;
    }
    let writer = Writer {
        client: u32_at(0).ok()?,
        stamp: u64_at(4).ok()?,
        worker: u32_at(20).ok()?,
        ordinal: u32_at(24).ok()?,
    };
    (encode(number, &writer) == value).then_some(writer)
}

/// A value read, as a history names it.
pub(crate) fn id(number: u64, value: &[u8]) -> Value {
    match decode(number, value) {
        Some(Writer { client, stamp, .. }) => Value::Id { client, stamp },
        None => Value::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_their_writers_and_damage_shows() {
        let writer = Writer { client: 1, stamp: 77, worker: 2, ordinal: 70 };
        let value = encode(5, &writer);
        assert_eq!(decode(5, &value), Some(writer));
        assert_eq!(id(5, &value), Value::Id { client: 1, stamp: 77 });
        assert_eq!(id(6, &value), Value::Foreign, "another key's");
        assert_eq!(id(5, &value[..value.len() - 1]), Value::Foreign, "cut off");
        assert_eq!(id(5, b""), Value::Foreign);
    }
}

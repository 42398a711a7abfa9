//! From a plan to a batch: keys as text, values, and the operations pushed in order.

use kvs_client::OperationError;

use super::batches::Requests;
use super::decimal::{self, Digits};
use super::plan::{Kind, PendingSwaps, Plan};
use super::random::Random;
use super::value::ValueWriter;

/// Writes the planned operations into a batch.
///
/// # Errors
///
/// When a key or value breaks a limit.
pub(crate) fn fill(
    batch: &mut impl Requests,
    plan: &Plan,
    values: &mut ValueWriter,
    random: &mut Random,
    pending: &PendingSwaps,
) -> Result<(), OperationError> {
    let first_stamp = batch.first_stamp();
    let mut digits = Digits::default();
    for (index, planned) in plan.operations.iter().enumerate() {
        let number = planned.number();
        let stamp = first_stamp + index as u64;
        let key = decimal::write(number, &mut digits);
        match planned.kind() {
            Kind::Get | Kind::Read => batch.get(key)?,
            Kind::Put | Kind::Insert => batch.put(key, values.write(stamp, number, random))?,
            Kind::Delete => batch.delete(key)?,
            Kind::Swap => {
                let value = values.write(stamp, number, random);
                batch.compare_and_swap(key, pending.expected(index), value)?;
            }
            Kind::Increment => batch.increment(CounterKey::new(number).as_bytes(), 1)?,
            Kind::ResetCounter => batch.put(CounterKey::new(number).as_bytes(), b"0")?,
            Kind::DeleteCounter => batch.delete(CounterKey::new(number).as_bytes())?,
        }
    }
    Ok(())
}

/// The key of a counter: `c` and its number.
#[derive(Debug)]
pub(crate) struct CounterKey {
    bytes: [u8; 21],
    length: usize,
}

impl CounterKey {
    /// The key of the counter with this number.
    pub(crate) fn new(number: u64) -> Self {
        let mut digits = Digits::default();
        let digits = decimal::write(number, &mut digits);
        let mut bytes = [b'c'; 21];
        bytes[1..=digits.len()].copy_from_slice(digits);
        Self { bytes, length: digits.len() + 1 }
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_keys_of_their_own() {
        assert_eq!(CounterKey::new(0).as_bytes(), b"c0");
        assert_eq!(CounterKey::new(u64::MAX).as_bytes(), b"c18446744073709551615");
    }
}

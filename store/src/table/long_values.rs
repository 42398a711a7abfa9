//! Long values, each in an allocation of its own, exactly as large as it is: size classes would
//! waste up to an eighth of it.

/// Long values by number.
#[derive(Debug, Default)]
pub(super) struct LongValues {
    values: Vec<Option<Box<[u8]>>>,
    unused: Vec<u32>,
}

impl LongValues {
    /// Keeps a copy of `value` and returns its number.
    pub(super) fn insert(&mut self, value: &[u8]) -> u32 {
        let number = self.unused.pop().unwrap_or_else(|| {
            self.values.push(None);
            u32::try_from(self.values.len() - 1).expect("there are fewer than 2^32 long values")
        });
        self.values[number as usize] = Some(value.into());
        number
    }

    /// The value with this number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        self.values[number as usize].as_deref().expect("entries name values that are kept")
    }

    /// Drops the value with this number.
    pub(super) fn remove(&mut self, number: u32) {
        self.values[number as usize] = None;
        self.unused.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_come_and_go() {
        let mut values = LongValues::default();
        let first = values.insert(b"first");
        let second = values.insert(b"second");
        values.remove(first);
        assert_eq!(values.get(second), b"second");
        assert_eq!(values.insert(b"third"), first, "the number is used again");
        assert_eq!(values.get(first), b"third");
    }
}

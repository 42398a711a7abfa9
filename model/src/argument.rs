//! How the arguments of operations lie in bytes.
//!
//! 1. PUT: the value
//! 2. CAS: `u32` little-endian, the expected value's length plus one, or 0 when the key must be
//!    missing; the expected value; the new value, to the end of the argument
//! 3. INCR: `i64` little-endian, the summand
//! 4. GET and DELETE: nothing

use crate::operation::Action;

/// How many bytes an operation's argument takes.
pub fn argument_bytes(action: &Action<'_>) -> usize {
    match *action {
        Action::Get | Action::Delete => 0,
        Action::Put { value } => value.len(),
        Action::CompareAndSwap { expected, value } => {
            size_of::<u32>() + expected.map_or(0, <[u8]>::len) + value.len()
        }
        Action::Increment { .. } => size_of::<i64>(),
    }
}

/// Appends an operation's argument.
pub fn write_argument(action: &Action<'_>, out: &mut Vec<u8>) {
    match *action {
        Action::Get | Action::Delete => {}
        Action::Put { value } => out.extend_from_slice(value),
        Action::CompareAndSwap { expected, value } => {
            let length = expected.map_or(0, |expected| expected.len() as u32 + 1);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(expected.unwrap_or_default());
            out.extend_from_slice(value);
        }
        Action::Increment { by } => out.extend_from_slice(&by.to_le_bytes()),
    }
}

/// Splits the argument of a CAS into the expected value and the new one; `None` when its length
/// lies.
pub fn split_compare_and_swap(argument: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = argument.split_first_chunk()?;
    match u32::from_le_bytes(*length).checked_sub(1) {
        None => Some((None, rest)),
        Some(length) => {
            let (expected, value) = rest.split_at_checked(length as usize)?;
            Some((Some(expected), value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lying_lengths_in_a_cas_are_refused() {
        let split = split_compare_and_swap;
        assert_eq!(split(&[0, 0, 0, 0, 7]), Some((None, &[7][..])));
        assert_eq!(split(&[2, 0, 0, 0, 7]), Some((Some(&[7][..]), &[][..])));
        assert_eq!(split(&[3, 0, 0, 0, 7]), None);
        assert_eq!(split(&[0xff, 0xff, 0xff, 0xff, 7]), None);
        assert_eq!(split(&[0, 0, 0]), None);
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        let swap = |expected| Action::CompareAndSwap { expected, value: b"new" };
        for action in [
            Action::Get,
            Action::Delete,
            Action::Put { value: b"value" },
            swap(None),
            swap(Some(b"old")),
            Action::Increment { by: -1 },
        ] {
            let mut bytes = Vec::new();
            write_argument(&action, &mut bytes);
            assert_eq!(bytes.len(), argument_bytes(&action), "{action:?}");
        }
    }
}

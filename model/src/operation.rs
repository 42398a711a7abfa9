//! Keys, values and what is asked of them.

use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// What an operation does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read the value.
    Get,
    /// Write the value, whatever was there.
    Put {
        /// The value written, at most [`VALUE_BYTES_MAX`] bytes.
        value: &'a [u8],
    },
    /// Remove the key.
    Delete,
    /// Write `value` if the current value equals `expected`.
    CompareAndSwap {
        /// The value that must be there; `None` when the key must be missing.
        expected: Option<&'a [u8]>,
        /// The value written on a match.
        value: &'a [u8],
    },
    /// Add `by` to the decimal integer that the key holds; a missing key counts as 0.
    Increment {
        /// The summand, negative to count down.
        by: i64,
    },
}

/// One operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The key, 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// What to do to it.
    pub action: Action<'a>,
}

impl Operation<'_> {
    /// The kind of this operation.
    pub fn kind(&self) -> OperationKind {
        match self.action {
            Action::Get => OperationKind::Get,
            Action::Put { .. } => OperationKind::Put,
            Action::Delete => OperationKind::Delete,
            Action::CompareAndSwap { .. } => OperationKind::CompareAndSwap,
            Action::Increment { .. } => OperationKind::Increment,
        }
    }

    /// Checks key and values against the limits.
    ///
    /// # Errors
    ///
    /// The first bound that is passed.
    #[inline]
    pub fn check(&self) -> Result<(), OperationError> {
        if self.key.is_empty() {
            return Err(OperationError::KeyEmpty);
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(OperationError::KeyTooLong { bytes: self.key.len() });
        }
        let longest = match self.action {
            Action::Put { value } => value.len(),
            Action::CompareAndSwap { expected, value } => {
                value.len().max(expected.map_or(0, <[u8]>::len))
            }
            _ => 0,
        };
        if longest > VALUE_BYTES_MAX {
            return Err(OperationError::ValueTooLong { bytes: longest });
        }
        Ok(())
    }
}

/// Why an operation can't be sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// Keys have at least one byte.
    #[error("the key is empty; keys have 1 to {KEY_BYTES_MAX} bytes")]
    KeyEmpty,
    /// Keys have at most [`KEY_BYTES_MAX`] bytes.
    #[error("the key has {bytes} bytes; keys have 1 to {KEY_BYTES_MAX} bytes")]
    KeyTooLong {
        /// Length of the key, in bytes.
        bytes: usize,
    },
    /// Values have at most [`VALUE_BYTES_MAX`] bytes.
    #[error("the value has {bytes} bytes; values have at most {VALUE_BYTES_MAX} bytes")]
    ValueTooLong {
        /// Length of the value, in bytes.
        bytes: usize,
    },
}

/// An operation's kind, and its code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OperationKind {
    /// See [`Action::Get`].
    Get = 0,
    /// See [`Action::Put`].
    Put = 1,
    /// See [`Action::Delete`].
    Delete = 2,
    /// See [`Action::CompareAndSwap`].
    CompareAndSwap = 3,
    /// See [`Action::Increment`].
    Increment = 4,
}

impl OperationKind {
    /// The kind with this wire code.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Get,
            1 => Self::Put,
            2 => Self::Delete,
            3 => Self::CompareAndSwap,
            4 => Self::Increment,
            _ => return None,
        })
    }

    /// Whether such an operation may change its key.
    pub fn is_mutation(self) -> bool {
        self != Self::Get
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked() {
        let get = |key| Operation { key, action: Action::Get };
        assert_eq!(get(&[0; KEY_BYTES_MAX]).check(), Ok(()));
        assert_eq!(get(&[]).check(), Err(OperationError::KeyEmpty));
        assert!(matches!(
            get(&[0; KEY_BYTES_MAX + 1]).check(),
            Err(OperationError::KeyTooLong { .. })
        ));
        let value = vec![0; VALUE_BYTES_MAX + 1];
        let put = Operation { key: b"k", action: Action::Put { value: &value } };
        assert!(matches!(put.check(), Err(OperationError::ValueTooLong { .. })));
        let fits = Operation { key: b"k", action: Action::Put { value: &value[1..] } };
        assert_eq!(fits.check(), Ok(()));
    }
}

//! The commands for one operation, which take the place of a run.

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key
    Get {
        /// The key
        key: String,
    },
    /// Write a value
    Put {
        /// The key
        key: String,
        /// The value
        value: String,
    },
    /// Remove a key
    Delete {
        /// The key
        key: String,
    },
    /// Add to the integer that a key holds, and print the sum
    Incr {
        /// The key
        key: String,
        /// The summand
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },
    /// Write a value if the key holds the expected one
    Cas {
        /// The key
        key: String,
        /// What the key must hold
        expected: String,
        /// The value
        value: String,
    },
    /// Ask each server whether it answers
    Ping,
}

//! What a reader should know of a run beside its total, with what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that a reader of the total should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What was seen.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Warning {
    /// A warning of these words; neither ends with a full stop.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

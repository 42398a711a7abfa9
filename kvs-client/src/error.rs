//! What can go wrong, in three classes: not applied, unknown, applied.
//!
//! A missing key and a CAS that does not match are outcomes, not errors.

use std::time::Duration;

use model::operation::OperationError;
use model::refusal::Refusal;

/// Whether an operation that failed may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Refused before execution: it has had no effect and will have none.
    NotApplied,
    /// Sent, and its reply was lost: it took effect once or not at all.
    Unknown,
    /// Executed, and the error is its outcome.
    Applied,
}

/// Why one operation has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server refused the batch; the text is the server's.
    #[error("{endpoint} refused the batch: {detail}")]
    Refused {
        /// Who refused.
        endpoint: String,
        /// Why.
        refusal: Refusal,
        /// The server's words.
        detail: String,
    },
    /// The key belongs to another server than the one it was sent to.
    #[error(
        "{endpoint} does not own the key, and no server was found that does within the time for retries"
    )]
    WrongShard {
        /// Who refused.
        endpoint: String,
    },
    /// The read got no value in its turn, and a later operation of its lane has changed the key.
    #[error(
        "{endpoint} had no room for the value in its reply, or the reply was lost, and a later \
         operation of the lane has changed the key; read it again"
    )]
    NotRead {
        /// Who was asked.
        endpoint: String,
    },
    /// The server could not be reached, and the operation was never sent.
    #[error(
        "{endpoint} could not be reached for {waited:?} ({reason}); is its kvs-server running?"
    )]
    Unavailable {
        /// Who was not reached.
        endpoint: String,
        /// How long it was tried.
        waited: Duration,
        /// The last attempt's error.
        reason: String,
    },
    /// The operation was sent, and no reply came within the time for retries.
    #[error("{endpoint} took the operation, but its reply was lost ({reason})")]
    ReplyLost {
        /// Whose reply.
        endpoint: String,
        /// The last attempt's error.
        reason: String,
    },
    /// The operation was sent, and the server came back with its memory lost.
    #[error("{endpoint} restarted while the operation was on its way; its keys are gone")]
    Restarted {
        /// Which server.
        endpoint: String,
    },
    /// The server sent bytes that are no reply to what was asked.
    #[error("{endpoint} sent a wrong reply ({detail}); is it of the same version?")]
    WrongReply {
        /// Which server.
        endpoint: String,
        /// What was wrong.
        detail: String,
    },
}

impl Failure {
    /// Whether the operation may have taken effect.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Refused { .. }
            | Self::WrongShard { .. }
            | Self::NotRead { .. }
            | Self::Unavailable { .. } => FailureClass::NotApplied,
            Self::ReplyLost { .. } | Self::Restarted { .. } | Self::WrongReply { .. } => {
                FailureClass::Unknown
            }
        }
    }
}

/// What a call of the client library can fail with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The list of hosts can't be read.
    #[error(
        "`{text}` is not an endpoint; write host:port or unix:/path, several of them with commas \
         between, as in node0:8080,node1:8080; or mem:4 alone for four servers inside the load \
         generator (64 at most)"
    )]
    Endpoint {
        /// The part that is wrong.
        text: String,
    },
    /// A setting is out of its range.
    #[error("{setting} is {got}; it must be {range}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        got: String,
        /// What may be given.
        range: &'static str,
    },
    /// A server can't be reached.
    #[error("cannot connect to {endpoint}: {reason}; is its kvs-server running?")]
    Connect {
        /// Which server.
        endpoint: String,
        /// The attempt's error.
        reason: String,
    },
    /// The servers' places do not fit the list of hosts.
    #[error("{0}")]
    Placement(String),
    /// A server refused a control call.
    #[error("{endpoint}: {detail}")]
    Control {
        /// Which server.
        endpoint: String,
        /// Its words.
        detail: String,
    },
    /// Not all participants came to a barrier.
    #[error(
        "only {arrived} of {participants} clients came to the barrier `{name}` within {waited:?}; \
         the others failed or were never started"
    )]
    Barrier {
        /// Which barrier.
        name: String,
        /// How many came.
        arrived: u32,
        /// How many were expected.
        participants: u32,
        /// How long it was waited.
        waited: Duration,
    },
    /// The operation breaks a limit and was not sent.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// INCR on a value that is not a decimal 64-bit integer. Nothing changed.
    #[error("the value is not a decimal 64-bit integer, so it can't be incremented")]
    NotAnInteger,
    /// INCR past the 64-bit range. Nothing changed.
    #[error("the sum leaves the range of 64-bit integers; nothing was changed")]
    Overflow,
    /// The operation has no outcome.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the operation may have taken effect.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Failure(failure) => failure.class(),
            Self::NotAnInteger | Self::Overflow => FailureClass::Applied,
            // The actor that held the operation is gone, and with it what it knew.
            Self::Closed => FailureClass::Unknown,
            _ => FailureClass::NotApplied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_errors() {
        let endpoint = || "a:1".to_owned();
        let lost = Failure::ReplyLost { endpoint: endpoint(), reason: String::new() };
        assert_eq!(Error::from(lost).class(), FailureClass::Unknown);
        let gone = Failure::Restarted { endpoint: endpoint() };
        assert_eq!(gone.class(), FailureClass::Unknown);
        let foreign = Failure::WrongShard { endpoint: endpoint() };
        assert_eq!(foreign.class(), FailureClass::NotApplied);
        assert_eq!(Error::from(OperationError::KeyEmpty).class(), FailureClass::NotApplied);
        assert_eq!(Error::NotAnInteger.class(), FailureClass::Applied);
    }
}

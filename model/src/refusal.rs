//! Why a command is not applied.

/// Why a batch was refused as a whole. Nothing of it was executed, and it consumed no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The bytes are not a batch, or break a limit.
    Malformed = 1,
    /// It was routed by another map of slots than the shard's: fetch the map again.
    StaleEpoch = 2,
    /// The session is of other data than the shard's: that which was there is gone.
    OtherData = 3,
    /// The session is not known, was closed, or its lease has ended.
    SessionExpired = 4,
    /// The number is above the next one; the reply names the next.
    OutOfTurn = 5,
    /// The number was used by a batch with other operations.
    DifferentBytes = 6,
    /// The number is below the lowest open one, so its record is gone.
    RecordGone = 7,
    /// A bound on sessions, lanes or records is reached: try again later.
    Throttled = 8,
    /// The lane was closed.
    LaneClosed = 9,
    /// The server is ending and takes no more batches.
    Stopping = 10,
    /// Reads that were to run after a number that others have followed in their lane.
    Passed = 11,
    /// A key's slot belongs to another shard.
    NotOwned = 12,
    /// There is no such shard on this server.
    NoSuchShard = 13,
}

impl Refusal {
    const ALL: [Self; 13] = [
        Self::Malformed,
        Self::StaleEpoch,
        Self::OtherData,
        Self::SessionExpired,
        Self::OutOfTurn,
        Self::DifferentBytes,
        Self::RecordGone,
        Self::Throttled,
        Self::LaneClosed,
        Self::Stopping,
        Self::Passed,
        Self::NotOwned,
        Self::NoSuchShard,
    ];

    /// The refusal with this code on the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// What it means, in words.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Malformed => "the batch is malformed",
            Self::StaleEpoch => "the map of slots has changed; fetch it again",
            Self::OtherData => "the session belongs to an earlier life of this server",
            Self::SessionExpired => "the session is not known, or its lease has ended",
            Self::OutOfTurn => "a batch before this one has not arrived",
            Self::DifferentBytes => "this number was used by a batch with other bytes",
            Self::RecordGone => "the client said that it holds the reply to this number",
            Self::Throttled => "a bound on sessions or lanes is reached",
            Self::LaneClosed => "the lane was closed",
            Self::Stopping => "the server is ending",
            Self::Passed => "later batches of the lane were applied before these reads came",
            Self::NotOwned => "a key's slot belongs to another shard",
            Self::NoSuchShard => "there is no such shard on this server",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for code in 0..=u8::MAX {
            let refusal = Refusal::from_code(code);
            assert_eq!(
                refusal.map(|refusal| refusal as u8),
                (1..=13).contains(&code).then_some(code)
            );
        }
    }
}

use std::time::Duration;

use crate::outcome::Outcome;

/// The outcome that belongs to a status. It takes two bits, so that a classifier with many statuses
/// is cheap to copy for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Success,
    Failure,
    Throttled,
    Ignore,
}

impl Kind {
    /// The kind at this position of a word.
    #[inline]
    pub(super) const fn get(word: u64, shift: u32) -> Self {
        match word >> shift & 0b11 {
            0 => Self::Success,
            1 => Self::Failure,
            2 => Self::Throttled,
            _ => Self::Ignore,
        }
    }

    /// The word with this kind at that position.
    pub(super) const fn put(self, word: u64, shift: u32) -> u64 {
        word & !(0b11 << shift) | (self as u64) << shift
    }

    /// The outcome of this kind; `retry_after` is called if the outcome can have one.
    #[inline]
    pub(super) fn outcome(self, retry_after: impl FnOnce() -> Option<Duration>) -> Outcome {
        match self {
            Self::Success => Outcome::Success,
            Self::Failure => Outcome::Failure { retry_after: retry_after() },
            Self::Throttled => Outcome::Throttled { retry_after: retry_after() },
            Self::Ignore => Outcome::Ignore,
        }
    }
}

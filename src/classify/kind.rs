use std::time::Duration;

use crate::outcome::Outcome;

/// What a status says of the dependency. In two bits, so that the kinds of many statuses are cheap
/// to copy with each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Success,
    Failure,
    Throttled,
    Ignore,
}

impl Kind {
    /// The kind at this place in a word.
    #[inline]
    pub(super) const fn get(word: u64, shift: u32) -> Self {
        match word >> shift & 0b11 {
            0 => Self::Success,
            1 => Self::Failure,
            2 => Self::Throttled,
            _ => Self::Ignore,
        }
    }

    /// The word with this kind at that place.
    pub(super) const fn put(self, word: u64, shift: u32) -> u64 {
        word & !(0b11 << shift) | (self as u64) << shift
    }

    /// The outcome of that kind; `asked` says when to come back, for those that may.
    #[inline]
    pub(super) fn outcome(self, asked: impl FnOnce() -> Option<Duration>) -> Outcome {
        match self {
            Self::Success => Outcome::Success,
            Self::Failure => Outcome::Failure { retry_after: asked() },
            Self::Throttled => Outcome::Throttled { retry_after: asked() },
            Self::Ignore => Outcome::Ignore,
        }
    }
}

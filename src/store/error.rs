//! What can go wrong with a store, by what helps.

use std::{error::Error, fmt};

use crate::error::BoxError;

/// Why a store could not do what it was asked.
///
/// The variants differ in what helps: time, or an operator. Either way, the breaker continues in
/// memory and retries. The message of the cause should say what happened and what to do; the
/// breaker's [health](super::StoreHealth) and log lines show it to operators.
///
/// ```
/// use tower_breaker::store::StoreError;
///
/// let error = StoreError::Unavailable("/mnt/state is not mounted".into());
/// assert_eq!(error.to_string(), "store unavailable: /mnt/state is not mounted");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be used now, and may recover by itself: it is locked by another process,
    /// full, read-only, not mounted, or not reachable.
    Unavailable(BoxError),
    /// Stored data cannot be read, and reading it again will not help.
    Corrupt(BoxError),
    /// The store cannot work as it is set up, for example because its path is a file. The
    /// configuration has to change.
    Misconfigured(BoxError),
    /// Any other failure. It may concern a single key only.
    Other(BoxError),
}

impl StoreError {
    /// A store panicked with this message.
    pub(crate) fn panicked(message: &str) -> Self {
        Self::Other(format!("it panicked: {message}").into())
    }

    pub(crate) fn cause(&self) -> &BoxError {
        match self {
            Self::Unavailable(cause)
            | Self::Corrupt(cause)
            | Self::Misconfigured(cause)
            | Self::Other(cause) => cause,
        }
    }

    /// Whether every other call would meet this error too.
    pub(crate) const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Misconfigured(_))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Unavailable(_) => "store unavailable",
            Self::Corrupt(_) => "stored data is corrupt",
            Self::Misconfigured(_) => "store misconfigured",
            Self::Other(_) => "store failed",
        };
        write!(f, "{kind}: {}", self.cause())
    }
}

impl Error for StoreError {
    /// The source of the cause. The cause itself is part of the message.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().source()
    }
}

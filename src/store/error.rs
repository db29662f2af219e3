//! What can go wrong with a store, sorted by what helps.

use std::{error::Error, fmt};

/// Any error, boxed.
type Cause = Box<dyn Error + Send + Sync>;

/// Why a store did not do what it was asked.
///
/// The kinds differ by what helps: waiting, or a person. Whichever it is, a breaker goes on in memory and
/// tries again.
///
/// ```
/// use tower_breaker::store::StoreError;
///
/// let error = StoreError::Unavailable("the folder is on a share that is not mounted".into());
/// assert_eq!(
///     error.to_string(),
///     "the store is not available: the folder is on a share that is not mounted",
/// );
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Locked by another process, full, read-only, not mounted, not reachable: waiting may mend it.
    Unavailable(Cause),
    /// What is stored cannot be read, and reading it again will not help.
    Corrupt(Cause),
    /// The store can never work as it is set up, such as a path that is a file: change the set-up.
    Misconfigured(Cause),
    /// Anything else.
    Other(Cause),
}

impl StoreError {
    fn cause(&self) -> &Cause {
        match self {
            Self::Unavailable(cause)
            | Self::Corrupt(cause)
            | Self::Misconfigured(cause)
            | Self::Other(cause) => cause,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Unavailable(_) => "the store is not available",
            Self::Corrupt(_) => "what is stored cannot be read",
            Self::Misconfigured(_) => "the store cannot work as it is set up",
            Self::Other(_) => "the store failed",
        };
        write!(f, "{what}: {}", self.cause())
    }
}

impl Error for StoreError {
    /// What stands behind the cause; the cause itself is part of the message.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().source()
    }
}

use std::{error::Error, fmt};

/// Why a store could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be used now, and may be later: held by another process, full, read-only.
    Unavailable {
        /// What is in the way, and where.
        reason: String,
    },
    /// What it holds cannot be read.
    Corrupt {
        /// What is damaged, and where.
        reason: String,
    },
    /// It can never be used as it is set up: the path of a folder is a file.
    Misconfigured {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Anything else.
    Other(Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Any error of a store of your own.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { reason } => write!(f, "the store cannot be used now: {reason}"),
            Self::Corrupt { reason } => write!(f, "the store is damaged: {reason}"),
            Self::Misconfigured { reason } => write!(f, "the store cannot be used: {reason}"),
            Self::Other(error) => write!(f, "the store failed: {error}"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Other(error) => Some(&**error),
            _ => None,
        }
    }
}

//! How sled fails, and what that means for the folder.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use ::sled::Error as SledError;

use crate::{
    store::{error::StoreError, path},
    sync::panic_message,
};

#[derive(Debug)]
pub(super) enum Failure {
    Error(SledError),
    Panic(String),
}

impl Failure {
    /// Runs an operation of sled, and catches its panics. After a failure the handle must not be
    /// used again: its state is unknown.
    pub(super) fn catch<T>(operation: impl FnOnce() -> Result<T, SledError>) -> Result<T, Self> {
        match catch_unwind(AssertUnwindSafe(operation)) {
            Ok(result) => result.map_err(Self::Error),
            Err(panic) => Err(Self::Panic(panic_message(&*panic).to_owned())),
        }
    }

    /// Whether the folder seems to be corrupt. A panic counts: sled asserts some of what it reads.
    pub(super) fn is_corruption(&self) -> bool {
        match self {
            Self::Error(SledError::Corruption { .. } | SledError::Unsupported(_))
            | Self::Panic(_) => true,
            Self::Error(SledError::Io(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Self::Error(_) => false,
        }
    }

    /// Whether the folder is locked. sled has no error variant of its own for that.
    pub(super) fn is_locked(&self) -> bool {
        let Self::Error(SledError::Io(error)) = self else { return false };
        error.to_string().contains("could not acquire lock")
    }

    pub(super) fn into_store_error(self, folder: &Path) -> StoreError {
        let shown = folder.display();
        let reason = match &self {
            locked if locked.is_locked() => return path::held(folder, "SledStore"),
            Self::Error(SledError::Io(error)) => path::describe(folder, error),
            Self::Error(SledError::ReportableBug(_)) => {
                format!("{shown}: {self}; restart the process to recover")
            }
            _ => format!("{shown}: {self}"),
        };
        StoreError::Unavailable(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(SledError::Io(error)) => error.fmt(f),
            Self::Error(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "sled panicked: {message}"),
        }
    }
}

//! How sled fails, and what that means for the folder.

use std::{fmt, io, path::Path};

use ::sled::Error as SledError;

use crate::{
    store::{error::StoreError, path},
    sync::caught,
};

/// Why a forked process cannot use sled.
const FORKED: &str = "this process was forked after sled was first used, and has none of sled's \
     threads: build circuit breakers after forking (daemonizing), or use RedbStore or FileStore";

#[derive(Debug)]
pub(super) enum Failure {
    Error(SledError),
    Panic(String),
    /// What sled has written could not be made durable.
    Sync(io::Error),
    /// sled's own threads cannot be started.
    Threads(io::Error),
    /// sled's own threads are those of another process, from which this one was forked.
    Forked,
}

impl Failure {
    /// Runs an operation of sled, and catches its panics. After a failure the handle must not be
    /// used again: its state is unknown.
    pub(super) fn catch<T>(operation: impl FnOnce() -> Result<T, SledError>) -> Result<T, Self> {
        match caught(operation) {
            Ok(result) => result.map_err(Self::Error),
            Err(panic) => Err(Self::Panic(panic)),
        }
    }

    /// Whether the folder seems to be corrupt. A panic counts: sled asserts some of what it reads.
    pub(super) fn is_corruption(&self) -> bool {
        match self {
            Self::Error(SledError::Corruption { .. } | SledError::Unsupported(_))
            | Self::Panic(_) => true,
            Self::Error(SledError::Io(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Self::Error(_) | Self::Sync(_) | Self::Threads(_) | Self::Forked => false,
        }
    }

    /// Whether some file could not be read or written.
    pub(super) fn is_of_a_file(&self) -> bool {
        matches!(self, Self::Error(SledError::Io(_)) | Self::Sync(_)) && !self.is_held()
    }

    /// Whether a file is missing. While the data file is in place, that is one of a large value.
    pub(super) fn is_missing_file(&self) -> bool {
        let Self::Error(SledError::Io(error)) = self else { return false };
        error.kind() == io::ErrorKind::NotFound
    }

    /// Whether another handle has the folder's lock. sled has no error variant of its own for that:
    /// its message contains the cause, which it formats with `Debug`.
    pub(super) fn is_held(&self) -> bool {
        // The second is what Windows calls it.
        const CAUSES: [&str; 2] = ["kind: WouldBlock", "code: 33,"];
        let Self::Error(SledError::Io(error)) = self else { return false };
        let message = error.to_string();
        message.contains("could not acquire lock")
            && CAUSES.iter().any(|cause| message.contains(cause))
    }

    /// Whether what was written may be lost, although it can still be read.
    pub(super) fn is_lost_sync(&self) -> bool {
        matches!(self, Self::Sync(_))
    }

    /// Whether the folder cannot be written to, but perhaps read.
    pub(super) fn is_unwritable(&self) -> bool {
        match self {
            Self::Sync(_) => true,
            // sled syncs some of its files itself while it opens them.
            Self::Error(SledError::Io(error)) => {
                path::is_unwritable(error) || error.raw_os_error() == Some(path::EIO)
            }
            _ => false,
        }
    }

    pub(super) fn into_store_error(self, folder: &Path) -> StoreError {
        let shown = folder.display();
        let reason = match &self {
            held if held.is_held() => return path::held(folder, "SledStore"),
            Self::Error(SledError::Io(error)) | Self::Sync(error) => path::describe(folder, error),
            Self::Error(SledError::ReportableBug(_)) => {
                format!("{shown}: {self}; restart the process to recover")
            }
            _ => format!("{shown}: {self}"),
        };
        StoreError::Unavailable(reason.into())
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(SledError::Io(error)) | Self::Sync(error) => error.fmt(f),
            Self::Error(error) => error.fmt(f),
            Self::Threads(error) => write!(
                f,
                "sled's threads cannot be started: {error}; raise the limit of threads; the start \
                 is retried"
            ),
            Self::Forked => f.write_str(FORKED),
            Self::Panic(message) => write!(f, "sled panicked: {message}"),
        }
    }
}

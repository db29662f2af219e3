//! How redb fails, and what that means for the file.

use std::{fmt, io, path::Path};

use ::redb::Error as RedbError;

use crate::{
    store::{error::StoreError, path},
    sync::caught,
};

#[derive(Debug)]
pub(super) enum Failure {
    Redb(RedbError),
    Io(io::Error),
    /// The folder's names could not be made durable.
    Sync(io::Error),
    /// The file system has no locks.
    NoLocks(io::Error),
    /// A value or record is not what was saved.
    Damaged(String),
    Panic(String),
}

/// For `?`: each operation of redb has an error type of its own.
impl<E: Into<RedbError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl Failure {
    /// Runs an operation of redb, and catches its panics. After a failure the handle must not be
    /// used again: its state is unknown.
    pub(super) fn catch<T>(operation: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        caught(operation).unwrap_or_else(|panic| Err(Self::Panic(panic)))
    }

    /// Whether the file seems to be corrupt. A panic counts: redb asserts some of what it reads.
    pub(super) fn is_corruption(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Panic(_) => true,
            Self::Redb(RedbError::Io(error)) | Self::Io(error) => {
                matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
            Self::Redb(error) => matches!(
                error,
                RedbError::Corrupted(_)
                    | RedbError::RepairAborted
                    | RedbError::UpgradeRequired(_)
                    | RedbError::TableTypeMismatch { .. }
                    | RedbError::TableIsMultimap(_)
                    | RedbError::TypeDefinitionChanged { .. }
            ),
            Self::NoLocks(_) | Self::Sync(_) => false,
        }
    }

    /// Whether a single failure is enough to tell that the file is corrupt.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Redb(RedbError::Corrupted(_)))
    }

    /// Whether the file cannot be written to, but perhaps read.
    pub(super) fn is_unwritable(&self) -> bool {
        match self {
            Self::Sync(_) => true,
            // redb syncs its file itself when it opens it.
            Self::Redb(RedbError::Io(error)) | Self::Io(error) => {
                path::is_unwritable(error) || error.raw_os_error() == Some(path::EIO)
            }
            _ => false,
        }
    }

    pub(super) fn into_store_error(self, folder: &Path) -> StoreError {
        let shown = folder.display();
        let reason = match &self {
            Self::Redb(RedbError::DatabaseAlreadyOpen) => return path::held(folder, "RedbStore"),
            Self::NoLocks(error) => {
                let reason = format!(
                    "{shown} is on a file system without locks ({error}); use a folder on another \
                     one"
                );
                return StoreError::Misconfigured(reason.into());
            }
            Self::Redb(RedbError::Io(error)) | Self::Io(error) | Self::Sync(error) => {
                path::describe(folder, error)
            }
            _ => format!("{shown}: {self}"),
        };
        StoreError::Unavailable(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(RedbError::Io(error))
            | Self::Io(error)
            | Self::Sync(error)
            | Self::NoLocks(error) => error.fmt(f),
            Self::Redb(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
            Self::Panic(message) => write!(f, "redb panicked: {message}"),
        }
    }
}

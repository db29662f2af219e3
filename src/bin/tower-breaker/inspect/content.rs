//! What is inspected: where it is, and what it holds.

use std::{fmt, path::PathBuf};

use serde_json::{Map, Value};
use tower_breaker::{
    StateStore,
    config::RedisUrl,
    store::{HistoryRecord, StoreError},
};

use super::super::fault::Fault;

/// Where a store is.
pub(super) enum StoreLocation {
    Folder(PathBuf),
    /// Printing it shows no password.
    Server(RedisUrl),
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

/// The contents of a store.
pub(super) struct Content {
    pub(super) place: StoreLocation,
    pub(super) kind: &'static str,
    /// Whether a running server uses it, which may have written more since.
    pub(super) held: bool,
    pub(super) entries: Vec<(String, Vec<u8>)>,
    pub(super) store: Box<dyn StateStore>,
    /// What is wrong with the histories, after one was read.
    pub(super) check: Box<dyn Fn() -> Result<(), Fault>>,
}

impl Content {
    /// The history of a breaker, the newest first.
    pub(super) fn history(&self, name: &str, limit: usize) -> Result<Vec<HistoryRecord>, Fault> {
        let Some(histories) = self.store.history() else { return Ok(Vec::new()) };
        let key = format!("circuit_breaker:{name}:history");
        let records = histories.load_newest(&key, None, limit);
        (self.check)()?;
        records.map_err(|error| match error {
            StoreError::Unavailable(_) => Fault::Unreachable(error.to_string()),
            _ => Fault::Other(format!("the history cannot be read: {error}")),
        })
    }

    /// The fields that begin the output in JSON.
    pub(super) fn json(&self) -> Map<String, Value> {
        let (field, place) = match &self.place {
            StoreLocation::Folder(folder) => ("folder", folder.to_string_lossy().into_owned()),
            StoreLocation::Server(url) => ("server", url.to_string()),
        };
        Map::from_iter([
            (field.to_owned(), place.into()),
            ("kind".to_owned(), self.kind.into()),
            ("held".to_owned(), self.held.into()),
        ])
    }
}

//! The optional part of a store: histories.

use std::time::Duration;

use super::error::StoreError;

/// One record of a history.
///
/// ```
/// use tower_breaker::store::{HistoryRecord, HistoryStore, MemoryStore};
///
/// let store = MemoryStore::new();
/// store.append("key", &[HistoryRecord::new(1, "first"), HistoryRecord::new(2, "second")])?;
/// assert_eq!(store.load_newest("key", None, 1)?, [HistoryRecord::new(2, "second")]);
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// The record's place in its history. The crate uses nanoseconds since 1970, and makes them
    /// strictly increase within a history.
    pub id: u64,
    /// The content. It has no meaning to the store.
    pub bytes: Vec<u8>,
    /// How long the record is valid, counted from the append. `None`: it does not expire.
    ///
    /// A store that can expire keys by itself may remove a history after the longest of these
    /// times has passed since it was last appended to. Other stores ignore this, and none returns
    /// it: the crate removes old records with [`HistoryStore::trim`].
    pub ttl: Option<Duration>,
}

impl HistoryRecord {
    /// Creates a record that does not expire.
    #[must_use]
    pub fn new(id: u64, bytes: impl Into<Vec<u8>>) -> Self {
        Self { id, bytes: bytes.into(), ttl: None }
    }

    /// Sets how long the record is valid.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// Keeps histories: for each key, a list of records ordered by id.
///
/// A store that implements this returns itself from [`StateStore::history`]. Histories and values
/// are independent of each other: a key may have either, both or neither.
///
/// The methods may block, and a method that panics counts as failed, as with [`StateStore`].
///
/// [`StateStore`]: super::StateStore
/// [`StateStore::history`]: super::StateStore::history
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not store histories",
    note = "implement `HistoryStore` for it, or leave out `StateStore::history`: a store does not \
            have to keep histories"
)]
pub trait HistoryStore: Send + Sync {
    /// Adds records to the history of `key`, and returns once they are durable. A record replaces
    /// an earlier one with the same id: after an error, the caller adds the same records again.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of the records may not be durable.
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError>;

    /// Adds records to several histories, and returns once all of them are durable.
    ///
    /// The default calls [`append`](Self::append) for each history. Override it in a store that
    /// can write several at the cost of one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of the records may not be durable. The caller adds all of them again.
    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        histories.iter().try_for_each(|(key, records)| self.append(key, records))
    }

    /// Returns up to `limit` records of `key`, the newest first. With `before`, only records whose
    /// id is below it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the history could not be read.
    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError>;

    /// Returns up to `limit` keys that have at least one record: those after `after`, in an order
    /// of the store's choice that stays the same between calls. Fewer than `limit` keys mean that
    /// there are no more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the keys could not be read.
    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Removes the records of `key` whose id is below `older_than`, and all but the newest `keep`.
    /// The removal need not be durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of those records may remain.
    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError>;

    /// Removes the history of a breaker that this process does not need any more.
    ///
    /// The default [trims](Self::trim) it to nothing. Override it in a store that several
    /// processes share, and remove only the records that this process has appended.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of those records may remain.
    fn discard(&self, key: &str) -> Result<(), StoreError> {
        self.trim(key, u64::MAX, 0)
    }
}

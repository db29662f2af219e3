//! One record of a history.

/// One record of a history: a number that tells its place, and bytes that mean nothing to the store.
///
/// ```
/// use tower_breaker::store::{HistoryRecord, MemoryStore, StateStore};
///
/// let store = MemoryStore::new();
/// store.append("key", &[HistoryRecord::new(1, "first"), HistoryRecord::new(2, "second")])?;
/// assert_eq!(store.history("key", None, 1)?, [HistoryRecord::new(2, "second")]);
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// Nanoseconds since 1970. Whoever writes a history makes these grow strictly from one record of a key to
    /// the next.
    pub id: u64,
    /// What happened.
    pub bytes: Vec<u8>,
}

impl HistoryRecord {
    /// A record of these bytes.
    #[must_use]
    pub fn new(id: u64, bytes: impl Into<Vec<u8>>) -> Self {
        Self { id, bytes: bytes.into() }
    }
}

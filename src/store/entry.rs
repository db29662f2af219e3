//! What a store is given to save.

use std::time::Duration;

/// A value to save under a key.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::store::SaveEntry;
///
/// let entry = SaveEntry::new("key", "value").with_ttl(Duration::from_secs(3600));
/// assert_eq!(entry.value, b"value");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveEntry {
    /// The key.
    pub key: String,
    /// The bytes to store under the key. They have no meaning to the store.
    pub value: Vec<u8>,
    /// How long the value is valid, counted from the save. `None`: it does not expire.
    ///
    /// A store that can expire keys by itself may remove the value after this time. Other stores
    /// ignore it: the crate removes expired snapshots with
    /// [`StateStore::delete`](super::StateStore::delete).
    pub ttl: Option<Duration>,
    /// Whether the state of the circuit has changed since the last save, not only its counts.
    ///
    /// A store that several processes share keeps the state that another process has saved against
    /// a save without such a change, if that state is open for longer or was set by hand. Other
    /// stores ignore this.
    pub state_changed: bool,
}

impl SaveEntry {
    /// Creates an entry that does not expire, for a state that has changed.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), ttl: None, state_changed: true }
    }

    /// Only counts have changed since the last save.
    #[must_use]
    pub const fn with_unchanged_state(mut self) -> Self {
        self.state_changed = false;
        self
    }

    /// Sets how long the value is valid.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

//! The store: what each operation does in Redis.

use std::{fmt, slice, sync::Arc};

use super::{
    connection::Connector,
    history::{self, Appender},
    keys::Keys,
    server::Server,
    values,
};
use crate::store::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    state_store::StateStore,
};

/// Keeps snapshots and histories in a Redis server, so that state survives the loss of a host, and
/// a new replica starts with what its predecessors knew.
///
/// Clones share one connection. It is made by the first operation, not by [`open`](Self::open), and
/// anew whenever it breaks.
///
/// # Examples
///
/// ```
/// use tower_breaker::store::RedisStore;
///
/// let store = RedisStore::open("redis://breakers:secret@redis.internal/2")?;
/// assert!(!format!("{store:?}").contains("secret"));
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    label: Option<Arc<str>>,
}

struct Shared {
    server: Server,
    appender: Appender,
}

impl RedisStore {
    pub(super) fn new(connector: Connector, keys: Keys) -> Self {
        let server = Server::new(connector, keys);
        Self { shared: Arc::new(Shared { server, appender: Appender::new() }), label: None }
    }

    /// Sets the store's [label](StateStore::label) in metrics. The default is `redis`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.shared.server.connector.address();
        f.debug_struct("RedisStore").field("address", address).finish_non_exhaustive()
    }
}

impl StateStore for RedisStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        values::load(&self.shared.server, key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        values::load_page(&self.shared.server, after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        values::save(&self.shared.server, slice::from_ref(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        values::save(&self.shared.server, entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        values::delete(&self.shared.server, key)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        self.shared.server.verify()
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("redis")
    }
}

impl HistoryStore for RedisStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.append_all(&[(key.to_owned(), records.to_vec())])
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        self.shared.appender.append(&self.shared.server, histories)
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        history::load_newest(&self.shared.server, key, before, limit)
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        history::keys(&self.shared.server, after, limit)
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        history::trim(&self.shared.server, key, older_than, keep)
    }
}

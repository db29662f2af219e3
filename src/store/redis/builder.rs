//! Settings of a store in Redis.

use std::fmt;

use super::{
    keys::{DEFAULT_PREFIX, Keys},
    settings::{ConnectionSettings, connection_settings},
    store::RedisStore,
};
use crate::store::error::StoreError;

impl RedisStore {
    /// Creates a store on the server of this URL:
    /// `redis://[user][:password@]host[:port][/database]`, `unix:///path`, or one of sentinels or
    /// of a cluster: see [Servers](Self#servers). [`builder`](Self::builder) has further settings.
    ///
    /// This only checks the URL. If the server cannot be reached now, the store keeps trying.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL is invalid.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).open()
    }

    /// Begins with a URL, as for [`open`](Self::open).
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url)
    }
}

/// Settings of a [`RedisStore`].
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::store::RedisStore;
///
/// let store = RedisStore::builder("redis://redis.internal")
///     .prefix("shop")
///     .command_timeout(Duration::from_millis(500))
///     .open()?;
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[must_use = "call `open` to create the store"]
pub struct RedisStoreBuilder {
    connection: ConnectionSettings,
    prefix: String,
    instance: Option<String>,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        let connection = ConnectionSettings::new(url);
        Self { connection, prefix: DEFAULT_PREFIX.to_owned(), instance: None }
    }

    /// Sets what all keys begin with, followed by a colon. The default is `circuit_breaker`, so a
    /// breaker `payments` is under `circuit_breaker:payments:state`. A prefix has 1 to 256 bytes,
    /// and neither `:` nor `@`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Gives this process keys of its own, such as `circuit_breaker@web-1:payments:state`, instead
    /// of those that all processes with this prefix share. The id has to be the same after a
    /// restart; it has 1 to 128 letters, digits, or any of `-_.`.
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.instance = Some(id.into());
        self
    }

    connection_settings! { command_timeout: "1 s", thread: "the store's thread" }

    /// Creates the store. It connects when it is first used.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL, the prefix, the instance, a timeout or a
    /// certificate is invalid.
    pub fn open(self) -> Result<RedisStore, StoreError> {
        let connector = self.connection.build()?;
        let keys = Keys::new(&self.prefix, self.instance.as_deref())?;
        Ok(RedisStore::new(connector, keys))
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("connection", &self.connection)
            .field("prefix", &self.prefix)
            .field("instance", &self.instance)
            .finish()
    }
}

//! Settings of a store in Redis.

use std::{fmt, time::Duration};

use super::{
    connection::Connector,
    credentials::RedisCredentials,
    keys::{DEFAULT_PREFIX, Keys},
    store::RedisStore,
};
use crate::{error::BoxError, store::error::StoreError};

impl RedisStore {
    /// Creates a store on the server of this URL:
    /// `redis://[user][:password@]host[:port][/database]`, `rediss://` for TLS (feature
    /// `redis-tls`), or `unix:///path`. [`builder`](Self::builder) has further settings.
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
///     .prefix("shop:breakers")
///     .command_timeout(Duration::from_millis(500))
///     .open()?;
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[must_use = "call `open` to create the store"]
pub struct RedisStoreBuilder {
    /// The error is a text, because those of stores may hold anything.
    connector: Result<Connector, String>,
    prefix: String,
    instance: Option<String>,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        let connector = Connector::new(url).map_err(|error| error.cause().to_string());
        Self { connector, prefix: DEFAULT_PREFIX.to_owned(), instance: None }
    }

    /// Sets what all keys begin with, followed by a colon. The default is `circuit_breaker`, so a
    /// breaker `payments` is under `circuit_breaker:payments:state`.
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

    /// Sets the longest time that an attempt to connect takes. The default is one second.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with_connector(|connector| connector.connect_timeout = timeout)
    }

    /// Sets the longest time to wait for a reply. The default is one second.
    pub fn command_timeout(self, timeout: Duration) -> Self {
        self.with_connector(|connector| connector.command_timeout = timeout)
    }

    /// Asks for a user and a password at each connection, instead of those in the URL. The closure
    /// runs on the store's thread and may block.
    pub fn credentials(
        self,
        provide: impl FnMut() -> Result<RedisCredentials, BoxError> + Send + 'static,
    ) -> Self {
        self.with_connector(|connector| connector.set_credentials(provide))
    }

    fn with_connector(mut self, change: impl FnOnce(&mut Connector)) -> Self {
        if let Ok(connector) = &mut self.connector {
            change(connector);
        }
        self
    }

    /// Creates the store. It connects when it is first used.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL, the prefix, the instance or a timeout is invalid.
    pub fn open(self) -> Result<RedisStore, StoreError> {
        let connector =
            self.connector.map_err(|reason| StoreError::Misconfigured(reason.into()))?;
        if connector.connect_timeout.is_zero() || connector.command_timeout.is_zero() {
            return Err(StoreError::Misconfigured("a timeout of Redis is zero".into()));
        }
        let keys = Keys::new(&self.prefix, self.instance.as_deref())?;
        Ok(RedisStore::new(connector, keys))
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("connector", &self.connector)
            .field("prefix", &self.prefix)
            .field("instance", &self.instance)
            .finish()
    }
}

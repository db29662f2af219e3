//! The handle of a fleet, and its settings.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    agreement::Agreement,
    health::FleetHealth,
    settings::{self, Settings},
    threads::Threads,
};
use crate::store::{
    StoreError,
    redis::{ConnectionSettings, connection_settings},
};

const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// Shares breakers with other replicas of a service through a Redis server.
///
/// A handle: cheap to clone. All breakers that are shared through it use its two threads and its
/// two connections. See the [module's documentation](crate::fleet) for what is shared.
#[derive(Clone)]
pub struct RedisFleet {
    threads: Arc<Threads>,
}

impl RedisFleet {
    /// A fleet on the server of this URL, with the default settings:
    /// `redis://[user][:password@]host[:port][/database]`, `rediss://` for TLS (feature
    /// `redis-tls`), or `unix:///path`.
    ///
    /// This only checks the URL. If the server cannot be reached, the replica decides alone, and
    /// keeps trying.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL is invalid.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).build()
    }

    /// Begins with a URL, as for [`open`](Self::open).
    pub fn builder(url: &str) -> RedisFleetBuilder {
        RedisFleetBuilder::new(url)
    }

    /// Whether this process reaches the fleet. [`FleetHealth::Alone`] before the first breaker is
    /// built.
    #[must_use]
    pub fn health(&self) -> FleetHealth {
        self.threads.health()
    }

    pub(crate) fn threads(&self) -> Arc<Threads> {
        Arc::clone(&self.threads)
    }
}

impl fmt::Debug for RedisFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.threads.fmt(f)
    }
}

/// Settings of a [`RedisFleet`].
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::fleet::{Agreement, RedisFleet};
///
/// let fleet = RedisFleet::builder("redis://redis.internal")
///     .agreement(Agreement::replicas(2))
///     .lease(Duration::from_secs(10))
///     .build()?;
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[must_use = "call `build` to create the fleet"]
pub struct RedisFleetBuilder {
    connection: ConnectionSettings,
    settings: Settings,
}

impl RedisFleetBuilder {
    fn new(url: &str) -> Self {
        let settings = Settings {
            agreement: Agreement::any(),
            voter: fastrand::u64(..),
            lease: Duration::from_secs(5),
            prefix: "circuit_breaker".to_owned(),
            timeout: COMMAND_TIMEOUT,
        };
        let mut connection = ConnectionSettings::new(url);
        connection.command_timeout(COMMAND_TIMEOUT);
        Self { connection, settings }
    }

    /// How many replicas must have tripped before the circuit of all opens. Default:
    /// [`Agreement::any`].
    pub fn agreement(mut self, agreement: Agreement) -> Self {
        self.settings.agreement = agreement;
        self
    }

    /// Identifies this replica when votes are counted. Default: a random id for each fleet that is
    /// built, so a replica that restarts while its vote still counts votes twice. Replicas with one
    /// id vote as one.
    pub fn replica_id(mut self, id: impl AsRef<str>) -> Self {
        self.settings.voter = settings::hash(id.as_ref());
        self
    }

    /// How long a permission to probe lasts unless it is renewed. It is, while the probe is out; so
    /// this is how much longer the recovery takes if the replica that probes dies. Default: 5 s.
    /// At least 100 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// What all keys begin with, followed by a colon. All replicas must use the same. Default:
    /// `circuit_breaker`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    connection_settings! { command_timeout: "500 ms", thread: "a thread of the fleet" }

    /// Creates the fleet. It connects when the first breaker is built.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL, the prefix, the lease, a timeout or a certificate
    /// is invalid.
    pub fn build(mut self) -> Result<RedisFleet, StoreError> {
        let misconfigured = |why: &str| Err(StoreError::Misconfigured(why.into()));
        let connector = self.connection.build()?;
        self.settings.timeout = connector.command_timeout;
        if self.settings.lease < Duration::from_millis(100) {
            return misconfigured("the lease of a fleet is shorter than 100 ms");
        }
        if self.settings.prefix.is_empty() || self.settings.prefix.contains(['{', '}']) {
            return misconfigured("the prefix of a fleet is empty or holds a brace");
        }
        Ok(RedisFleet { threads: Arc::new(Threads::new(connector, self.settings)) })
    }
}

impl fmt::Debug for RedisFleetBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisFleetBuilder")
            .field("connection", &self.connection)
            .field("settings", &self.settings)
            .finish()
    }
}

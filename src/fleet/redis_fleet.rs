//! The handle of a fleet, and its settings.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    agreement::Agreement,
    health::FleetHealth,
    replica::{FleetError, FleetReplica},
    settings::{self, Settings},
    threads::Threads,
};
use crate::{
    error::BoxError,
    store::{
        StoreError,
        redis::{Connector, RedisCredentials},
    },
};

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

    /// The id of this replica, under which [`replicas`](Self::replicas) lists it.
    #[must_use]
    pub fn replica_id(&self) -> &str {
        self.threads.replica_id()
    }

    /// The replicas that the server has heard of within the last ten minutes, by their id. Those
    /// that have ended are not listed.
    ///
    /// It asks the server. That takes one of its threads, not the caller's, and needs no runtime.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotReached`] if this process does not reach the fleet, as before the first
    /// breaker is built, when it has not tried.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: it only reads.
    ///
    /// ```no_run
    /// # async fn show(fleet: tower_breaker::fleet::RedisFleet)
    /// # -> Result<(), tower_breaker::fleet::FleetError> {
    /// for replica in fleet.replicas().await? {
    ///     println!("{} {}", replica.id, if replica.is_present { "is there" } else { "is gone" });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replicas(&self) -> Result<Vec<FleetReplica>, FleetError> {
        self.threads.replicas().await
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
    /// The error is a text, because those of stores may hold anything.
    connector: Result<Connector, String>,
    settings: Settings,
}

impl RedisFleetBuilder {
    fn new(url: &str) -> Self {
        let mut connector = Connector::new(url).map_err(|error| error.cause().to_string());
        let replica = settings::random_id();
        let settings = Settings {
            agreement: Agreement::any(),
            voter: settings::hash(&replica),
            replica,
            lease: Duration::from_secs(5),
            prefix: "circuit_breaker".to_owned(),
            timeout: Duration::from_millis(500),
        };
        if let Ok(connector) = &mut connector {
            connector.command_timeout = settings.timeout;
        }
        Self { connector, settings }
    }

    /// How many replicas must have tripped before the circuit of all opens. Default:
    /// [`Agreement::any`].
    pub fn agreement(mut self, agreement: Agreement) -> Self {
        self.settings.agreement = agreement;
        self
    }

    /// Identifies this replica when votes are counted, and for operators: 1 to 128 bytes of any
    /// text. Default: the name of the host, if the environment variable `HOSTNAME` or Linux says
    /// it, with random digits for each fleet that is built; so a replica that restarts while its
    /// vote still counts votes twice. Replicas with one id vote as one, and are listed as one.
    pub fn replica_id(mut self, id: impl Into<String>) -> Self {
        self.settings.replica = id.into();
        self.settings.voter = settings::hash(&self.settings.replica);
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

    /// The longest time to wait for a reply before this replica decides alone. Default: 500 ms.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self.with_connector(|connector| connector.command_timeout = timeout)
    }

    /// The longest time that an attempt to connect takes. Default: 1 s.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with_connector(|connector| connector.connect_timeout = timeout)
    }

    /// Asks for a user and a password at each connection, instead of those in the URL. The closure
    /// runs on a thread of the fleet and may block.
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

    /// Creates the fleet. It connects when the first breaker is built.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the URL, the prefix, the lease or a timeout is invalid.
    pub fn build(self) -> Result<RedisFleet, StoreError> {
        let misconfigured = |why: &str| Err(StoreError::Misconfigured(why.into()));
        let connector =
            self.connector.map_err(|reason| StoreError::Misconfigured(reason.into()))?;
        if connector.connect_timeout.is_zero() || connector.command_timeout.is_zero() {
            return misconfigured("a timeout of Redis is zero");
        }
        if self.settings.lease < Duration::from_millis(100) {
            return misconfigured("the lease of a fleet is shorter than 100 ms");
        }
        if !(1..=128).contains(&self.settings.replica.len()) {
            return misconfigured("the id of a fleet's replica has not 1 to 128 bytes");
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
            .field("connector", &self.connector)
            .field("settings", &self.settings)
            .finish()
    }
}

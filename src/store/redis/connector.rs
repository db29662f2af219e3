//! How to connect to a server, and to whatever server takes its place.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{Client, ConnectionInfo, RedisResult};

#[cfg(feature = "redis-tls")]
use super::certificates::Certificates;
use super::{
    address::{Address, Node},
    credentials::{Provider, RedisCredentials},
    failure,
};
use crate::{error::BoxError, store::error::StoreError, sync::std_lock as lock};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to connect to a server.
pub(crate) struct Connector {
    address: Address,
    provider: Option<Provider>,
    sentinel_credentials: Option<RedisCredentials>,
    #[cfg(feature = "redis-tls")]
    pub(super) certificates: Certificates,
    /// The longest that an attempt to connect takes, with its handshake.
    pub(super) connect_timeout: Duration,
    /// The longest that a reply takes.
    pub(crate) command_timeout: Duration,
    /// The place of the sentinel that has answered last.
    first_sentinel: AtomicUsize,
    /// The primaries of a cluster, as they were last seen.
    known_nodes: Mutex<Vec<Node>>,
}

impl Connector {
    /// Connects to the server of this URL, with its user and password.
    pub(crate) fn new(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        Ok(Self {
            sentinel_credentials: address.sentinel_credentials().cloned(),
            address,
            provider: None,
            #[cfg(feature = "redis-tls")]
            certificates: Certificates::default(),
            connect_timeout: DEFAULT_TIMEOUT,
            command_timeout: DEFAULT_TIMEOUT,
            first_sentinel: AtomicUsize::new(0),
            known_nodes: Mutex::default(),
        })
    }

    /// Asks for user and password at each connection.
    pub(super) fn set_credentials(
        &mut self,
        provide: impl FnMut() -> Result<RedisCredentials, BoxError> + Send + 'static,
    ) {
        self.provider = Some(Provider::new(provide));
    }

    pub(super) fn set_sentinel_credentials(&mut self, credentials: RedisCredentials) {
        self.sentinel_credentials = Some(credentials);
    }

    /// Whether the settings can be used together.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let timeouts = [("connect", self.connect_timeout), ("command", self.command_timeout)];
        if let Some((name, _)) = timeouts.into_iter().find(|(_, timeout)| timeout.is_zero()) {
            let reason = format!("`{name}_timeout` for Redis must not be zero");
            return Err(StoreError::Misconfigured(reason.into()));
        }
        #[cfg(feature = "redis-tls")]
        self.certificates.check(&self.address)?;
        Ok(())
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Connects to the server of the URL.
    pub(super) fn connect(&self) -> Result<redis::Connection, StoreError> {
        let none = || StoreError::Misconfigured("the URL names no Redis server".into());
        self.open(self.nodes()?.into_iter().next().ok_or_else(none)?)
    }

    /// How to connect to the nodes of the URL as a client of Redis.
    pub(super) fn nodes(&self) -> Result<Vec<ConnectionInfo>, StoreError> {
        Ok(self.address.nodes(self.credentials()?.as_ref()).collect())
    }

    /// How to connect to the nodes of the URL as a client of sentinels.
    pub(super) fn sentinels(&self) -> Vec<ConnectionInfo> {
        self.address.nodes(self.sentinel_credentials.as_ref()).collect()
    }

    pub(super) fn first_sentinel(&self) -> usize {
        self.first_sentinel.load(Ordering::Relaxed)
    }

    pub(super) fn set_first_sentinel(&self, place: usize) {
        self.first_sentinel.store(place, Ordering::Relaxed);
    }

    pub(super) fn known_nodes(&self) -> Vec<Node> {
        lock(&self.known_nodes).clone()
    }

    pub(super) fn set_known_nodes(&self, nodes: Vec<Node>) {
        *lock(&self.known_nodes) = nodes;
    }

    /// Connects to a server that another one has named.
    pub(super) fn connect_to(&self, node: &Node) -> Result<redis::Connection, StoreError> {
        self.open(self.address.node(node, self.credentials()?.as_ref()))
    }

    pub(super) fn open(&self, info: ConnectionInfo) -> Result<redis::Connection, StoreError> {
        let connect = || {
            let connection =
                self.client(info)?.get_connection_with_timeout(self.connect_timeout)?;
            connection.set_read_timeout(Some(self.command_timeout))?;
            connection.set_write_timeout(Some(self.command_timeout))?;
            Ok(connection)
        };
        connect().map_err(|error| self.error(&error))
    }

    #[cfg(feature = "redis-tls")]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        if self.address.uses_tls() {
            install_cryptography();
        }
        self.certificates.client(info)
    }

    #[cfg(not(feature = "redis-tls"))]
    #[expect(clippy::unused_self, reason = "certificates are by TLS")]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    fn credentials(&self) -> Result<Option<RedisCredentials>, StoreError> {
        let Some(provider) = &self.provider else { return Ok(self.address.credentials().cloned()) };
        provider.credentials().map(Some).map_err(|error| {
            let reason = format!("no credentials for {}: {error}", self.address);
            StoreError::Unavailable(reason.into())
        })
    }

    pub(super) fn error(&self, error: &redis::RedisError) -> StoreError {
        failure::store_error(&self.address, error)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("address", &self.address).finish_non_exhaustive()
    }
}

/// rustls asks for one cryptography in the process, and panics if it cannot choose by itself. A
/// program that has chosen keeps its choice.
#[cfg(feature = "redis-tls")]
fn install_cryptography() {
    use rustls::crypto::{CryptoProvider, ring};

    if CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster.
        let _ = ring::default_provider().install_default();
    }
}

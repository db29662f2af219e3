//! A connection to Redis that is made when it is needed, and made anew for as long as it takes.
//!
//! Its calls block, with timeouts, so it belongs to a thread that may wait: the writer of a store,
//! or a thread of the fleet's own. A user of its own for each kind of waiting: a [`Connection`] for
//! commands, and another one for a command that blocks on the server ([`Connection::block`]).

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Client, ConnectionLike, RedisResult};

use super::{
    address::Address,
    credentials::{Provider, RedisCredentials},
    failure,
};
use crate::{error::BoxError, store::error::StoreError};

/// The pause after a failed attempt to connect. It does not grow: a server that is back is found
/// within it.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to connect to a server.
#[derive(Clone)]
pub(crate) struct Connector {
    address: Address,
    provider: Option<Provider>,
    /// The longest that an attempt to connect takes, with its handshake.
    pub(crate) connect_timeout: Duration,
    /// The longest that a reply takes.
    pub(crate) command_timeout: Duration,
}

impl Connector {
    /// Connects to the server of this URL, with its user and password.
    pub(crate) fn new(url: &str) -> Result<Self, StoreError> {
        Ok(Self {
            address: Address::parse(url)?,
            provider: None,
            connect_timeout: DEFAULT_TIMEOUT,
            command_timeout: DEFAULT_TIMEOUT,
        })
    }

    /// Asks for user and password at each connection.
    pub(crate) fn set_credentials(
        &mut self,
        provide: impl FnMut() -> Result<RedisCredentials, BoxError> + Send + 'static,
    ) {
        self.provider = Some(Provider::new(provide));
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    fn connect(&self) -> Result<redis::Connection, StoreError> {
        let credentials = self.credentials()?;
        let connect = || {
            install_cryptography(&self.address);
            let client = Client::open(self.address.connection_info(credentials.as_ref())?)?;
            let connection = client.get_connection_with_timeout(self.connect_timeout)?;
            connection.set_read_timeout(Some(self.command_timeout))?;
            connection.set_write_timeout(Some(self.command_timeout))?;
            Ok(connection)
        };
        connect().map_err(|error| self.error(&error))
    }

    fn credentials(&self) -> Result<Option<RedisCredentials>, StoreError> {
        let Some(provider) = &self.provider else { return Ok(self.address.credentials().cloned()) };
        provider.credentials().map(Some).map_err(|error| {
            let reason = format!("no credentials for {}: {error}", self.address);
            StoreError::Unavailable(reason.into())
        })
    }

    fn error(&self, error: &redis::RedisError) -> StoreError {
        failure::store_error(&self.address, error)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A connection, while there is one.
pub(crate) struct Connection {
    connector: Arc<Connector>,
    live: Option<redis::Connection>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, String)>,
}

impl Connection {
    /// Connects at the first call.
    pub(crate) const fn new(connector: Arc<Connector>) -> Self {
        Self { connector, live: None, failed: None }
    }

    /// Sends commands and reads their replies. An error of the connection ends it, and the next
    /// call makes another: it may be with another server, and one that has lost data.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] or [`StoreError::Misconfigured`] if there is no connection, or
    /// no attempt to make one because the last one failed within the [`RECONNECT_PAUSE`].
    pub(crate) fn call<T>(
        &mut self,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let connection = self.connected()?;
        let result = job(connection);
        self.conclude(result)
    }

    /// The same for a command that waits on the server for up to this time, such as `XREAD BLOCK`.
    #[allow(dead_code, reason = "no store waits on the server")]
    pub(crate) fn block<T>(
        &mut self,
        wait: Duration,
        job: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let timeout = self.connector.command_timeout;
        let connection = self.connected()?;
        let result = connection.set_read_timeout(Some(wait + timeout)).and_then(|()| {
            let result = job(connection);
            connection.set_read_timeout(Some(timeout))?;
            result
        });
        self.conclude(result)
    }

    /// How long until a call tries to connect again. Zero: it does so at once, or is connected.
    pub(crate) fn pause(&self) -> Duration {
        let failed = self.failed.as_ref().filter(|_| self.live.is_none());
        failed.map_or(Duration::ZERO, |(at, _)| RECONNECT_PAUSE.saturating_sub(at.elapsed()))
    }

    fn connected(&mut self) -> Result<&mut redis::Connection, StoreError> {
        if self.live.is_none() {
            self.connect()?;
        }
        // `connect` has set it.
        self.live.as_mut().ok_or_else(|| StoreError::Unavailable("not connected".into()))
    }

    fn connect(&mut self) -> Result<(), StoreError> {
        if let Some((_, reason)) = &self.failed
            && !self.pause().is_zero()
        {
            return Err(StoreError::Unavailable(reason.clone().into()));
        }
        match self.connector.connect() {
            Ok(connection) => {
                self.live = Some(connection);
                self.failed = None;
                Ok(())
            }
            Err(error) => {
                self.failed = Some((Instant::now(), error.cause().to_string()));
                Err(error)
            }
        }
    }

    fn conclude<T>(&mut self, result: RedisResult<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            if failure::breaks_connection(&error) {
                self.live = None;
            }
            self.connector.error(&error)
        })
    }
}

/// rustls asks for one cryptography in the process, and panics if it cannot choose by itself. A
/// program that has chosen keeps its choice.
#[cfg(feature = "redis-tls")]
fn install_cryptography(address: &Address) {
    use rustls::crypto::{CryptoProvider, ring};

    if address.uses_tls() && CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster.
        let _ = ring::default_provider().install_default();
    }
}

#[cfg(not(feature = "redis-tls"))]
const fn install_cryptography(_: &Address) {}

//! The settings of a connection, which the builders of a store and of a fleet share.

use std::time::Duration;

#[cfg(feature = "redis-tls")]
use super::certificates::Certificates;
use super::{connector::Connector, credentials::RedisCredentials};
use crate::{error::BoxError, store::error::StoreError};

/// A connector in the making.
#[derive(Debug)]
pub(crate) struct ConnectionSettings {
    /// The error is a text, because those of stores may hold anything.
    connector: Result<Connector, String>,
}

impl ConnectionSettings {
    pub(crate) fn new(url: &str) -> Self {
        Self { connector: Connector::new(url).map_err(|error| error.cause().to_string()) }
    }

    pub(crate) fn connect_timeout(&mut self, timeout: Duration) {
        self.change(|connector| connector.connect_timeout = timeout);
    }

    pub(crate) fn command_timeout(&mut self, timeout: Duration) {
        self.change(|connector| connector.command_timeout = timeout);
    }

    pub(crate) fn credentials(
        &mut self,
        provide: impl FnMut() -> Result<RedisCredentials, BoxError> + Send + 'static,
    ) {
        self.change(|connector| connector.set_credentials(provide));
    }

    pub(crate) fn sentinel_credentials(&mut self, credentials: RedisCredentials) {
        self.change(|connector| connector.set_sentinel_credentials(credentials));
    }

    #[cfg(feature = "redis-tls")]
    pub(crate) fn root_certificates(&mut self, pem: Vec<u8>) {
        self.certificates(|certificates| certificates.roots = Some(pem));
    }

    #[cfg(feature = "redis-tls")]
    pub(crate) fn client_certificate(&mut self, certificate: Vec<u8>, key: Vec<u8>) {
        self.certificates(|certificates| certificates.client = Some((certificate, key)));
    }

    pub(crate) fn build(self) -> Result<Connector, StoreError> {
        let connector =
            self.connector.map_err(|reason| StoreError::Misconfigured(reason.into()))?;
        connector.check()?;
        Ok(connector)
    }

    #[cfg(feature = "redis-tls")]
    fn certificates(&mut self, change: impl FnOnce(&mut Certificates)) {
        self.change(|connector| change(&mut connector.certificates));
    }

    fn change(&mut self, change: impl FnOnce(&mut Connector)) {
        if let Ok(connector) = &mut self.connector {
            change(connector);
        }
    }
}

/// The methods of a builder that has `connection: ConnectionSettings`.
macro_rules! connection_settings {
    (command_timeout: $default:literal, thread: $thread:literal $(,)?) => {
        /// The longest time that an attempt to connect takes, for each host that is tried.
        /// Default: 1 s.
        pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.connection.connect_timeout(timeout);
            self
        }

        #[doc = concat!("The longest time to wait for a reply. Default: ", $default, ".")]
        pub fn command_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.connection.command_timeout(timeout);
            self
        }

        #[doc = concat!(
            "Asks for a user and a password at each connection, instead of those in the URL, so \
             that a password can be rotated. The closure runs on ", $thread, " and may block. If \
             it returns an error, the server counts as not reached, and the closure is called \
             again at the next attempt.",
        )]
        pub fn credentials(
            mut self,
            provide: impl FnMut() -> Result<
                $crate::store::RedisCredentials,
                $crate::error::BoxError,
            > + Send
            + 'static,
        ) -> Self {
            self.connection.credentials(provide);
            self
        }

        /// A user and a password for the sentinels of a `redis+sentinel://` URL, which have their
        /// own. By default, those in the URL: `?sentinel_user=..&sentinel_password=..`.
        pub fn sentinel_credentials(
            mut self,
            credentials: $crate::store::RedisCredentials,
        ) -> Self {
            self.connection.sentinel_credentials(credentials);
            self
        }

        /// Trusts the authorities in this text in PEM, and no others. By default those of the
        /// system. For a URL that asks for TLS.
        #[cfg(feature = "redis-tls")]
        #[cfg_attr(docsrs, doc(cfg(feature = "redis-tls")))]
        pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
            self.connection.root_certificates(pem.into());
            self
        }

        /// Shows the server this certificate, for servers that ask for one: texts in PEM, of the
        /// certificate with its chain, and of its private key.
        #[cfg(feature = "redis-tls")]
        #[cfg_attr(docsrs, doc(cfg(feature = "redis-tls")))]
        pub fn client_certificate(
            mut self,
            certificate: impl Into<Vec<u8>>,
            key: impl Into<Vec<u8>>,
        ) -> Self {
            self.connection.client_certificate(certificate.into(), key.into());
            self
        }
    };
}
pub(crate) use connection_settings;

//! Where Redis is: a URL, taken apart. Printing it shows no secret.

use std::{fmt, str::FromStr};

#[cfg(feature = "redis-tls")]
use redis::ConnectionAddr;
use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use super::credentials::RedisCredentials;
use crate::store::error::StoreError;

/// A server of Redis.
#[derive(Clone)]
pub(crate) struct Address {
    info: ConnectionInfo,
    /// Those in the URL.
    credentials: Option<RedisCredentials>,
}

impl Address {
    /// Parses `redis://user:password@host:port/database`, `rediss://` for TLS, or `unix://path`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let misconfigured = |why: &str| StoreError::Misconfigured(why.into());
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        if matches!(scheme, "rediss" | "valkeys") {
            if !cfg!(feature = "redis-tls") {
                let why = "the URL of Redis asks for TLS: enable the feature `redis-tls`";
                return Err(misconfigured(why));
            }
            if url.contains("#insecure") {
                return Err(misconfigured("`#insecure` in the URL of Redis is not supported"));
            }
        }
        // The message of an error may quote the URL, with a password in it.
        let info = ConnectionInfo::from_str(url).map_err(|_| {
            misconfigured(
                "the URL of Redis is invalid: expected \
                 `redis://[user][:password@]host[:port][/database]`, `rediss://..` for TLS, or \
                 `unix:///path`",
            )
        })?;
        let redis = info.redis_settings();
        let credentials = redis.password().map(|password| RedisCredentials {
            user: redis.username().map(str::to_owned),
            password: password.to_owned(),
        });
        Ok(Self { info, credentials })
    }

    pub(super) const fn credentials(&self) -> Option<&RedisCredentials> {
        self.credentials.as_ref()
    }

    #[cfg(feature = "redis-tls")]
    pub(super) fn uses_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// What is needed to connect with these credentials.
    pub(super) fn connection_info(
        &self,
        credentials: Option<&RedisCredentials>,
    ) -> Result<ConnectionInfo, redis::RedisError> {
        let info = self.info.clone().into_connection_info()?;
        // `CLIENT SETINFO` needs a permission and a newer server.
        let mut redis = RedisConnectionInfo::default()
            .set_db(self.info.redis_settings().db())
            .set_skip_set_lib_name();
        if let Some(credentials) = credentials {
            redis = redis.set_password(&credentials.password);
            if let Some(user) = &credentials.user {
                redis = redis.set_username(user);
            }
        }
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
    }
}

/// As in the messages of errors: `Redis at host:port`, and the database if it is not the first.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis at {}", self.info.addr())?;
        match self.info.redis_settings().db() {
            0 => Ok(()),
            database => write!(f, ", database {database},"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn a_url_is_printed_without_its_secrets() {
        let address = Address::parse("redis://app:s3cret@db.local:6380/2").unwrap();
        assert_eq!(address.to_string(), "Redis at db.local:6380, database 2,");
        assert_eq!(format!("{address:?}"), "\"Redis at db.local:6380, database 2,\"");
        let credentials = address.credentials().unwrap();
        assert_eq!(credentials.user.as_deref(), Some("app"));
        assert_eq!(credentials.password, "s3cret");
    }

    #[test]
    fn an_escaped_password_is_read() {
        let address = Address::parse("redis://:p%40ss%2Fword@localhost").unwrap();
        assert_eq!(address.credentials().unwrap().password, "p@ss/word");
        assert_eq!(address.to_string(), "Redis at localhost:6379");
    }

    #[test]
    fn an_invalid_url_is_refused_without_quoting_it() {
        for url in [
            "",
            "localhost",
            "http://app:s3cret@localhost",
            "redis://app:s3cret@",
            "redis://app:s3cret@localhost/x",
            "redis://app:s3cret@localhost:99999",
            "redis://app:s3cret@localhost/?protocol=s3cret",
            "redis://app:s3cret@0.0.0.0",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.starts_with("store misconfigured: the URL of Redis"), "{error}");
            assert!(!error.contains("s3cret") && !error.contains("app"), "{error}");
        }
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn tls_without_its_feature_says_so() {
        let error = Address::parse("rediss://localhost").unwrap_err().to_string();
        assert!(error.contains("redis-tls"), "{error}");
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_is_read_from_the_scheme() {
        assert!(Address::parse("rediss://localhost").unwrap().uses_tls());
        assert!(!Address::parse("redis://localhost").unwrap().uses_tls());
        assert!(Address::parse("rediss://localhost/#insecure").is_err());
    }
}

//! Who connects to Redis: a user and a password, fixed or asked for at each connection.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    error::BoxError,
    sync::{caught, std_lock as lock},
};

/// A user and a password for Redis. `Debug` shows neither.
///
/// ```
/// use tower_breaker::store::RedisCredentials;
///
/// let credentials = RedisCredentials::new("secret").with_user("breakers");
/// assert_eq!(format!("{credentials:?}"), "RedisCredentials { .. }");
/// ```
#[derive(Clone)]
pub struct RedisCredentials {
    pub(super) user: Option<String>,
    pub(super) password: String,
}

impl RedisCredentials {
    /// A password for the user `default`.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self { user: None, password: password.into() }
    }

    /// Sets the user, for servers with access control lists.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}

impl fmt::Debug for RedisCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCredentials").finish_non_exhaustive()
    }
}

/// Where credentials come from. It is asked at each connection, since passwords are rotated.
#[derive(Clone)]
pub(super) struct Provider(Arc<Mutex<dyn Provide>>);

trait Provide: FnMut() -> Result<RedisCredentials, BoxError> + Send {}

impl<F: FnMut() -> Result<RedisCredentials, BoxError> + Send> Provide for F {}

impl Provider {
    pub(super) fn new(
        provide: impl FnMut() -> Result<RedisCredentials, BoxError> + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(provide)))
    }

    pub(super) fn credentials(&self) -> Result<RedisCredentials, BoxError> {
        let ask = || (*lock(&self.0))();
        caught(ask).unwrap_or_else(|panic| Err(format!("their provider panicked: {panic}").into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_panics_has_failed_and_is_asked_again() {
        let mut answers = [false, true].into_iter();
        let provider = Provider::new(move || {
            assert!(answers.next().unwrap_or(true), "the vault is sealed");
            Ok(RedisCredentials::new("secret"))
        });
        let error = provider.credentials().unwrap_err().to_string();
        assert_eq!(error, "their provider panicked: the vault is sealed");
        assert!(provider.credentials().is_ok());
    }
}

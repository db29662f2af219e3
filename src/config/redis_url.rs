//! A URL of Redis in a configuration.

use std::fmt;

/// A URL of Redis, such as `redis://user:password@host:6379/0`, or of sentinels or a cluster:
/// `redis+sentinel://..`, `redis+cluster://..`. `Display` and `Debug` show neither the user nor the
/// password.
///
/// ```
/// use tower_breaker::config::RedisUrl;
///
/// let url = RedisUrl::new("redis://breakers:secret@redis.internal/2");
/// assert_eq!(url.to_string(), "redis://***@redis.internal/2");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedisUrl(String);

const SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "unix",
];

impl RedisUrl {
    /// Takes a URL as it is. Opening the store checks it.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Whether the text begins as a URL of Redis does.
    pub(super) fn is_one(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.split_once("://").is_some_and(|(is, _)| is == *scheme))
    }

    /// The URL with its secrets.
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "for the store"))]
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // A password that is not escaped may hold any of these, and parameters may hold one too.
        let (secret, place) =
            rest.rsplit_once('@').map_or(("", rest), |(_, place)| ("***@", place));
        let place = place.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{scheme}://{secret}{place}")
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl(\"{self}\")")
    }
}

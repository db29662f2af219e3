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
        if may_be_in_parameters(scheme, rest) {
            return write!(f, "{scheme}://***");
        }
        // A password that is not escaped may hold any of these.
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

/// Whether the last `@` may belong to a parameter: then a part of a password may follow it, and
/// another one may precede the parameters.
fn may_be_in_parameters(scheme: &str, rest: &str) -> bool {
    let Some((before, _)) = rest.rsplit_once('@') else { return false };
    let Some(parameters) = before.find(['?', '#']) else { return false };
    // The URL of a server has no parameter with a secret, but may have one by mistake.
    let is_server = ["redis", "rediss"].iter().any(|is| scheme.eq_ignore_ascii_case(is));
    !is_server || before[parameters..].contains('=')
}

#[cfg(test)]
mod tests {
    use super::RedisUrl;

    #[test]
    fn no_part_of_a_secret_in_a_parameter_is_shown() {
        for (url, shown) in [
            ("redis+sentinel://a/main?sentinel_password=p@ssword", "redis+sentinel://***"),
            ("redis+sentinel://a/main?sentinel_password=p@ss@word", "redis+sentinel://***"),
            ("redis+sentinel://a/main?sentinel_password=p#ss@word", "redis+sentinel://***"),
            ("redis+sentinel://u:s@a/main?sentinel_password=p@ss", "redis+sentinel://***"),
            ("redis+sentinel://u:s?ecret@a/main", "redis+sentinel://***"),
            ("rediss+cluster://u:s#ecret@a,b", "rediss+cluster://***"),
            ("REDIS+SENTINEL://a/main?sentinel_password=p@ss", "REDIS+SENTINEL://***"),
            ("unix:///p?pass=a@bc", "unix://***"),
            ("UNIX:///p#pass=a@bc", "UNIX://***"),
            ("redis://host/0?pass=a@bc", "redis://***"),
            ("REDIS://host/0?pass=a@bc", "REDIS://***"),
            ("a/main?password=a@bc", "://***"),
            ("REDIS://u:s?e@cret@host/0", "REDIS://***@host/0"),
            ("redis+sentinel://u:s@cret@a,b/main", "redis+sentinel://***@a,b/main"),
            ("unix:///p?pass=abc", "unix:///p"),
        ] {
            let url = RedisUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("RedisUrl(\"{shown}\")"));
        }
    }
}

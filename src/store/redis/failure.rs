//! What an error of Redis means to a store, and what an operator can do about it.
//!
//! The messages name the server, never a user or a password. Text of the server is passed on only
//! where it names neither.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::address::Address;
use crate::store::error::StoreError;

/// Whether the connection that met this error is of no more use.
pub(super) fn breaks_connection(error: &RedisError) -> bool {
    match error.kind() {
        // After a failover, a read-only replica stays one: ask again where the primary is.
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::AuthenticationFailed
        | ErrorKind::Server(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            // In a cluster, the slot has another node now.
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::ClusterDown,
        ) => true,
        // The password has changed since, or the primary has become a replica while it waited.
        _ => matches!(code(error), Some("NOAUTH" | "UNBLOCKED" | "READONLY")),
    }
}

/// The code of an error. Before Redis 7, that of an error in a script is part of its text.
pub(crate) fn code(error: &RedisError) -> Option<&str> {
    let code = error.code()?;
    let says = |part: &str| code == "ERR" && error.detail().is_some_and(|text| text.contains(part));
    let refused = [
        (": -READONLY ", "READONLY"),
        (": -OOM ", "OOM"),
        (": -MISCONF ", "MISCONF"),
        (": -NOREPLICAS ", "NOREPLICAS"),
    ];
    Some(if let Some((_, code)) = refused.into_iter().find(|(part, _)| says(part)) {
        code
    } else if says("The user executing the script can't") {
        "NOPERM"
    } else {
        code
    })
}

/// Errors of the commands of a pipeline come together: the first of them.
pub(super) fn first(error: RedisError) -> RedisError {
    let of_commands = error.clone().into_server_errors();
    let first = of_commands.and_then(|errors| errors.first().map(|(_, error)| error.clone()));
    first.map_or(error, RedisError::from)
}

/// The store's error for an error of Redis.
pub(super) fn store_error(address: &Address, error: &RedisError) -> StoreError {
    let unavailable = |what: &str| StoreError::Unavailable(format!("{address} {what}").into());
    let misconfigured = |what: &str| StoreError::Misconfigured(format!("{address} {what}").into());
    if error.kind() == ErrorKind::AuthenticationFailed {
        return misconfigured("refuses the user or the password: check both");
    }
    match code(error) {
        Some("NOAUTH" | "WRONGPASS") => {
            misconfigured("refuses the user or the password: check both")
        }
        Some("NOPERM") => misconfigured(&format!(
            "denies permission for {}: grant the user what the documentation of `RedisStore` or of \
             `fleet` lists",
            denied(error.detail().unwrap_or_default()),
        )),
        Some("READONLY") => {
            unavailable("is a read-only replica: waiting for a failover, or connect to the primary")
        }
        Some("OOM") => unavailable(
            "is full: raise its `maxmemory`, or remove other data; writes fail until then",
        ),
        Some("MISCONF") => {
            unavailable("refuses writes because it cannot save to its disk: see its log")
        }
        Some("NOREPLICAS") => unavailable(
            "refuses writes because it has too few replicas: writes fail until they are back",
        ),
        Some("LOADING") => unavailable("is loading its data: retrying"),
        Some("BUSY") => unavailable(
            "is busy with a script of another client: retrying; if it does not end, stop it with \
             `SCRIPT KILL`",
        ),
        Some("MASTERDOWN") => {
            unavailable("is a replica without its primary: retrying; check the primary")
        }
        Some("UNBLOCKED") => unavailable("has become a replica: looking for the primary"),
        Some("CLUSTERDOWN" | "TRYAGAIN") => unavailable(
            "is a cluster that cannot serve the key: retrying; check the cluster's nodes",
        ),
        Some("MOVED" | "ASK") if address.is_cluster() => {
            unavailable("moves a key to another node: looking for it")
        }
        Some("MOVED" | "ASK" | "CROSSSLOT") => misconfigured(
            "is part of a Redis Cluster: use a URL that begins with `redis+cluster://`",
        ),
        Some("WRONGTYPE") => StoreError::Other(
            format!(
                "{address} holds a value of another type under a key of this crate: choose another \
                 prefix, or delete that key",
            )
            .into(),
        ),
        Some(code) => {
            StoreError::Other(format!("{address} answers {code}: {}", details(error)).into())
        }
        None if error.is_timeout() => unavailable("does not answer in time"),
        None if error.kind() == ErrorKind::InvalidClientConfig => {
            misconfigured(&format!("cannot be used: {error}"))
        }
        None if error.is_io_error() => match of_tls(error) {
            Some(problem) => misconfigured(&problem),
            None => unavailable(&format!("cannot be reached: {error}")),
        },
        None => StoreError::Other(format!("{address} gives an unexpected answer: {error}").into()),
    }
}

/// What is wrong with TLS, if it is not a matter of the network.
#[cfg(feature = "redis-tls")]
fn of_tls(error: &RedisError) -> Option<String> {
    use std::{error::Error as _, io, sync::Arc};

    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let error = shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(_) => Some(format!(
            "shows a certificate that is not trusted ({error}): trust its authority by \
             `root_certificates`, or check the host in the URL",
        )),
        rustls::Error::AlertReceived(_) => Some(format!(
            "refuses to talk by TLS ({error}): give it a client certificate that it trusts, by \
             `client_certificate`",
        )),
        _ => None,
    }
}

#[cfg(not(feature = "redis-tls"))]
const fn of_tls(_: &RedisError) -> Option<String> {
    None
}

fn details(error: &RedisError) -> &str {
    error.detail().unwrap_or("no details")
}

/// What a message about a missing permission is about. Newer servers name the user in it, so it is
/// not passed on: only the command, which they quote.
fn denied(detail: &str) -> String {
    match detail.split('\'').nth(1) {
        Some(command) => format!("the command {command:?}"),
        None => "its keys".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{code, denied, store_error};
    use crate::store::{error::StoreError, redis::address::Address};

    #[test]
    fn a_primary_without_replicas_may_recover_by_itself() {
        let address = Address::parse("redis://cache").unwrap();
        let answer = b"-NOREPLICAS Not enough good replicas to write.\r\n";
        let error = redis::parse_redis_value(answer).and_then(redis::Value::extract_error);
        let error = store_error(&address, &error.unwrap_err());
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains("too few replicas"), "{error}");
    }

    #[test]
    fn before_redis_7_the_code_of_an_error_in_a_script_is_in_its_text() {
        let address = Address::parse("redis://cache").unwrap();
        for (is, text, means) in [
            ("OOM", "-OOM command not allowed when used memory > 'maxmemory'.", "is full"),
            ("MISCONF", "-MISCONF Redis is configured to save RDB snapshots", "to its disk"),
            ("NOREPLICAS", "-NOREPLICAS Not enough good replicas to write.", "too few replicas"),
            ("READONLY", "-READONLY You can't write against a read only replica.", "read-only"),
        ] {
            let text = format!(
                "Error running script (call to f_0f): @user_script:3: @user_script: 3: {text}"
            );
            let error = redis::make_extension_error("ERR".to_owned(), Some(text));
            assert_eq!(code(&error), Some(is));
            let error = store_error(&address, &error);
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            assert!(error.to_string().contains(means), "{error}");
        }
        let other = "Error running script (call to f_0f): @user_script:3: OOM";
        let other = redis::make_extension_error("ERR".to_owned(), Some(other.to_owned()));
        assert_eq!(code(&other), Some("ERR"));
    }

    #[test]
    fn a_missing_permission_names_the_command_and_no_user() {
        for detail in [
            "User reader has no permissions to run the 'zadd' command",
            "this user has no permissions to run the 'zadd' command",
        ] {
            assert_eq!(denied(detail), "the command \"zadd\"");
        }
        assert_eq!(denied("No permissions to access a key"), "its keys");
    }
}

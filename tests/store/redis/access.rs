//! Who may connect, and what a user has to be allowed to do.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use tower_breaker::store::{
    HistoryRecord, HistoryStore, RedisCredentials, RedisStore, SaveEntry, StateStore, StoreError,
};

use super::{breaker, flush, trip};
use crate::support::{
    acl::{assert_documented, assert_refused_without_secrets, user, wrong_passwords},
    redis::RedisServer,
    wait::eventually,
};

/// What the documentation of `RedisStore` says that a user needs.
pub(super) const RULES: &[&str] = &[
    "~circuit_breaker:*",
    "~circuit_breaker@*",
    "+get",
    "+set",
    "+mget",
    "+del",
    "+exists",
    "+persist",
    "+pexpire",
    "+pttl",
    "+time",
    "+eval",
    "+evalsha",
    "+zadd",
    "+zrem",
    "+zrangebylex",
    "+zrevrangebylex",
    "+zremrangebylex",
    "+zremrangebyrank",
];

/// Uses everything that the store does.
fn use_all(store: &RedisStore) -> Result<(), StoreError> {
    store.save(&SaveEntry::new("changed", "1").with_ttl(super::MINUTE))?;
    for counts in ["2", "3"] {
        store.save(&SaveEntry::new("counts", counts).with_unchanged_state())?;
    }
    store.save(&SaveEntry::new("gone", "3").with_ttl(std::time::Duration::from_millis(1)))?;
    eventually("it has expired", || !matches!(store.load("gone"), Ok(Some(_))));
    store.load("changed")?;
    store.load_page(None, 10)?;
    store.delete("changed")?;
    store.verify()?;
    let record = HistoryRecord::new(1, "text").with_ttl(super::MINUTE);
    store.append(
        "history",
        &[record.clone(), HistoryRecord::new(2, "text").with_ttl(super::MINUTE)],
    )?;
    store.append("history", &[HistoryRecord::new(1, "changed")])?;
    store.load_newest("history", None, 1)?;
    store.keys(None, 10)?;
    store.trim("history", 0, 1)?;
    store.trim("history", u64::MAX, 0)
}

#[needs::programs("redis-server")]
#[test]
fn a_user_with_exactly_the_documented_permissions_can_use_the_store() {
    let Some(server) = RedisServer::start() else { return };
    let url = user(&server, RULES);
    use_all(&RedisStore::open(&url).unwrap()).unwrap();
    use_all(&RedisStore::builder(&url).instance("web-1").open().unwrap()).unwrap();
    let breaker = breaker("payments", RedisStore::open(&url).unwrap());
    trip(&breaker);
    flush(&breaker);
    drop(breaker);
    // Without one of them, something fails, and the error names no user and no password.
    for missing in RULES.iter().filter(|rule| rule.starts_with('+')) {
        let rules: Vec<_> = RULES.iter().filter(|rule| *rule != missing).copied().collect();
        server.command(&["SCRIPT", "FLUSH"]);
        server.command(&["FLUSHALL"]);
        let url = user(&server, &rules);
        let error = use_all(&RedisStore::open(&url).unwrap()).expect_err(missing).to_string();
        assert!(!error.contains("s3cret") && !error.contains("breakers"), "{error}");
        let denied = format!("denies permission for the command {:?}", &missing[1..]);
        assert!(error.contains(&denied), "{missing}: {error}");
    }
    let url = user(&server, &["~another:*", "+@all"]);
    let error = use_all(&RedisStore::open(&url).unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    assert!(error.to_string().contains("denies permission"), "{error}");
}

#[test]
fn the_documentation_has_these_permissions() {
    assert_documented(RULES, include_str!("../../../src/store/redis/store.rs"), 3);
}

#[needs::programs("redis-server")]
#[test]
fn a_wrong_password_is_named_without_being_shown() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "s3cret"]) else { return };
    for url in wrong_passwords(&server) {
        let store = RedisStore::open(&url).unwrap();
        let error = store.load("key").unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
        assert_refused_without_secrets(&format!("{error} {error:?} {store:?}"));
    }
}

#[needs::programs("redis-server")]
#[test]
fn credentials_are_asked_for_at_each_connection() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "first"]) else { return };
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let store = RedisStore::builder(&server.url())
        .credentials(move || {
            let asked = counted.fetch_add(1, SeqCst);
            if asked == 0 {
                return Err("the vault is sealed".into());
            }
            Ok(RedisCredentials::new(if asked == 1 { "first" } else { "second" }))
        })
        .open()
        .unwrap();
    let error = store.load("key").unwrap_err();
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    eventually("it connects", || store.save(&SaveEntry::new("key", "value")).is_ok());
    assert_eq!(asked.load(SeqCst), 2, "a pause between attempts");
    let admin = ["first"];
    server.command_as(&admin, &["CONFIG", "SET", "requirepass", "second"]);
    server.command_as(&["second"], &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually("it connects again", || store.load("key").is_ok());
    assert_eq!(store.load("key").unwrap().unwrap(), b"value");
}

#[needs::programs("redis-server")]
#[test]
fn a_socket_of_unix_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket").to_str().unwrap().to_owned();
    let Some(server) = RedisServer::start_with(&["--unixsocket", &socket]) else { return };
    let store = RedisStore::open(&format!("unix://{socket}?db=3")).unwrap();
    eventually("the socket is there", || store.save(&SaveEntry::new("key", "value")).is_ok());
    assert_eq!(server.command(&["DBSIZE"]), "0", "it is in another database");
    assert_eq!(store.load("key").unwrap().unwrap(), b"value");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let zero = std::time::Duration::ZERO;
    let builders = [
        RedisStore::builder("localhost"),
        RedisStore::builder("redis://localhost").prefix(""),
        RedisStore::builder("redis://localhost").instance("a:b"),
        RedisStore::builder("redis://localhost").connect_timeout(zero),
        RedisStore::builder("redis://localhost").command_timeout(zero),
    ];
    for builder in builders {
        let shown = format!("{builder:?}");
        let error = builder.open().expect_err(&shown);
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    }
}

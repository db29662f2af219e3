//! The keys under which a store holds what belongs to a breaker.
//!
//! The part after the name is one of a few fixed words, so no name, whatever it contains, can make
//! the key of another breaker.

const PREFIX: &str = "circuit_breaker:";
const SNAPSHOT: &str = ":state";
const RECENT: &str = ":recent";
const QUARANTINE: &str = ":quarantine";
const HISTORY: &str = ":history";

/// The key of a breaker's snapshot.
pub(super) fn snapshot(name: &str) -> String {
    key(name, SNAPSHOT)
}

/// The key of the snapshot that continues it, if it is large.
pub(super) fn recent(name: &str) -> String {
    key(name, RECENT)
}

/// The key of the list of its unreadable snapshots.
pub(super) fn quarantine(name: &str) -> String {
    key(name, QUARANTINE)
}

/// The key of its history.
pub(super) fn history(name: &str) -> String {
    key(name, HISTORY)
}

/// The name of the breaker whose snapshot this key holds, if it is the key of a snapshot.
pub(super) fn name_of_snapshot(key: &str) -> Option<&str> {
    name(key, SNAPSHOT)
}

/// The name of the breaker whose history this key holds, if it is the key of a history.
pub(super) fn name_of_history(key: &str) -> Option<&str> {
    name(key, HISTORY)
}

/// Every breaker holds one of these for its lifetime: `concat` allocates exactly what it needs.
fn key(name: &str, suffix: &str) -> String {
    [PREFIX, name, suffix].concat()
}

fn name<'a>(key: &'a str, suffix: &str) -> Option<&'a str> {
    key.strip_prefix(PREFIX)?.strip_suffix(suffix)
}

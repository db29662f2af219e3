//! The keys under which a store keeps what belongs to a breaker.
//!
//! What comes after the name is one of a few words, so no name, whatever is in it, makes the key of another.

const BEGINNING: &str = "circuit_breaker:";

/// The key of a breaker's snapshot.
pub(super) fn snapshot(name: &str) -> String {
    of(name, ":state")
}

/// The key of the list of its unreadable snapshots.
pub(super) fn quarantine(name: &str) -> String {
    of(name, ":quarantine")
}

/// The key of its history.
pub(super) fn history(name: &str) -> String {
    of(name, ":history")
}

/// Whose snapshot is under this key, if it is a snapshot's.
pub(super) fn of_snapshot(key: &str) -> Option<&str> {
    between(key, ":state")
}

/// Whose history is under this key, if it is a history's.
pub(super) fn of_history(key: &str) -> Option<&str> {
    between(key, ":history")
}

/// Each breaker has one for as long as it lives: no longer than need be, and made without the detours of a format.
fn of(name: &str, end: &str) -> String {
    [BEGINNING, name, end].concat()
}

fn between<'a>(key: &'a str, end: &str) -> Option<&'a str> {
    key.strip_prefix(BEGINNING)?.strip_suffix(end)
}

//! From the store back into a breaker, at the start.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    RestoreError, Source,
    entry::{DIRTY, Entry, Phase},
    names,
    shelf::Found,
};
use crate::{
    metrics,
    store::{SaveEntry, StateStore, StoreError},
};

/// Unreadable snapshots that are kept for each breaker.
const KEPT: usize = 3;

/// An unreadable snapshot, as it is kept under the quarantine key: one of a JSON list, the newest last.
#[derive(Deserialize, Serialize)]
struct Quarantined {
    reason: String,
    /// Seconds since 1970.
    since: u64,
    /// The bytes, if they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The bytes as hexadecimal digits, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// Reads the entry's snapshot, and hands it to the breaker. After that the entry may be saved, unless the
/// snapshot is of a newer version.
pub(super) fn load(store: &dyn StateStore, entry: &Entry) -> Result<(), StoreError> {
    let Phase::Unread { tried } = entry.phase() else { return Ok(()) };
    entry.set_phase(Phase::Unread { tried: true });
    let phase = match store.load(&entry.key) {
        Ok(Some(bytes)) => adopt(store, entry, &bytes)?,
        Ok(None) => Phase::Ready,
        Err(StoreError::Corrupt(error)) => {
            let kept_as = "nowhere: the store could not even read it";
            warn_corrupt(store, entry, &error.to_string(), kept_as);
            Phase::Ready
        }
        Err(error) => return Err(error),
    };
    if tried {
        // It came too late for the first calls, so the breaker may have a newer state already.
        entry.set(DIRTY);
    }
    entry.set_phase(phase);
    Ok(())
}

fn adopt(store: &dyn StateStore, entry: &Entry, bytes: &[u8]) -> Result<Phase, StoreError> {
    let Some(source) = entry.source() else { return Ok(Phase::Ready) };
    match hand_over(&*source, bytes) {
        Ok(()) => Ok(Phase::Ready),
        Err(RestoreError::Corrupt(reason)) => {
            let key = names::quarantine(entry.name());
            quarantine(store, &key, &reason, bytes)?;
            warn_corrupt(store, entry, &reason, &key);
            // Or the next start would meet it again.
            entry.set(DIRTY);
            Ok(Phase::Ready)
        }
        Err(RestoreError::NewerVersion(version)) => {
            tracing::warn!(
                target: "tower_breaker",
                name = entry.name(),
                key = entry.key,
                version,
                "the snapshot was written by a newer release: it is left alone, and this circuit breaker's state \
                 is kept in memory only; go back to that release, or delete the key",
            );
            Ok(Phase::LeftAlone { version, since: SystemTime::now() })
        }
    }
}

fn hand_over(source: &dyn Source, bytes: &[u8]) -> Result<(), RestoreError> {
    catch_unwind(AssertUnwindSafe(|| source.restore(bytes)))
        .unwrap_or_else(|_| Err(RestoreError::Corrupt("reading it panicked".to_owned())))
}

/// The same with what was read for many at once, on the thread that builds the breaker. What the breaker cannot
/// read stays unread, for the writer to deal with. True if nothing is left to do.
pub(super) fn adopt_early(entry: &Entry, found: &Found) -> bool {
    let is_read = match found {
        Found::Unknown => false,
        Found::Nothing => true,
        Found::Value(bytes) => {
            entry.source().is_some_and(|source| hand_over(&*source, bytes).is_ok())
        }
    };
    if is_read {
        entry.set_phase(Phase::Ready);
    }
    is_read
}

fn warn_corrupt(store: &dyn StateStore, entry: &Entry, reason: &str, kept_as: &str) {
    metrics::quarantined(store.label(), "snapshot");
    tracing::warn!(
        target: "tower_breaker",
        name = entry.name(),
        key = entry.key,
        kept_as,
        reason,
        "the snapshot cannot be read: this circuit breaker starts closed, and the bytes are kept",
    );
}

fn quarantine(
    store: &dyn StateStore,
    key: &str,
    reason: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let earlier = store.load(key)?;
    let mut kept: Vec<Quarantined> =
        earlier.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    let hex = text.is_none().then(|| hex(bytes));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    kept.push(Quarantined { reason: reason.to_owned(), since: now, text, hex });
    let surplus = kept.len().saturating_sub(KEPT);
    kept.drain(..surplus);
    let list = serde_json::to_vec(&kept).map_err(|error| StoreError::Other(error.into()))?;
    store.save(&SaveEntry::new(key, list))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |half: u8| DIGITS[usize::from(half & 15)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

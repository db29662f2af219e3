//! From the store into a breaker: one snapshot.

use std::fmt::Display;

use super::{
    client::StoreClient,
    entry::{Entry, Urgency},
    keys, quarantine,
    source::RestoreError,
    states::{NewerVersion, ReadState},
};
use crate::{clock::wall, metrics, snapshot::Snapshot, state::State, store::StoreError, sync::log};

/// Reads the snapshot of an entry and gives it to the breaker. An error means that nothing is
/// known about the snapshot, so it must not be overwritten.
pub(super) fn load(
    client: &StoreClient,
    entry: &Entry,
    before: ReadState,
) -> Result<ReadState, StoreError> {
    let read = match client.load(&entry.key) {
        Ok(Some(bytes)) => restore(client, entry, &bytes)?,
        Ok(None) => ReadState::Read,
        Err(StoreError::Corrupt(error)) => {
            let kept_as = "nowhere: the store cannot read it";
            warn_damaged(client, entry, &error.to_string(), kept_as, None);
            ReadState::Read
        }
        Err(error) => return Err(error),
    };
    if before == ReadState::Failed {
        // The breaker has lived without it, and may have a newer state.
        entry.mark(Urgency::Counts);
    }
    Ok(read)
}

fn restore(client: &StoreClient, entry: &Entry, bytes: &[u8]) -> Result<ReadState, StoreError> {
    let continuation = load_continuation(client, entry, bytes)?;
    client.note_stored(entry, bytes);
    match entry.restore(bytes, continuation.as_deref()) {
        Ok(()) => Ok(ReadState::Read),
        // The owner of the name keeps it aside.
        Err(RestoreError::Corrupt { .. }) if entry.is_suspended() => Ok(ReadState::Read),
        Err(RestoreError::Corrupt { reason, adopted }) => {
            let key = keys::quarantine(entry.name());
            quarantine::keep_aside(client, &key, &reason, bytes)?;
            warn_damaged(client, entry, &reason, &key, adopted);
            // The next start must not meet it again.
            entry.mark(Urgency::Counts);
            Ok(ReadState::Read)
        }
        Err(RestoreError::NewerVersion(version)) => {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    name = entry.name(),
                    key = entry.key,
                    version,
                    "snapshot of a newer release found: it is not overwritten, and the state of \
                     this circuit breaker is kept in memory only; return to that release, or \
                     delete the key",
                );
            });
            Ok(ReadState::NewerVersion(NewerVersion { version, since: wall() }))
        }
    }
}

/// Reads what continues a snapshot. Without it, the counts are older.
fn load_continuation(
    client: &StoreClient,
    entry: &Entry,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    if !Snapshot::may_be_continued(bytes) {
        return Ok(None);
    }
    match client.load(&keys::recent(entry.name())) {
        Err(StoreError::Corrupt(error)) => {
            warn_older_counts(entry.name(), &error);
            Ok(None)
        }
        loaded => loaded,
    }
}

/// Says that what continues the snapshot of a breaker is unreadable.
pub(crate) fn warn_older_counts(name: &str, error: &dyn Display) {
    log(|| {
        tracing::warn!(
            target: "tower_breaker",
            name,
            key = keys::recent(name),
            %error,
            "newest counts unreadable: the circuit breaker starts with older ones, and the next \
             save replaces them; if this is logged again, check the disk of the store",
        );
    });
}

/// Says that a snapshot is damaged, and what the breaker starts with: the state that could be read
/// nevertheless, if any.
fn warn_damaged(
    client: &StoreClient,
    entry: &Entry,
    reason: &str,
    kept_as: &str,
    adopted: Option<State>,
) {
    let message = if adopted.is_some() {
        "damaged snapshot: the circuit breaker starts with the state that could be read, its \
         counts are lost, and the bytes are kept under the key that kept_as says; \
         delete them when they are no longer needed"
    } else {
        "unreadable snapshot: the circuit breaker starts closed, and the bytes are kept as kept_as \
         says; delete them when they are no longer needed"
    };
    metrics::quarantined(client.label(), "snapshot");
    log(|| {
        tracing::warn!(
            target: "tower_breaker",
            name = entry.name(),
            key = entry.key,
            kept_as,
            reason,
            state = adopted.map(State::as_str),
            "{message}",
        );
    });
}

//! A transition as a record of its breaker's history, and back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    history::{HistoryCursor, HistoryEntry, HistoryPage},
    store::{HistoryRecord, StoreError},
};

/// The version of the format.
const VERSION: u64 = 1;

/// How many days a history is kept if its newest record does not say.
pub(super) const DEFAULT_RETENTION_DAYS: u32 = 30;

/// The JSON of a record. It holds no name: the key of the history does.
#[derive(Serialize, Deserialize)]
struct Format<Entry> {
    version: u64,
    #[serde(flatten)]
    entry: Entry,
    /// Recorded so that the history of a breaker that no longer exists is kept as long as its
    /// configuration said.
    #[serde(default = "default_retention_days", skip_serializing_if = "is_default")]
    retention_days: u32,
}

const fn default_retention_days() -> u32 {
    DEFAULT_RETENTION_DAYS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_default(days: &u32) -> bool {
    *days == DEFAULT_RETENTION_DAYS
}

pub(super) fn encode(
    id: u64,
    entry: &HistoryEntry,
    retention_days: u32,
) -> Result<HistoryRecord, StoreError> {
    let mut entry = entry.clone();
    entry.transition.name = "".into();
    let bytes = serde_json::to_vec(&Format { version: VERSION, entry, retention_days })
        .map_err(|error| StoreError::Other(error.into()))?;
    Ok(HistoryRecord::new(id, bytes).with_ttl(days(retention_days)))
}

/// `None` if the record is damaged, or of a newer version.
fn decode(record: &HistoryRecord, name: &Arc<str>) -> Option<HistoryEntry> {
    let format: Format<HistoryEntry> = serde_json::from_slice(&record.bytes).ok()?;
    let mut entry = format.entry;
    entry.transition.name = Arc::clone(name);
    (format.version == VERSION).then_some(entry)
}

/// How many days to keep the history whose newest record this is. `None` if that is unreadable: a
/// newer release may use another rule.
pub(super) fn retention_days(record: &HistoryRecord) -> Option<u32> {
    #[derive(Deserialize)]
    struct Retention {
        version: u64,
        #[serde(default = "default_retention_days")]
        retention_days: u32,
    }
    let format: Retention = serde_json::from_slice(&record.bytes).ok()?;
    (format.version == VERSION).then_some(format.retention_days)
}

/// A page of the first `limit` records. If there are more, it says where the next page begins.
pub(super) fn page(name: &str, records: &[HistoryRecord], limit: usize) -> HistoryPage {
    let name = Arc::from(name);
    let shown = &records[..limit.min(records.len())];
    let entries: Vec<HistoryEntry> =
        shown.iter().filter_map(|record| decode(record, &name)).collect();
    let has_more = records.len() > shown.len();
    HistoryPage {
        unreadable: shown.len() - entries.len(),
        next: shown.last().filter(|_| has_more).map(|last| HistoryCursor::new(last.id)),
        entries,
    }
}

/// The id of a record of this moment: nanoseconds since 1970, which lasts until the year 2554.
pub(super) fn id_at(at: SystemTime) -> u64 {
    nanos(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The id below which records are too old at `now`, which is an id too.
pub(super) fn oldest_kept(now: u64, retention_days: u32) -> u64 {
    now.saturating_sub(nanos(days(retention_days)))
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 3600)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

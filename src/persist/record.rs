//! A transition as a record of its breaker's history, and back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    HistoryCursor, HistoryEntry, HistoryPage,
    store::{HistoryRecord, StoreError},
};

/// The version of the form.
const VERSION: u64 = 1;

/// How many days a history is kept if its newest record does not say.
pub(super) const DEFAULT_DAYS: u32 = 30;

#[derive(Serialize, Deserialize)]
struct Form<Entry> {
    version: u64,
    #[serde(flatten)]
    entry: Entry,
    /// So that the histories of breakers that are gone can be kept as long as they were to be.
    #[serde(default = "default_days", skip_serializing_if = "is_default")]
    retention_days: u32,
}

const fn default_days() -> u32 {
    DEFAULT_DAYS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_default(days: &u32) -> bool {
    *days == DEFAULT_DAYS
}

pub(super) fn write(
    id: u64,
    entry: &HistoryEntry,
    retention_days: u32,
) -> Result<HistoryRecord, StoreError> {
    // The key says whose history it is.
    let mut entry = entry.clone();
    entry.transition.name = "".into();
    let bytes = serde_json::to_vec(&Form { version: VERSION, entry, retention_days })
        .map_err(|error| StoreError::Other(error.into()))?;
    Ok(HistoryRecord::new(id, bytes))
}

/// `None` for what is damaged, or of a newer version.
fn read(record: &HistoryRecord, name: &Arc<str>) -> Option<HistoryEntry> {
    let mut form: Form<HistoryEntry> = serde_json::from_slice(&record.bytes).ok()?;
    form.entry.transition.name = Arc::clone(name);
    (form.version == VERSION).then_some(form.entry)
}

/// For how many days the history is to be kept of which this is the newest record. `None` if that cannot be
/// read: a newer version may have had its reasons.
pub(super) fn retention_days(record: &HistoryRecord) -> Option<u32> {
    #[derive(Deserialize)]
    struct Retention {
        version: u64,
        #[serde(default = "default_days")]
        retention_days: u32,
    }
    let form: Retention = serde_json::from_slice(&record.bytes).ok()?;
    (form.version == VERSION).then_some(form.retention_days)
}

/// A page of the first `limit` records; where there are more, it says where to go on.
pub(super) fn page(name: &str, records: &[HistoryRecord], limit: usize) -> HistoryPage {
    let name = Arc::from(name);
    let shown = &records[..limit.min(records.len())];
    let entries: Vec<HistoryEntry> =
        shown.iter().filter_map(|record| read(record, &name)).collect();
    let more = records.len() > shown.len();
    HistoryPage {
        unreadable: shown.len() - entries.len(),
        next: shown.last().filter(|_| more).map(|last| HistoryCursor::new(last.id)),
        entries,
    }
}

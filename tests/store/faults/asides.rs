//! What stores keep aside because it is damaged.

use std::{fs, path::Path};

use serde_json::Value;
use tower_breaker::StateStore;

/// The number of databases that redb has moved aside.
pub(super) fn redb_files(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(".corrupt-")).count()
}

/// Whether these bytes are among the unreadable snapshots of a breaker.
pub(super) fn is_in_quarantine(store: &dyn StateStore, name: &str, bytes: &[u8]) -> bool {
    let key = format!("circuit_breaker:{name}:quarantine");
    let Ok(Some(list)) = store.load(&key) else { return false };
    let list: Vec<Value> = serde_json::from_slice(&list).unwrap_or_default();
    let text = std::str::from_utf8(bytes).ok();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    list.iter().any(|kept| text.map_or(kept["hex"] == hex.concat(), |text| kept["text"] == text))
}

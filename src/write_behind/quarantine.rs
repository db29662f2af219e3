//! Snapshots that cannot be read are kept aside, for a person to look at.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::client::StoreClient;
use crate::{
    clock::wall,
    store::{SaveEntry, StoreError},
};

/// The number of unreadable snapshots that are kept for each breaker.
const QUARANTINE_LIMIT: usize = 3;

/// An unreadable snapshot. The value under the quarantine key is a JSON list of these, the newest
/// last.
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

/// Adds the bytes of an unreadable snapshot to the list under `key`.
pub(super) fn keep_aside(
    client: &StoreClient,
    key: &str,
    reason: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let earlier = client.load(key)?;
    let mut list: Vec<Quarantined> =
        earlier.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    let hex = text.is_none().then(|| hex(bytes));
    let since = wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    list.push(Quarantined { reason: reason.to_owned(), since, text, hex });
    let surplus = list.len().saturating_sub(QUARANTINE_LIMIT);
    list.drain(..surplus);
    let list = serde_json::to_vec(&list).map_err(|error| StoreError::Other(error.into()))?;
    client.save_aside(&SaveEntry::new(key, list))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |half: u8| DIGITS[usize::from(half & 15)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

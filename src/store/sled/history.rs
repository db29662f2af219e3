//! Histories, in a database of their own.
//!
//! A record's key is the length of the history's key, that key, and the id, the numbers with their highest byte
//! first: so the records of one history lie together in the order of their ids, and no key, whatever is in it,
//! is the beginning of another.

use ::sled::{Batch, Db, Error as SledError};

use crate::store::HistoryRecord;

/// Bytes of a number in a key.
const LENGTH: usize = size_of::<u32>();
const ID: usize = size_of::<u64>();

/// What the keys of all records of this history begin with.
fn prefix(key: &str) -> Vec<u8> {
    // Longer keys than that do not fit into a tree.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut prefix = Vec::with_capacity(LENGTH + key.len() + ID);
    prefix.extend(length.to_be_bytes());
    prefix.extend(key.as_bytes());
    prefix
}

fn with_id(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

/// The key of a history, and the id, in the key of a record; `None` if this module did not make it.
fn parts(key: &[u8]) -> Option<(&str, u64)> {
    let (length, rest) = key.split_first_chunk::<LENGTH>()?;
    let (name, id) = rest.split_last_chunk::<ID>()?;
    let whole = usize::try_from(u32::from_be_bytes(*length)).ok()? == name.len();
    let name = std::str::from_utf8(name).ok().filter(|_| whole)?;
    Some((name, u64::from_be_bytes(*id)))
}

pub(super) fn append<'a>(
    db: &Db,
    histories: impl IntoIterator<Item = (&'a str, &'a [HistoryRecord])>,
) -> Result<(), SledError> {
    let mut batch = Batch::default();
    for (key, records) in histories {
        let prefix = prefix(key);
        for record in records {
            batch.insert(with_id(&prefix, record.id), record.bytes.as_slice());
        }
    }
    db.apply_batch(batch)?;
    db.flush().map(drop)
}

pub(super) fn read(
    db: &Db,
    key: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<HistoryRecord>, SledError> {
    let prefix = prefix(key);
    let (first, last) = (with_id(&prefix, 0), with_id(&prefix, before.unwrap_or(u64::MAX)));
    let newest = match before {
        Some(_) => db.range(first..last),
        None => db.range(first..=last),
    };
    let records = newest.rev().take(limit).filter_map(|record| match record {
        Ok((key, bytes)) => parts(&key).map(|(_, id)| Ok(HistoryRecord::new(id, &*bytes))),
        Err(error) => Some(Err(error)),
    });
    records.collect()
}

/// Skips from key to key, however many records each of them has.
pub(super) fn keys(db: &Db, after: Option<&str>, limit: usize) -> Result<Vec<String>, SledError> {
    let mut keys = Vec::new();
    let end_of = |key: &str| with_id(&prefix(key), u64::MAX);
    let mut from = after.map_or_else(Vec::new, end_of);
    while keys.len() < limit {
        let Some(next) = db.get_gt(&from)? else { break };
        match parts(&next.0) {
            // The record with the largest of all ids is the one that was skipped to.
            Some((key, _)) => {
                from = end_of(key);
                keys.push(key.to_owned());
            }
            None => from = next.0.to_vec(),
        }
    }
    Ok(keys)
}

pub(super) fn trim(db: &Db, key: &str, older_than: u64, keep: usize) -> Result<(), SledError> {
    let prefix = prefix(key);
    let mut batch = Batch::default();
    for key in db.range(with_id(&prefix, 0)..with_id(&prefix, older_than)).keys() {
        batch.remove(key?);
    }
    let kept = with_id(&prefix, older_than)..=with_id(&prefix, u64::MAX);
    for key in db.range(kept).keys().rev().skip(keep) {
        batch.remove(key?);
    }
    db.apply_batch(batch)
}

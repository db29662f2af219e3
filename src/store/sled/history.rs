//! Histories, in a database of their own.
//!
//! The key of a record consists of the length of the history's key, that key, and the record's id,
//! with both numbers in big-endian order. So the records of a history are adjacent and ordered by
//! id, and no key is a prefix of another, whatever bytes it contains.

use ::sled::{Batch, Db, Error as SledError};

use crate::store::history_store::HistoryRecord;

/// Bytes of the two numbers in a record's key.
const LENGTH: usize = size_of::<u32>();
const ID: usize = size_of::<u64>();

/// The prefix of all records of a history.
fn prefix(key: &str) -> Vec<u8> {
    // No tree takes a longer key.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut prefix = Vec::with_capacity(LENGTH + key.len() + ID);
    prefix.extend(length.to_be_bytes());
    prefix.extend(key.as_bytes());
    prefix
}

fn record_key(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

/// The history's key and the id in a record's key. `None` if this module did not create it.
fn split_record_key(key: &[u8]) -> Option<(&str, u64)> {
    let (length, rest) = key.split_first_chunk::<LENGTH>()?;
    let (history, id) = rest.split_last_chunk::<ID>()?;
    let is_whole = usize::try_from(u32::from_be_bytes(*length)).ok()? == history.len();
    let history = std::str::from_utf8(history).ok().filter(|_| is_whole)?;
    Some((history, u64::from_be_bytes(*id)))
}

pub(super) fn append<'a>(
    db: &Db,
    histories: impl IntoIterator<Item = (&'a str, &'a [HistoryRecord])>,
) -> Result<(), SledError> {
    let mut batch = Batch::default();
    for (key, records) in histories {
        let prefix = prefix(key);
        for record in records {
            batch.insert(record_key(&prefix, record.id), record.bytes.as_slice());
        }
    }
    db.apply_batch(batch)?;
    db.flush().map(drop)
}

pub(super) fn load_newest(
    db: &Db,
    key: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<HistoryRecord>, SledError> {
    let prefix = prefix(key);
    let first = record_key(&prefix, 0);
    let range = match before {
        Some(before) => db.range(first..record_key(&prefix, before)),
        None => db.range(first..=record_key(&prefix, u64::MAX)),
    };
    let records = range.rev().take(limit).filter_map(|record| match record {
        Ok((key, bytes)) => {
            split_record_key(&key).map(|(_, id)| Ok(HistoryRecord::new(id, &*bytes)))
        }
        Err(error) => Some(Err(error)),
    });
    records.collect()
}

/// Skips from one history to the next, however many records they have.
pub(super) fn keys(db: &Db, after: Option<&str>, limit: usize) -> Result<Vec<String>, SledError> {
    let mut keys = Vec::new();
    let last_record_of = |key: &str| record_key(&prefix(key), u64::MAX);
    let mut position = after.map_or_else(Vec::new, last_record_of);
    while keys.len() < limit {
        let Some((next, _)) = db.get_gt(&position)? else { break };
        match split_record_key(&next) {
            Some((key, _)) => {
                position = last_record_of(key);
                keys.push(key.to_owned());
            }
            None => position = next.to_vec(),
        }
    }
    Ok(keys)
}

pub(super) fn trim(db: &Db, key: &str, older_than: u64, keep: usize) -> Result<(), SledError> {
    let prefix = prefix(key);
    let cutoff = record_key(&prefix, older_than);
    let mut batch = Batch::default();
    for key in db.range(record_key(&prefix, 0)..cutoff.clone()).keys() {
        batch.remove(key?);
    }
    let newer = db.range(cutoff..=record_key(&prefix, u64::MAX));
    for key in newer.keys().rev().skip(keep) {
        batch.remove(key?);
    }
    db.apply_batch(batch)
}

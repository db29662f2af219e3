//! Values in a database. Each write is flushed before it returns.

use std::ops::Bound::{Excluded, Unbounded};

use ::sled::{Batch, Db, Error as SledError};

use crate::store::entry::SaveEntry;

/// How many values sled is given at once. It lays out the pages of a larger batch such that reading
/// them back takes five times as long.
const BATCH: usize = 1000;

pub(super) fn load(db: &Db, key: &str) -> Result<Option<Vec<u8>>, SledError> {
    Ok(db.get(key)?.map(|value| value.to_vec()))
}

pub(super) fn load_page(
    db: &Db,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, SledError> {
    let mut page = Vec::new();
    visit_page(db, after, limit, &mut |key, value| page.push((key.to_owned(), value.to_vec())))?;
    Ok(page)
}

pub(super) fn visit_page(
    db: &Db,
    after: Option<&str>,
    limit: usize,
    visit: &mut dyn FnMut(&str, &[u8]),
) -> Result<(), SledError> {
    let start = after.map_or(Unbounded, |after| Excluded(after.as_bytes()));
    let mut entries = db.range::<&[u8], _>((start, Unbounded));
    let mut left = limit;
    while left > 0
        && let Some(entry) = entries.next()
    {
        let (key, value) = entry?;
        // A key that is not UTF-8 is not from this store.
        if let Ok(key) = std::str::from_utf8(&key) {
            visit(key, &value);
            left -= 1;
        }
    }
    Ok(())
}

pub(super) fn save(db: &Db, entry: &SaveEntry) -> Result<(), SledError> {
    db.insert(entry.key.as_bytes(), entry.value.as_slice())?;
    db.flush().map(drop)
}

pub(super) fn save_all(db: &Db, entries: &[SaveEntry]) -> Result<(), SledError> {
    for chunk in entries.chunks(BATCH) {
        let mut batch = Batch::default();
        for entry in chunk {
            batch.insert(entry.key.as_bytes(), entry.value.as_slice());
        }
        db.apply_batch(batch)?;
    }
    db.flush().map(drop)
}

pub(super) fn delete(db: &Db, key: &str) -> Result<(), SledError> {
    db.remove(key)?;
    db.flush().map(drop)
}

pub(super) fn delete_all(db: &Db, keys: &[String]) -> Result<(), SledError> {
    for chunk in keys.chunks(BATCH) {
        let mut batch = Batch::default();
        for key in chunk {
            batch.remove(key.as_bytes());
        }
        db.apply_batch(batch)?;
    }
    db.flush().map(drop)
}

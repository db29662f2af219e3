//! Values in a database. Each write is flushed before it returns.

use std::{
    iter,
    ops::Bound::{Excluded, Unbounded},
};

use ::sled::{Db, Error as SledError};

use super::pieces::{self, Damaged, Header};
use crate::store::entry::SaveEntry;

/// How many values sled is given at once. It lays out the pages of a larger batch such that reading
/// them back takes five times as long.
const BATCH: usize = 1000;

/// Of a value that is damaged, what can be read, if anything can.
pub(super) fn load(db: &Db, key: &str) -> Result<Option<Result<Vec<u8>, Damaged>>, SledError> {
    let Some(stored) = db.get(key)? else { return Ok(None) };
    Ok(Some(match Header::parse(&stored).map(|header| header.read(db)).transpose()? {
        Some(Err(Damaged(readable))) if !readable.is_empty() => Ok(readable),
        Some(value) => value,
        None => Ok(stored.to_vec()),
    }))
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

/// Of a value that is damaged, what can be read, and be it nothing: its key must not seem to be
/// free.
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
        let (key, stored) = entry?;
        // A key that is not UTF-8 is not from this store.
        if let Ok(key) = std::str::from_utf8(&key) {
            match Header::parse(&stored) {
                Some(header) => {
                    visit(key, &header.read(db)?.unwrap_or_else(|Damaged(readable)| readable));
                }
                None => visit(key, &stored),
            }
            left -= 1;
        }
    }
    Ok(())
}

pub(super) fn save(db: &Db, entry: &SaveEntry) -> Result<(), SledError> {
    pieces::apply(db, iter::once((&*entry.key, Some(&*entry.value))))?;
    db.flush().map(drop)
}

pub(super) fn save_all(db: &Db, entries: &[SaveEntry]) -> Result<(), SledError> {
    for chunk in entries.chunks(BATCH) {
        pieces::apply(db, chunk.iter().map(|entry| (&*entry.key, Some(&*entry.value))))?;
    }
    db.flush().map(drop)
}

pub(super) fn delete(db: &Db, key: &str) -> Result<(), SledError> {
    pieces::apply(db, iter::once((key, None)))?;
    db.flush().map(drop)
}

pub(super) fn delete_all(db: &Db, keys: &[String]) -> Result<(), SledError> {
    for chunk in keys.chunks(BATCH) {
        pieces::apply(db, chunk.iter().map(|key| (&**key, None)))?;
    }
    db.flush().map(drop)
}

//! The tables of the database, and the checksums in them: redb verifies its pages only when it
//! repairs a file, and not when it reads one.

use ::redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction,
};

use super::failure::Failure;
use crate::store::{entry::SaveEntry, history_store::HistoryRecord};

/// A checksum of the key and the bytes, and the bytes.
type Checked = (u64, &'static [u8]);

type Values = TableDefinition<'static, &'static str, Checked>;
type Histories = TableDefinition<'static, (&'static str, u64), Checked>;

const VALUES: Values = TableDefinition::new("values");

/// The key of a record is that of its history, and its id: the records of a history are adjacent
/// and ordered.
const HISTORIES: Histories = TableDefinition::new("histories");

/// The key of a value, as the checksum takes it. A record's id can be any number.
const NO_ID: u64 = 0;

pub(super) fn load(read: &ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let Some(values) = existing(read.open_table(VALUES))? else { return Ok(None) };
    let Some(value) = values.get(key)? else { return Ok(None) };
    verified(key, NO_ID, value.value()).map(Some)
}

/// In the order of the keys' bytes.
pub(super) fn load_page(
    read: &ReadTransaction,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let Some(values) = existing(read.open_table(VALUES))? else { return Ok(Vec::new()) };
    let entries = values.range(after.unwrap_or_default()..)?;
    let mut page = Vec::new();
    for entry in entries {
        if page.len() >= limit {
            break;
        }
        let (key, value) = entry?;
        if after != Some(key.value()) {
            page.push((key.value().to_owned(), verified(key.value(), NO_ID, value.value())?));
        }
    }
    Ok(page)
}

pub(super) fn save_all(write: &WriteTransaction, entries: &[SaveEntry]) -> Result<(), Failure> {
    let mut values = write.open_table(VALUES)?;
    for SaveEntry { key, value, .. } in entries {
        values.insert(key.as_str(), (checksum(key, NO_ID, value), value.as_slice()))?;
    }
    Ok(())
}

pub(super) fn delete<'a>(
    write: &WriteTransaction,
    keys: impl IntoIterator<Item = &'a str>,
) -> Result<(), Failure> {
    let mut table = write.open_table(VALUES)?;
    for key in keys {
        table.remove(key)?;
    }
    Ok(())
}

pub(super) fn append<'a>(
    write: &WriteTransaction,
    histories: impl IntoIterator<Item = (&'a str, &'a [HistoryRecord])>,
) -> Result<(), Failure> {
    let mut table = write.open_table(HISTORIES)?;
    for (key, records) in histories {
        for HistoryRecord { id, bytes, .. } in records {
            table.insert((key, *id), (checksum(key, *id, bytes), bytes.as_slice()))?;
        }
    }
    Ok(())
}

pub(super) fn load_newest(
    read: &ReadTransaction,
    key: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<HistoryRecord>, Failure> {
    let Some(histories) = existing(read.open_table(HISTORIES))? else { return Ok(Vec::new()) };
    let records = match before {
        Some(before) => histories.range((key, 0)..(key, before))?,
        None => histories.range((key, 0)..=(key, u64::MAX))?,
    };
    let mut newest = Vec::new();
    for record in records.rev().take(limit) {
        let (place, bytes) = record?;
        let (_, id) = place.value();
        newest.push(HistoryRecord::new(id, verified(key, id, bytes.value())?));
    }
    Ok(newest)
}

/// Skips from one history to the next, however many records they have.
pub(super) fn keys(
    read: &ReadTransaction,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Failure> {
    let Some(histories) = existing(read.open_table(HISTORIES))? else { return Ok(Vec::new()) };
    let mut keys: Vec<String> = Vec::new();
    while keys.len() < limit {
        let last = keys.last().map(String::as_str).or(after);
        let mut next = match last {
            None => histories.range::<(&str, u64)>(..)?,
            // Ids end with the largest number, so this begins with the last record of that key.
            Some(last) => histories.range((last, u64::MAX)..)?,
        };
        let next = next.find_map(|record| match record {
            Ok((place, _)) if Some(place.value().0) == last => None,
            Ok((place, _)) => Some(Ok(place.value().0.to_owned())),
            Err(error) => Some(Err(error)),
        });
        match next {
            Some(key) => keys.push(key?),
            None => break,
        }
    }
    Ok(keys)
}

pub(super) fn trim(
    write: &WriteTransaction,
    key: &str,
    older_than: u64,
    keep: usize,
) -> Result<(), Failure> {
    let mut histories = write.open_table(HISTORIES)?;
    let mut surplus = Vec::new();
    for (place, record) in histories.range((key, 0)..=(key, u64::MAX))?.rev().enumerate() {
        let (_, id) = record?.0.value();
        if place >= keep || id < older_than {
            surplus.push(id);
        }
    }
    for id in surplus {
        histories.remove((key, id))?;
    }
    Ok(())
}

/// What could be read of a damaged database.
#[derive(Default)]
pub(super) struct Salvage {
    pub(super) values: Vec<SaveEntry>,
    pub(super) histories: Vec<(String, HistoryRecord)>,
}

impl Salvage {
    /// Reads what is whole: from the front up to the first page that cannot be read, and then from
    /// the back.
    pub(super) fn of(read: &ReadTransaction) -> Self {
        let mut salvage = Self::default();
        for backwards in [false, true] {
            let mut values = Vec::new();
            let _ = Failure::catch(|| {
                let Some(table) = existing(read.open_table(VALUES))? else { return Ok(()) };
                let mut entries = table.range::<&str>(..)?;
                while let Some(entry) = if backwards { entries.next_back() } else { entries.next() }
                {
                    let (key, value) = entry?;
                    if let Ok(value) = verified(key.value(), NO_ID, value.value()) {
                        values.push(SaveEntry::new(key.value(), value));
                    }
                }
                Ok(())
            });
            salvage.values.append(&mut values);
            let mut records = Vec::new();
            let _ = Failure::catch(|| {
                let Some(table) = existing(read.open_table(HISTORIES))? else { return Ok(()) };
                let mut entries = table.range::<(&str, u64)>(..)?;
                while let Some(entry) = if backwards { entries.next_back() } else { entries.next() }
                {
                    let (place, bytes) = entry?;
                    let (key, id) = place.value();
                    if let Ok(bytes) = verified(key, id, bytes.value()) {
                        records.push((key.to_owned(), HistoryRecord::new(id, bytes)));
                    }
                }
                Ok(())
            });
            salvage.histories.append(&mut records);
        }
        salvage
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histories.is_empty()
    }

    pub(super) fn write(&self, write: &WriteTransaction) -> Result<(), Failure> {
        save_all(write, &self.values)?;
        let records = self.histories.iter();
        append(write, records.map(|(key, record)| (key.as_str(), std::slice::from_ref(record))))
    }
}

/// A table that no write has created yet is empty.
fn existing<K: ::redb::Key + 'static, V: ::redb::Value + 'static>(
    table: Result<ReadOnlyTable<K, V>, TableError>,
) -> Result<Option<ReadOnlyTable<K, V>>, Failure> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn verified(key: &str, id: u64, (sum, bytes): (u64, &[u8])) -> Result<Vec<u8>, Failure> {
    if sum == checksum(key, id, bytes) {
        Ok(bytes.to_vec())
    } else {
        Err(Failure::Damaged(format!("what is stored under {key:?} is damaged")))
    }
}

/// FNV-1a, 64 bits.
fn checksum(key: &str, id: u64, bytes: &[u8]) -> u64 {
    let length = (key.len() as u64).to_le_bytes();
    let parts = [&length, key.as_bytes(), &id.to_le_bytes(), bytes];
    parts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

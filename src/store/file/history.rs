//! Histories: one file of lines each, the newest last.
//!
//! A line is `{"id":1700000000000000000,"record":{...}}` if the record's bytes are JSON, as those
//! of the breakers are, and `{"id":1700000000000000000,"hex":"00ff"}` otherwise. Any other line is
//! skipped: a process that is killed during a write leaves a partial one.

use std::{
    collections::BTreeMap,
    iter,
    path::{Path, PathBuf},
};

use serde::de::IgnoredAny;

use super::{
    folder::Folder,
    names::{self, HISTORIES},
};
use crate::store::{error::StoreError, history_store::HistoryRecord};

/// Records by their ids.
type Records = BTreeMap<u64, Vec<u8>>;

pub(super) fn append<'a>(
    folder: &Folder,
    histories: impl Iterator<Item = (&'a str, &'a [HistoryRecord])>,
) -> Result<(), StoreError> {
    let histories = histories.filter(|(_, records)| !records.is_empty());
    folder.append(histories.map(|(key, records)| {
        let lines = records.iter().map(|record| format_line(record.id, &record.bytes));
        (names::file_of(HISTORIES, key), lines.collect::<Vec<_>>().concat())
    }))
}

pub(super) fn load_newest(
    folder: &Folder,
    key: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let records = read(folder, &names::file_of(HISTORIES, key))?.into_iter().rev();
    let older = records.filter(|(id, _)| before.is_none_or(|before| *id < before));
    Ok(older.take(limit).map(|(id, bytes)| HistoryRecord::new(id, bytes)).collect())
}

/// In the order of their bytes.
pub(super) fn keys(
    folder: &Folder,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let files = folder.files()?.into_iter();
    let mut found: Vec<(String, PathBuf)> =
        files.filter_map(|file| Some((names::key_of(HISTORIES, &file)?, file))).collect();
    found.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    found.sort_unstable();
    let mut keys = Vec::new();
    for (key, file) in found {
        if keys.len() >= limit {
            break;
        }
        match read(folder, &file) {
            Ok(records) if records.is_empty() => {}
            Ok(_) => keys.push(key),
            // One file must not hide all others.
            Err(error @ StoreError::Other(_)) => folder.report(&file, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(keys)
}

/// Also removes the lines that are not records, if it removes any record.
pub(super) fn trim(
    folder: &Folder,
    key: &str,
    older_than: u64,
    keep: usize,
) -> Result<(), StoreError> {
    let file = names::file_of(HISTORIES, key);
    let content = folder.read(&file)?.unwrap_or_default();
    let records = parse(&content);
    let kept = records.range(older_than..).rev().take(keep).count();
    if kept == lines_of(&content).count() {
        return Ok(());
    }
    if kept == 0 {
        return folder.remove(&file);
    }
    let lines = records.iter().skip(records.len() - kept);
    let lines = lines.map(|(id, bytes)| format_line(*id, bytes)).collect::<Vec<_>>().concat();
    folder.write(iter::once((file, lines)))
}

fn read(folder: &Folder, file: &Path) -> Result<Records, StoreError> {
    Ok(parse(&folder.read(file)?.unwrap_or_default()))
}

fn parse(content: &[u8]) -> Records {
    // Of two lines with the same id, the later one wins.
    lines_of(content).filter_map(parse_line).collect()
}

fn lines_of(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn format_line(id: u64, bytes: &[u8]) -> Vec<u8> {
    let record = if is_json(bytes) && !bytes.contains(&b'\n') {
        [br#""record":"#, bytes].concat()
    } else {
        let digits: String = bytes.iter().copied().flat_map(names::hex_digits).collect();
        format!(r#""hex":"{digits}""#).into_bytes()
    };
    [format!(r#"{{"id":{id},"#).as_bytes(), &record, b"}\n"].concat()
}

fn parse_line(line: &[u8]) -> Option<(u64, Vec<u8>)> {
    let rest = line.strip_prefix(br#"{"id":"#)?.strip_suffix(b"}")?;
    let comma = rest.iter().position(|byte| *byte == b',')?;
    let (id, rest) = rest.split_at(comma);
    let id = std::str::from_utf8(id).ok()?.parse().ok()?;
    if let Some(bytes) = rest.strip_prefix(br#","record":"#) {
        return is_json(bytes).then(|| (id, bytes.to_vec()));
    }
    let digits = rest.strip_prefix(br#","hex":""#)?.strip_suffix(b"\"")?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.chunks(2).map(|pair| byte(pair).filter(|_| pair.len() == 2));
    Some((id, bytes.collect::<Option<_>>()?))
}

/// Whether the bytes are exactly one JSON value.
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

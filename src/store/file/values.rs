//! Values: one file each. The file ends with a line feed that is not part of the value.

use std::path::{Path, PathBuf};

use super::{
    folder::Folder,
    names::{self, VALUES},
};
use crate::store::{entry::SaveEntry, error::StoreError};

pub(super) fn load(folder: &Folder, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    read(folder, &names::file_of(VALUES, key))
}

/// In the order of the keys' bytes. A value that cannot be read is empty: one file must not hide
/// all others, and its key must not seem to be free.
pub(super) fn load_page(
    folder: &Folder,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let files = folder.files()?.into_iter();
    let mut found: Vec<(String, PathBuf)> =
        files.filter_map(|file| Some((names::key_of(VALUES, &file)?, file))).collect();
    found.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    found.sort_unstable();
    let values = found.into_iter().filter_map(|(key, file)| {
        let value = match read(folder, &file) {
            Err(error @ StoreError::Other(_)) => {
                folder.report(&file, &error);
                Ok(Some(Vec::new()))
            }
            value => value,
        };
        value.transpose().map(|value| Ok((key, value?)))
    });
    values.take(limit).collect()
}

pub(super) fn save_all(folder: &Folder, entries: &[SaveEntry]) -> Result<(), StoreError> {
    folder.write(entries.iter().map(|entry| {
        let content = [entry.value.as_slice(), b"\n"].concat();
        (names::file_of(VALUES, &entry.key), content)
    }))
}

pub(super) fn delete<'a>(
    folder: &Folder,
    keys: impl Iterator<Item = &'a str>,
) -> Result<(), StoreError> {
    folder.remove_all(keys.map(|key| names::file_of(VALUES, key)))
}

fn read(folder: &Folder, file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let mut content = folder.read(file)?;
    if let Some(value) = &mut content {
        // A file written by hand may lack it.
        value.pop_if(|last| *last == b'\n');
    }
    Ok(content)
}

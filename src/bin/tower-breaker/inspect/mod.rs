//! Shows the contents of a store without changing it: on disk (sled, redb, or JSON files), or in
//! Redis.

mod content;
mod folder;
mod history;
mod redis;
mod show;

use std::path::PathBuf;

use tower_breaker::config::StoreConfig;

use self::content::Content;
use super::{arguments::Inspected, fault::Fault};

/// The breakers in a store, or the history of one of them.
pub(super) fn run(inspected: &Inspected, json: bool) -> Result<String, Fault> {
    let content = read(inspected)?;
    if content.held {
        let place = &content.place;
        eprintln!("a running server holds {place}; showing what it has saved so far");
    }
    match &inspected.history {
        Some(name) => history::show(&content, name, json),
        None => show::all(&content, json),
    }
}

/// A folder, or what a configuration says: `sled:FOLDER`, or a URL of Redis.
fn read(inspected: &Inspected) -> Result<Content, Fault> {
    let folder = PathBuf::from(&inspected.store);
    let configured = inspected.store.to_str().filter(|_| !folder.exists());
    match configured.map(str::parse) {
        Some(Ok(StoreConfig::Redis(_))) => {
            redis::read(&inspected.store.to_string_lossy(), inspected)
        }
        Some(Ok(
            StoreConfig::Sled(folder) | StoreConfig::Redb(folder) | StoreConfig::File(folder),
        )) => folder::read(folder),
        Some(Ok(store)) => Err(Fault::Other(format!(
            "{store} cannot be inspected: name a folder or a URL of Redis"
        ))),
        Some(Err(_)) | None => folder::read(folder),
    }
}

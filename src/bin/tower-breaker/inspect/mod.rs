//! Shows the contents of a store on disk (sled, redb, or JSON files) without changing it.

mod folder;
mod history;
mod show;

use std::path::Path;

use self::folder::Content;
use super::fault::Fault;

/// The breakers in a folder, or the history of one of them.
pub(super) fn run(folder: &Path, history: Option<&str>, json: bool) -> Result<String, Fault> {
    let content = Content::of(folder)?;
    if content.held {
        eprintln!("a running server holds {}; showing what it has saved so far", folder.display());
    }
    match history {
        Some(name) => history::show(folder, &content, name, json),
        None => show::all(folder, &content, json),
    }
}

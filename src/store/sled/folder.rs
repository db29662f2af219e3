//! The folder around the database: who has it, and how it is moved aside.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::store::StoreError;

/// The folder of the histories, in that of the snapshots.
pub(super) const HISTORIES: &str = "history";

/// Unreadable folders that are kept beside the one in use.
const KEPT: usize = 3;

/// For what takes under a millisecond as a rule. The folder may be another process's by now, and a store that
/// does not answer for a second counts as one that hangs: so it is the clock that counts, not the pauses, which
/// are far longer than they should be on a busy machine.
const LOCK_WAIT: Duration = Duration::from_millis(300);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Moves the folder to `<folder>.corrupt-<seconds since 1970>`, says where that is, and removes the oldest of
/// its kind if there are too many.
pub(super) fn move_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let unavailable = |reason: String| StoreError::Unavailable(reason.into());
    let shown = folder.display();
    // Through a link, or the link would be moved in place of the folder.
    let folder = folder.canonicalize().map_err(|error| {
        unavailable(format!("{shown} cannot be read, and cannot be found to move it: {error}"))
    })?;
    if let Some(foreign) = foreign_entry(&folder) {
        return Err(unavailable(format!(
            "{shown} cannot be read, and is not moved aside because {foreign:?} in it is not sled's; \
             move the damaged files yourself, and give the store a folder of its own"
        )));
    }
    let held = lock_data_file(&folder).map_err(|error| {
        unavailable(format!("{shown} cannot be read, and another process holds it: {error}"))
    })?;
    if cfg!(windows) {
        // There, a folder with an open file in it cannot be moved.
        drop(held);
    }
    let aside = free_name(&folder);
    fs::rename(&folder, &aside).map_err(|error| {
        unavailable(format!(
            "{shown} cannot be read, and cannot be moved to {}: {error}; move it yourself",
            aside.display()
        ))
    })?;
    // sled would make the folder itself, but not behind a link.
    if let Err(error) = fs::create_dir(&folder) {
        tracing::debug!(target: "tower_breaker", folder = %folder.display(), %error, "could not be made anew");
    }
    remove_oldest(&folder);
    Ok(aside)
}

/// The first thing in the folder that sled did not make. Somebody who points the store at a folder with other
/// files in it must not find them moved, or removed with the oldest of the folders kept.
fn foreign_entry(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).find(
        |name| {
            let own = matches!(name.as_str(), "db" | "conf" | "blobs" | HISTORIES)
                || name.starts_with("snap.")
                || name.strip_prefix(HISTORIES).is_some_and(|rest| rest.starts_with(".corrupt-"));
            !own
        },
    )
}

/// Removes the summary of the log that an open wrote half, when a kill or a full disk broke it off. sled would take
/// it for the newest one, and for damage; it holds nothing that the log does not.
pub(super) fn remove_half_done(folder: &Path) {
    // Not from under the hands of a process that opens the folder just now.
    let Ok(_held) = lock_data_file(folder) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Waits until sled has let go of a folder that was closed, or that could not be opened.
pub(super) fn wait_until_free(folder: &Path) {
    drop(lock_data_file(folder));
}

/// Takes the lock that sled takes, so that a folder that somebody is using is never moved. The lock outlives
/// the handle by some moments: tasks in sled's pool of threads hold on to the file.
fn lock_data_file(folder: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(folder.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() >= LOCK_WAIT => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
        }
    }
}

/// The time, or the second after the newest of its kind: the names tell which is the oldest.
fn free_name(folder: &Path) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let stamp = stamps(folder).last().map_or(now, |newest| now.max(newest.saturating_add(1)));
    with_suffix(folder, &stamp.to_string())
}

fn with_suffix(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".corrupt-");
    name.push(suffix);
    PathBuf::from(name)
}

/// The stamps of the folders that were moved aside, oldest first.
fn stamps(folder: &Path) -> Vec<u64> {
    let prefix = with_suffix(folder, "");
    let prefix = prefix.file_name().unwrap_or_default().to_string_lossy();
    let entries = folder.parent().and_then(|parent| fs::read_dir(parent).ok());
    let names = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut stamps: Vec<u64> =
        names.filter_map(|name| name.strip_prefix(&*prefix)?.parse().ok()).collect();
    stamps.sort_unstable();
    stamps
}

fn remove_oldest(folder: &Path) {
    let stamps = stamps(folder);
    let surplus = stamps.len().saturating_sub(KEPT);
    for stamp in &stamps[..surplus] {
        let oldest = with_suffix(folder, &stamp.to_string());
        if let Err(error) = fs::remove_dir_all(&oldest) {
            tracing::debug!(target: "tower_breaker", folder = %oldest.display(), %error, "could not be removed");
        }
    }
}

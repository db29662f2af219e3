//! Names for what is moved aside: `<name>.corrupt-<seconds since 1970>`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{clock::wall, sync::log};

/// How many files or folders that were moved aside are kept.
const MAX_KEPT: usize = 3;

/// The path with the current time, or with a second more than the newest: the names sort by age.
pub(super) fn unused_name(path: &Path) -> PathBuf {
    let now = now();
    let newest = times(path).last().copied();
    name_at(path, &newest.map_or(now, |newest| now.max(newest.saturating_add(1))).to_string())
}

/// Removes the oldest of what was moved aside from this path, if there is too much of it.
pub(super) fn remove_oldest(path: &Path) {
    let times = times(path);
    for time in &times[..times.len().saturating_sub(MAX_KEPT)] {
        let oldest = name_at(path, &time.to_string());
        let removed =
            if oldest.is_dir() { fs::remove_dir_all(&oldest) } else { fs::remove_file(&oldest) };
        if let Err(error) = removed {
            let path = oldest.display();
            log(|| {
                tracing::debug!(
                    target: "tower_breaker", %path, %error, "removing what was kept failed"
                );
            });
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn names_in(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn name_at(path: &Path, time: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".corrupt-");
    name.push(time);
    PathBuf::from(name)
}

/// The times at which something was moved aside, oldest first.
fn times(path: &Path) -> Vec<u64> {
    let Some(parent) = path.parent() else { return Vec::new() };
    let prefix = name_at(path, "");
    let prefix = prefix.file_name().unwrap_or_default().to_string_lossy();
    let mut times: Vec<u64> =
        names_in(parent).filter_map(|name| name.strip_prefix(&*prefix)?.parse().ok()).collect();
    times.sort_unstable();
    times
}

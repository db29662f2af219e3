//! Faults of a folder, each produced for real.

mod large;
mod read_copy;
mod unreadable;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{database::MAX_CORRUPTIONS, failure::Failure, *};
use crate::store::durable;

fn moved_aside(folder: &Path) -> Vec<String> {
    let name = format!("{}.corrupt-", folder.file_name().unwrap().to_str().unwrap());
    let entries = fs::read_dir(folder.parent().unwrap()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|found| found.starts_with(&name))
        .collect()
}

fn fill(folder: &Path) {
    let store = SledStore::open(folder).unwrap();
    let entries: Vec<_> =
        (0..50).map(|i| SaveEntry::new(format!("key {i}"), [b'x'; 300])).collect();
    store.save_all(&entries).unwrap();
}

/// Makes sled panic at each open, whatever is moved aside. Returns the path of the file at fault.
fn ruin(folder: &Path, mark: u8) -> PathBuf {
    let file = folder.join("blobs").join(not_a_name());
    fs::write(&file, [mark]).unwrap();
    file
}

#[cfg(unix)]
fn not_a_name() -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(b"\xff".to_vec())
}

fn damaged_files(folder: &Path) -> Vec<String> {
    let repairs = fs::read_dir(folder.join("damaged")).into_iter().flatten();
    let files = repairs.flat_map(|repair| fs::read_dir(repair.unwrap().path()).unwrap());
    let mut files: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

fn summary(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_summary =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("snap.");
    entries.filter(is_summary).max().expect("sled has written a summary")
}

#[test]
fn a_corrupt_folder_is_moved_aside_and_the_newest_three_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let mut file = PathBuf::new();
    for round in 0..5_u8 {
        fill(&folder);
        file = ruin(&folder, round);
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load("key 1").unwrap(), None, "a new folder is empty");
        assert!(store.last_repair().unwrap().contains(".corrupt-"));
        store.save(&SaveEntry::new("key", b"new")).unwrap();
    }
    let mut kept = moved_aside(&folder);
    kept.sort();
    assert_eq!(kept.len(), 3);
    let file = file.strip_prefix(&folder).unwrap();
    let marks: Vec<u8> =
        kept.iter().map(|name| fs::read(dir.path().join(name).join(file)).unwrap()[0]).collect();
    assert_eq!(marks, [2, 3, 4], "the oldest went first, and the bytes are as they were");
}

#[test]
fn a_damaged_summary_is_moved_aside_and_the_log_is_read_without() {
    let dir = tempfile::tempdir().unwrap();
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(11),
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes[3] ^= 1,
        |bytes| bytes.fill(0xff),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let folder = dir.path().join(format!("state-{number}"));
        fill(&folder);
        // The next open writes a summary of what is in the log.
        assert!(SledStore::open(&folder).unwrap().load("key 1").unwrap().is_some());
        let summary = summary(&folder);
        let mut bytes = fs::read(&summary).unwrap();
        damage(&mut bytes);
        fs::write(&summary, &bytes).unwrap();
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 50, "damage {number}");
        assert!(store.last_repair().unwrap().contains("snap.*"));
        assert_eq!(damaged_files(&folder), [summary.file_name().unwrap().to_str().unwrap()]);
        store.save(&SaveEntry::new("key", b"new")).unwrap();
        drop(store);
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 51);
        assert_eq!(store.last_repair(), None);
    }
}

#[test]
fn damaged_settings_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for (number, bytes) in
        [&[7_u8; 64][..], b"", b"short", b"segment_size: 7\0\0"].iter().enumerate()
    {
        let folder = dir.path().join(format!("state-{number}"));
        fill(&folder);
        fs::write(folder.join("conf"), bytes).unwrap();
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 50, "settings {number}");
        assert_eq!(store.last_repair().is_some(), bytes.len() > 8);
    }
}

#[test]
fn a_damaged_summary_and_damaged_settings_are_both_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for _ in 0..5 {
        fill(&folder);
        assert!(SledStore::open(&folder).unwrap().load("key 1").unwrap().is_some());
        fs::write(summary(&folder), "what is this").unwrap();
        fs::write(folder.join("conf"), [7; 64]).unwrap();
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 50);
    }
    assert_eq!(fs::read_dir(folder.join("damaged")).unwrap().count(), 3, "the newest are kept");
    assert_eq!(moved_aside(&folder), [""; 0]);
}

#[test]
fn files_are_written_again_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    let large = SaveEntry::new("large", vec![b'x'; 300_000]);
    SledStore::open(&folder).unwrap().save(&large).unwrap();
    let before = fs::read(folder.join("db")).unwrap();
    lost_sync::write_again(&folder).unwrap();
    assert!(fs::read(folder.join("db")).unwrap() == before);
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load("large").unwrap().unwrap(), large.value);
    let held = lost_sync::write_again(&folder).unwrap_err();
    assert_eq!(held.kind(), std::io::ErrorKind::WouldBlock);
}

/// What the process with the failed sync has written may be in the system's cache alone.
#[test]
fn after_a_failed_sync_the_next_process_writes_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    let store = SledStore::open(&folder).unwrap();
    durable::faults::fail_syncs(true);
    store.save(&SaveEntry::new("key", "value")).unwrap_err();
    durable::faults::fail_syncs(false);
    drop(store);
    let long_ago = SystemTime::UNIX_EPOCH;
    let settings = fs::OpenOptions::new().write(true).open(folder.join("conf")).unwrap();
    settings.set_modified(long_ago).unwrap();
    for expected in [false, true] {
        assert_eq!(SledStore::open(&folder).unwrap().load("key 1").unwrap().unwrap(), [b'x'; 300]);
        let is_old = settings.metadata().unwrap().modified().unwrap() == long_ago;
        assert_eq!(is_old, expected, "sled itself does not write its settings again");
        settings.set_modified(long_ago).unwrap();
    }
    ruin(&folder, 1);
    fs::write(folder.join("unsynced"), "").unwrap();
    assert_eq!(SledStore::open(&folder).unwrap().load("key 1").unwrap(), None, "it is its own");
}

#[test]
fn only_a_lock_of_another_handle_counts_as_held() {
    let failure = |cause: std::io::Error| {
        let message = format!("could not acquire lock on \"state/db\": {cause:?}");
        Failure::Error(SledError::Io(std::io::Error::other(message)))
    };
    assert!(!failure(std::io::ErrorKind::Unsupported.into()).is_held());
    let cause = std::io::Error::from_raw_os_error(if cfg!(unix) { 37 } else { 50 });
    let other = failure(cause).into_store_error(Path::new("state")).to_string();
    assert!(other.contains("could not acquire lock") && !other.contains("held by"), "{other}");
    if cfg!(target_os = "linux") {
        assert!(failure(std::io::Error::from_raw_os_error(11)).is_held());
        assert!(other.contains("No locks available"), "{other}");
    }
}

#[test]
fn a_folder_that_was_removed_is_noticed_without_an_operation() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = SledStore::open(&folder).unwrap();
    store.verify().unwrap();
    assert!(!folder.exists(), "it opens nothing");
    fill(&folder);
    store.load("key 1").unwrap();
    store.verify().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(store.verify().unwrap_err().to_string().contains("removed"));
    store.verify().unwrap();
    store.save(&SaveEntry::new("key", b"1")).unwrap();
}

#[test]
fn a_removed_folder_is_reported_once_for_both_databases() {
    let record = [HistoryRecord::new(1, b"1")];
    for reports in [0, 1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let store = SledStore::open(&folder).unwrap();
        store.save(&SaveEntry::new("key", b"1")).unwrap();
        store.append("key", &record).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let reported = match reports {
            0 => store.verify(),
            1 => store.save(&SaveEntry::new("key", b"2")),
            _ => store.append("key", &record),
        };
        assert!(reported.unwrap_err().to_string().contains("removed"));
        store.append("key", &record).unwrap();
        store.save(&SaveEntry::new("key", b"3")).unwrap();
        store.verify().unwrap();
    }
}

/// Left by a kill during an open, or by a full disk.
#[test]
fn a_partial_summary_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for bytes in [&b""[..], b"half a summary of the log"] {
        fill(&folder);
        fs::write(folder.join("snap.00000000FFFFFFFF.generating"), bytes).unwrap();
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load("key 1").unwrap(), Some(vec![b'x'; 300]));
    }
    assert_eq!(moved_aside(&folder), [""; 0]);
}

#[test]
fn a_file_truncated_anywhere_does_not_stop_the_store() {
    let dir = tempfile::tempdir().unwrap();
    for eighth in 0..8_u64 {
        let folder = dir.path().join(format!("state-{eighth}"));
        fill(&folder);
        let file = fs::OpenOptions::new().write(true).open(folder.join("db")).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length * eighth / 8 + eighth).unwrap();
        drop(file);
        let store = SledStore::open(&folder).unwrap();
        let saved =
            (0..MAX_CORRUPTIONS * 2).any(|_| store.save(&SaveEntry::new("key", b"new")).is_ok());
        assert!(saved, "truncated to {eighth} eighths");
        assert_eq!(store.load("key").unwrap().as_deref(), Some(b"new".as_slice()));
    }
}

#[test]
fn a_folder_with_foreign_files_is_never_moved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    ruin(&folder, 1);
    fs::write(folder.join("thesis.txt"), "years of work").unwrap();
    let store = SledStore::open(&folder).unwrap();
    let error = store.load("key").unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert!(folder.join("thesis.txt").exists());
    fs::remove_file(folder.join("thesis.txt")).unwrap();
    store.save(&SaveEntry::new("key", b"1")).unwrap();
    assert_eq!(moved_aside(&folder).len(), 1);
}

#[test]
fn a_corrupt_folder_that_is_locked_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    ruin(&folder, 1);
    let holder = fs::OpenOptions::new().write(true).open(folder.join("db")).unwrap();
    holder.try_lock().unwrap();
    let store = SledStore::open(&folder).unwrap();
    assert!(matches!(store.load("key"), Err(StoreError::Unavailable(_))));
    assert_eq!(moved_aside(&folder), [""; 0]);
    drop(holder);
    store.save(&SaveEntry::new("key", b"1")).unwrap();
    assert_eq!(moved_aside(&folder).len(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_corrupt_folder_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, link) = (dir.path().join("real"), dir.path().join("link"));
    fill(&folder);
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    ruin(&folder, 1);
    let store = SledStore::open(&link).unwrap();
    store.save(&SaveEntry::new("key", b"1")).unwrap();
    assert_eq!(moved_aside(&folder).len(), 1);
    assert!(link.is_symlink() && folder.join("db").exists());
}

/// Ten rounds, or the number in `DAMAGE_ROUNDS`.
#[test]
fn damage_anywhere_neither_stops_the_store_nor_invents_values() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = std::env::var("DAMAGE_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..rounds {
        let folder = dir.path().join(format!("state-{round}"));
        fill(&folder);
        let mut bytes = fs::read(folder.join("db")).unwrap();
        for _ in 0..=round % 20 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Where there is something: the file is mostly zeros.
            let place = usize::try_from(random >> 33).unwrap() % 20_000.min(bytes.len());
            bytes[place] ^= 1 << (random % 8);
        }
        fs::write(folder.join("db"), bytes).unwrap();
        let store = SledStore::open(&folder).unwrap();
        for _ in 0..MAX_CORRUPTIONS {
            let values = store.load_page(None, usize::MAX).unwrap_or_default();
            assert!(values.iter().all(|(_, value)| *value == vec![b'x'; 300]), "round {round}");
        }
        let saved =
            (0..=MAX_CORRUPTIONS * 2).any(|_| store.save(&SaveEntry::new("key", b"new")).is_ok());
        assert!(saved, "round {round}: {:?}", store.save(&SaveEntry::new("key", b"new")));
        drop(store);
        fs::remove_dir_all(&folder).unwrap();
    }
}

fn history(ids: std::ops::RangeInclusive<u64>) -> Vec<HistoryRecord> {
    ids.map(|id| HistoryRecord::new(id, vec![b'h'; 100])).collect()
}

#[test]
fn reading_histories_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.load_newest("key", None, 1).unwrap(), []);
    assert_eq!(store.keys(None, 1).unwrap(), [""; 0]);
    store.trim("key", 1, 1).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_corrupt_history_is_moved_aside_and_the_snapshots_stay() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    let store = SledStore::open(&folder).unwrap();
    store.append("key", &history(1..=50)).unwrap();
    drop(store);
    ruin(&folder.join("history"), 1);
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 50);
    assert_eq!(store.load_newest("key", None, 100).unwrap(), []);
    store.append("key", &history(51..=51)).unwrap();
    assert_eq!(store.load_newest("key", None, 100).unwrap().len(), 1);
    assert_eq!(moved_aside(&folder.join("history")).len(), 1);
    assert_eq!(moved_aside(&folder), [""; 0]);

    // All of it is the store's own, so it is moved with the folder.
    drop(store);
    ruin(&folder, 1);
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load_page(None, usize::MAX).unwrap(), []);
    assert_eq!(store.load_newest("key", None, 100).unwrap(), []);
    store.append("key", &history(52..=52)).unwrap();
    assert_eq!(moved_aside(&folder).len(), 1);
}

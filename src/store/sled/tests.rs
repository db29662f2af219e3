//! Faults of a folder, each produced for real.

use std::{fs, path::Path};

use super::{database::MAX_CORRUPTIONS, *};

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

#[test]
fn a_corrupt_folder_is_moved_aside_and_the_newest_three_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for round in 0..5_u8 {
        fill(&folder);
        fs::write(folder.join("conf"), [round; 64]).unwrap();
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load("key 1").unwrap(), None, "a new folder is empty");
        store.save(&SaveEntry::new("key", b"new")).unwrap();
    }
    let mut kept = moved_aside(&folder);
    kept.sort();
    assert_eq!(kept.len(), 3);
    let marks: Vec<u8> =
        kept.iter().map(|name| fs::read(dir.path().join(name).join("conf")).unwrap()[0]).collect();
    assert_eq!(marks, [2, 3, 4], "the oldest went first, and the bytes are as they were");
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
    fs::write(folder.join("conf"), "what is this").unwrap();
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
    fs::write(folder.join("conf"), [7; 64]).unwrap();
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
    fs::write(folder.join("conf"), [7; 64]).unwrap();
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
    fs::write(folder.join("history/conf"), [7; 64]).unwrap();
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 50);
    assert_eq!(store.load_newest("key", None, 100).unwrap(), []);
    store.append("key", &history(51..=51)).unwrap();
    assert_eq!(store.load_newest("key", None, 100).unwrap().len(), 1);
    assert_eq!(moved_aside(&folder.join("history")).len(), 1);
    assert_eq!(moved_aside(&folder), [""; 0]);

    // All of it is the store's own, so it is moved with the folder.
    drop(store);
    fs::write(folder.join("conf"), [7; 64]).unwrap();
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load_page(None, usize::MAX).unwrap(), []);
    assert_eq!(store.load_newest("key", None, 100).unwrap(), []);
    store.append("key", &history(52..=52)).unwrap();
    assert_eq!(moved_aside(&folder).len(), 1);
}

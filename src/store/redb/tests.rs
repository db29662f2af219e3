//! Faults of a database, each produced for real.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    repair::seam::{REFUSES, Refusal, SALVAGES},
    *,
};
use crate::store::release::kept::seam;

const VALUES: usize = 50;

fn file(folder: &Path) -> PathBuf {
    folder.join("breakers.redb")
}

fn fill(folder: &Path) {
    let store = RedbStore::open(folder).unwrap();
    let entries: Vec<_> =
        (0..VALUES).map(|i| SaveEntry::new(format!("key {i}"), [b'x'; 300])).collect();
    store.save_all(&entries).unwrap();
    store.append("key", &[HistoryRecord::new(1, "record")]).unwrap();
}

/// A store on a folder whose last store is dropped. A child that another test starts inherits the
/// lock, and holds it until it runs its own program.
fn reopen(folder: &Path) -> RedbStore {
    let store = RedbStore::open(folder).unwrap();
    let began = Instant::now();
    while let Err(StoreError::Unavailable(error)) = store.load("key") {
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        thread::sleep(Duration::from_millis(10));
    }
    store
}

fn moved_aside(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".corrupt-")).collect()
}

#[test]
fn a_file_that_is_not_a_database_is_moved_aside_and_the_newest_three_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    for round in 0..5_u8 {
        fs::write(file(folder), [round; 64]).unwrap();
        let store = reopen(folder);
        assert_eq!(store.load("key 1").unwrap(), None, "a new database is empty");
        assert!(store.last_repair().unwrap().contains(".corrupt-"));
        store.save(&SaveEntry::new("key", "new")).unwrap();
        drop(store);
        assert_eq!(reopen(folder).load("key").unwrap().unwrap(), b"new");
    }
    let mut kept = moved_aside(folder);
    kept.sort();
    let marks: Vec<u8> = kept.iter().map(|name| fs::read(folder.join(name)).unwrap()[0]).collect();
    assert_eq!(marks, [2, 3, 4], "the oldest went first, and the bytes are as they were");
}

/// A process that was killed, or a power failure, may have left it: nothing was saved in it.
#[test]
fn an_empty_file_is_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(file(dir.path()), "").unwrap();
    let store = reopen(dir.path());
    assert_eq!(store.load("key").unwrap(), None);
    store.save(&SaveEntry::new("key", "new")).unwrap();
    drop(store);
    let store = reopen(dir.path());
    assert_eq!(store.load("key").unwrap().unwrap(), b"new");
    assert_eq!((store.last_repair(), moved_aside(dir.path()).len()), (None, 0));
}

#[test]
fn a_damaged_value_costs_that_value_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    fill(folder);
    let mut bytes = fs::read(file(folder)).unwrap();
    let place = bytes.windows(300).position(|bytes| bytes == [b'x'; 300]).unwrap();
    bytes[place + 100] ^= 1;
    fs::write(file(folder), &bytes).unwrap();
    let store = reopen(folder);
    // The file may hold older copies of a value, so the damage may be in one of these.
    let values = store.load_page(None, usize::MAX).unwrap();
    assert!(values.len() >= VALUES - 1, "{} values are left", values.len());
    assert!(values.iter().all(|(_, value)| *value == [b'x'; 300]));
    assert_eq!(moved_aside(folder).len(), VALUES - values.len(), "the damaged file is kept");
    assert_eq!(store.load_newest("key", None, 1).unwrap(), [HistoryRecord::new(1, "record")]);
}

/// Thirty rounds, or the number in `DAMAGE_ROUNDS`.
#[test]
fn damage_anywhere_neither_stops_the_store_nor_invents_values() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = std::env::var("DAMAGE_ROUNDS").map_or(30, |rounds| rounds.parse().unwrap());
    let base = dir.path().join("base");
    fill(&base);
    let base = fs::read(file(&base)).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = 0;
    for round in 0..rounds {
        let folder = dir.path().join(format!("state-{round}"));
        fs::create_dir(&folder).unwrap();
        let mut bytes = base.clone();
        for _ in 0..=round % 20 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(random >> 33).unwrap() % 100_000.min(bytes.len());
            if round % 10 == 9 {
                bytes.truncate(place);
                break;
            }
            bytes[place] ^= 1 << (random % 8);
        }
        fs::write(file(&folder), bytes).unwrap();
        let store = reopen(&folder);
        for _ in 0..4 {
            let values = store.load_page(None, usize::MAX).unwrap_or_default();
            assert!(values.iter().all(|(_, value)| *value == [b'x'; 300]), "round {round}");
            left += usize::from(values.len() == VALUES);
        }
        let saved = (0..8).any(|_| store.save(&SaveEntry::new("key", "new")).is_ok());
        assert!(saved, "round {round}: {:?}", store.save(&SaveEntry::new("key", "new")));
        drop(store);
        let store = reopen(&folder);
        assert_eq!(store.load("key").unwrap().unwrap(), b"new", "round {round}");
        drop(store);
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(left > 0, "no value was ever left");
}

#[test]
fn a_file_that_a_reader_holds_is_held() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let holder = fs::File::open(file(dir.path())).unwrap();
    holder.try_lock_shared().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    let error = store.load("key").unwrap_err().to_string();
    assert!(error.contains("held by another process"), "{error}");
    drop(holder);
    store.load("key").unwrap();
}

#[test]
fn a_corrupt_file_that_is_locked_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(file(dir.path()), "what is this").unwrap();
    let holder = fs::File::open(file(dir.path())).unwrap();
    holder.try_lock().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    assert!(matches!(store.load("key"), Err(StoreError::Unavailable(_))));
    assert_eq!(moved_aside(dir.path()), [""; 0]);
    drop(holder);
    assert_eq!(store.load("key").unwrap(), None);
    assert_eq!(moved_aside(dir.path()).len(), 1);
}

/// A copy of the file while it is open is what a killed process leaves.
#[test]
fn a_file_is_read_without_writing_to_it_after_a_kill_too() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, image) = (dir.path().join("state"), dir.path().join("image"));
    fill(&folder);
    let store = reopen(&folder);
    store.save(&SaveEntry::new("key 1", "newest")).unwrap();
    fs::create_dir(&image).unwrap();
    fs::copy(file(&folder), file(&image)).unwrap();
    let before = fs::read(file(&image)).unwrap();
    let (db, _) = engine::open_overlay(&file(&image)).unwrap();
    let read = ::redb::ReadableDatabase::begin_read(&db).unwrap();
    assert_eq!(tables::load(&read, "key 1").unwrap().unwrap(), b"newest");
    assert_eq!(tables::load_page(&read, None, usize::MAX).unwrap().len(), VALUES);
    drop(read);
    drop(db);
    assert!(fs::read(file(&image)).unwrap() == before);
}

#[test]
fn a_folder_that_was_removed_is_noticed_without_an_operation() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = RedbStore::open(&folder).unwrap();
    store.verify().unwrap();
    assert!(!folder.exists(), "it opens nothing");
    store.save(&SaveEntry::new("key", "1")).unwrap();
    store.verify().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(store.verify().unwrap_err().to_string().contains("removed"));
    store.verify().unwrap();
    store.save(&SaveEntry::new("key", "1")).unwrap();
}

#[test]
fn a_database_that_no_thread_could_close_can_be_opened_once_there_are_threads() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let store = reopen(dir.path());
    store.save(&SaveEntry::new("key", "last")).unwrap();
    seam::REFUSES.set(true);
    drop(store);
    seam::REFUSES.set(false);
    assert_eq!(reopen(dir.path()).load("key").unwrap().as_deref(), Some(b"last".as_slice()));
}

#[test]
fn a_repair_that_was_killed_between_its_renames_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    drop(reopen(dir.path()));
    fs::rename(file(dir.path()), dir.path().join("breakers.redb.repaired")).unwrap();
    let store = reopen(dir.path());
    assert_eq!(store.load("key 1").unwrap().unwrap(), [b'x'; 300]);
    assert!(!dir.path().join("breakers.redb.repaired").exists());
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_synced_may_be_read() {
    let failed_sync = || std::io::Error::from_raw_os_error(5);
    assert!(failure::Failure::Io(failed_sync()).is_unwritable());
    assert!(failure::Failure::Redb(::redb::Error::Io(failed_sync())).is_unwritable());
}

/// Damages some of the values, also in what the file holds of earlier.
fn damage_values(folder: &Path) {
    let mut bytes = fs::read(file(folder)).unwrap();
    let places = bytes.windows(300).enumerate().filter(|(_, bytes)| *bytes == [b'x'; 300]);
    let places: Vec<usize> = places.map(|(place, _)| place).step_by(7).collect();
    for place in places {
        bytes[place + 100] ^= 1;
    }
    fs::write(file(folder), &bytes).unwrap();
}

fn damaged_on_a_full_disk() -> (TempDir, RedbStore) {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    drop(reopen(dir.path()));
    damage_values(dir.path());
    REFUSES.set(Some(Refusal::Full));
    let store = RedbStore::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn what_can_be_read_of_a_damaged_file_answers_while_it_cannot_be_replaced() {
    let (dir, store) = damaged_on_a_full_disk();
    let folder = dir.path();
    let values = store.load_page(None, usize::MAX).unwrap();
    assert!(!values.is_empty() && values.len() < VALUES, "{} values", values.len());
    assert!(values.iter().all(|(_, value)| *value == [b'x'; 300]));
    for (key, value) in &values {
        assert_eq!(store.load(key).unwrap().as_ref(), Some(value));
    }
    assert_eq!((store.last_repair(), moved_aside(folder).len()), (None, 0));
    REFUSES.set(None);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(store.load_page(None, usize::MAX).unwrap(), values);
    assert_eq!(moved_aside(folder).len(), 1, "it is replaced once it can be");
    store.save(&SaveEntry::new("key", "new")).unwrap();
}

#[test]
fn a_corrupt_file_that_cannot_be_replaced_is_read_once_for_the_reads_and_writes_of_a_retry() {
    let (dir, store) = damaged_on_a_full_disk();
    let folder = dir.path();
    let (began, before) = (Instant::now(), SALVAGES.get());
    let known = store.load_page(None, usize::MAX).unwrap();
    for _ in 0..10 {
        let saved = store.save(&SaveEntry::new("key 1", [b'x'; 300]));
        // After that, it is tried again.
        if began.elapsed() < Duration::from_secs(1) {
            let error = saved.unwrap_err().to_string();
            assert!(error.contains("corrupt") && error.contains("repair failed"), "{error}");
        }
        assert_eq!(store.load_page(None, usize::MAX).unwrap(), known);
    }
    let most = u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let salvages = SALVAGES.get() - before;
    assert!(salvages <= most, "{salvages} salvages");
    assert_eq!(moved_aside(folder).len(), 0);
    thread::sleep(Duration::from_millis(1100));
    REFUSES.set(None);
    assert_eq!(store.load_page(None, usize::MAX).unwrap(), known);
    store.save(&SaveEntry::new("key", "new")).unwrap();
    assert_eq!(store.load("key").unwrap().unwrap(), b"new");
    assert_eq!(moved_aside(folder).len(), 1, "it is replaced once it can be");
}

#[test]
fn a_repair_that_panics_is_an_error_and_leaves_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    fill(folder);
    drop(reopen(folder));
    damage_values(folder);
    REFUSES.set(Some(Refusal::Panic));
    let store = RedbStore::open(folder).unwrap();
    let error = store.load_page(None, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("repair failed") && error.contains("panicked"), "{error}");
    assert_eq!(moved_aside(folder).len(), 0);
    assert!(!folder.join("breakers.redb.repaired").exists());
    REFUSES.set(None);
    assert!(!store.load_page(None, usize::MAX).unwrap().is_empty());
    assert_eq!(moved_aside(folder).len(), 1);
}

/// A breaker whose state was not read starts closed, but does not overwrite what may be read later.
#[test]
fn a_file_of_which_nothing_can_be_read_is_not_empty_while_it_cannot_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    fs::write(file(folder), "what is this").unwrap();
    REFUSES.set(Some(Refusal::Full));
    let store = RedbStore::open(folder).unwrap();
    for _ in 0..2 {
        let error = store.load("key 1").unwrap_err().to_string();
        assert!(error.contains("repair failed"), "{error}");
    }
    REFUSES.set(None);
    assert_eq!(store.load("key 1").unwrap(), None);
    assert_eq!(moved_aside(folder).len(), 1);
}

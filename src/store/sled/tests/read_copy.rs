//! Copies of folders that cannot be written to.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    fill,
    large::{save_whole, with_sled},
};
use crate::store::{
    SaveEntry, SledStore, StateStore as _,
    durable::faults,
    sled::read_copy::{LOCK, MAX_BYTES, PREFIX, ReadCopy, files_of, remove_abandoned},
    sled::values,
};

#[test]
fn a_copy_can_be_read_by_this_user_only_and_is_removed_after_use() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let before: Vec<_> = files(dir.path());
    let copy = ReadCopy::of(dir.path()).unwrap().unwrap();
    let folder = copy.folder().to_owned();
    assert!(folder.starts_with(env::temp_dir()), "{}", folder.display());
    let found = fs::metadata(&folder).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o700);
    assert_eq!(values::load(&copy.db, "key 7").unwrap(), Some(Ok(vec![b'x'; 300])));
    assert_eq!(files(dir.path()), before, "the folder itself is unchanged");
    drop(copy);
    assert!(!folder.exists());
}

#[test]
fn without_a_temporary_folder_that_takes_it_the_copy_is_made_in_memory() {
    let (dir, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(dir.path());
    let missing = dir.path().join("missing");
    let parents = [missing.clone(), memory.path().to_owned()];
    let copy = ReadCopy::below(&parents, dir.path()).unwrap();
    assert!(copy.folder().starts_with(memory.path()));
    assert_eq!(copy.db.len(), 50);
    assert!(ReadCopy::below(&[missing], dir.path()).is_err());
}

#[test]
fn a_copy_that_is_no_longer_used_is_removed_by_any_call_and_with_its_store() {
    const OLD: Duration = Duration::from_millis(1010);
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let store = SledStore::open(dir.path()).unwrap();
    // The folder cannot be written to.
    faults::fail_syncs(true);
    let read = || {
        assert_eq!(store.load("key 7").unwrap(), Some(vec![b'x'; 300]));
        let folder = store.databases.snapshots.copy_folder().expect("a copy answers");
        assert!(folder.exists());
        folder
    };
    let folder = read();
    store.verify().unwrap();
    assert_eq!(read(), folder, "for a second, the same copy answers");
    thread::sleep(OLD);
    store.verify().unwrap();
    assert!(!folder.exists(), "while the store is idle");
    let folder = read();
    thread::sleep(OLD);
    assert!(store.save(&SaveEntry::new("key", "value")).is_err());
    assert!(!folder.exists(), "with an attempt to save");
    let folder = read();
    thread::sleep(OLD);
    assert_ne!(read(), folder);
    assert!(!folder.exists(), "with the next read");
    let folder = store.databases.snapshots.copy_folder().unwrap();
    drop(store);
    faults::fail_syncs(false);
    assert!(!folder.exists(), "with the store");
}

#[test]
fn an_attempt_to_save_on_a_full_disk_makes_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    with_sled(dir.path(), |db| save_whole(db, [("key 7 large", vec![b'.'; 200_000])]));
    let store = SledStore::open(dir.path()).unwrap();
    let has_copy = || store.databases.snapshots.copy_folder().is_some();
    faults::fill_disks(true);
    faults::fail_syncs(true);
    let (entry, key) = (SaveEntry::new("key 7", "value"), "key 7".to_owned());
    store.save(&entry).unwrap_err();
    store.save_all(std::slice::from_ref(&entry)).unwrap_err();
    store.delete(&key).unwrap_err();
    store.delete_all(&[key]).unwrap_err();
    assert!(!has_copy());
    assert_eq!(store.load("key 7").unwrap(), Some(vec![b'x'; 300]));
    assert!(has_copy(), "it is for reads");
    // The folder can be opened again, and there is still no room for a large page that an earlier
    // version has written.
    faults::fail_syncs(false);
    let error = store.save(&entry).unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    assert!(!has_copy());
    // What is not on that page can be saved.
    store.save(&SaveEntry::new("a large value", vec![b'.'; 200_000])).unwrap();
    assert_eq!(store.load("a large value").unwrap().unwrap().len(), 200_000);
    faults::fill_disks(false);
}

fn files(folder: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            let found = entry.metadata().unwrap();
            (entry.path(), found.modified().unwrap(), found.len())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn at_most_256_megabytes_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let taken: u64 = files_of(dir.path())
        .unwrap()
        .iter()
        .map(|file| fs::metadata(dir.path().join(file)).unwrap().len())
        .sum();
    // Without blocks on the disk.
    let large = File::create(dir.path().join("blobs/1")).unwrap();
    large.set_len(MAX_BYTES - taken).unwrap();
    assert!(files_of(dir.path()).is_ok());
    large.set_len(MAX_BYTES - taken + 1).unwrap();
    let error = ReadCopy::of(dir.path()).unwrap().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(error.to_string(), "268435457 bytes are too many to copy; at most 268435456");
}

#[test]
fn only_the_copies_of_killed_processes_are_removed() {
    let parent = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let add = |name: &str, age: Duration| {
        let path = parent.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("db"), "a log").unwrap();
        let lock = File::create(path.join(LOCK)).unwrap();
        File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        (path, lock)
    };
    let named = |name: &str| format!("{PREFIX}{name}");
    let dead = add(&named("dead"), hour).0;
    let (without_lock, _) = add(&named("killed before it had a lock"), hour);
    fs::remove_file(without_lock.join(LOCK)).unwrap();
    File::open(&without_lock).unwrap().set_modified(SystemTime::now() - hour).unwrap();

    let (alive, lock) = add(&named("alive"), hour);
    lock.lock().unwrap();
    let begun = add(&named("just begun"), Duration::ZERO).0;
    fs::remove_file(begun.join(LOCK)).unwrap();
    let recent = add(&named("just killed"), Duration::ZERO).0;
    let unrelated = add("unrelated", hour).0;
    let link = parent.path().join(named("link"));
    symlink(&unrelated, &link).unwrap();
    let file = parent.path().join(named("file"));
    fs::write(&file, "").unwrap();
    let mut kept = vec![alive, begun, unrelated, link, file];
    let foreign = add(&named("of another user"), hour).0;
    // Only root may give folders away.
    if std::os::unix::fs::chown(&foreign, Some(65534), None).is_ok() {
        kept.push(foreign);
    }

    remove_abandoned(parent.path(), &fs::metadata(parent.path()).unwrap());
    assert!(!dead.exists() && !recent.exists() && !without_lock.exists());
    for path in kept {
        assert!(path.exists(), "{}", path.display());
    }
    assert!(parent.path().join("unrelated/db").exists());
}

#[test]
fn a_copy_in_use_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let copy = ReadCopy::of(dir.path()).unwrap().unwrap();
    let folder = copy.folder();
    let aged = File::open(folder).unwrap();
    aged.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    remove_abandoned(folder.parent().unwrap(), &fs::metadata(folder).unwrap());
    assert!(folder.join("db").exists());
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
}

//! Stores in folders that are invalid, held by another process, or removed.

use std::{fs, path::Path, sync::mpsc, thread, time::Duration};

use tower_breaker::store::{SaveEntry, StoreError};

use super::{FolderStore, ids, names_in, records, until_released};

pub(super) fn a_path_that_can_never_work_is_refused<S: FolderStore>(parent: &Path) {
    let file = parent.join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below"), file.join("far/below"), "".into()] {
        let Err(error) = S::open_at(&path) else { panic!("{} is accepted", path.display()) };
        assert!(matches!(error, StoreError::Misconfigured(_)), "{}: {error}", path.display());
    }
}

pub(super) fn opening_creates_nothing<S: FolderStore>(parent: &Path) {
    let store = S::open_at(&parent.join("new")).unwrap();
    assert!(!parent.join("new").exists(), "it is created when it is needed");
    store.save(&SaveEntry::new("key", "value")).unwrap();
    assert!(parent.join("new").is_dir());
}

pub(super) fn a_folder_that_is_held_is_taken_over_once_it_is_free<S: FolderStore>(parent: &Path) {
    let folder = parent.join("state");
    let first = S::open_at(&folder).unwrap();
    first.save(&SaveEntry::new("key", "first")).unwrap();
    let second = S::open_at(&folder.join("../state")).unwrap();
    assert_ne!(first.id(), second.id());
    for _ in 0..3 {
        let save = second.save(&SaveEntry::new("key", "second"));
        for error in [second.load("key").unwrap_err(), save.unwrap_err()] {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            assert!(error.to_string().contains("held by another process"), "{error}");
        }
    }
    let clone = first.clone();
    assert_eq!(clone.id(), first.id());
    drop(first);
    assert!(second.load("key").is_err(), "a clone still holds it");
    drop(clone);
    until_released(&second);
    assert_eq!(second.load("key").unwrap().as_deref(), Some(b"first".as_slice()));
    assert_eq!(names_in(parent), ["state"], "a held folder is not a corrupt one");
}

/// As by a program that another thread is just starting.
pub(super) fn a_folder_that_is_held_for_a_moment_is_waited_for<S: FolderStore>(parent: &Path) {
    let folder = parent.join("state");
    let first = S::open_at(&folder).unwrap();
    first.save(&SaveEntry::new("key", "first")).unwrap();
    let second = S::open_at(&folder.join("../state")).unwrap();
    let (begun, has_begun) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            has_begun.recv().unwrap();
            thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        begun.send(()).unwrap();
        assert_eq!(second.load("key").unwrap().as_deref(), Some(b"first".as_slice()));
    });
}

pub(super) fn a_folder_that_was_removed_is_noticed_and_created_again<S: FolderStore>(
    parent: &Path,
) {
    let folder = parent.join("state");
    let store = S::open_at(&folder).unwrap();
    store.save(&SaveEntry::new("key", "1")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = store.save(&SaveEntry::new("key", "2")).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("removed"), "{error}");
    assert!(!folder.exists());
    store.save(&SaveEntry::new("key", "3")).unwrap();
    assert_eq!(store.load("key").unwrap().as_deref(), Some(b"3".as_slice()));
    drop(store);
    let store = S::open_at(&folder).unwrap();
    until_released(&store);
    assert_eq!(store.load("key").unwrap().as_deref(), Some(b"3".as_slice()));
}

pub(super) fn histories_in_a_folder_that_was_removed_start_empty<S: FolderStore>(parent: &Path) {
    let folder = parent.join("state");
    let store = S::open_at(&folder).unwrap();
    let histories = store.history().unwrap();
    store.save(&SaveEntry::new("key", "1")).unwrap();
    histories.append("key", &records(1..=1)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    histories.append("key", &records(2..=2)).unwrap_err();
    histories.append("key", &records(3..=3)).unwrap();
    drop(store);
    let store = S::open_at(&folder).unwrap();
    until_released(&store);
    assert_eq!(ids(store.history().unwrap(), "key"), [3]);
}

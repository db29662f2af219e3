//! Large values: those that are kept in pieces, and those in folders of earlier versions, which
//! sled has written to files of their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::{database::MAX_CORRUPTIONS, engine, *},
    damaged_files, fill, moved_aside,
};

/// Does something as an earlier version would.
pub(super) fn with_sled(folder: &Path, work: impl FnOnce(&Db)) {
    let db = engine::open(folder).unwrap();
    work(&db);
    drop(db);
    folder::wait_for_lock_release(folder);
}

pub(super) fn save_whole<'a>(db: &Db, entries: impl IntoIterator<Item = (&'a str, Vec<u8>)>) {
    let mut batch = ::sled::Batch::default();
    entries.into_iter().for_each(|(key, value)| batch.insert(key, value));
    db.apply_batch(batch).unwrap();
    db.flush().unwrap();
}

#[test]
fn no_value_is_written_to_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    let store = SledStore::open(&folder).unwrap();
    for round in 0..40_usize {
        // Also values that are large together, as neighbours.
        let mut entries: Vec<_> = (0..50)
            .map(|i| SaveEntry::new(format!("key {i}"), vec![b'y'; 9000 + round * 10]))
            .collect();
        entries.push(SaveEntry::new("key 3 large", vec![b'x'; 300_000 + round]));
        entries.push(SaveEntry::new("key 4 is kept whole", vec![b'z'; 4000]));
        store.save_all(&entries).unwrap();
        store.delete("key 17").unwrap();
    }
    assert_eq!(large_files(&folder), [""; 0].map(PathBuf::from));
    drop(store);
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load("key 3 large").unwrap().unwrap(), vec![b'x'; 300_039]);
    assert_eq!(store.load("key 17").unwrap(), None);
    let values = store.load_page(None, usize::MAX).unwrap();
    assert_eq!(values.len(), 51);
    assert!(values.iter().all(|(key, value)| *value == store.load(key).unwrap().unwrap()));
}

#[test]
fn a_value_of_an_earlier_version_is_read_and_then_kept_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill_with_a_large_value(&folder);
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load("key 3 large").unwrap().unwrap(), vec![b'x'; 300_000]);
    store.save(&SaveEntry::new("key 3 large", vec![b'y'; 300_000])).unwrap();
    assert_eq!(store.load("key 3 large").unwrap().unwrap(), vec![b'y'; 300_000]);
    drop(store);
    for file in large_files(&folder) {
        fs::write(file, "damaged").unwrap();
    }
    let store = SledStore::open(&folder).unwrap();
    let found = (0..=MAX_CORRUPTIONS).find_map(|_| store.load("key 3 large").ok()).unwrap();
    assert_eq!(found.unwrap(), vec![b'y'; 300_000]);
    assert_eq!(store.load_page(None, usize::MAX).unwrap().len(), 51);
}

#[test]
fn a_value_whose_pieces_are_damaged_is_corrupt_and_costs_no_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    let store = SledStore::open(&folder).unwrap();
    store.save(&SaveEntry::new("key 3 large", vec![b'x'; 30_000])).unwrap();
    drop(store);
    with_sled(&folder, |db| {
        let pieces = db.open_tree("pieces").unwrap();
        let (first, _) = pieces.first().unwrap().unwrap();
        pieces.remove(first).unwrap();
        pieces.flush().unwrap();
    });
    let store = SledStore::open(&folder).unwrap();
    assert!(matches!(store.load("key 3 large"), Err(StoreError::Corrupt(_))));
    let page = store.load_page(None, usize::MAX).unwrap();
    assert_eq!(page.iter().filter(|(_, value)| value.is_empty()).count(), 1);
    assert_eq!(page.iter().filter(|(_, value)| **value == [b'x'; 300]).count(), 50);
    store.save(&SaveEntry::new("key 3 large", vec![b'y'; 20_000])).unwrap();
    assert_eq!(store.load("key 3 large").unwrap().unwrap(), vec![b'y'; 20_000]);
}

/// So a snapshot that has lost a piece of its windows still says that the circuit is open.
#[test]
fn the_first_piece_of_a_damaged_value_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let value = b"0123456789".repeat(3_000);
    SledStore::open(&folder).unwrap().save(&SaveEntry::new("large", value.clone())).unwrap();
    with_sled(&folder, |db| {
        let pieces = db.open_tree("pieces").unwrap();
        let (last, _) = pieces.last().unwrap().unwrap();
        pieces.insert(last, b"another".as_slice()).unwrap();
        pieces.flush().unwrap();
    });
    let first = &value[..4_000];
    let store = SledStore::open(&folder).unwrap();
    assert_eq!(store.load("large").unwrap().as_deref(), Some(first));
    assert_eq!(store.load_page(None, 2).unwrap(), [("large".to_owned(), first.to_vec())]);
    drop(store);
    with_sled(&folder, |db| {
        let pieces = db.open_tree("pieces").unwrap();
        let second = pieces.iter().keys().nth(1).unwrap().unwrap();
        pieces.remove(second).unwrap();
        pieces.flush().unwrap();
    });
    assert_eq!(SledStore::open(&folder).unwrap().load("large").unwrap().as_deref(), Some(first));
}

/// A folder with small values, and a large one between them that was small before.
fn fill_with_a_large_value(folder: &Path) -> Vec<PathBuf> {
    fill(folder);
    let store = SledStore::open(folder).unwrap();
    store.save(&SaveEntry::new("key 3 large", [b'x'; 300])).unwrap();
    drop(store);
    with_sled(folder, |db| {
        save_whole(db, [("key 3 large", vec![b'x'; 300_000])]);
        save_whole(db, [("key 49", b"newest".to_vec())]);
    });
    // Its summary of the log holds where the large value is.
    SledStore::open(folder).unwrap().load("key 49").unwrap();
    let blobs = fs::read_dir(folder.join("blobs")).unwrap();
    let blobs: Vec<_> = blobs.map(|blob| blob.unwrap().path()).collect();
    assert!(!blobs.is_empty(), "sled writes a large value to a file of its own");
    blobs
}

#[test]
fn a_large_value_whose_file_is_missing_does_not_stop_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for blob in fill_with_a_large_value(&folder) {
        fs::remove_file(blob).unwrap();
    }
    let store = SledStore::open(&folder).unwrap();
    let found: Vec<_> = (0..=MAX_CORRUPTIONS).map(|_| store.load("key 3 large").is_ok()).collect();
    assert_eq!(found, [false, false, false, true]);
    assert_eq!(store.load("key 49").unwrap().as_deref(), Some(b"newest".as_slice()));
    for i in 0..49 {
        assert_eq!(store.load(&format!("key {i}")).unwrap().unwrap(), [b'x'; 300]);
    }
    store.save(&SaveEntry::new("key 3 large", "new")).unwrap();
    assert!(store.last_repair().unwrap().contains("summaries"), "{:?}", store.last_repair());
    assert!(moved_aside(&folder).is_empty());
}

/// How a file may be damaged.
const DAMAGES: [fn(&mut Vec<u8>); 4] = [
    |bytes| bytes[200_000] ^= 1,
    |bytes| bytes[0] ^= 1,
    |bytes| bytes.truncate(100_000),
    |bytes| bytes.truncate(3),
];

fn damage(files: &[PathBuf], damage: fn(&mut Vec<u8>)) {
    for file in files {
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes);
        fs::write(file, bytes).unwrap();
    }
}

fn large_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("blobs")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// sled numbers its files in the order in which it writes them.
fn number(file: &Path) -> Option<i64> {
    file.file_name()?.to_str()?.parse().ok()
}

#[test]
fn a_large_value_whose_file_is_damaged_costs_that_value_alone() {
    for (round, how) in DAMAGES.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        damage(&fill_with_a_large_value(&folder), how);
        let store = SledStore::open(&folder).unwrap();
        let found = (0..=MAX_CORRUPTIONS).any(|_| store.load("key 3 large").is_ok());
        assert!(found, "round {round}");
        assert_eq!(store.load("key 49").unwrap().as_deref(), Some(b"newest".as_slice()));
        for i in 0..49 {
            assert_eq!(store.load(&format!("key {i}")).unwrap().unwrap(), [b'x'; 300]);
        }
        store.save(&SaveEntry::new("key 3 large", vec![b'y'; 300_000])).unwrap();
        assert!(!damaged_files(&folder).is_empty() && moved_aside(&folder).is_empty());
        drop(store);
        let store = SledStore::open(&folder).unwrap();
        assert_eq!(store.load("key 3 large").unwrap().unwrap(), vec![b'y'; 300_000]);
        assert_eq!(store.last_repair(), None);
    }
}

/// sled's summary of the log is as old as the last start: it reads what came later from the log.
#[test]
fn what_was_written_after_a_large_value_is_not_lost_with_its_file() {
    for how in DAMAGES {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        fill(&folder);
        with_sled(&folder, |db| {
            save_whole(db, [("key 3 large", vec![b'x'; 300_000])]);
            for i in 0..50 {
                save_whole(db, [(&*format!("key {i}"), b"newest".to_vec())]);
            }
        });
        // The one with which the value came. A later one may hold the page as it was split, and
        // cost its neighbours too.
        let first = large_files(&folder).into_iter().min_by_key(|file| number(file)).unwrap();
        damage(&[first], how);
        check_neighbours(&folder, b"newest", &[b'x'; 300]);
    }
}

/// Its page, and those before, were written again and again.
#[test]
fn neighbours_of_a_large_value_keep_their_values_without_its_newest_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fill(&folder);
    let keys: Vec<_> = (0..50).map(|i| format!("key {i}")).collect();
    with_sled(&folder, |db| {
        for round in 0..100 {
            let small = keys.iter().map(|key| (&**key, round.to_string().into_bytes()));
            let large = ("key 3 large", vec![b'x'; 300_000 + round]);
            save_whole(db, small.chain([large]));
        }
    });
    let newest = large_files(&folder).into_iter().max_by_key(|file| number(file)).unwrap();
    damage(&[newest], DAMAGES[0]);
    check_neighbours(&folder, b"99", b"98");
}

/// The change with which sled has written the page to its file is lost: that of one value.
fn check_neighbours(folder: &Path, newest: &[u8], before: &[u8]) {
    let store = SledStore::open(folder).unwrap();
    let mut older = 0;
    for i in 0..50 {
        let found = store.load(&format!("key {i}")).unwrap().unwrap();
        assert!(found == newest || found == before, "key {i}");
        older += u32::from(found != newest);
    }
    assert!(older <= 1, "{older} values are older");
    assert!(store.last_repair().unwrap().contains("large"), "{:?}", store.last_repair());
    assert_eq!(damaged_files(folder).len(), 1);
    assert!(moved_aside(folder).is_empty());
}

/// sled would lose what was written after it.
#[test]
#[cfg(unix)]
fn a_large_file_that_cannot_be_read_now_is_read_later() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let files = fill_with_a_large_value(&folder);
    let [file] = &*files else { panic!("{files:?}") };
    let away = dir.path().join("away");
    fs::rename(file, &away).unwrap();
    // What each user meets: root is denied nothing.
    symlink(file, file).unwrap();
    let store = SledStore::open(&folder).unwrap();
    for _ in 0..=MAX_CORRUPTIONS {
        store.load("key 49").unwrap_err();
        store.save(&SaveEntry::new("key 49", "new")).unwrap_err();
    }
    fs::rename(&away, file).unwrap();
    assert_eq!(store.load("key 49").unwrap().as_deref(), Some(b"newest".as_slice()));
    assert_eq!(store.load("key 3 large").unwrap().unwrap(), vec![b'x'; 300_000]);
    assert_eq!(store.last_repair(), None);
}

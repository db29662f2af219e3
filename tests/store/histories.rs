//! The histories of every store: what was added is there, in its order, under its own key alone.

use tower_breaker::{
    FileStore, MemoryStore, SledStore, StateStore,
    store::{HistoryRecord, SaveEntry},
};

/// Runs the test with each store, empty.
fn with_each_store(test: impl Fn(&dyn StateStore)) {
    let folder = tempfile::tempdir().unwrap();
    test(&MemoryStore::new());
    test(&SledStore::open(folder.path().join("sled")).unwrap());
    test(&FileStore::open(folder.path().join("files")).unwrap());
}

fn records(ids: impl IntoIterator<Item = u64>) -> Vec<HistoryRecord> {
    ids.into_iter().map(|id| HistoryRecord::new(id, format!("record {id}"))).collect()
}

fn ids(store: &dyn StateStore, key: &str) -> Vec<u64> {
    let all = store.history().unwrap().load_newest(key, None, usize::MAX).unwrap();
    all.into_iter().map(|record| record.id).collect()
}

/// Each is the beginning of another, or looks like what a store could make of another.
const KEYS: [&str; 9] =
    ["a", "a\0", "a\0\0\0\0\0\0\0\u{1}", "a:b", "a:", ":", "A", "../a", "ü/\u{7f}"];

#[test]
fn a_history_is_read_from_the_newest_in_pages() {
    with_each_store(|store| {
        assert_eq!(store.history().unwrap().load_newest("key", None, 10).unwrap(), []);
        store.history().unwrap().append("key", &records(1..=3)).unwrap();
        store.history().unwrap().append("key", &records(256..=300)).unwrap();
        store.history().unwrap().append("key", &[]).unwrap();
        assert_eq!(
            store.history().unwrap().load_newest("key", None, 2).unwrap(),
            records([300, 299])
        );
        assert_eq!(
            store.history().unwrap().load_newest("key", Some(257), 2).unwrap(),
            records([256, 3])
        );
        assert_eq!(
            store.history().unwrap().load_newest("key", Some(3), 10).unwrap(),
            records([2, 1])
        );
        assert_eq!(store.history().unwrap().load_newest("key", Some(1), 10).unwrap(), []);
        assert_eq!(store.history().unwrap().load_newest("key", None, 0).unwrap(), []);
    });
}

#[test]
fn any_id_has_its_place() {
    with_each_store(|store| {
        store.history().unwrap().append("key", &records([0, 1, u64::MAX - 1, u64::MAX])).unwrap();
        assert_eq!(ids(store, "key"), [u64::MAX, u64::MAX - 1, 1, 0]);
        assert_eq!(
            store.history().unwrap().load_newest("key", Some(u64::MAX), 1).unwrap(),
            records([u64::MAX - 1])
        );
        assert_eq!(store.history().unwrap().load_newest("key", Some(0), 1).unwrap(), []);
        assert_eq!(store.history().unwrap().keys(None, 10).unwrap(), ["key"]);
        assert_eq!(store.history().unwrap().keys(Some("key"), 10).unwrap(), [""; 0]);
    });
}

#[test]
fn a_record_that_is_added_again_is_there_once() {
    with_each_store(|store| {
        store.history().unwrap().append("key", &records(1..=3)).unwrap();
        store.history().unwrap().append("key", &records(2..=4)).unwrap();
        assert_eq!(ids(store, "key"), [4, 3, 2, 1]);
    });
}

#[test]
fn no_history_runs_into_another() {
    with_each_store(|store| {
        let histories: Vec<_> =
            (0..).zip(KEYS).map(|(n, key)| (key.to_owned(), records([n, 1000]))).collect();
        store.history().unwrap().append_all(&histories).unwrap();
        for (n, key) in (0..).zip(KEYS) {
            assert_eq!(ids(store, key), [1000, n], "{key:?}");
        }
        for key in KEYS {
            store.history().unwrap().trim(key, u64::MAX, 0).unwrap();
            assert_eq!(ids(store, key), [0_u64; 0]);
        }
    });
}

#[test]
fn histories_and_values_know_nothing_of_each_other() {
    with_each_store(|store| {
        store.history().unwrap().append("key", &records(1..=3)).unwrap();
        assert_eq!(store.load("key").unwrap(), None);
        assert_eq!(store.load_page(None, usize::MAX).unwrap(), []);
        store.save(&SaveEntry::new("key", b"value")).unwrap();
        store.history().unwrap().trim("key", 0, 0).unwrap();
        assert_eq!(
            store.load_page(None, usize::MAX).unwrap(),
            [("key".to_owned(), b"value".to_vec())]
        );
        store.history().unwrap().append("key", &records(4..=4)).unwrap();
        store.delete("key").unwrap();
        assert_eq!(ids(store, "key"), [4]);
    });
}

#[test]
fn the_keys_that_have_a_history_are_listed_in_pages() {
    with_each_store(|store| {
        assert_eq!(store.history().unwrap().keys(None, 10).unwrap(), [""; 0]);
        for key in KEYS {
            store.history().unwrap().append(key, &records(0..100)).unwrap();
        }
        for limit in [1, 2, 100] {
            let mut listed: Vec<String> = Vec::new();
            loop {
                let after = listed.last().map(String::as_str);
                let page = store.history().unwrap().keys(after, limit).unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                listed.extend(page);
                assert!(listed.len() <= KEYS.len(), "{listed:?}");
            }
            let mut expected = KEYS.map(str::to_owned);
            expected.sort();
            listed.sort();
            assert_eq!(listed, expected);
        }
        store.history().unwrap().trim("a", u64::MAX, 0).unwrap();
        assert!(!store.history().unwrap().keys(None, 100).unwrap().contains(&"a".to_owned()));
    });
}

#[test]
fn trimming_removes_what_is_too_old_and_what_is_too_much() {
    with_each_store(|store| {
        store.history().unwrap().trim("key", 100, 100).unwrap();
        store.history().unwrap().append("key", &records(1..=10)).unwrap();
        store.history().unwrap().append("kez", &records(1..=10)).unwrap();
        store.history().unwrap().trim("key", 4, 100).unwrap();
        assert_eq!(ids(store, "key"), [10, 9, 8, 7, 6, 5, 4]);
        store.history().unwrap().trim("key", 0, 3).unwrap();
        assert_eq!(ids(store, "key"), [10, 9, 8]);
        store.history().unwrap().trim("key", 10, 3).unwrap();
        assert_eq!(ids(store, "key"), [10]);
        assert_eq!(ids(store, "kez").len(), 10);
    });
}

#[test]
fn a_sled_history_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let store = SledStore::open(folder.path()).unwrap();
        assert_eq!(ids(&store, "key"), (1..round).rev().collect::<Vec<_>>());
        store.history().unwrap().append("key", &records(round..=round)).unwrap();
    }
}

/// A store of somebody's own, from before there were histories.
struct Forgetful;

impl StateStore for Forgetful {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, tower_breaker::store::StoreError> {
        Ok(None)
    }
    fn load_page(
        &self,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, tower_breaker::store::StoreError> {
        Ok(Vec::new())
    }
    fn save(&self, _: &SaveEntry) -> Result<(), tower_breaker::store::StoreError> {
        Ok(())
    }
    fn delete(&self, _: &str) -> Result<(), tower_breaker::store::StoreError> {
        Ok(())
    }
}

#[test]
fn a_store_without_histories_has_none_and_says_nothing() {
    assert!(Forgetful.history().is_none());
}

#[test]
fn an_arc_hides_nothing_of_the_store_in_it() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let histories = StateStore::history(&store).unwrap();
    histories.append("a", &records(1..=3)).unwrap();
    histories.append_all(&[("b".into(), records(1..=3))]).unwrap();
    histories.trim("a", 2, 1).unwrap();
    assert_eq!(ids(&store, "a"), [3]);
    assert_eq!(histories.keys(Some("a"), 9).unwrap(), ["b"]);
}

#[test]
fn values_are_read_in_pages() {
    with_each_store(|store| {
        assert_eq!(store.load_page(None, 10).unwrap(), []);
        for key in KEYS {
            store.save(&SaveEntry::new(key, key.as_bytes())).unwrap();
        }
        store.history().unwrap().append("history", &records(1..=3)).unwrap();
        for limit in [1, 2, 100] {
            let mut read: Vec<(String, Vec<u8>)> = Vec::new();
            loop {
                let after = read.last().map(|(key, _)| key.as_str());
                let page = store.load_page(after, limit).unwrap();
                assert!(page.len() <= limit);
                let is_last = page.len() < limit;
                read.extend(page);
                if is_last {
                    break;
                }
            }
            read.sort();
            let mut all = store.load_page(None, usize::MAX).unwrap();
            all.sort();
            assert_eq!((read.len(), read), (KEYS.len(), all));
        }
    });
}

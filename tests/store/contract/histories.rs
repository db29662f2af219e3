//! Histories, of the stores that keep any.

use std::collections::BTreeSet;

use tower_breaker::{
    StateStore,
    store::{HistoryRecord, HistoryStore, SaveEntry},
};

use super::{ANY_BYTES, KEYS, Subject, all, ids, map, pages, records};
use crate::names::nasty_names;

/// Runs a test on the store's histories, if it keeps any.
fn with_histories<S: Subject>(subject: &S, test: impl FnOnce(&dyn HistoryStore)) {
    let store = subject.open();
    if let Some(histories) = store.history() {
        test(histories);
    }
}

pub(super) fn a_history_is_read_from_the_newest_in_pages<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        assert_eq!(store.load_newest("key", None, 10).unwrap(), []);
        store.append("key", &records(1..=3)).unwrap();
        store.append("key", &records(256..=300)).unwrap();
        store.append("key", &[]).unwrap();
        assert_eq!(store.load_newest("key", None, 2).unwrap(), records([300, 299]));
        assert_eq!(store.load_newest("key", Some(257), 2).unwrap(), records([256, 3]));
        assert_eq!(store.load_newest("key", Some(3), 10).unwrap(), records([2, 1]));
        assert_eq!(store.load_newest("key", Some(1), 10).unwrap(), []);
        assert_eq!(store.load_newest("key", None, 0).unwrap(), []);
        store.append("empty", &[]).unwrap();
        assert_eq!(store.keys(None, 10).unwrap(), ["key"], "no record, no history");
    });
}

pub(super) fn any_id_has_its_place<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        store.append("key", &records([0, 1, u64::MAX - 1, u64::MAX])).unwrap();
        assert_eq!(ids(store, "key"), [u64::MAX, u64::MAX - 1, 1, 0]);
        let below = store.load_newest("key", Some(u64::MAX), 1).unwrap();
        assert_eq!(below, records([u64::MAX - 1]));
        assert_eq!(store.load_newest("key", Some(0), 1).unwrap(), []);
        assert_eq!(store.keys(None, 10).unwrap(), ["key"]);
        assert_eq!(store.keys(Some("key"), 10).unwrap(), [""; 0]);
        // Between and before what is there.
        store.append("key", &records([5, 3])).unwrap();
        assert_eq!(ids(store, "key"), [u64::MAX, u64::MAX - 1, 5, 3, 1, 0]);
    });
}

pub(super) fn any_bytes_of_a_record_come_back_as_they_were<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        let mut records: Vec<_> =
            (0..).zip(ANY_BYTES).map(|(id, bytes)| HistoryRecord::new(id, bytes)).collect();
        store.append("key", &records).unwrap();
        records.reverse();
        assert_eq!(store.load_newest("key", None, 100).unwrap(), records);
    });
}

pub(super) fn a_record_replaces_the_one_with_its_id<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        store.append("key", &records(1..=3)).unwrap();
        store.append("key", &records(2..=4)).unwrap();
        assert_eq!(ids(store, "key"), [4, 3, 2, 1]);
        store.append("key", &[HistoryRecord::new(3, "another")]).unwrap();
        let newest = store.load_newest("key", None, 2).unwrap();
        assert_eq!(newest[1], HistoryRecord::new(3, "another"));
        assert_eq!(ids(store, "key"), [4, 3, 2, 1]);
    });
}

pub(super) fn several_histories_are_appended_at_once<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        store.append_all(&[]).unwrap();
        let histories: [(&str, &[u64]); 4] =
            [("a", &[1, 2, 3]), ("b", &[4]), ("c", &[]), ("a", &[7, 8])];
        let histories = histories.map(|(key, ids)| (key.to_owned(), records(ids.iter().copied())));
        store.append_all(&histories).unwrap();
        assert_eq!(ids(store, "a"), [8, 7, 3, 2, 1]);
        assert_eq!(ids(store, "b"), [4]);
        let keys: BTreeSet<_> = store.keys(None, 10).unwrap().into_iter().collect();
        assert_eq!(keys, ["a", "b"].map(str::to_owned).into());
    });
}

pub(super) fn every_key_has_a_history_of_its_own<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        let histories: Vec<_> =
            (0..).zip(KEYS).map(|(n, key)| (key.to_owned(), records([n, 1000]))).collect();
        store.append_all(&histories).unwrap();
        for (n, key) in (0..).zip(KEYS) {
            assert_eq!(ids(store, key), [1000, n], "{key:?}");
        }
        for key in KEYS {
            store.trim(key, u64::MAX, 0).unwrap();
            assert_eq!(ids(store, key), [0_u64; 0]);
        }
        let key = |name: &str| format!("circuit_breaker:{name}:history");
        let names = nasty_names();
        for (id, name) in (0..).zip(&names) {
            store.append(&key(name), &[HistoryRecord::new(id, name.as_str())]).unwrap();
        }
        for (id, name) in (0..).zip(&names) {
            let records = store.load_newest(&key(name), None, 10).unwrap();
            assert_eq!(records, [HistoryRecord::new(id, name.as_str())], "{name:?}");
            store.trim(&key(name), u64::MAX, 0).unwrap();
        }
        assert_eq!(store.keys(None, 10).unwrap(), [""; 0]);
    });
}

pub(super) fn values_and_histories_are_independent<S: Subject>(subject: &S) {
    let store = subject.open();
    let Some(histories) = store.history() else { return };
    histories.append("key", &records(1..=3)).unwrap();
    assert_eq!(store.load("key").unwrap(), None);
    assert_eq!(all(&store), map([]));
    store.save(&SaveEntry::new("key", "value")).unwrap();
    histories.trim("key", 0, 0).unwrap();
    assert_eq!(all(&store), map([("key", "value")]));
    histories.append("key", &records(4..=4)).unwrap();
    store.delete("key").unwrap();
    assert_eq!(ids(histories, "key"), [4]);
}

pub(super) fn keys_of_histories_are_read_in_pages<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        assert_eq!(store.keys(None, 10).unwrap(), [""; 0]);
        for key in KEYS {
            store.append(key, &records(0..100)).unwrap();
        }
        assert_eq!(store.keys(None, 0).unwrap(), [""; 0]);
        for limit in [1, 2, KEYS.len(), 100] {
            let mut listed =
                pages(limit, String::as_str, |after, limit| store.keys(after, limit).unwrap());
            assert_eq!(listed, store.keys(None, 100).unwrap(), "the order is always the same");
            let mut expected = KEYS.map(str::to_owned);
            expected.sort();
            listed.sort();
            assert_eq!(listed, expected);
        }
        store.trim("a", u64::MAX, 0).unwrap();
        assert!(!store.keys(None, 100).unwrap().contains(&"a".to_owned()));
        assert_eq!(store.keys(Some("a"), 100).unwrap().len(), KEYS.len() - 1 - before("a", store));
    });
}

/// How many keys are listed before one that may be gone.
fn before(key: &str, store: &dyn HistoryStore) -> usize {
    let after = store.keys(Some(key), 100).unwrap();
    let all = store.keys(None, 100).unwrap();
    assert!(all.ends_with(&after), "{all:?} continues after {key:?} with {after:?}");
    all.len() - after.len()
}

pub(super) fn trim_removes_records_that_are_too_old_or_too_many<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        store.trim("key", 100, 100).unwrap();
        store.append("key", &records(1..=10)).unwrap();
        store.append("kez", &records(1..=10)).unwrap();
        store.trim("key", 4, 100).unwrap();
        assert_eq!(ids(store, "key"), [10, 9, 8, 7, 6, 5, 4]);
        store.trim("key", 0, 3).unwrap();
        assert_eq!(ids(store, "key"), [10, 9, 8]);
        store.trim("key", 10, 3).unwrap();
        assert_eq!(ids(store, "key"), [10]);
        assert_eq!(ids(store, "kez").len(), 10);
    });
}

pub(super) fn what_a_handle_has_appended_is_discarded<S: Subject>(subject: &S) {
    with_histories(subject, |store| {
        store.discard("key").unwrap();
        store.append("key", &records(1..=10)).unwrap();
        store.append("kez", &records(1..=10)).unwrap();
        store.discard("key").unwrap();
        assert!(ids(store, "key").is_empty());
        assert_eq!(store.keys(None, 9).unwrap(), ["kez"]);
        store.append("key", &records(3..=4)).unwrap();
        assert_eq!(ids(store, "key"), [4, 3]);
    });
}

pub(super) fn histories_are_there_after_reopening<S: Subject>(subject: &S) {
    for round in 1..=5 {
        with_histories(subject, |store| {
            assert_eq!(ids(store, "key"), (1..round).rev().collect::<Vec<_>>());
            store.append("key", &records(round..=round)).unwrap();
        });
    }
}

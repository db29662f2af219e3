//! Values under keys.

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use proptest::prelude::*;
use tower_breaker::{StateStore, store::SaveEntry};

use super::{ANY_BYTES, KEYS, Subject, all, map, pages, records};
use crate::names::nasty_names;

fn keys_of_all_kinds() -> Vec<String> {
    let names = nasty_names();
    let states = names.iter().map(|name| format!("circuit_breaker:{name}:state"));
    states.chain(KEYS.map(str::to_owned)).chain([String::new()]).collect()
}

pub(super) fn a_value_is_saved_replaced_and_deleted<S: Subject>(subject: &S) {
    let store = subject.open();
    assert_eq!(store.load("a").unwrap(), None);
    store.save(&SaveEntry::new("a", "1")).unwrap();
    assert_eq!(store.load("a").unwrap().unwrap(), b"1");
    store.save(&SaveEntry::new("b", "2")).unwrap();
    store.save(&SaveEntry::new("a", "a longer value")).unwrap();
    assert_eq!(all(&store), map([("a", "a longer value"), ("b", "2")]));
    store.delete("a").unwrap();
    store.delete("a").unwrap();
    store.delete("never there").unwrap();
    assert_eq!(store.load("a").unwrap(), None);
    assert_eq!(all(&store), map([("b", "2")]));
}

pub(super) fn several_values_are_saved_at_once<S: Subject>(subject: &S) {
    let store = subject.open();
    store.save_all(&[]).unwrap();
    store.save(&SaveEntry::new("a", "1")).unwrap();
    let entries = [SaveEntry::new("b", "2"), SaveEntry::new("a", "3"), SaveEntry::new("b", "4")];
    store.save_all(&entries).unwrap();
    assert_eq!(all(&store), map([("a", "3"), ("b", "4")]));
}

pub(super) fn many_values_are_saved_at_once<S: Subject>(subject: &S) {
    let store = subject.open();
    let value = |n: usize| format!("value {n} {}", ".".repeat(n % 500)).into_bytes();
    let entries: Vec<_> =
        (0..S::MANY).map(|n| SaveEntry::new(format!("key {n}"), value(n))).collect();
    store.save_all(&entries).unwrap();
    assert_eq!(all(&store), entries.into_iter().map(|entry| (entry.key, entry.value)).collect());
}

pub(super) fn any_bytes_come_back_as_they_were<S: Subject>(subject: &S) {
    let store = subject.open();
    let large = "x".repeat(1 << 20).into_bytes();
    for value in ANY_BYTES.into_iter().chain([large.as_slice()]) {
        for key in ["key", "circuit_breaker:payments:state"] {
            store.save(&SaveEntry::new(key, value)).unwrap();
            assert_eq!(store.load(key).unwrap().as_deref(), Some(value));
        }
    }
}

pub(super) fn every_key_has_a_value_of_its_own<S: Subject>(subject: &S) {
    let store = subject.open();
    let keys = keys_of_all_kinds();
    for key in &keys {
        store.save(&SaveEntry::new(key, format!("of {key}"))).unwrap();
    }
    for key in &keys {
        assert_eq!(store.load(key).unwrap().unwrap(), format!("of {key}").as_bytes(), "{key:?}");
    }
    let expected = keys.iter().map(|key| (key.clone(), format!("of {key}").into_bytes()));
    assert_eq!(all(&store), expected.collect());
    for (done, key) in keys.iter().enumerate() {
        store.delete(key).unwrap();
        assert_eq!(all(&store).len(), keys.len() - done - 1, "{key:?}");
    }
}

pub(super) fn several_keys_are_removed_at_once<S: Subject>(subject: &S) {
    let store = subject.open();
    store.delete_all(&[]).unwrap();
    let mut keys = keys_of_all_kinds();
    // More than a store may write in one go.
    keys.extend((0..1500).map(|number| format!("circuit_breaker:{number}:state")));
    let entries: Vec<_> = keys.iter().map(|key| SaveEntry::new(key, "1")).collect();
    store.save_all(&entries).unwrap();
    let kept = keys.split_off(3);
    keys.push("circuit_breaker:never stored:state".to_owned());
    store.delete_all(&keys).unwrap();
    assert_eq!(all(&store).into_keys().collect::<BTreeSet<_>>(), kept.iter().cloned().collect());
    store.delete_all(&kept).unwrap();
    drop(store);
    assert!(all(&subject.open()).is_empty());
}

pub(super) fn what_a_handle_has_saved_is_discarded<S: Subject>(subject: &S) {
    let store = subject.open();
    let keys = keys_of_all_kinds();
    let entries: Vec<_> = keys.iter().map(|key| SaveEntry::new(key, "1")).collect();
    store.save_all(&entries).unwrap();
    let (discarded, kept) = keys.split_at(3);
    store.discard_all(discarded).unwrap();
    store.discard_all(&[]).unwrap();
    let left: BTreeSet<_> = all(&store).into_keys().collect();
    assert_eq!(left, kept.iter().cloned().collect());
    store.discard_all(&["circuit_breaker:never stored:state".to_owned()]).unwrap();
    // Under the same key, there may be another value later.
    store.save(&entries[0]).unwrap();
    assert_eq!(all(&store).len(), kept.len() + 1);
    store.discard_all(&keys).unwrap();
    drop(store);
    assert!(all(&subject.open()).is_empty());
}

pub(super) fn similar_keys_have_values_of_their_own<S: Subject>(_: &S) {
    let config = ProptestConfig::with_cases(32);
    proptest!(config, |(one: String, other: String, similarity in 0..4)| {
        let other = match similarity {
            0 => one.to_uppercase(),
            1 => one.to_lowercase(),
            2 => format!("{one}."),
            _ => other,
        };
        let key = |name: &str| format!("circuit_breaker:{name}:state");
        let subject = S::create().unwrap();
        let store = subject.open();
        let entries = [SaveEntry::new(key(&one), "one"), SaveEntry::new(key(&other), "other")];
        store.save_all(&entries).unwrap();
        let expected = if one == other { b"other".to_vec() } else { b"one".to_vec() };
        prop_assert_eq!(store.load(&key(&one)).unwrap(), Some(expected));
        prop_assert_eq!(store.load(&key(&other)).unwrap(), Some(b"other".to_vec()));
        store.delete(&key(&other)).unwrap();
        prop_assert_eq!(store.load(&key(&one)).unwrap().is_some(), one != other);
    });
}

pub(super) fn values_are_read_in_pages<S: Subject>(subject: &S) {
    let store = subject.open();
    assert_eq!(store.load_page(None, 10).unwrap(), []);
    for key in KEYS {
        store.save(&SaveEntry::new(key, key)).unwrap();
    }
    if let Some(histories) = store.history() {
        histories.append("history", &records(1..=3)).unwrap();
    }
    let visited = |after: Option<&str>, limit| {
        let mut page = Vec::new();
        let visit = &mut |key: &str, value: &[u8]| page.push((key.to_owned(), value.to_vec()));
        store.visit_page(after, limit, visit).unwrap();
        page
    };
    assert_eq!(store.load_page(None, 0).unwrap(), []);
    assert_eq!(visited(None, 0), []);
    let in_one = store.load_page(None, usize::MAX).unwrap();
    for limit in [1, 2, KEYS.len(), 100] {
        let read = pages(limit, key_of, |after, limit| store.load_page(after, limit).unwrap());
        assert_eq!(read, in_one, "the order is the same at each call");
        assert_eq!(pages(limit, key_of, visited), in_one, "what is visited is what is read");
    }
    assert_eq!(all(&store), map(KEYS.map(|key| (key, key))));
}

fn key_of((key, _): &(String, Vec<u8>)) -> &str {
    key
}

pub(super) fn pages_continue_after_a_key_that_was_deleted<S: Subject>(subject: &S) {
    let store = subject.open();
    for key in KEYS {
        store.save(&SaveEntry::new(key, key)).unwrap();
    }
    let mut deleted = BTreeSet::new();
    let mut after: Option<String> = None;
    while let Some((key, _)) = store.load_page(after.as_deref(), 1).unwrap().pop() {
        store.delete(&key).unwrap();
        assert!(deleted.insert(key.clone()), "{key:?} comes back");
        after = Some(key);
    }
    assert_eq!(deleted, KEYS.map(str::to_owned).into());
    assert_eq!(store.load_page(None, 10).unwrap(), []);
}

pub(super) fn a_value_is_there_before_its_ttl_ends<S: Subject>(subject: &S) {
    let store = subject.open();
    let hour = Duration::from_secs(3600);
    store.save(&SaveEntry::new("a", "1").with_ttl(hour)).unwrap();
    let entries = [
        SaveEntry::new("b", "2").with_ttl(hour),
        SaveEntry::new("c", "3").with_ttl(Duration::MAX),
        SaveEntry::new("a", "4"),
    ];
    store.save_all(&entries).unwrap();
    assert_eq!(all(&store), map([("a", "4"), ("b", "2"), ("c", "3")]));
    assert_eq!(store.load("b").unwrap().unwrap(), b"2");
}

pub(super) fn values_are_there_after_reopening<S: Subject>(subject: &S) {
    for round in 0..20_u8 {
        let store = subject.open();
        if round > 0 {
            assert_eq!(store.load("key").unwrap(), Some(vec![round - 1]));
        }
        store.save(&SaveEntry::new("key", [round])).unwrap();
    }
    let store = subject.open();
    store.save_all(&[SaveEntry::new("a", "1"), SaveEntry::new("\u{1}/../ü", "2")]).unwrap();
    store.delete("key").unwrap();
    drop(store);
    assert_eq!(all(&subject.open()), map([("\u{1}/../ü", "2"), ("a", "1")]));
}

pub(super) fn threads_do_not_disturb_each_other<S: Subject>(subject: &S) {
    const ROUNDS: u8 = 20;
    let store = subject.open();
    thread::scope(|scope| {
        for number in 0..4_u8 {
            let store = store.clone();
            scope.spawn(move || {
                let own = format!("key {number}");
                for round in 0..ROUNDS {
                    let shared = [number; 100];
                    let entries = [SaveEntry::new(&own, [round]), SaveEntry::new("shared", shared)];
                    store.save_all(&entries).unwrap();
                    assert_eq!(store.load(&own).unwrap().unwrap(), [round]);
                    let shared = store.load("shared").unwrap().unwrap();
                    assert!(shared.len() == 100 && shared.iter().all(|byte| *byte == shared[0]));
                }
            });
        }
    });
    assert_eq!(all(&store).len(), 5);
    for number in 0..4 {
        assert_eq!(store.load(&format!("key {number}")).unwrap().unwrap(), [ROUNDS - 1]);
    }
}

pub(super) fn handles_of_one_storage_have_the_same_id<S: Subject>(subject: &S) {
    let store = subject.open();
    let clone = store.clone();
    assert_eq!(store.id(), clone.id());
    clone.save(&SaveEntry::new("key", "of the clone")).unwrap();
    assert_eq!(store.load("key").unwrap().unwrap(), b"of the clone");
    let other = S::create().unwrap();
    let other_store = other.open();
    assert_ne!(store.id(), other_store.id());
    assert_eq!(other_store.load("key").unwrap(), None);
    let shared: Arc<dyn StateStore> = Arc::new(store.clone());
    assert_eq!((shared.id(), shared.label()), (store.id(), store.label()));
    assert_eq!(shared.history().is_some(), store.history().is_some());
}

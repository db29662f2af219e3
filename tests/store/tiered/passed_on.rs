//! Removals and histories, which both stores get.

use std::sync::{Arc, Mutex};

use tower_breaker::{
    StateStore,
    history::HistoryQuery,
    store::{HistoryRecord, HistoryStore, MemoryStore, SaveEntry, StoreError, StoreHealth, Tiered},
};

use super::{breaker, flush, trip};
use crate::support::{
    pass_on::pass_on,
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

fn delete_many(store: &Tiered) {
    for number in 0..=20_000 {
        store.delete(&number.to_string()).unwrap();
    }
}

#[test]
fn removals_do_not_pile_up_while_the_far_store_is_away() {
    let far = SickStore::default();
    far.show(Symptom::Fails);
    let store = Tiered::new(MemoryStore::new(), far);
    store.delete("first").unwrap();
    eventually("it is noticed", || store.far_health().is_degraded());
    delete_many(&store);
    let health = store.far_health();
    let StoreHealth::Degraded { pending, .. } = &health else { panic!("{health}") };
    assert!(*pending <= 20_000, "{pending}");
}

#[test]
fn a_far_store_gets_everything_after_something_was_dropped() {
    let (near, far) = (MemoryStore::new(), SickStore::default());
    breaker("earlier", near.clone()).force_open();
    let store = Tiered::new(near, far.clone());
    // It is slow, and not degraded.
    far.show(Symptom::Hangs);
    store.delete("first").unwrap();
    eventually("it is called", || far.threads() == 1);
    delete_many(&store);
    far.heal();
    let forced = r#""state":"forced_open""#;
    eventually("it is copied", || far.stored("earlier").contains(forced));
}

/// A store without histories, which notes how many keys it was to remove at once.
#[derive(Clone, Default)]
struct Plain {
    inner: MemoryStore,
    removed: Arc<Mutex<Vec<usize>>>,
}

impl StateStore for Plain {
    pass_on!(load, load_page, save);

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.delete_all(&[key.to_owned()])
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.removed.lock().unwrap().push(keys.len());
        self.inner.delete_all(keys)
    }
}

#[test]
fn several_keys_are_removed_at_once_from_both_stores() {
    let (near, far) = (Plain::default(), Plain::default());
    let store = Tiered::new(near.clone(), far.clone());
    let keys = ["a", "b", "c"].map(str::to_owned);
    for key in &keys {
        store.save(&SaveEntry::new(key.clone(), "value")).unwrap();
    }
    eventually("the far store has them", || far.load("c").unwrap().is_some());
    store.delete_all(&keys).unwrap();
    assert_eq!(*near.removed.lock().unwrap(), [3]);
    eventually("the far store has none", || far.load_page(None, 9).unwrap().is_empty());
    assert_eq!(*far.removed.lock().unwrap(), [3]);
}

#[tokio::test]
async fn a_store_that_keeps_histories_makes_up_for_one_that_does_not() {
    let far = MemoryStore::new();
    let breaker = breaker("history", Tiered::new(Plain::default(), far.clone()));
    trip(&breaker);
    flush(&breaker);
    let history = breaker.history(HistoryQuery::default()).await.unwrap();
    assert_eq!(history.entries.len(), 1);
    let key = "circuit_breaker:history:history";
    eventually("the far store has it", || !far.load_newest(key, None, 9).unwrap().is_empty());
}

#[test]
fn a_history_that_the_near_store_cannot_read_is_read_from_the_far_one() {
    let (near, far) = (SickStore::around(Arc::new(MemoryStore::new())), MemoryStore::new());
    let store = Tiered::new(near.clone(), far.clone());
    let record = HistoryRecord::new(1, "record");
    store.append("key", std::slice::from_ref(&record)).unwrap();
    near.show(Symptom::FailsForHistories);
    assert_eq!(store.load_newest("key", None, 9).unwrap(), [record]);
    assert!(store.append("key", &[HistoryRecord::new(2, "record")]).is_err());
    // Trimmed in the far store before it is read there.
    assert!(store.trim("key", 0, 1).is_err());
    assert_eq!(store.load_newest("key", None, 9).unwrap(), [HistoryRecord::new(2, "record")]);
}

//! A group with a store.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, Event, FileStore, KeyedBreakers, MemoryStore, Registry, SledStore, State, StateStore,
    event::Reason, registry::WhenFull, store::StoreHealth,
};

use crate::support::{
    pass_on::pass_on,
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

pub(super) fn group(name: &str, store: &(impl StateStore + Clone)) -> KeyedBreakers {
    KeyedBreakers::builder(name).store(store.clone()).max_breakers(100).build().unwrap()
}

fn fail(breaker: &Breaker, times: usize) {
    (0..times).for_each(|_| breaker.try_acquire().unwrap().failure());
}

#[test]
fn an_open_key_is_rejected_by_the_first_call_after_a_restart() {
    let store = MemoryStore::new();
    let hosts = group("hosts", &store);
    fail(&hosts.get_or_create("bad:8080").unwrap(), 5);
    fail(&hosts.get_or_create("failing").unwrap(), 3);
    drop(hosts);

    let hosts = group("hosts", &store);
    assert_eq!(hosts.len(), 2);
    assert_eq!(hosts.get("bad:8080").unwrap().state(), State::Open);
    hosts.get("bad:8080").unwrap().try_acquire().unwrap_err();
    assert_eq!(hosts.get("failing").unwrap().stats().consecutive_failures(), 3);
}

#[test]
fn a_key_that_was_hashed_is_restored() {
    let store = MemoryStore::new();
    let key = "long".repeat(1000);
    group("hosts", &store).get_or_create(&key).unwrap().force_open();
    assert_eq!(group("hosts", &store).get(&key).unwrap().state(), State::ForcedOpen);
}

#[test]
fn what_belongs_to_others_is_not_taken() {
    let store = MemoryStore::new();
    Breaker::builder("hosts").store(store.clone()).build().unwrap().force_open();
    let others = group("hosts:more", &store);
    others.get_or_create("a").unwrap().force_open();
    group("other", &store).get_or_create("b").unwrap().force_open();

    assert!(group("hosts", &store).is_empty());
    assert_eq!(group("other", &store).len(), 1);
}

#[test]
fn circuits_that_are_not_closed_are_restored_first() {
    let store = MemoryStore::new();
    let hosts = group("hosts", &store);
    for key in 0..20 {
        fail(&hosts.get_or_create(&format!("closed {key}")).unwrap(), 1);
    }
    for key in 0..3 {
        fail(&hosts.get_or_create(&format!("open {key}")).unwrap(), 5);
    }
    drop(hosts);

    let hosts = KeyedBreakers::builder("hosts").store(store).max_breakers(5).build().unwrap();
    let states: Vec<State> = hosts.breakers().iter().map(Breaker::state).collect();
    assert_eq!(states.len(), 5);
    assert_eq!(states.iter().filter(|state| **state == State::Open).count(), 3);
}

#[test]
fn a_restored_state_is_an_event() {
    let store = MemoryStore::new();
    group("hosts", &store).get_or_create("a").unwrap().force_open();
    let restored = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&restored);
    let builder = KeyedBreakers::builder("hosts").store(store).on_event(move |event| {
        let Event::Transition(transition) = event else { return };
        assert_eq!((transition.reason, transition.to), (Reason::Restored, State::ForcedOpen));
        counter.fetch_add(1, SeqCst);
    });
    let _hosts = builder.build().unwrap();
    assert_eq!(restored.load(SeqCst), 1);
}

/// A thousand waits for the store would take more than a quarter of an hour.
#[test]
fn calls_never_wait_for_a_store_that_hangs() {
    let store = SickStore::default();
    store.show(Symptom::Hangs);
    let hosts = KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(10).build();
    let hosts = hosts.unwrap();
    let start = Instant::now();
    for key in 0..1000 {
        fail(&hosts.get_or_create(&key.to_string()).unwrap(), 1);
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(hosts.len(), 10);
    store.heal();
}

/// A second for all of it, and not one more for the shared breaker.
#[test]
fn a_store_that_hangs_delays_the_construction_by_a_second_alone() {
    // The store would hold up each of them for two seconds.
    let is_in_time = (0..5).any(|_| {
        let store = SickStore::default();
        store.show(Symptom::Hangs);
        let start = Instant::now();
        let builder = KeyedBreakers::builder("hosts").store(store.clone());
        let _hosts = builder.when_full(WhenFull::Share).build().unwrap();
        let elapsed = start.elapsed();
        store.heal();
        elapsed < Duration::from_millis(1900)
    });
    assert!(is_in_time);
}

#[test]
fn the_shared_breaker_is_restored_by_the_construction() {
    let store = MemoryStore::new();
    let build = || {
        let builder = KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1);
        builder.when_full(WhenFull::Share).build().unwrap()
    };
    let hosts = build();
    hosts.get_or_create("a").unwrap().force_open();
    let shared = hosts.get_or_create("b").unwrap();
    assert_eq!(shared.name(), "hosts");
    shared.force_open();
    drop((shared, hosts));
    assert_eq!(build().get_or_create("b").unwrap().state(), State::ForcedOpen);
}

#[test]
fn a_store_that_is_slow_at_the_start_is_restored_from_later() {
    let store = SickStore::default();
    group("hosts", &store).get_or_create("bad").unwrap().force_open();
    store.show(Symptom::Hangs);
    let hosts = group("hosts", &store);
    assert!(hosts.is_empty());
    store.heal();
    eventually("it is restored", || {
        hosts.get("bad").is_some_and(|bad| bad.state() == State::ForcedOpen)
    });
}

#[test]
fn states_by_hand_are_restored_before_open_circuits() {
    let store = MemoryStore::new();
    let hosts = group("hosts", &store);
    for key in 0..5 {
        fail(&hosts.get_or_create(&format!("a {key}")).unwrap(), 5);
    }
    hosts.get_or_create("b").unwrap().disable();
    drop(hosts);
    let hosts = KeyedBreakers::builder("hosts").store(store).max_breakers(2).build().unwrap();
    assert_eq!(hosts.get("b").unwrap().state(), State::Disabled);
}

fn value(store: &impl StateStore, key: &str) -> Option<String> {
    let bytes = store.load(&format!("circuit_breaker:hosts:{key}:state")).unwrap()?;
    Some(String::from_utf8(bytes).unwrap())
}

/// Otherwise invented keys would fill the store until they expire.
#[test]
fn a_replaced_breaker_is_deleted_from_the_store() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    let old = hosts.get_or_create("a").unwrap();
    old.force_open();
    old.reset();
    fail(&old, 3);
    old.flush_blocking(Duration::from_secs(10)).unwrap();
    assert!(value(&store, "a").unwrap().contains(r#""failure_count":3"#));
    assert_eq!(store.history().unwrap().keys(None, 10).unwrap().len(), 1);

    let new = hosts.get_or_create("b").unwrap();
    eventually("its snapshot is gone", || value(&store, "a").is_none());
    eventually("and so is its history", || {
        store.history().unwrap().keys(None, 10).unwrap().is_empty()
    });
    // What is done with a handle that was kept is not saved.
    fail(&old, 2);
    fail(&new, 1);
    new.flush_blocking(Duration::from_secs(10)).unwrap();
    assert_eq!(value(&store, "a"), None);
    assert!(value(&store, "b").is_some());
}

#[test]
fn a_key_that_returns_begins_anew_and_is_saved() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    for _ in 0..20 {
        for key in ["a", "b"] {
            let breaker = hosts.get_or_create(key).unwrap();
            assert_eq!(breaker.stats().consecutive_failures(), 0);
            fail(&breaker, 2);
            if key == "a" {
                breaker.flush_blocking(Duration::from_secs(10)).unwrap();
            }
        }
    }
    hosts.get("b").unwrap().flush_blocking(Duration::from_secs(10)).unwrap();
    eventually("the other one is gone", || value(&store, "a").is_none());
    assert!(value(&store, "b").unwrap().contains(r#""failure_count":2"#));
    drop(hosts);
    assert!(value(&store, "b").is_some());
}

/// The deletions wait for the store, and nothing else does.
#[test]
fn what_is_deleted_while_the_store_fails_is_deleted_when_it_works_again() {
    let store = SickStore::default();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    let old = hosts.get_or_create("a").unwrap();
    fail(&old, 1);
    old.flush_blocking(Duration::from_secs(10)).unwrap();
    store.show(Symptom::Fails);
    hosts.get_or_create("b").unwrap();
    eventually("it was tried", || hosts.get("b").unwrap().store_health() != StoreHealth::Healthy);
    store.heal();
    eventually("it is deleted", || value(&store, "a").is_none());
}

/// A breaker of the user's own has the name of a key's breaker: it owns the state.
#[test]
fn a_snapshot_that_another_breaker_uses_is_not_deleted() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    let own = Breaker::builder("hosts:a").store(store.clone()).build().unwrap();
    fail(&own, 1);
    own.flush_blocking(Duration::from_secs(10)).unwrap();
    fail(&hosts.get_or_create("a").unwrap(), 1);
    hosts.get_or_create("b").unwrap().flush_blocking(Duration::from_secs(10)).unwrap();
    fail(&own, 1);
    own.flush_blocking(Duration::from_secs(10)).unwrap();
    assert!(value(&store, "a").unwrap().contains(r#""failure_count":3"#));
}

/// The names of stored breakers are found while their keys are used.
#[test]
fn a_key_that_is_used_during_the_restore_has_one_breaker_alone() {
    for _ in 0..20 {
        let store = MemoryStore::new();
        let hosts = group("hosts", &store);
        for key in 0..50 {
            fail(&hosts.get_or_create(&key.to_string()).unwrap(), 5);
        }
        drop(hosts);
        let shared = Arc::new(OnceLock::<KeyedBreakers>::new());
        let inner = Arc::clone(&shared);
        let hosts = KeyedBreakers::builder("hosts")
            .store(store)
            .max_breakers(100)
            .on_event(move |_| {
                if let Some(group) = inner.get() {
                    let _ = group.get_or_create("49");
                }
            })
            .build()
            .unwrap();
        let hosts = shared.get_or_init(|| hosts);
        for breaker in hosts.breakers() {
            let health = breaker.store_health();
            assert!(!matches!(health, StoreHealth::Superseded { .. }), "{breaker:?}");
            assert_eq!(breaker.state(), State::Open);
        }
        assert_eq!(hosts.len(), 50);
    }
}

/// On a busy machine, a call of the store may take so long that a flush does not wait for it.
fn flush(breaker: &Breaker) {
    eventually("it is saved", || breaker.flush_blocking(Duration::from_secs(30)).is_ok());
}

/// Fifty thousand keys that fail, in a group of fifty.
fn stored_keys_after_an_attack(store: &(impl StateStore + Clone), keys: u32) -> usize {
    const MAX: usize = 50;
    let count = || store.load_page(None, 100_000).unwrap().len();
    let hosts = KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(MAX);
    let hosts = hosts.build().unwrap();
    let mut most = 0;
    for key in 0..keys {
        let breaker = hosts.get_or_create(&key.to_string()).unwrap();
        fail(&breaker, 2);
        if key % (keys / 20) == 0 {
            // So that what is there is stored before it is replaced.
            for breaker in hosts.breakers() {
                flush(&breaker);
            }
            most = most.max(count());
        }
    }
    // Those of which the writer has not heard yet, and those that it is about to delete.
    assert!(most <= 3 * MAX, "{most} keys");
    eventually("what was replaced is deleted", || count() <= MAX);
    assert!(store.history().unwrap().keys(None, 1000).unwrap().len() <= MAX);
    let is_stored = |breaker: &Breaker| {
        flush(breaker);
        store.load(&format!("circuit_breaker:{}:state", breaker.name())).unwrap().is_some()
    };
    assert!(hosts.breakers().iter().all(is_stored));
    count()
}

#[test]
fn invented_keys_do_not_fill_a_sled_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path().join("state")).unwrap();
    assert!(stored_keys_after_an_attack(&store, 50_000) <= 50);
}

#[test]
fn invented_keys_do_not_fill_a_folder_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("state")).unwrap();
    assert!(stored_keys_after_an_attack(&store, 50_000) <= 50);
}

/// Counts how often it is asked what it is.
#[derive(Clone, Default)]
struct AskedStore {
    inner: MemoryStore,
    asked: Arc<AtomicUsize>,
}

impl StateStore for AskedStore {
    pass_on!(load, load_page, save, delete);

    fn expires_by_itself(&self) -> bool {
        self.asked.fetch_add(1, SeqCst);
        false
    }

    fn needs_sweep(&self) -> bool {
        self.asked.fetch_add(1, SeqCst);
        false
    }

    fn id(&self) -> usize {
        self.asked.fetch_add(1, SeqCst);
        self.inner.id()
    }

    fn label(&self) -> &'static str {
        self.asked.fetch_add(1, SeqCst);
        "asked"
    }
}

/// It may use breakers, and these are built with locks held.
#[test]
fn a_store_is_asked_what_it_is_when_it_is_given_to_a_builder_and_never_again() {
    let store = AskedStore::default();
    let builder = KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(2);
    let of_registry = Registry::builder().store(store.clone());
    let asked = store.asked.load(SeqCst);
    assert_eq!(asked, 8);
    let (hosts, registry) = (builder.build().unwrap(), of_registry.build().unwrap());
    for key in ["a", "b", "c"] {
        fail(&hosts.get_or_create(key).unwrap(), 1);
        fail(&registry.get_or_create(key).unwrap(), 1);
    }
    assert_eq!(store.asked.load(SeqCst), asked);
}

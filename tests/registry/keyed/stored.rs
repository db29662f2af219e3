//! A group with a store.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, Event, KeyedBreakers, MemoryStore, Registry, State, StateStore, event::Reason,
    registry::WhenFull, store::StoreHealth,
};

use crate::support::{
    pass_on::pass_on,
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

pub(super) fn group(name: &str, store: &(impl StateStore + Clone)) -> KeyedBreakers {
    KeyedBreakers::builder(name).store(store.clone()).max_breakers(100).build().unwrap()
}

pub(super) fn fail(breaker: &Breaker, times: usize) {
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

/// The names of stored breakers are found while their keys are used.
#[test]
fn a_key_that_is_used_during_the_restore_has_one_breaker_alone() {
    for _ in 0..20 {
        let store = MemoryStore::new();
        let hosts = group("hosts", &store);
        for key in 0..50 {
            fail(&hosts.get_or_create(&key.to_string()).unwrap(), 5);
        }
        // On a busy machine, the drop alone may not wait for long enough.
        for breaker in hosts.breakers() {
            eventually("it is saved", || breaker.flush_blocking(Duration::from_secs(30)).is_ok());
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
        eventually("all are restored", || hosts.len() == 50);
        for breaker in hosts.breakers() {
            let health = breaker.store_health();
            assert!(!matches!(health, StoreHealth::Superseded { .. }), "{breaker:?}");
            assert_eq!(breaker.state(), State::Open);
        }
    }
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

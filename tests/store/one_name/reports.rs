//! What the log and listeners hear of breakers of one name.

use std::sync::{Arc, Mutex};

use tower_breaker::{Breaker, Event, MemoryStore, State, event::Reason, store::StoreHealth};

use super::{NAME, build_on, builder, is_superseded};
use crate::support::{log::Log, wait::MINUTE};

#[test]
fn an_older_breaker_warns_once() {
    let log = Log::default();
    log.during(|| {
        let store = MemoryStore::new();
        let older = build_on(&store);
        assert_eq!(log.lines_with("WARN"), 0);
        for _ in 0..3 {
            let younger = build_on(&store);
            assert!(is_superseded(&older));
            drop(younger);
            assert_eq!(older.store_health(), StoreHealth::Healthy);
        }
        assert_eq!(log.lines_with("WARN"), 1);
        assert_eq!(log.lines_with("clone the handle"), 1);
        assert_eq!(log.lines_with(NAME), 1 + 3, "ownership returns at INFO");
    });
}

#[test]
fn a_state_that_is_taken_over_is_reported_as_restored() {
    let store = MemoryStore::new();
    let older = build_on(&store);
    let events: Arc<Mutex<Vec<(State, State, Reason)>>> = Arc::default();
    let listener = Arc::clone(&events);
    older.force_open();
    let younger = builder()
        .on_event(move |event| {
            if let Event::Transition(it) = event {
                listener.lock().unwrap().push((it.from, it.to, it.reason));
            }
        })
        .store(store.clone())
        .build()
        .unwrap();
    let expected = [(State::Closed, State::ForcedOpen, Reason::Restored)];
    assert_eq!(*events.lock().unwrap(), expected);
    drop(younger);
}

/// A listener that builds a breaker of the same name while the state is being taken over.
#[test]
fn a_listener_may_build_a_breaker_of_the_same_name() {
    let store = MemoryStore::new();
    let older = build_on(&store);
    older.force_open();
    let built: Arc<Mutex<Option<Breaker>>> = Arc::default();
    let (keep, on) = (Arc::clone(&built), store.clone());
    let younger = builder()
        .on_event(move |_| {
            let third = build_on(&on);
            *keep.lock().unwrap() = Some(third);
        })
        .store(store.clone())
        .build()
        .unwrap();
    let third = built.lock().unwrap().take().expect("it was built");
    assert_eq!((younger.state(), third.state()), (State::ForcedOpen, State::ForcedOpen));
    assert!(is_superseded(&younger) && is_superseded(&older));
    third.flush_blocking(MINUTE).unwrap();
}

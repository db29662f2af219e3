//! One stream of events for all breakers.

use std::sync::{Arc, Mutex, OnceLock};

use tower_breaker::{Event, MemoryStore, Registry, State, event::Transition};

fn transition(event: &Event) -> (String, State) {
    let Event::Transition(Transition { name, to, .. }) = event else { panic!("{event:?}") };
    (name.to_string(), *to)
}

#[test]
fn a_listener_and_a_subscriber_see_the_events_of_every_breaker() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let registry = Registry::builder()
        .on_event(move |event| listener.lock().unwrap().push(transition(event)))
        .build()
        .unwrap();
    let early = registry.get_or_create("early").unwrap();
    let mut subscriber = registry.subscribe();
    let late = registry.get_or_create("late").unwrap();

    early.force_open();
    late.force_open();
    early.reset();

    let expected = [
        ("early".to_owned(), State::ForcedOpen),
        ("late".to_owned(), State::ForcedOpen),
        ("early".to_owned(), State::Closed),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
    let received: Vec<_> =
        std::iter::from_fn(|| subscriber.try_recv().ok()).map(|event| transition(&event)).collect();
    assert_eq!(received, expected);
}

/// A registry whose store holds a circuit that is forced open. The listener gets the registry too.
fn restoring(
    listener: impl Fn(&Registry, &str, State) + Send + Sync + 'static,
) -> Arc<OnceLock<Registry>> {
    let store = MemoryStore::new();
    let before = Registry::builder().store(store.clone()).build().unwrap();
    before.get_or_create("payments").unwrap().force_open();
    drop(before);

    let registry = Arc::new(OnceLock::new());
    let inner = Arc::clone(&registry);
    let built = Registry::builder()
        .store(store)
        .on_event(move |event| {
            let (name, to) = transition(event);
            listener(inner.get().unwrap(), &name, to);
        })
        .build()
        .unwrap();
    registry.set(built).unwrap();
    registry
}

/// The event of a restored state comes from the build itself.
#[test]
fn a_listener_may_look_up_the_breaker_whose_build_caused_the_event() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let registry = restoring(move |registry, name, _| {
        let breaker = registry.get_or_create(name).unwrap();
        listener.lock().unwrap().push((name.to_owned(), breaker.state()));
    });

    let breaker = registry.get().unwrap().get_or_create("payments").unwrap();
    assert_eq!(breaker.state(), State::ForcedOpen);
    assert_eq!(*heard.lock().unwrap(), [("payments".to_owned(), State::ForcedOpen)]);
}

/// A listener may change the breaker, also while held back events are dispatched.
#[test]
fn events_that_a_listener_causes_come_after_those_that_were_held_back() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let registry = restoring(move |registry, name, to| {
        listener.lock().unwrap().push(to);
        if to == State::ForcedOpen {
            registry.get(name).unwrap().reset();
        }
    });

    let breaker = registry.get().unwrap().get_or_create("payments").unwrap();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(*heard.lock().unwrap(), [State::ForcedOpen, State::Closed]);
}

//! A new breaker takes over the state of an older one of its name, which may run listeners of the
//! older one: its open time may just have passed. They may use the registry, or the group.

use std::{
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use tower_breaker::{
    Breaker, Config, Event, KeyedBreakers, MemoryStore, Registry, State, clock::ManualClock,
};

use crate::support::wait::{MINUTE, eventually};

const OPEN_TIME: Duration = Duration::from_secs(60);

fn trip(breaker: &Breaker) {
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    assert_eq!(breaker.state(), State::Open);
}

fn is_half_open(event: &Event) -> bool {
    matches!(event, Event::Transition(transition) if transition.to == State::HalfOpen)
}

/// Does the work on another thread. Panics if that does not end.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || drop(done.send(work())));
    is_done.recv_timeout(MINUTE).expect("a listener waits for a lock that its own thread holds")
}

/// A breaker whose listener runs the closure when the open time is over.
fn older(
    name: &str,
    store: &MemoryStore,
    clock: &ManualClock,
    when_half_open: impl Fn() + Send + Sync + 'static,
) -> Breaker {
    let builder = Breaker::builder(name).store(store.clone()).clock(clock.clone());
    let older = builder.on_event(move |event| {
        if is_half_open(event) {
            when_half_open();
        }
    });
    older.build().unwrap()
}

#[test]
fn a_listener_of_a_removed_breaker_may_ask_the_registry_for_the_one_that_takes_over() {
    let clock = ManualClock::new();
    let own: Arc<OnceLock<Registry>> = Arc::default();
    let (used, heard) = (Arc::clone(&own), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&heard);
    let registry = Registry::builder()
        .store(MemoryStore::new())
        .clock(clock.clone())
        .on_event(move |event| {
            if is_half_open(event) {
                let registry = used.get().unwrap();
                assert_eq!(registry.get_or_create("a").unwrap().state(), State::HalfOpen);
                registry.get_or_create("b").unwrap();
                let _ = (registry.get("a"), registry.breakers());
                counter.fetch_add(1, SeqCst);
            }
        })
        .build()
        .unwrap();
    own.set(registry.clone()).unwrap();
    trip(&registry.get_or_create("a").unwrap());
    let removed = registry.remove("a").unwrap();
    clock.advance(OPEN_TIME);
    let working = registry.clone();
    let again = bounded(move || working.get_or_create("a").unwrap());
    assert_eq!(again.state(), State::HalfOpen, "its state was taken over");
    // Its listener may still run: the thread that keeps the time may have noticed it first.
    eventually("the older one is brought up to date", || heard.load(SeqCst) >= 1);
    assert_eq!(registry.breakers().len(), 2);
    drop(removed);
}

#[test]
fn a_listener_of_an_older_breaker_may_use_the_group_whose_breaker_takes_over() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let group = KeyedBreakers::builder("hosts").store(store.clone()).clock(clock.clone()).build();
    let group = group.unwrap();
    let (used, heard) = (group.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&heard);
    let older = older("hosts:a", &store, &clock, move || {
        assert_eq!(used.get_or_create("a").unwrap().state(), State::HalfOpen);
        assert!(used.get_or_create("b").is_some());
        used.update(Config::default()).unwrap();
        counter.fetch_add(1, SeqCst);
    });
    trip(&older);
    clock.advance(OPEN_TIME);
    let working = group.clone();
    let taken = bounded(move || working.get_or_create("a").unwrap());
    assert_eq!(taken.state(), State::HalfOpen, "its state was taken over");
    eventually("the older one is brought up to date", || heard.load(SeqCst) == 1);
    assert_eq!(group.len(), 2);
}

/// While the thread that has created it runs a listener that takes its time.
#[test]
fn other_threads_get_the_breaker_with_the_state_that_it_takes_over() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let registry = Registry::builder().store(store.clone()).clock(clock.clone()).build().unwrap();
    let group = KeyedBreakers::builder("hosts").store(store.clone()).clock(clock.clone()).build();
    let group = group.unwrap();
    for name in ["a", "hosts:a"] {
        let (begins, ends) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let listens = (Arc::clone(&begins), Arc::clone(&ends));
        let older = older(name, &store, &clock, move || {
            listens.0.wait();
            listens.1.wait();
        });
        trip(&older);
        clock.advance(OPEN_TIME);
        let (registry, group) = (registry.clone(), group.clone());
        let get = move || match name {
            "a" => registry.get_or_create("a").unwrap(),
            _ => group.get_or_create("a").unwrap(),
        };
        let creates = {
            let get = get.clone();
            thread::spawn(move || get().state())
        };
        bounded(move || begins.wait());
        assert_eq!(bounded(move || get().state()), State::HalfOpen, "{name}");
        bounded(move || ends.wait());
        assert_eq!(bounded(|| creates.join().unwrap()), State::HalfOpen, "{name}");
    }
}

//! A subscriber of the log that uses breakers within the lines that it is given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use tower_breaker::{Breaker, Config, KeyedBreakers, MemoryStore, Registry, State};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::support::wait::MINUTE;

/// Runs the closure in each line of this crate, but not in the lines of that closure.
struct DuringLog<F> {
    run: F,
    is_running: Arc<AtomicBool>,
}

impl<F: Fn() + Send + Sync + 'static> Subscriber for DuringLog<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_breaker")
    }

    fn event(&self, e: &Event<'_>) {
        if !self.is_running.swap(true, SeqCst) {
            (self.run)();
            self.is_running.store(false, SeqCst);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Does the work on a thread whose log runs the closure. Panics if that does not end, and returns
/// how often the closure ran.
fn with_log(work: impl FnOnce() + Send + 'static, run: impl Fn() + Send + Sync + 'static) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let run = move || {
        counter.fetch_add(1, SeqCst);
        run();
    };
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let is_running = Arc::new(AtomicBool::new(true));
        let subscriber = DuringLog { run, is_running: Arc::clone(&is_running) };
        tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            // tracing drops the lines of a subscriber, and for ever those of a place that is first
            // reached there.
            let store = MemoryStore::new();
            drop((rival("early", &store), rival("early", &store)));
            is_running.store(false, SeqCst);
            work();
        });
        let _ = done.send(());
    });
    is_done.recv_timeout(MINUTE).expect("a subscriber waits for a lock that its own thread holds");
    count.load(SeqCst)
}

/// A breaker that is built in place of another one of its name says so, and is restored, on the
/// thread that builds it.
fn rival(name: &str, store: &MemoryStore) -> Breaker {
    let rival = Breaker::builder(name).store(store.clone()).build().unwrap();
    rival.force_open();
    rival
}

#[test]
fn a_subscriber_may_use_the_group_while_a_breaker_of_it_is_built() {
    let store = MemoryStore::new();
    let _rivals = ["hosts:a", "hosts:b"].map(|name| rival(name, &store));
    let group = KeyedBreakers::builder("hosts").store(store).max_breakers(1).build().unwrap();
    let (used, working) = (group.clone(), group.clone());
    let lines = with_log(
        move || {
            for key in ["a", "b", "a"] {
                assert!(working.get_or_create(key).is_some());
                working.reset_all();
            }
        },
        move || {
            used.update(Config::default()).unwrap();
            assert_eq!(used.config().success_threshold, 1);
            let _ = (used.get_or_create("a"), used.get_or_create("another"), used.len());
        },
    );
    assert!(lines >= 4, "{lines} lines");
    assert_eq!(group.len(), 1);
}

#[test]
fn a_subscriber_may_ask_the_registry_for_the_breaker_that_is_being_built() {
    let store = MemoryStore::new();
    let _rivals = ["a", "b"].map(|name| rival(name, &store));
    let registry = Registry::builder().store(store).build().unwrap();
    let (used, working) = (registry.clone(), registry.clone());
    let lines = with_log(
        move || {
            for name in ["a", "b"] {
                let breaker = working.get_or_create(name).unwrap();
                assert_eq!(breaker.state(), State::ForcedOpen, "its state was taken over");
            }
        },
        move || {
            for name in ["a", "b", "c"] {
                used.get_or_create(name).unwrap();
            }
            let _ = (used.get("a"), used.breakers());
        },
    );
    assert!(lines >= 2, "{lines} lines");
    let names: Vec<_> = registry.breakers().iter().map(|it| it.name().to_owned()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

/// Each of two threads builds a breaker, and asks for the other's meanwhile.
#[test]
fn subscribers_of_two_threads_may_ask_for_each_others_breakers() {
    for _ in 0..20 {
        let store = MemoryStore::new();
        let _rivals = ["a", "b"].map(|name| rival(name, &store));
        let registry = Registry::builder().store(store).build().unwrap();
        let build = |own: &'static str, other: &'static str| {
            let (used, working) = (registry.clone(), registry.clone());
            thread::spawn(move || {
                with_log(
                    move || drop(working.get_or_create(own)),
                    move || drop(used.get_or_create(other)),
                )
            })
        };
        let threads = [build("a", "b"), build("b", "a")];
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        assert_eq!(registry.breakers().len(), 2);
    }
}

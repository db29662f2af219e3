//! A subscriber of the log that uses breakers within the lines that it is given.

use std::{
    cell::RefCell,
    sync::{
        Arc, Barrier, Once,
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

thread_local! {
    /// Runs in each line of the thread, but not in those of its own.
    static RUN: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// The subscriber of the whole process. One of a thread alone gets no lines while it has one.
struct DuringLog;

impl Subscriber for DuringLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_breaker")
    }

    fn event(&self, _: &Event<'_>) {
        if let Some(run) = RUN.take() {
            run();
            RUN.set(Some(run));
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
fn with_log(work: impl FnOnce() + Send + 'static, run: impl Fn() + Send + 'static) -> usize {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| tracing::subscriber::set_global_default(DuringLog).unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let run = move || {
        counter.fetch_add(1, SeqCst);
        run();
    };
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        RUN.set(Some(Box::new(run)));
        work();
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

#[test]
fn subscribers_of_two_threads_may_ask_for_each_others_breakers() {
    let store = MemoryStore::new();
    let _rivals = ["a", "b"].map(|name| rival(name, &store));
    let registry = Registry::builder().store(store).build().unwrap();
    let both_build = Arc::new(Barrier::new(2));
    let build = |own: &'static str, other: &'static str| {
        let (used, working) = (registry.clone(), registry.clone());
        let (both_build, is_first) = (Arc::clone(&both_build), AtomicBool::new(true));
        thread::spawn(move || {
            with_log(
                move || drop(working.get_or_create(own)),
                move || {
                    if is_first.swap(false, SeqCst) {
                        both_build.wait();
                    }
                    used.get_or_create(other).unwrap();
                },
            )
        })
    };
    let threads = [build("a", "b"), build("b", "a")];
    for thread in threads {
        assert!(thread.join().unwrap() >= 1);
    }
    assert_eq!(registry.breakers().len(), 2);
}

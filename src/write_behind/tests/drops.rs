//! How long drops take, and what they do not do again.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use super::super::{Attachment, inboxes};
use super::fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, patient, until};
use crate::{
    error::FlushError,
    health::StoreHealth,
    store::{SaveEntry, StateStore, StoreError},
};

/// Counts are not saved by themselves while a test runs.
fn lazy() -> Settings {
    Settings { flush_interval: LONG, ..patient() }
}

fn attach_many(
    store: &Faulty,
    count: usize,
    settings: &Settings,
) -> Vec<(Arc<Breaker>, Attachment)> {
    (0..count)
        .map(|n| {
            let breaker = Breaker::new("closed");
            let attached = attach(store, &n.to_string(), &breaker, settings);
            (breaker, attached)
        })
        .collect()
}

#[test]
fn what_is_saved_is_not_saved_again() {
    let store = Faulty::new(Fault::None);
    let breakers = attach_many(&store, 20, &lazy());
    breakers[0].0.change("open");
    breakers[0].1.flush_blocking(LONG).unwrap();
    let writes = store.writes.load(SeqCst);
    let living = attach(&store, "living", &Breaker::new("closed"), &lazy());
    store.set(Fault::Slow(Duration::from_millis(50)));
    let calls = store.calls.load(SeqCst);
    drop(breakers);
    assert_eq!(store.calls.load(SeqCst), calls);
    assert_eq!(store.writes.load(SeqCst), writes);
    drop(living);
    assert!(store.holds("0", "open"));
}

#[test]
fn what_is_saved_is_not_saved_again_by_close() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    let _living = attach(&store, "living", &Breaker::new("closed"), &lazy());
    breaker.change("open");
    attached.flush_blocking(LONG).unwrap();
    let calls = store.calls.load(SeqCst);
    block_on(attached.close()).unwrap();
    assert_eq!(store.calls.load(SeqCst), calls);
    // What is not saved is.
    let attached = attach(&store, "a", &breaker, &lazy());
    breaker.change("closed again");
    block_on(attached.close()).unwrap();
    assert!(store.holds("a", "closed again"));
}

#[test]
fn many_that_are_dropped_together_are_saved_together() {
    let store = Faulty::new(Fault::None);
    let _living = attach(&store, "living", &Breaker::new("closed"), &lazy());
    let breakers = attach_many(&store, 100, &lazy());
    for (n, (breaker, _)) in breakers.iter().enumerate() {
        breaker.change(format!("last {n}"));
    }
    let writes = store.writes.load(SeqCst);
    drop(breakers);
    // The first, the second, and with that all others.
    assert_eq!(store.writes.load(SeqCst) - writes, 3);
    assert!((0..100).all(|n| store.holds(&n.to_string(), &format!("last {n}"))));
}

#[test]
fn one_that_is_dropped_alone_saves_no_other() {
    let store = Faulty::new(Fault::None);
    let other = Breaker::new("closed");
    let _other = attach(&store, "other", &other, &lazy());
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    other.change("changed");
    breaker.change("last");
    drop(attached);
    assert!(store.holds("a", "last") && store.text("other").is_none());
}

/// A store that takes 200 ms for each save.
fn slow() -> (Faulty, Attachment) {
    let store = Faulty::new(Fault::None);
    let living = attach(&store, "living", &Breaker::new("closed"), &lazy());
    store.set(Fault::Slow(Duration::from_millis(200)));
    (store, living)
}

/// Drops a breaker right after a change. Returns how long that took.
fn drop_one(store: &Faulty, name: &str, drop_wait: Duration) -> Duration {
    store.set(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(store, name, &breaker, &Settings { drop_wait, ..lazy() });
    store.set(Fault::Slow(Duration::from_millis(200)));
    breaker.change("last");
    let began = Instant::now();
    drop(attached);
    began.elapsed()
}

#[test]
fn drops_that_follow_each_other_wait_no_longer_together_than_one_alone() {
    const WAIT: Duration = Duration::from_millis(700);
    let (store, _living) = slow();
    let names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let took: Duration = names.iter().map(|name| drop_one(&store, name, WAIT)).sum();
    // Each alone: 2 s. A part of the wait is for listeners and for other stores.
    assert!((WAIT * 8 / 10..WAIT * 2).contains(&took), "{took:?}");
    until("all are saved", || names.iter().all(|name| store.holds(name, "last")));
}

/// A store that hangs, and a breaker on it that has something to save.
fn hung(drop_wait: Duration) -> (Faulty, Attachment) {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &Settings { drop_wait, ..lazy() });
    store.set(Fault::Hangs);
    breaker.change("last");
    (store, attached)
}

#[test]
fn several_stores_that_hang_cost_no_more_than_one() {
    const WAIT: Duration = Duration::from_secs(1);
    let hung: Vec<_> = (0..5).map(|_| hung(WAIT)).collect();
    let mut stores = Vec::new();
    let began = Instant::now();
    for (store, attached) in hung {
        drop(attached);
        stores.push(store);
    }
    let took = began.elapsed();
    assert!((WAIT * 8 / 10..WAIT * 2).contains(&took), "{took:?}");
    for store in stores {
        store.set(Fault::None);
        until("it is saved later", || store.holds("a", "last"));
    }
}

#[test]
fn a_store_that_hangs_leaves_time_to_one_that_works() {
    const WAIT: Duration = Duration::from_secs(5);
    let (first, hung) = hung(WAIT);
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "b", &breaker, &Settings { drop_wait: WAIT, ..lazy() });
    breaker.change("last");
    drop((hung, attached));
    assert!(store.holds("b", "last"));
    first.set(Fault::None);
}

#[test]
fn a_later_drop_waits_again() {
    const WAIT: Duration = Duration::from_millis(300);
    let (store, _living) = slow();
    let took: Duration = ["a", "b", "c"].map(|name| drop_one(&store, name, WAIT)).iter().sum();
    // A part of the wait is for listeners and for other stores.
    assert!(took >= WAIT * 8 / 10, "{took:?}");
    until("all are saved", || ["a", "b", "c"].iter().all(|name| store.holds(name, "last")));
    thread::sleep(WAIT);
    drop_one(&store, "later", WAIT);
    assert!(store.holds("later", "last"));
}

#[test]
fn the_last_drop_waits_for_what_those_before_it_have_left() {
    let store = Faulty::new(Fault::None);
    let clean = attach(&store, "clean", &Breaker::new("closed"), &lazy());
    let failing = attach(&store, "failing", &Breaker::new("closed"), &lazy());
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    // After a call that took long, the next is expected to fail for a while.
    store.set(Fault::Slow(Duration::from_millis(50)));
    failing.flush_blocking(LONG).unwrap();
    store.set(Fault::Away);
    failing.flush_blocking(LONG).unwrap_err();
    store.set(Fault::Slow(Duration::from_millis(20)));
    breaker.change("last");
    drop((attached, failing, clean));
    assert!(store.holds("a", "last"));
}

/// A store that takes long to be dropped.
#[derive(Clone)]
struct Heavy(Arc<Weight>);

struct Weight(Faulty, Duration);

impl Drop for Weight {
    fn drop(&mut self) {
        thread::sleep(self.1);
        self.0.calls.store(usize::MAX, SeqCst);
    }
}

impl StateStore for Heavy {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.0.load(key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.0.load_page(after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.0.0.save(entry)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.0.delete(key)
    }

    fn id(&self) -> usize {
        self.0.0.id()
    }
}

#[test]
fn the_drop_of_the_last_breaker_does_not_wait_for_a_store_that_takes_long_to_be_released() {
    const WAIT: Duration = Duration::from_millis(200);
    let store = Faulty::new(Fault::None);
    let heavy = Heavy(Arc::new(Weight(store.clone(), Duration::from_secs(3))));
    let breaker = Breaker::new("closed");
    let attached = attach(&heavy, "a", &breaker, &Settings { drop_wait: WAIT, ..lazy() });
    drop(heavy);
    breaker.change("last");
    let began = Instant::now();
    drop(attached);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    until("the store is released", || store.calls.load(SeqCst) == usize::MAX);
    assert!(store.holds("a", "last"));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_breaker_that_is_closed_is_saved_and_its_store_released() {
    let store = Arc::new(Faulty::new(Fault::None));
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    breaker.change("last");
    block_on(attached.close()).unwrap();
    assert!(store.holds("a", "last"));
    assert_eq!(Arc::strong_count(&store), 1);
    assert_eq!(attached.health(), StoreHealth::NoStore);
    assert_eq!(block_on(attached.flush()), Err(FlushError::Closed));
    assert_eq!(attached.flush_blocking(LONG), Err(FlushError::Closed));
    block_on(attached.close()).unwrap();
    breaker.change("later");
    let calls = store.calls.load(SeqCst);
    drop(attached);
    assert_eq!(store.calls.load(SeqCst), calls);
    assert_eq!(Arc::strong_count(&breaker), 1);
}

#[test]
fn one_of_several_breakers_is_closed_without_waiting_for_the_end_of_the_store() {
    let store = Faulty::new(Fault::None);
    let other = attach(&store, "other", &Breaker::new("closed"), &lazy());
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    breaker.change("last");
    let began = Instant::now();
    block_on(attached.close()).unwrap();
    assert!(began.elapsed() < LONG / 2);
    assert!(store.holds("a", "last"));
    assert!(other.health().is_healthy());
    other.flush_blocking(LONG).unwrap();
}

#[test]
fn closing_ends_in_time_when_the_store_hangs() {
    const WAIT: Duration = Duration::from_millis(200);
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &Settings { drop_wait: WAIT, ..lazy() });
    store.set(Fault::Hangs);
    breaker.change("last");
    let began = Instant::now();
    assert_eq!(block_on(attached.close()), Err(FlushError::TimedOut));
    let took = began.elapsed();
    assert!((WAIT..WAIT * 20).contains(&took), "{took:?}");
    store.set(Fault::None);
    until("it is saved later", || store.holds("a", "last"));
    until("the store is released", || inboxes::find(store.id()).is_none());
}

#[test]
fn a_store_that_fails_says_so_when_the_breaker_is_closed() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    store.set(Fault::Away);
    breaker.change("last");
    let error = block_on(attached.close()).unwrap_err();
    assert!(error.to_string().contains("it is away"), "{error}");
}

#[test]
fn a_close_that_is_cancelled_saves_the_state_and_can_be_repeated() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &lazy());
    breaker.change("last");
    {
        let mut close = pin!(attached.close());
        let _ = close.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    until("it is saved", || store.holds("a", "last"));
    block_on(attached.close()).unwrap();
    assert_eq!(attached.health(), StoreHealth::NoStore);
}

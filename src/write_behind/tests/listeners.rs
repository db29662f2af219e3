//! Listeners that take their time, and that build and drop breakers, on the writer's thread.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::super::{
    Attachment, EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, TakeOver, inboxes,
    threads::seam::REFUSES,
};
use super::fakes::{
    Breaker, Fault, Faulty, LONG, Settings, attach, attach_source, hasty, patient, until,
};
use crate::{health::StoreHealth, store::StateStore, sync::std_lock};

/// A breaker whose listener is a closure.
struct Listener<F> {
    hear: F,
    is_heard: AtomicBool,
}

impl<F: Fn(&StoreHealth) + Send + Sync + 'static> SnapshotSource for Listener<F> {
    fn encode(&self) -> Option<EncodedSnapshot> {
        Some(EncodedSnapshot::whole(b"any".to_vec(), None))
    }

    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn take_over(&self, _: &TakeOver<'_>) {}

    fn settings(&self) -> SaveSettings {
        patient().save()
    }

    fn has_listeners(&self) -> bool {
        self.is_heard.load(SeqCst)
    }

    fn store_health(&self, health: &StoreHealth) {
        (self.hear)(health);
    }
}

fn listener(hear: impl Fn(&StoreHealth) + Send + Sync + 'static) -> Arc<dyn SnapshotSource> {
    Arc::new(Listener { hear, is_heard: AtomicBool::new(true) })
}

#[test]
fn a_listener_may_drop_its_breaker() {
    let store = Faulty::new(Fault::None);
    let slot = Arc::new(Mutex::new(None::<Attachment>));
    let own = Arc::clone(&slot);
    let source = listener(move |_| {
        let attachment = std_lock(&own).take();
        drop(attachment);
    });
    let attached = attach_source(&store, "a", &source, &patient());
    let marker = attached.marker();
    *std_lock(&slot) = Some(attached);
    store.set(Fault::Away);
    let start = Instant::now();
    marker.transition();
    until("the breaker is dropped", || {
        std_lock(&slot).is_none() && Arc::strong_count(&source) == 1
    });
    assert!(start.elapsed() < LONG / 2);
}

#[test]
fn a_listener_may_build_a_breaker() {
    let store = Faulty::new(Fault::None);
    let built = Arc::new(Mutex::new(Vec::new()));
    let (same, list) = (store.clone(), Arc::clone(&built));
    let source = listener(move |_| {
        let attached = attach(&same, "b", &Breaker::new("closed"), &patient());
        std_lock(&list).push(attached);
    });
    let attached = attach_source(&store, "a", &source, &patient());
    store.set(Fault::Away);
    let start = Instant::now();
    attached.marker().transition();
    until("the breaker is built", || !std_lock(&built).is_empty());
    assert!(start.elapsed() < LONG / 2);
    store.set(Fault::None);
    until("the store is healthy again", || attached.health().is_healthy());
}

/// The first listener takes until the store is healthy again, and the others hear of that
/// meanwhile.
#[test]
fn the_last_health_that_a_slow_listener_hears_is_the_current_one() {
    let store = Faulty::new(Fault::None);
    let (same, has_heard) = (store.clone(), Mutex::new(false));
    let source = listener(move |health| {
        let first = !std::mem::replace(&mut *std_lock(&has_heard), true);
        if first && !health.is_healthy() {
            same.set(Fault::None);
            let inbox = inboxes::find(same.id()).unwrap();
            until("the store works", || inbox.status().is_healthy());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let first = attach_source(&store, "a", &source, &hasty());
    let breaker = Breaker::new("closed");
    let second = attach(&store, "b", &breaker, &hasty());
    store.set(Fault::Hangs);
    first.marker().transition();
    until("the fault is announced", || !breaker.announced().is_empty());
    until("its end is announced", || breaker.announced().last() == Some(&true));
    assert!(second.health().is_healthy());
}

/// A listener that blocks once the store is degraded, until the end of the test, and says on which
/// thread.
fn blocking(
    blocks: &Arc<Mutex<()>>,
    heard_on: &Arc<Mutex<Option<String>>>,
) -> Arc<dyn SnapshotSource> {
    let (blocks, heard_on) = (Arc::clone(blocks), Arc::clone(heard_on));
    listener(move |health| {
        if !health.is_healthy() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            *std_lock(&heard_on) = Some(name);
            drop(std_lock(&blocks));
        }
    })
}

#[test]
fn a_drop_that_takes_too_long_calls_no_listener() {
    let (blocks, heard_on) = (Arc::default(), Arc::default());
    let store = Faulty::new(Fault::None);
    let quick = Settings { drop_wait: Duration::from_millis(50), ..patient() };
    let _stays = attach_source(&store, "stays", &blocking(&blocks, &heard_on), &patient());
    let breaker = Breaker::new("closed");
    let goes = attach(&store, "goes", &breaker, &quick);
    let blocked = std_lock(&blocks);
    store.set(Fault::Hangs);
    breaker.change("open");
    let start = Instant::now();
    drop(goes);
    assert!(start.elapsed() < LONG / 2);
    until("another thread calls the listener", || {
        std_lock(&heard_on).as_deref() == Some("breaker-events")
    });
    drop(blocked);
    store.set(Fault::None);
}

#[test]
fn a_listener_that_blocks_delays_neither_callers_that_wait_nor_the_watch_over_other_stores() {
    let (blocks, heard_on) = (Arc::default(), Arc::default());
    let (first, second) = (Faulty::new(Fault::None), Faulty::new(Fault::None));
    let source = blocking(&blocks, &heard_on);
    let attached = attach_source(&first, "a", &source, &hasty());
    let breaker = Breaker::new("closed");
    let other = attach(&second, "b", &breaker, &hasty());
    let blocked = std_lock(&blocks);
    first.set(Fault::Hangs);
    let start = Instant::now();
    assert!(attached.flush_blocking(LONG).is_err());
    until("the listener blocks", || std_lock(&heard_on).is_some());
    second.set(Fault::Hangs);
    other.marker().transition();
    until("the other store is seen to hang", || breaker.announced() == [false]);
    assert!(start.elapsed() < LONG / 2);
    drop(blocked);
    first.set(Fault::None);
    second.set(Fault::None);
}

#[test]
fn a_breaker_that_is_built_on_a_degraded_store_waits_for_no_listener() {
    let (blocks, heard_on) = (Arc::default(), Arc::default());
    let store = Faulty::new(Fault::Away);
    let first = attach(&store, "a", &Breaker::new("closed"), &patient());
    until("it is degraded", || !first.health().is_healthy());
    let blocked = std_lock(&blocks);
    let start = Instant::now();
    let _attached = attach_source(&store, "b", &blocking(&blocks, &heard_on), &patient());
    assert!(start.elapsed() < LONG / 2);
    until("another thread calls the listener", || std_lock(&heard_on).is_some());
    drop(blocked);
}

#[test]
fn a_breaker_without_a_listener_starts_no_thread_and_a_later_listener_hears_the_end() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    let listener = Arc::new(Listener {
        hear: move |health: &StoreHealth| std_lock(&list).push(health.is_healthy()),
        is_heard: AtomicBool::new(false),
    });
    let store = Faulty::new(Fault::Hangs);
    let first = attach(&store, "a", &Breaker::new("closed"), &hasty());
    assert!(!first.health().is_healthy());
    let inbox = inboxes::find(store.id()).unwrap();
    inbox.listener_thread.wait(LONG);
    let source = Arc::clone(&listener) as Arc<dyn SnapshotSource>;
    // What a thread would have to deliver is left if none can be started and the writer waits.
    REFUSES.with(|refuses| refuses.store(true, SeqCst));
    let _attached = attach_source(&store, "b", &source, &patient());
    REFUSES.with(|refuses| refuses.store(false, SeqCst));
    assert!(inbox.listener_thread.take_left().is_none());
    assert!(std_lock(&heard).is_empty());
    listener.is_heard.store(true, SeqCst);
    store.set(Fault::None);
    until("the end is announced", || *std_lock(&heard) == [true]);
}

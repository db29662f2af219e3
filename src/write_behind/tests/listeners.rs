//! Listeners that take their time, and that build and drop breakers, on the writer's thread.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::super::{
    Attachment, EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, TakeOver, inbox,
};
use super::fakes::{Breaker, Fault, Faulty, LONG, attach, attach_source, hasty, patient, until};
use crate::{health::StoreHealth, store::StateStore, sync::std_lock};

/// A breaker whose listener is a closure.
struct Listener<F>(F);

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

    fn store_health(&self, health: &StoreHealth) {
        (self.0)(health);
    }
}

fn listener(hear: impl Fn(&StoreHealth) + Send + Sync + 'static) -> Arc<dyn SnapshotSource> {
    Arc::new(Listener(hear))
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
            let inbox = inbox::find(same.id()).unwrap();
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

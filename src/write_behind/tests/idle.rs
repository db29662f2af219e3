//! Stores that are verified while they are not called otherwise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use super::{
    super::{EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, TakeOver},
    altered::Altered,
    fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, attach_source, hasty, patient, until},
};
use crate::{
    clock::tests::isolated::isolate,
    health::StoreHealth,
    store::{StateStore, StoreError},
};

const SOON: Duration = Duration::from_millis(20);

/// A store that counts how often it is verified, and loses everything at the third time.
fn losing(store: &Faulty) -> (Altered, Arc<AtomicUsize>) {
    let verified = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&verified);
    let store = Altered::of(store).verify(move |store| {
        if count.fetch_add(1, SeqCst) != 2 {
            return Ok(());
        }
        for name in ["a", "b"] {
            store.memory.delete(&format!("circuit_breaker:{name}:state"))?;
        }
        Err(StoreError::Unavailable("the folder is gone".into()))
    });
    (store, verified)
}

#[test]
fn a_store_is_verified_each_second() {
    assert!(Settings::default().verify <= Duration::from_secs(1));
}

#[test]
fn a_loss_while_idle_is_announced_once_and_repaired() {
    let store = Faulty::new(Fault::None);
    let (losing, verified) = losing(&store);
    let breakers = [Breaker::new("open"), Breaker::new("closed")];
    let settings = Settings { verify: SOON, ..patient() };
    let a = attach(&losing, "a", &breakers[0], &settings);
    let b = attach(&losing, "b", &breakers[1], &settings);
    a.flush_blocking(LONG).unwrap();
    b.flush_blocking(LONG).unwrap();
    until("the loss is announced", || !breakers[1].announced().is_empty());
    let health = std::mem::take(&mut *crate::sync::std_lock(&breakers[1].health));
    let StoreHealth::Degraded { reason, .. } = &health[0] else { panic!("{health:?}") };
    assert_eq!(reason, "store unavailable: the folder is gone");
    until("both are saved again", || store.holds("a", "open") && store.holds("b", "closed"));
    until("it is announced", || breakers[0].announced() == [false, true]);
    let verified_then = verified.load(SeqCst);
    until("it is verified again", || verified.load(SeqCst) > verified_then + 2);
    assert_eq!(breakers[0].announced(), [false, true]);
}

#[test]
fn a_store_that_begins_to_hang_while_idle_is_noticed() {
    let store = Faulty::new(Fault::None);
    let hanging = Altered::of(&store).verify(|store| store.load("any").map(drop));
    let breaker = Breaker::new("closed");
    let attached = attach(&hanging, "a", &breaker, &Settings { verify: SOON, ..hasty() });
    attached.flush_blocking(LONG).unwrap();
    store.set(Fault::Hangs);
    until("it is announced", || breaker.announced() == [false]);
    let health = attached.health().to_string();
    assert!(health.contains("does not answer"), "{health}");
    store.set(Fault::None);
    until("it is healthy again", || attached.health().is_healthy());
}

#[test]
fn a_verification_that_panics_changes_nothing() {
    let store = Faulty::new(Fault::None);
    let verified = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&verified);
    let panicking = Altered::of(&store).verify(move |_| {
        count.fetch_add(1, SeqCst);
        panic!("this test provokes a panic")
    });
    let breaker = Breaker::new("closed");
    let attached = attach(&panicking, "a", &breaker, &Settings { verify: SOON, ..patient() });
    until("it is verified", || verified.load(SeqCst) > 2);
    assert!(attached.health().is_healthy());
    breaker.change_and_mark("open", &attached.marker(), true);
    until("the change is saved", || store.holds("a", "open"));
}

/// A failing store has its retries, which also tell whether it works.
#[test]
fn a_store_that_is_down_is_not_verified() {
    let store = Faulty::new(Fault::Away);
    let verified = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&verified);
    let away = Altered::of(&store).verify(move |_| {
        count.fetch_add(1, SeqCst);
        Ok(())
    });
    let settings = Settings { verify: Duration::ZERO, ..patient() };
    let attached = attach(&away, "a", &Breaker::new("closed"), &settings);
    assert!(!attached.health().is_healthy());
    let before = verified.load(SeqCst);
    let calls = store.calls.load(SeqCst);
    until("it is retried", || store.calls.load(SeqCst) > calls + 2);
    assert_eq!(verified.load(SeqCst), before);
    store.set(Fault::None);
    until("it is verified", || verified.load(SeqCst) > before);
    drop(attached);
}

const HOUR: Duration = Duration::from_secs(3600);

/// A breaker whose snapshots live for an hour.
struct Mortal(Arc<Breaker>);

impl SnapshotSource for Mortal {
    fn encode(&self) -> Option<EncodedSnapshot> {
        Some(EncodedSnapshot::whole(self.0.state().into_bytes(), Some(HOUR)))
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(bytes)
    }

    fn take_over(&self, take_over: &TakeOver<'_>) {
        self.0.take_over(take_over);
    }

    fn settings(&self) -> SaveSettings {
        self.0.settings()
    }

    fn store_health(&self, health: &StoreHealth) {
        self.0.store_health(health);
    }
}

/// The store's time goes on meanwhile.
#[test]
fn a_suspend_uses_up_the_life_of_what_is_stored() {
    isolate("write_behind::tests::idle::a_suspend_uses_up_the_life_of_what_is_stored", |trap| {
        let store = Faulty::new(Fault::None);
        let expiring = Altered::of(&store).expires_by_itself();
        let source = Arc::new(Mortal(Breaker::new("closed"))) as Arc<dyn SnapshotSource>;
        let attached = attach_source(&expiring, "a", &source, &patient());
        attached.flush_blocking(LONG).unwrap();
        let writes = store.writes.load(SeqCst);
        trap.suspend(HOUR * 2 / 3);
        until("it is saved again", || store.writes.load(SeqCst) > writes);
    });
}

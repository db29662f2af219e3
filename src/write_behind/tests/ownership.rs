//! Breakers of one name at moments that only the write-behind sees.

use std::{
    panic::resume_unwind,
    sync::{Arc, atomic::Ordering::SeqCst},
    thread,
    time::Duration,
};

use super::{
    super::{
        Attachment, EncodedSnapshot, KnownStore, RestoreError, SaveSettings, SnapshotSource,
        TakeOver, inboxes,
    },
    altered::Altered,
    fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, attach_source, patient, until},
};
use crate::{
    health::StoreHealth,
    store::{StateStore, StoreError},
};

#[test]
fn a_breaker_that_is_superseded_during_a_batch_is_not_saved_by_it() {
    const SLOW: Duration = Duration::from_millis(200);
    let store = Faulty::new(Fault::None);
    let [older, younger, late] = ["closed"; 3].map(Breaker::new);
    let other = attach(&store, "other", &Breaker::new("closed"), &patient());
    let older_attached = attach(&store, "a", &older, &patient());
    store.set(Fault::Slow(SLOW));
    let calls = store.calls.load(SeqCst);
    other.marker().transition();
    until("the writer is busy", || store.calls.load(SeqCst) > calls);
    // The next batch reads one breaker, and then saves the other.
    let loads = store.loads.load(SeqCst);
    older_attached.marker().transition();
    thread::scope(|scope| {
        scope.spawn(|| drop(attach(&store, "late", &late, &patient())));
        until("it reads", || store.loads.load(SeqCst) > loads);
        let younger_attached = attach(&store, "a", &younger, &patient());
        older.change("not the owner");
        younger.change("owner");
        until("the owner is saved", || {
            assert!(!store.holds("a", "not the owner"));
            store.holds("a", "owner")
        });
        drop(younger_attached);
    });
}

#[test]
fn a_breaker_that_goes_before_its_state_is_taken_over_leaves_it_behind() {
    let store = Faulty::new(Fault::None);
    let lazy = Settings { flush_interval: LONG, ..patient() };
    let [older, younger] = ["closed"; 2].map(Breaker::new);
    let older_attached = attach(&store, "a", &older, &lazy);
    older.change("not saved");
    let source = Arc::clone(&younger) as Arc<dyn SnapshotSource>;
    let mut steps = None;
    let younger_attached = Attachment::attach(
        KnownStore::new(store.clone()),
        "a",
        &source,
        lazy.save(),
        &lazy.config(),
        |those| steps = Some(those),
    );
    drop(older_attached);
    steps.unwrap().complete();
    assert_eq!(younger.state(), "not saved");
    drop(younger_attached);
}

/// Panics when it is to take a state over, as a breaker does if its clock panics.
struct Panics(Arc<Breaker>);

impl SnapshotSource for Panics {
    fn encode(&self) -> Option<EncodedSnapshot> {
        self.0.encode()
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(bytes)
    }

    fn take_over(&self, _: &TakeOver<'_>) {
        resume_unwind(Box::new("the clock"));
    }

    fn settings(&self) -> SaveSettings {
        self.0.settings()
    }

    fn store_health(&self, health: &StoreHealth) {
        self.0.store_health(health);
    }
}

#[test]
fn a_breaker_that_panics_while_it_takes_a_state_over_reads_it_from_the_store() {
    let store = Faulty::new(Fault::None);
    let older = Breaker::new("closed");
    let _older_attached = attach(&store, "a", &older, &patient());
    older.change("forced open");
    until("it is saved", || store.holds("a", "forced open"));
    let younger = Breaker::new("closed");
    let source = Arc::new(Panics(Arc::clone(&younger))) as Arc<dyn SnapshotSource>;
    let attached = attach_source(&store, "a", &source, &patient());
    assert_eq!(younger.state(), "forced open");
    attached.flush_blocking(LONG).unwrap();
    assert!(store.holds("a", "forced open"));
}

#[test]
fn a_last_state_that_fails_does_not_replace_what_a_later_breaker_has_saved() {
    let faulty = Faulty::new(Fault::None);
    let store = Altered::of(&faulty).save(|store, entry| {
        if entry.value == b"last" {
            return Err(StoreError::Other("it does not take this".into()));
        }
        store.save(entry)
    });
    let departing = || {
        let inbox = inboxes::find(store.id()).unwrap();
        inbox.content().schedule.departing()
    };
    let _other = attach(&store, "other", &Breaker::new("closed"), &patient());
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    breaker.change("last");
    thread::scope(|scope| {
        let drop = scope.spawn(|| drop(attached));
        until("it is being dropped", || departing() == 1);
        let again = Breaker::new("closed");
        let attached = attach(&store, "a", &again, &patient());
        assert_eq!(again.state(), "last");
        again.change("later");
        until("it is saved", || attached.flush_blocking(LONG).is_ok());
        assert_eq!((departing(), faulty.text("a").as_deref()), (0, Some("later")));
        drop.join().unwrap();
    });
}

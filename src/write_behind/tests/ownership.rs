//! Breakers of one name at moments that only the write-behind sees.

use std::{sync::atomic::Ordering::SeqCst, thread, time::Duration};

use super::{
    super::inboxes,
    altered::Altered,
    fakes::{Breaker, Fault, Faulty, LONG, attach, patient, until},
};
use crate::store::{StateStore, StoreError};

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

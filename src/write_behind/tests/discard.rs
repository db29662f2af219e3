//! Breakers whose snapshots are deleted.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use super::super::{Attachment, inboxes, keys};
use super::fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, hasty, patient, until};
use crate::store::{HistoryRecord, HistoryStore, SaveEntry, StateStore};

/// A breaker that keeps the writer busy with the store.
fn other(store: &Faulty) -> Attachment {
    attach(store, "other", &Breaker::new("closed"), &hasty())
}

fn saved(store: &Faulty, name: &str, settings: &Settings) -> (Arc<Breaker>, Attachment) {
    let breaker = Breaker::new("closed");
    let attached = attach(store, name, &breaker, settings);
    breaker.change("saved");
    attached.flush_blocking(LONG).unwrap();
    assert!(store.holds(name, "saved"));
    (breaker, attached)
}

fn is_idle(store: &Faulty) -> bool {
    inboxes::find(store.id()).is_none_or(|inbox| inbox.content().schedule.departing() == 0)
}

#[test]
fn all_that_a_store_holds_of_a_discarded_breaker_is_deleted() {
    let store = Faulty::new(Fault::None);
    let _other = other(&store);
    let (_breaker, attached) = saved(&store, "a", &patient());
    store.memory.append(&keys::history("a"), &[HistoryRecord::new(1, "1")]).unwrap();
    store.memory.append(&keys::history("b"), &[HistoryRecord::new(1, "1")]).unwrap();
    attached.discard();
    until("the snapshot is gone", || store.text("a").is_none());
    until("the writer is done with it", || is_idle(&store));
    assert_eq!(store.memory.keys(None, 10).unwrap(), [keys::history("b")]);
    drop(attached);
    assert_eq!(store.text("a"), None, "the drop saves nothing");
}

#[test]
fn what_continues_a_snapshot_is_deleted_too() {
    let store = Faulty::new(Fault::None);
    let _other = other(&store);
    let (_breaker, attached) = saved(&store, "a", &patient());
    // As a large snapshot says that others may continue it.
    store.put("a", &format!(r#"{{"state":"{}","id":7}}"#, "x".repeat(5000)));
    store.memory.save(&SaveEntry::new(keys::recent("a"), "more")).unwrap();
    attached.discard();
    until("the snapshot is gone", || store.text("a").is_none());
    assert_eq!(store.memory.load(&keys::recent("a")).unwrap(), None);
}

#[test]
fn what_was_never_stored_costs_the_store_nothing() {
    let store = Faulty::new(Fault::None);
    let _other = other(&store);
    let breaker = Breaker::new("closed");
    let settings = Settings { flush_interval: LONG * 100, ..patient() };
    let attached = attach(&store, "a", &breaker, &settings);
    breaker.change("failing");
    let calls = store.calls.load(SeqCst);
    attached.discard();
    assert!(is_idle(&store));
    assert_eq!(store.calls.load(SeqCst), calls);
}

/// The snapshot of an earlier process may be there, and was not read yet.
#[test]
fn a_snapshot_that_was_not_read_yet_is_deleted() {
    let store = Faulty::new(Fault::None);
    let other = other(&store);
    store.set(Fault::Hangs);
    other.marker().transition();
    until("the store hangs", || !other.health().is_healthy());
    store.put("a", "of an earlier process");
    let breaker = Breaker::new("closed");
    let settings = Settings { load_wait: std::time::Duration::ZERO, ..hasty() };
    let attached = attach(&store, "a", &breaker, &settings);
    attached.discard();
    store.set(Fault::None);
    until("the snapshot is gone", || store.text("a").is_none());
    assert_eq!(breaker.state(), "closed");
}

#[test]
fn a_save_that_is_under_way_is_deleted_after_it() {
    let store = Faulty::new(Fault::None);
    let _other = other(&store);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    store.set(Fault::Hangs);
    let calls = store.calls.load(SeqCst);
    breaker.change_and_mark("open", &attached.marker(), true);
    until("it is being saved", || store.calls.load(SeqCst) > calls);
    attached.discard();
    store.set(Fault::None);
    until("it was saved", || store.writes.load(SeqCst) > 0);
    until("and deleted", || store.text("a").is_none() && is_idle(&store));
}

#[test]
fn a_breaker_of_the_same_name_begins_with_nothing_and_is_saved() {
    let store = Faulty::new(Fault::None);
    let _other = other(&store);
    for round in 0..50 {
        let (breaker, attached) = saved(&store, "a", &patient());
        breaker.change("of the one before");
        attached.discard();
        let breaker = Breaker::new("closed");
        let attached = attach(&store, "a", &breaker, &patient());
        assert_eq!((breaker.state().as_str(), breaker.restores.load(SeqCst)), ("closed", 0));
        breaker.change("of the one after");
        attached.flush_blocking(LONG).unwrap();
        assert!(store.holds("a", "of the one after"), "round {round}");
    }
}

#[test]
fn what_cannot_be_deleted_is_tried_again() {
    for fault in [Fault::Away, Fault::Odd, Fault::Panics] {
        let store = Faulty::new(Fault::None);
        let other = other(&store);
        let (_breaker, attached) = saved(&store, "a", &patient());
        store.set(fault);
        attached.discard();
        until("it was tried", || !other.health().is_healthy());
        store.set(Fault::None);
        until("it is deleted", || store.text("a").is_none());
        until("the store is healthy", || other.health().is_healthy());
    }
}

#[test]
fn a_store_that_fails_is_released_with_the_last_breaker() {
    let store = Faulty::new(Fault::None);
    let (_breaker, attached) = saved(&store, "a", &patient());
    store.set(Fault::Away);
    attached.discard();
    until("the writer gives up", || inboxes::find(store.id()).is_none());
    assert!(store.holds("a", "saved"), "it expires later");
}

/// The last drop waits until what is to be deleted is deleted.
#[test]
fn the_store_is_released_when_all_is_deleted() {
    let store = Faulty::new(Fault::None);
    let other = attach(&store, "other", &Breaker::new("closed"), &patient());
    let (_breaker, attached) = saved(&store, "a", &patient());
    attached.discard();
    drop(other);
    assert_eq!(store.text("a"), None);
    assert!(inboxes::find(store.id()).is_none());
}

#[test]
fn a_flush_of_another_breaker_includes_the_deletions() {
    let store = Faulty::new(Fault::None);
    let other = other(&store);
    let (_breaker, attached) = saved(&store, "a", &patient());
    attached.discard();
    other.flush_blocking(LONG).unwrap();
    assert_eq!(store.text("a"), None);
}

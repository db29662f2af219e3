//! Many breakers that are built and dropped while their store fails or hangs.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use super::super::{Attachment, inboxes};
use super::fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, hasty, patient, until};
use crate::store::StateStore;

const MANY: usize = 1200;
/// The most breakers whose last states wait for a store.
const ROOM: usize = 1000;

/// A call that takes this long and fails predicts the next failure for the longest time: a second,
/// within which a busy machine gets on.
const LONG_FAILURE: Fault = Fault::AwayAfter(Duration::from_millis(100));

fn attach_many(store: &Faulty, settings: &Settings) -> Vec<(Arc<Breaker>, Attachment)> {
    (0..MANY)
        .map(|n| {
            let breaker = Breaker::new("closed");
            let attached = attach(store, &n.to_string(), &breaker, settings);
            (breaker, attached)
        })
        .collect()
}

fn departing(store: &Faulty) -> usize {
    inboxes::find(store.id()).map_or(0, |inbox| inbox.content().schedule.departing())
}

#[test]
fn a_store_that_fails_is_not_called_for_each_breaker() {
    let store = Faulty::new(LONG_FAILURE);
    let breakers = attach_many(&store, &patient());
    drop(breakers);
    let calls = store.calls.load(SeqCst);
    assert!(calls < MANY / 10, "{calls} calls for {MANY} breakers built and dropped");
}

#[test]
fn a_store_that_hangs_is_called_once() {
    let store = Faulty::new(Fault::Hangs);
    let began = Instant::now();
    let breakers = attach_many(&store, &hasty());
    drop(breakers);
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    assert_eq!(store.calls.load(SeqCst), 1);
    store.set(Fault::None);
}

#[test]
fn last_states_wait_for_a_store_that_hangs_as_far_as_there_is_room() {
    let store = Faulty::new(Fault::None);
    let living = attach(&store, "living", &Breaker::new("closed"), &hasty());
    let breakers = attach_many(&store, &hasty());
    store.set(Fault::Hangs);
    living.marker().transition();
    until("the store hangs", || !living.health().is_healthy());
    let began = Instant::now();
    let mut encoded = 0;
    for (breaker, attached) in breakers {
        breaker.change("last");
        drop(attached);
        // The announcement may be just at this one.
        until("the breaker itself is not kept", || Arc::strong_count(&breaker) == 1);
        encoded += breaker.encoded.load(SeqCst);
    }
    assert_eq!(encoded, ROOM, "no others are kept");
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    assert_eq!(departing(&store), ROOM);
    store.set(Fault::None);
    until("the last states are saved", || departing(&store) == 0);
    let saved = (0..MANY).filter(|n| store.holds(&n.to_string(), "last")).count();
    assert_eq!(saved, ROOM);
    assert!(living.health().is_healthy());
}

#[test]
fn a_store_that_has_just_failed_is_not_called_for_what_is_not_kept_and_has_no_time() {
    let store = Faulty::new(Fault::None);
    let no_time = Settings { drop_wait: Duration::from_micros(500), ..patient() };
    let living = attach(&store, "living", &Breaker::new("closed"), &patient());
    let breakers = attach_many(&store, &no_time);
    // Each call takes longer than the drops do, also on a busy machine.
    store.set(Fault::AwayAfter(Duration::from_secs(1)));
    assert!(living.flush_blocking(LONG).is_err());
    let inbox = inboxes::find(store.id()).unwrap();
    let requested = || {
        let content = inbox.content();
        content.requests.waiting.len() + content.requests.in_flight.len()
    };
    let mut encoded = 0;
    for (breaker, attached) in breakers {
        breaker.change("last");
        drop(attached);
        encoded += breaker.encoded.load(SeqCst);
    }
    assert_eq!((encoded, requested()), (ROOM, ROOM));
    store.set(Fault::None);
    drop(living);
}

#[test]
fn a_drop_does_not_wait_for_a_store_that_has_just_failed_and_its_state_is_tried_once() {
    let store = Faulty::new(Fault::None);
    let living = attach(&store, "living", &Breaker::new("closed"), &patient());
    let breakers = attach_many(&store, &patient());
    store.set(LONG_FAILURE);
    assert!(living.flush_blocking(LONG).is_err());
    let calls = store.calls.load(SeqCst);
    for (breaker, attached) in breakers {
        breaker.change("last");
        drop(attached);
    }
    until("nothing waits", || departing(&store) == 0);
    let calls = store.calls.load(SeqCst) - calls;
    assert!(calls > 0, "each was tried");
    assert!(calls < MANY / 10, "{calls} calls for {MANY} breakers");
    drop(living);
}

#[test]
fn the_last_drop_waits_for_the_end_of_a_store_that_has_just_failed() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    store.set(LONG_FAILURE);
    assert!(attached.flush_blocking(LONG).is_err());
    breaker.change("last");
    drop(attached);
    assert!(inboxes::find(store.id()).is_none(), "the store is not released yet");
}

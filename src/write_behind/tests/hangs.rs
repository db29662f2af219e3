//! Stores that hang.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use super::fakes::{Breaker, Fault, Faulty, LONG, attach, hasty, until};
use crate::{error::FlushError, health::StoreHealth};

#[tokio::test]
async fn a_store_that_hangs_from_the_start_delays_the_first_breaker_only() {
    let store = Faulty::new(Fault::Hangs);
    store.put("0", "open");
    let start = Instant::now();
    let breakers: Vec<_> = (0..100).map(|_| Breaker::new("closed")).collect();
    let mut attached: Vec<_> =
        (0..100).map(|i| attach(&store, &i.to_string(), &breakers[i], &hasty())).collect();
    let health = attached[0].health().to_string();
    assert!(health.contains("does not answer"), "{health}");
    breakers[0].change_and_mark("closed, and changed", &attached[0].marker(), true);
    let flushed = attached[1].flush().await;
    let Err(FlushError::NotSaved { reason }) = &flushed else { panic!("{flushed:?}") };
    assert!(reason.ends_with("; retrying in the background"), "{reason}");
    assert!(attached[1].flush_blocking(LONG).is_err());
    attached.truncate(1);
    assert!(start.elapsed() < LONG / 2, "one wait, not a hundred: {:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&breakers[99]), 1, "dropped breakers are released");
    // What has passed before a listener can hear of it is not announced.
    until("the fault is announced", || breakers[0].announced() == [false]);
    store.set(Fault::None);
    until("it is healthy again", || attached[0].health().is_healthy());
    until("the newest is saved", || store.holds("0", "closed, and changed"));
    until("it is announced", || breakers[0].announced().starts_with(&[false, true]));
}

#[tokio::test]
async fn a_store_that_begins_to_hang_is_noticed_without_a_waiting_caller() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &hasty());
    store.set(Fault::Hangs);
    breaker.change_and_mark("open", &attached.marker(), true);
    until("it is noticed", || breaker.announced() == [false]);
    let StoreHealth::Degraded { reason, pending, .. } = attached.health() else {
        panic!("not degraded")
    };
    assert!(reason.contains("does not answer"), "{reason}");
    assert_eq!(pending, 1);
    assert!(attached.flush().await.is_err());
    breaker.change_and_mark("half open", &attached.marker(), true);
    store.set(Fault::None);
    until("it is healthy again", || attached.health().is_healthy());
    until("the newest is saved", || store.holds("a", "half open"));
    store.set(Fault::Hangs);
    let start = Instant::now();
    drop(attached);
    assert!(start.elapsed() < LONG / 2);
    store.set(Fault::None);
}

#[test]
fn callers_that_wait_for_a_hanging_call_get_an_error() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &hasty());
    store.set(Fault::Hangs);
    assert_eq!(attached.flush_blocking(Duration::from_millis(20)), Err(FlushError::TimedOut));
    let answer = attached.flush_blocking(LONG);
    let Err(FlushError::NotSaved { reason }) = &answer else { panic!("{answer:?}") };
    assert!(reason.ends_with("; retrying in the background"), "{reason}");
    store.set(Fault::None);
}

#[test]
fn a_breaker_dropped_while_the_store_hangs_leaves_nothing_to_retry() {
    let store = Faulty::new(Fault::None);
    let stays = attach(&store, "stays", &Breaker::new("closed"), &hasty());
    store.set(Fault::Hangs);
    // It was not read, so there is nothing of it to be saved.
    drop(attach(&store, "goes", &Breaker::new("closed"), &hasty()));
    store.set(Fault::None);
    until("it is healthy again", || stays.health().is_healthy());
    let inbox = stays.inbox();
    let mut quiet = 0;
    until("nothing is left to do", || {
        let is_quiet = inbox.content().schedule.due(None, false).is_none();
        quiet = if is_quiet { quiet + 1 } else { 0 };
        quiet > 20
    });
}

#[test]
fn a_breaker_rebuilt_while_the_store_hangs_gets_its_own_last_state() {
    let store = Faulty::new(Fault::None);
    store.put("a", "closed");
    let other = attach(&store, "other", &Breaker::new("closed"), &hasty());
    let breaker = Breaker::new("new");
    let attached = attach(&store, "a", &breaker, &hasty());
    store.set(Fault::Hangs);
    let calls = store.calls.load(SeqCst);
    other.marker().transition();
    until("the store hangs", || store.calls.load(SeqCst) > calls);
    breaker.change("open");
    drop(attached);
    let again = Breaker::new("new");
    let attached = attach(&store, "a", &again, &hasty());
    assert_eq!(again.state(), "open", "without the store");
    store.set(Fault::None);
    until("it is saved", || store.holds("a", "open"));
    assert_eq!(again.state(), "open");
    drop(attached);
}

#[cfg(feature = "keyed")]
#[test]
fn a_store_that_hangs_while_names_are_read_is_noticed() {
    use super::super::{known_store::KnownStore, names::watched_client};

    let store = Faulty::new(Fault::Hangs);
    let (client, call) = watched_client(KnownStore::new(store.clone()));
    std::thread::scope(|scope| {
        scope.spawn(move || client.load("key"));
        until("the watchdog notices it", || call.0.health().is_stalled());
        store.set(Fault::None);
        until("and its end", || !call.0.health().is_stalled());
    });
}

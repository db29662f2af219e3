//! Threads that cannot be started, and processes that are forked.

use std::{
    future::Future as _,
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{flush_all::flush_all, inboxes, threads::seam},
    fakes::{Breaker, Fault, Faulty, LONG, Settings, attach, patient, until},
};
use crate::{health::StoreHealth, history::HistoryQuery, process, store::StateStore as _};

/// No thread can be started from this one, as long as it lives.
struct Limit;

impl Limit {
    fn reached() -> Self {
        seam::REFUSES.with(|refuses| refuses.store(true, SeqCst));
        Self
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        seam::REFUSES.with(|refuses| refuses.store(false, SeqCst));
    }
}

#[test]
fn a_writer_that_cannot_be_started_is_started_later() {
    let store = Faulty::new(Fault::None);
    store.put("a", "open");
    let limit = Limit::reached();
    let breaker = Breaker::new("closed");
    let began = Instant::now();
    let attached = attach(&store, "a", &breaker, &patient());
    assert!(began.elapsed() < LONG / 2, "it does not wait for a thread that is not there");
    let said = attached.health().to_string();
    assert!(said.contains("writer thread cannot be started"), "{said}");
    assert_eq!(breaker.announced(), [false]);
    let error = attached.flush_blocking(LONG).unwrap_err();
    assert!(error.to_string().contains("cannot be started"), "{error}");
    let other = attach(&store, "b", &Breaker::new("closed"), &patient());
    assert!(!other.health().is_healthy(), "also for a breaker that comes later");
    assert_eq!(store.calls.load(SeqCst), 0);

    drop(limit);
    until("to ask for the health starts it", || attached.health().is_healthy());
    assert_eq!(breaker.state(), "open", "the snapshot is read then");
    breaker.change("changed");
    attached.flush_blocking(LONG).unwrap();
    assert!(store.holds("a", "changed"));
}

#[test]
fn a_change_starts_the_writer_too() {
    let store = Faulty::new(Fault::None);
    let limit = Limit::reached();
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    drop(limit);
    until("it is saved", || {
        thread::sleep(Duration::from_millis(20));
        breaker.change_and_mark("open", &attached.marker(), true);
        breaker.change_and_mark("open", &attached.marker(), false);
        store.holds("a", "open")
    });
}

/// A circuit may be healthy for days after its snapshot could not be read.
#[test]
fn the_writer_is_started_although_nothing_uses_the_store() {
    let store = Faulty::new(Fault::None);
    store.put("a", "open");
    let limit = Limit::reached();
    let breaker = Breaker::new("closed");
    let _attached = attach(&store, "a", &breaker, &patient());
    drop(limit);
    until("the snapshot is read", || breaker.state() == "open");
}

#[test]
fn a_change_that_was_marked_before_starts_the_writer_when_it_happens_again() {
    let store = Faulty::new(Fault::None);
    let limit = Limit::reached();
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    for is_transition in [true, false] {
        breaker.change_and_mark("open", &attached.marker(), is_transition);
    }
    let inbox = inboxes::find(store.id()).unwrap();
    assert!(inbox.starter.waits());
    drop(limit);
    // The interval between attempts.
    thread::sleep(Duration::from_millis(110));
    breaker.change_and_mark("open", &attached.marker(), false);
    assert!(!inbox.starter.waits());
    until("it is saved", || store.holds("a", "open"));
}

#[test]
fn a_forked_process_waits_for_no_lock_that_was_held_when_it_was_forked() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    attached.flush_blocking(LONG).unwrap();
    let inbox = inboxes::find(store.id()).unwrap();
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        let content = inbox.content();
        scope.spawn(|| {
            process::seam::PROCESS.set(Some(1));
            breaker.change_and_mark("changed", &attached.marker(), true);
            attached.update_settings();
            attached.flush_blocking(LONG).unwrap_err();
            let mut history = pin!(attached.history(HistoryQuery::default()));
            let polled = history.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Err(_))), "refused at once");
            flush_all(LONG).unwrap_err();
            // One that is built there, by a thread that has joined the store before or not.
            let other = attach(&store, "b", &Breaker::new("closed"), &patient());
            other.wait_for_restore(LONG);
            assert!(!other.health().is_healthy());
            drop(other);
            done.send(()).unwrap();
        });
        let in_time = is_done.recv_timeout(LONG);
        drop(content);
        assert_eq!(in_time, Ok(()), "it waits for a lock");
    });
}

#[test]
fn without_a_writer_a_drop_does_not_wait_and_releases_everything() {
    let store = Arc::new(Faulty::new(Fault::None));
    let limit = Limit::reached();
    let breakers: Vec<_> = (0..20)
        .map(|n| {
            let breaker = Breaker::new("closed");
            let attached = attach(&store, &n.to_string(), &breaker, &patient());
            breaker.change("last");
            (breaker, attached)
        })
        .collect();
    let sources: Vec<_> = breakers.iter().map(|(breaker, _)| Arc::downgrade(breaker)).collect();
    let began = Instant::now();
    drop(breakers);
    assert!(began.elapsed() < LONG / 2);
    assert_eq!(Arc::strong_count(&store), 1);
    assert!(sources.iter().all(|breaker| breaker.strong_count() == 0));
    assert!(inboxes::find(store.id()).is_none());
    drop(limit);
    let again = Breaker::new("closed");
    let attached = attach(&store, "0", &again, &patient());
    attached.flush_blocking(LONG).unwrap();
}

#[test]
fn a_call_that_hangs_is_noticed_by_the_thread_that_asks() {
    // The watchdog belongs to all tests of the process: here it is the health that is asked for
    // before the watchdog looks.
    let store = Faulty::new(Fault::None);
    let settings = Settings { flush_interval: Duration::ZERO, ..Settings::default() };
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &settings);
    store.set(Fault::Hangs);
    let calls = store.calls.load(SeqCst);
    breaker.change("changed");
    until("it hangs", || store.calls.load(SeqCst) > calls);
    thread::sleep(Duration::from_millis(1005));
    let said = attached.health().to_string();
    assert!(said.contains("does not answer"), "{said}");
    store.set(Fault::None);
    until("it recovers", || attached.health().is_healthy());
}

#[test]
fn a_forked_process_says_that_nothing_is_saved_and_waits_for_nothing() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    attached.flush_blocking(LONG).unwrap();
    // The parent's writer is busy: what the child asks of it stays.
    store.set(Fault::Hangs);
    let calls = store.calls.load(SeqCst);
    breaker.change("changed");
    until("it hangs", || store.calls.load(SeqCst) > calls);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Another thread plays the child: to it, this is another process.
            process::seam::PROCESS.set(Some(1));
            let health = attached.health();
            let StoreHealth::Degraded { reason, .. } = &health else { panic!("{health}") };
            assert!(reason.contains("forked") && reason.contains("daemonizing"), "{reason}");
            assert_eq!(attached.health(), health, "since when is known once");
            let began = Instant::now();
            let error = attached.flush_blocking(LONG).unwrap_err();
            assert!(error.to_string().starts_with("state not saved: this process"), "{error}");
            assert!(error.to_string().contains("forked"), "{error}");
            assert!(!error.to_string().contains("retrying"), "nothing saves it: {error}");
            let error = flush_all(LONG).unwrap_err();
            assert!(!error.to_string().contains("retrying"), "nothing saves it: {error}");
            let other = Breaker::new("closed");
            let built = attach(&store, "b", &other, &patient());
            assert!(!built.health().is_healthy(), "nor is one that is built there");
            other.change("changed");
            drop(built);
            assert!(began.elapsed() < LONG / 2);
        });
    });
    let inbox = inboxes::find(store.id()).unwrap();
    assert!(inbox.content().requests.is_empty(), "nothing is asked of the parent");
    store.set(Fault::None);
    until("the parent goes on", || store.holds("a", "changed"));
    assert!(attached.health().is_healthy());
}

#[cfg(feature = "keyed")]
#[test]
fn names_are_searched_for_once_there_is_a_thread() {
    use super::super::{NameSearch, NamesWanted, known_store::KnownStore};
    use crate::sync::std_lock;

    let store = Faulty::new(Fault::None);
    store.put("a", "open");
    let known = KnownStore::new(store);
    let found = Arc::new(std::sync::Mutex::new(Vec::new()));
    let search = NameSearch::new();
    let limit = Limit::reached();
    let wanted = NamesWanted {
        store: Box::new(move || Some(known.clone())),
        belongs: Box::new(|_| true),
        limit: 10,
    };
    let names = Arc::clone(&found);
    let began = Instant::now();
    search.start(wanted, LONG, move |found| *std_lock(&names) = found, || ());
    assert!(began.elapsed() < LONG / 2, "it does not wait for a thread that is not there");
    search.retry();
    assert!(std_lock(&found).is_empty());
    drop(limit);
    until("they are found", || {
        search.retry();
        *std_lock(&found) == ["a"]
    });
}

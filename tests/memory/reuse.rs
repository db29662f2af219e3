//! A new breaker reuses the memory of one that was dropped. Nothing that is still on its way from
//! the old one reaches the new one.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio_test::{assert_pending, task};
use tower::{Layer, Service};
use tower_breaker::{Breaker, CircuitBreaker, CircuitBreakerLayer, Event, State, Trip};

use super::{
    alone,
    support::{
        sick_store::{SickStore, Symptom},
        wait::eventually,
    },
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn breaker(name: &str) -> Breaker {
    Breaker::builder(name).build().unwrap()
}

/// Ends the test if a thread hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Never ready.
struct Busy;

impl Service<()> for Busy {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

/// A service, and the task that waits for it.
type Parked = (task::Spawn<()>, CircuitBreaker<Busy>);

/// Runs a closure on drop.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_task_that_waited_for_the_old_breaker_does_not_prevent_one_from_waiting_for_the_new_one() {
    let _alone = alone();
    let new: Arc<Mutex<Option<Parked>>> = Arc::default();
    let slot = Arc::clone(&new);
    // The listener of the old breaker is dropped last, when the memory is already free.
    let last = OnDrop(move || {
        let mut service = CircuitBreakerLayer::new(breaker("new")).layer(Busy);
        let mut waiter = task::spawn(());
        assert_pending!(waiter.enter(|cx, _| service.poll_ready(cx)));
        *lock(&slot) = Some((waiter, service));
    });
    let layer = CircuitBreakerLayer::builder("old")
        .on_event(move |_| {
            let _ = &last;
        })
        .build()
        .unwrap();
    let mut old = layer.layer(Busy);
    drop(layer);
    assert_pending!(task::spawn(()).enter(|cx, _| old.poll_ready(cx)));
    drop(old);
    let (waiter, service) = lock(&new).take().expect("the old breaker is dropped");
    service.breaker().force_open();
    assert!(waiter.is_woken());
}

#[test]
fn the_thread_that_reports_transitions_of_the_old_breaker_does_not_report_those_of_the_new_one() {
    let _alone = alone();
    let log: Arc<Mutex<Vec<(&str, State)>>> = Arc::default();
    let (begun, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let entries = Arc::clone(&log);
    let may_go = Mutex::new(may_go);
    let hears = move |event: &Event| {
        let Event::Transition(step) = event else { return };
        lock(&entries).push(("begin", step.to));
        if step.to == State::ForcedOpen {
            begun.send(()).unwrap();
            lock(&may_go).recv_timeout(PATIENCE).unwrap();
        }
        lock(&entries).push(("end", step.to));
    };
    // The listener of the old breaker drops it and builds the new one in its memory. Another thread
    // is about to report the first transition of the new one when the old listener returns.
    let old: Arc<Mutex<Option<Breaker>>> = Arc::default();
    let new: Arc<Mutex<Option<Breaker>>> = Arc::default();
    let thread = Arc::new(Mutex::new(None));
    let (hears, slots) = (Mutex::new(Some(hears)), (old.clone(), new.clone(), thread.clone()));
    let has_begun = Mutex::new(has_begun);
    let changes_places = move |_: &Event| {
        let Some(hears) = lock(&hears).take() else { return };
        let gone = lock(&slots.0).take();
        drop(gone);
        let breaker = Breaker::builder("new").on_event(hears).build().unwrap();
        let opens = breaker.clone();
        *lock(&slots.1) = Some(breaker);
        *lock(&slots.2) = Some(std::thread::spawn(move || opens.force_open()));
        lock(&has_begun).recv_timeout(PATIENCE).unwrap();
    };
    let breaker = Breaker::builder("old")
        .trip_on(Trip::consecutive_failures(1))
        .on_event(changes_places)
        .build()
        .unwrap();
    let permit = breaker.try_acquire().unwrap();
    *lock(&old) = Some(breaker);
    permit.failure();
    let new = lock(&new).take().expect("the old breaker has reported its transition");
    new.disable();
    go.send(()).unwrap();
    lock(&thread).take().unwrap().join().unwrap();
    let log = lock(&log).clone();
    let (open, disabled) = (State::ForcedOpen, State::Disabled);
    assert_eq!(log, [("begin", open), ("end", open), ("begin", disabled), ("end", disabled)]);
}

#[test]
fn a_snapshot_that_the_old_breakers_store_loads_late_does_not_reach_the_new_one() {
    let _alone = alone();
    let store = SickStore::default();
    Breaker::builder("old").store(store.clone()).build().unwrap().force_open();
    eventually("the snapshot is stored", || store.stored("old").contains("forced_open"));
    store.show(Symptom::Hangs);
    drop(Breaker::builder("old").store(store.clone()).build().unwrap());
    let new = breaker("new");
    store.heal();
    eventually("the writer thread ends", || store.is_last());
    assert_eq!(new.state(), State::Closed);
}

/// A waker that reads the breaker on drop, like one that holds the last reference to a task with
/// services in it.
struct Asks(Breaker);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Asks {
    fn drop(&mut self) {
        assert_eq!(self.0.state(), State::Closed);
    }
}

#[test]
fn a_waker_may_read_the_breaker_on_drop() {
    let _alone = alone();
    let (done, is_done) = mpsc::channel();
    // On a thread of its own, because a failure here is a deadlock.
    std::thread::spawn(move || {
        let breaker = breaker("asked");
        let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Busy);
        let mut poll = |waker: &Waker| service.poll_ready(&mut Context::from_waker(waker));
        let asks = || Waker::from(Arc::new(Asks(breaker.clone())));
        assert_pending!(poll(&asks()));
        // Each new waker replaces the previous one.
        assert_pending!(poll(&asks()));
        assert_pending!(poll(Waker::noop()));
        assert_pending!(poll(&asks()));
        drop(service);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(PATIENCE).expect("a thread waits for a lock that it holds");
}

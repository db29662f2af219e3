use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{
    Layer, Service,
    retry::{Policy, Retry},
};
use tower_breaker::{Error, State, Trip};

use super::*;

/// Retries until success, within a budget that all clones share.
#[derive(Clone)]
struct Again {
    budget: Arc<AtomicU32>,
    /// Whether rejections are retried.
    after_rejections: bool,
}

impl Again {
    fn new(budget: u32, after_rejections: bool) -> Self {
        Self { budget: Arc::new(AtomicU32::new(budget)), after_rejections }
    }

    fn left(&self) -> u32 {
        self.budget.load(Ordering::SeqCst)
    }

    fn withdraw(&self) -> Option<Ready<()>> {
        let left = self.left().checked_sub(1)?;
        self.budget.store(left, Ordering::SeqCst);
        Some(ready(()))
    }
}

impl Policy<u32, u32, Error<Broken>> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, Error<Broken>>) -> Option<Ready<()>> {
        match result {
            Ok(_) => None,
            Err(Error::Rejected(_)) if !self.after_rejections => None,
            Err(_) => self.withdraw(),
        }
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

impl Policy<u32, u32, Broken> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, Broken>) -> Option<Ready<()>> {
        result.as_ref().err().and_then(|_| self.withdraw())
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

#[tokio::test(start_paused = true)]
async fn above_each_attempt_counts_and_an_open_circuit_ends_the_retries() {
    let (client, mut handle) = client();
    let rule = Trip::consecutive_failures(3);
    let layer = CircuitBreakerLayer::builder("retried").trip_on(rule).build().unwrap();
    let policy = Again::new(100, false);
    let mut service = Retry::new(policy.clone(), layer.layer(client));
    assert_ready_ok!(poll_ready(&mut service));
    let mut call = task::spawn(service.call(1));
    for _ in 0..3 {
        assert_pending!(call.poll());
        fail(&mut handle);
    }
    // The third failure opens the circuit, and the next attempt is rejected.
    assert_rejected(assert_ready!(call.poll()));
    assert_eq!(layer.breaker().state(), State::Open);
    assert!(handle.poll_request().is_pending());
    assert_eq!(policy.left(), 97);
}

#[tokio::test(start_paused = true)]
async fn above_a_policy_that_excludes_rejections_spends_no_budget_on_them() {
    let (service, mut handle, breaker) = guarded();
    let policy = Again::new(10, false);
    let mut service = Retry::new(policy.clone(), service);
    trip(&breaker);
    for _ in 0..20 {
        assert_rejected(call_at_once(&mut service));
    }
    assert_eq!(policy.left(), 10);
    assert!(handle.poll_request().is_pending());
}

/// Nothing hangs and no attempt reaches the dependency, but the budget is spent at once.
#[tokio::test(start_paused = true)]
async fn above_a_policy_that_retries_rejections_spends_its_budget_at_once() {
    let (service, mut handle, breaker) = guarded();
    let policy = Again::new(10, true);
    let mut service = Retry::new(policy.clone(), service);
    trip(&breaker);
    assert_rejected(call_at_once(&mut service));
    assert_eq!(policy.left(), 0);
    assert!(handle.poll_request().is_pending());
}

/// `Retry` holds a clone of the service that was not polled ready yet.
#[tokio::test(start_paused = true)]
async fn above_an_attempt_that_waits_for_the_client_is_rejected_when_the_circuit_opens() {
    let (client, mut handle) = client();
    let layer = CircuitBreakerLayer::builder("patient").build().unwrap();
    let mut service = Retry::new(Again::new(10, false), layer.layer(client));
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut service));
    let mut call = task::spawn(service.call(1));
    fail(&mut handle);
    assert_pending!(call.poll());
    assert!(handle.poll_request().is_pending());
    assert!(!call.is_woken());
    layer.breaker().force_open();
    assert!(call.is_woken());
    assert_rejected(assert_ready!(call.poll()));
}

#[tokio::test(start_paused = true)]
async fn below_all_attempts_together_are_one_call() {
    let (client, mut handle) = client();
    let policy = Again::new(3, false);
    let mut service = layer().layer(Retry::new(policy.clone(), client));
    let breaker = service.breaker().clone();
    assert_ready_ok!(poll_ready(&mut service));
    let mut call = task::spawn(service.call(1));
    for _ in 0..2 {
        assert_pending!(call.poll());
        fail(&mut handle);
    }
    assert_pending!(call.poll());
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(call.poll()), 7);
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));

    assert_ready_ok!(poll_ready(&mut service));
    let mut call = task::spawn(service.call(1));
    for _ in 0..2 {
        assert_pending!(call.poll());
        fail(&mut handle);
    }
    assert_ready_err!(call.poll());
    assert_eq!(policy.left(), 0);
    assert_eq!(breaker.state(), State::Open);
}

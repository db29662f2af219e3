//! A service that was ready while the circuit was open, and is called much later.

use std::{
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use tower::{Service, service_fn};

use super::CircuitBreaker;
use crate::{
    clock::tests::isolated::{block_on, isolate},
    config::Trip,
    handle::Breaker,
};

const OPEN_TIME: Duration = Duration::from_secs(60);

/// By a clock that no caller reads meanwhile.
#[test]
fn a_late_rejection_says_what_was_left_a_second_ago_at_most() {
    isolate("service::tests::a_late_rejection_says_what_was_left_a_second_ago_at_most", |trap| {
        let breaker = Breaker::builder("parked")
            .trip_on(Trip::consecutive_failures(1))
            .recovery_timeout(OPEN_TIME)
            .build()
            .unwrap();
        breaker.try_acquire().unwrap().failure();
        let inner = service_fn(|()| async { Ok::<_, ()>(()) });
        let service = CircuitBreaker::new(inner, breaker);
        let parked = || {
            let mut service = service.clone();
            let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
            assert_eq!(ready, Poll::Ready(Ok(())));
            service
        };
        let left = |mut service: CircuitBreaker<_>| {
            let rejected = block_on(service.call(())).unwrap_err();
            rejected.rejected().expect("a rejection").retry_after().expect("a time")
        };
        assert_eq!(left(parked()), OPEN_TIME);
        // One of them is called after the timer thread has looked at the clock.
        let services: Vec<_> = (0..1200).map(|_| parked()).collect();
        trap.advance(OPEN_TIME * 5 / 6);
        let is_said = services.into_iter().any(|service| {
            thread::sleep(Duration::from_millis(50));
            let left = left(service);
            assert!(left == OPEN_TIME || left == OPEN_TIME / 6, "{left:?}");
            left < OPEN_TIME
        });
        assert!(is_said);
    });
}

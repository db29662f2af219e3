//! Clocks of users that begin anew, or jump ahead and come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::{
    clock::{Clock, TimeSource},
    config::{Trip, Window},
    handle::Breaker,
    state::State,
};

const DAYS_30: u64 = 30 * 24 * 3600 * 1000;

/// A clock that says this many milliseconds.
#[derive(Clone)]
struct Settable(Arc<AtomicU64>);

impl Settable {
    fn at(millis: u64) -> Self {
        Self(Arc::new(AtomicU64::new(millis)))
    }

    fn set(&self, millis: u64) {
        self.0.store(millis, SeqCst);
    }
}

impl Clock for Settable {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(SeqCst))
    }
}

#[test]
fn a_clock_that_begins_anew_prolongs_no_open_time() {
    let clock = Settable::at(DAYS_30);
    let breaker = Breaker::builder("anew")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(Duration::from_secs(60))
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    let steps =
        [(DAYS_30 + 10_000, 50_000), (0, 50_000), (20_000, 30_000), (0, 30_000), (29_999, 1)];
    for (millis, left) in steps {
        clock.set(millis);
        let rejected = breaker.try_acquire().unwrap_err();
        let said = rejected.retry_after().unwrap();
        assert_eq!(said.as_millis(), left, "at {millis}");
    }
    clock.set(30_000);
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_time_window_recovers_within_its_length_after_a_jump_ahead_and_back() {
    let clock = Settable::at(1000);
    let window = Window::time(Duration::from_secs(10));
    let breaker = Breaker::builder("jump")
        .trip_on(Trip::failure_rate(1.0, window).minimum_calls(100))
        .clock(clock.clone())
        .build()
        .unwrap();
    for millis in [1000, DAYS_30, 2000] {
        clock.set(millis);
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.stats().window_calls(), 2, "those since the jump ahead");
    clock.set(2000 + 11_000);
    assert_eq!(breaker.stats().window_calls(), 0);
}

/// The counters of processors may differ by a little, whichever of them a thread reads.
#[test]
fn a_difference_between_processors_does_not_add_up() {
    let clock = Settable::at(0);
    let source = TimeSource::custom(clock.clone());
    let began = source.now();
    let mut last = began;
    for millis in 1..=10_000 {
        clock.set(if millis % 2 == 0 { millis + 50 } else { millis });
        let now = source.now();
        assert!(now >= last, "it goes back");
        last = now;
    }
    assert_eq!(last.since(began), Duration::from_millis(10_050));
    clock.set(11_000);
    assert_eq!(source.now().since(began), Duration::from_secs(11), "nothing was added");
}

/// What a thread has read may be older than what another one has noted meanwhile.
#[test]
fn a_clock_that_only_goes_on_is_not_corrected_whatever_threads_read_it() {
    let clock = Settable::at(1);
    let source = TimeSource::custom(clock.clone());
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = source.now();
                while !ends.load(SeqCst) {
                    let now = source.now();
                    assert!(now >= last, "it goes back");
                    last = now;
                }
            });
        }
        (2..20_000).for_each(|millis| clock.set(millis));
        ends.store(true, SeqCst);
    });
    let began = source.now();
    clock.set(20_000 + 5);
    assert!(source.now().since(began) <= Duration::from_millis(6), "it is as it was");
    assert_eq!(source.now(), TimeSource::custom(clock).now(), "nothing was added");
}

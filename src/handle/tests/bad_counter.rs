//! A processor's counter that stands, begins anew, jumps, or differs from thread to thread.

use std::{thread, time::Duration};

use super::{
    faults::{COARSE, SPEEDS, begin, with_each_fault, with_each_of},
    with_other_clocks,
};
use crate::{
    clock::{
        SystemClock,
        tests::{Trap, isolated::block_on},
    },
    config::{RampUp, Trip, Window},
    handle::Breaker,
    state::State,
};

const OPEN_TIME: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(100);
const ALMOST: Duration = Duration::from_millis(1900);

/// A breaker whose calls are timed with the counter, and one whose calls are not.
fn breakers() -> [Breaker; 2] {
    let untimed = Breaker::builder("untimed");
    let timed = Breaker::builder("timed").trip_on(Trip::slow_call_rate(
        1.0,
        Duration::from_secs(1),
        Window::time(Duration::from_secs(10)),
    ));
    [untimed, timed].map(|builder| {
        builder
            .trip_on(Trip::consecutive_failures(1))
            .recovery_timeout(OPEN_TIME)
            .half_open_timeout(OPEN_TIME)
            .build()
            .unwrap()
    })
}

/// Rejects for just what is left of the open time, and says so.
fn stays_open(breaker: &Breaker, trap: &Trap) {
    let mut left = OPEN_TIME;
    while !left.is_zero() {
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!(rejected.state(), State::Open);
        let said = rejected.retry_after().unwrap();
        assert!((left..=left + COARSE).contains(&said), "{said:?}, with {left:?} left");
        assert!(said <= OPEN_TIME, "{said:?}");
        // What a service asks, which has a path of its own.
        let refusal = breaker.cell().would_refuse().expect("rejects");
        assert_eq!((refusal.state(), refusal.retry_after()), (State::Open, Some(said)));
        // At the end more closely than the coarse clock ticks.
        let step = if left > STEP { STEP } else { Duration::from_millis(1) };
        trap.advance(step);
        left -= step;
    }
}

#[test]
fn an_open_circuit_ends_in_time() {
    with_each_fault("bad_counter::an_open_circuit_ends_in_time", opens_and_closes);
}

#[test]
fn an_open_circuit_ends_in_time_at_any_speed() {
    let test = "bad_counter::an_open_circuit_ends_in_time_at_any_speed";
    with_each_of(&SPEEDS, test, opens_and_closes);
}

fn opens_and_closes(trap: &'static Trap, fault: &(dyn Fn() + Sync)) {
    for breaker in breakers() {
        breaker.try_acquire().unwrap().success();
        breaker.try_acquire().unwrap().failure();
        fault();
        stays_open(&breaker, trap);
        breaker.try_acquire().expect("a probe").success();
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn a_circuit_that_is_closed_by_hand_rejects_nothing() {
    with_each_fault("bad_counter::a_circuit_that_is_closed_by_hand_rejects_nothing", |_, fault| {
        for breaker in breakers() {
            breaker.try_acquire().unwrap().failure();
            assert!(breaker.cell().would_refuse().is_some());
            fault();
            breaker.reset();
            assert_eq!(breaker.cell().would_refuse(), None);
            breaker.try_acquire().unwrap().failure();
            breaker.force_open();
            let refusal = breaker.cell().would_refuse().expect("rejects");
            assert_eq!((refusal.state(), refusal.retry_after()), (State::ForcedOpen, None));
        }
    });
}

#[test]
fn a_circuit_that_opens_after_the_fault_ends_in_time() {
    with_each_fault(
        "bad_counter::a_circuit_that_opens_after_the_fault_ends_in_time",
        |trap, fault| {
            for breaker in breakers() {
                breaker.try_acquire().unwrap().success();
                let permit = breaker.try_acquire().unwrap();
                fault();
                breaker.try_acquire().unwrap().success();
                permit.failure();
                stays_open(&breaker, trap);
                breaker.try_acquire().expect("a probe").success();
            }
        },
    );
}

#[test]
fn every_thread_sees_the_same_open_time() {
    with_each_fault("bad_counter::every_thread_sees_the_same_open_time", |trap, fault| {
        let [_, breaker] = breakers();
        thread::scope(|scope| {
            scope.spawn(|| {
                fault();
                breaker.try_acquire().unwrap().success();
                breaker.try_acquire().unwrap().failure();
            });
        });
        stays_open(&breaker, trap);
        breaker.try_acquire().expect("a probe").success();
    });
}

#[test]
fn a_probe_times_out_in_time() {
    with_each_fault("bad_counter::a_probe_times_out_in_time", |trap, fault| {
        for breaker in breakers() {
            breaker.try_acquire().unwrap().failure();
            trap.advance(OPEN_TIME);
            let probe = breaker.try_acquire().expect("a probe");
            fault();
            trap.advance(ALMOST);
            assert_eq!(breaker.try_acquire().unwrap_err().state(), State::HalfOpen);
            trap.advance(STEP);
            let rejected = breaker.try_acquire().unwrap_err();
            assert_eq!((rejected.state(), rejected.retry_after()), (State::Open, Some(OPEN_TIME)));
            probe.success();
        }
    });
}

#[test]
fn a_ramp_ends_in_time() {
    with_each_fault("bad_counter::a_ramp_ends_in_time", |trap, fault| {
        let breaker = Breaker::builder("ramp")
            .trip_on(Trip::consecutive_failures(1))
            .trip_on(Trip::failure_rate(1.0, Window::time(Duration::from_secs(10))))
            .recovery_timeout(OPEN_TIME)
            .ramp_up(RampUp::new(0.1, Duration::from_secs(10)))
            .build()
            .unwrap();
        breaker.try_acquire().unwrap().failure();
        trap.advance(OPEN_TIME);
        breaker.try_acquire().expect("a probe").success();
        fault();
        let admitted = || (0..100).filter_map(|_| breaker.try_acquire().ok()).count();
        let begins = admitted();
        assert!((9..=11).contains(&begins), "{begins}");
        trap.advance(Duration::from_secs(5));
        let half = admitted();
        assert!((50..=60).contains(&half), "{half}");
        trap.advance(Duration::from_secs(5));
        assert_eq!(admitted(), 100);
    });
}

#[test]
fn waiting_callers_are_admitted_in_time() {
    with_each_fault("bad_counter::waiting_callers_are_admitted_in_time", |trap, fault| {
        let [_, breaker] = breakers();
        breaker.try_acquire().unwrap().failure();
        fault();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| block_on(breaker.acquire()).success());
            trap.advance(ALMOST);
            thread::sleep(Duration::from_millis(1200));
            assert!(!waiting.is_finished(), "admitted before the open time was over");
            trap.advance(STEP);
            waiting.join().unwrap();
        });
        assert_eq!(breaker.state(), State::Closed);
    });
}

#[test]
fn a_time_window_recovers() {
    with_each_fault("bad_counter::a_time_window_recovers", |trap, fault| {
        let window = Window::time(Duration::from_secs(10));
        let breaker = Breaker::builder("window")
            .trip_on(Trip::failure_rate(0.5, window).minimum_calls(10))
            .trip_on(Trip::slow_call_rate(0.5, Duration::from_millis(1), window).minimum_calls(10))
            .build()
            .unwrap();
        for _ in 0..4 {
            breaker.try_acquire().unwrap().success();
            breaker.try_acquire().unwrap().failure();
        }
        fault();
        // One call in ten fails; each takes half a millisecond.
        let traffic = |calls: u32| {
            for call in 0..calls {
                let permit = breaker.try_acquire().unwrap();
                trap.advance(Duration::from_micros(500));
                if call % 10 == 9 {
                    permit.failure();
                } else {
                    permit.success();
                }
                trap.advance(Duration::from_micros(9500));
            }
        };
        // A window's length, after which what came before is forgotten.
        traffic(1000);
        let stats = breaker.stats();
        assert!((950..=1000).contains(&stats.window_calls()), "{stats:?}");
        assert!((95..=100).contains(&stats.window_failures()), "{stats:?}");
        traffic(1000);
        let stats = breaker.stats();
        assert_eq!(stats.window_slow_calls(), 0, "{stats:?}");
        // And what is slow is slow again.
        let mut calls = 0;
        while let Ok(permit) = breaker.try_acquire() {
            trap.advance(Duration::from_millis(5));
            permit.success();
            trap.advance(Duration::from_millis(5));
            calls += 1;
            assert!(calls <= 1000);
        }
        println!("opened after {calls} slow calls");
        trap.advance(Duration::from_secs(120));
    });
}

/// No failure takes the lock, and reads the system's clock.
#[test]
fn slow_successes_are_seen() {
    with_each_fault("bad_counter::slow_successes_are_seen", |trap, fault| {
        let rule = Trip::slow_call_rate(0.5, Duration::from_millis(1), Window::calls(20));
        let breaker = Breaker::builder("slow").trip_on(rule).build().unwrap();
        let call = |millis| {
            let permit = breaker.try_acquire().ok()?;
            trap.advance(Duration::from_millis(millis));
            permit.success();
            Some(())
        };
        for _ in 0..40 {
            call(0).expect("fast calls");
        }
        fault();
        let slow = (0..100).take_while(|_| call(5).is_some()).count();
        assert!((10..=12).contains(&slow), "{slow}");
    });
}

/// No fault changes when something has happened.
#[test]
fn a_time_window_without_failures_recovers() {
    with_each_fault("bad_counter::a_time_window_without_failures_recovers", |trap, fault| {
        let window = Window::time(Duration::from_secs(10));
        let breaker = Breaker::builder("window")
            .trip_on(Trip::failure_rate(0.5, window).minimum_calls(10))
            .build()
            .unwrap();
        breaker.try_acquire().unwrap().success();
        fault();
        for _ in 0..25_000 {
            breaker.try_acquire().unwrap().success();
            trap.advance(Duration::from_millis(1));
        }
        let calls = breaker.stats().window_calls();
        assert!((9_700..=10_000).contains(&calls), "{calls}");
    });
}

/// As a success of a time window asks for the end of its bucket.
#[test]
fn a_time_is_to_come_until_it_has() {
    with_each_fault("bad_counter::a_time_is_to_come_until_it_has", |trap, fault| {
        let then = SystemClock::tick().after(STEP);
        fault();
        for left in (10..100).rev() {
            trap.advance(Duration::from_millis(1));
            assert!(SystemClock::is_before(|| then), "{left} ms before");
        }
        trap.advance(Duration::from_millis(10));
        // Without it, a counter that stands is not noticed.
        SystemClock::tick();
        assert!(!SystemClock::is_before(|| then));
    });
}

#[test]
fn a_time_has_come_when_it_has_without_a_look_at_the_systems_clock() {
    let test = "bad_counter::a_time_has_come_when_it_has_without_a_look_at_the_systems_clock";
    with_other_clocks(test, |trap| {
        begin(trap);
        for far in [15, 25, 100, 1000] {
            let then = SystemClock::tick().after(Duration::from_millis(far));
            for _ in 0..far {
                assert!(SystemClock::is_before(|| then), "{far} ms");
                trap.advance(Duration::from_millis(1));
            }
            assert!(!SystemClock::is_before(|| then), "{far} ms");
        }
    });
}

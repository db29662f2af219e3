//! Results that race with a transition: they count in the generation that admitted their call,
//! or not at all.

use loom::thread;

use super::{Leased, OPEN_TIME, admit, config, model};
use crate::{
    breaker::{command::Command, permit::Permit},
    clock::TimeSource,
    config::{Config, Trip, Window},
    state::State,
};

#[test]
fn failures_of_two_threads_both_count() {
    model(|| {
        let leased = Leased::new(config(3));
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || one.failure());
        two.failure();
        other.join().unwrap();
        assert_eq!((leased.state(), leased.stats().consecutive_failures()), (State::Closed, 2));
    });
}

#[test]
fn failures_of_two_threads_trip_once() {
    model(|| {
        let leased = Leased::new(config(2));
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || one.failure());
        two.failure();
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
        assert_eq!(leased.dispatched.transitions(), [(State::Closed, State::Open)]);
        assert_eq!(leased.stats().consecutive_opens(), 1);
    });
}

/// A result from before the trip, recorded during the trip: the circuit stays open, for the whole
/// open time.
fn a_late_result_during_a_trip(end: fn(Permit)) {
    model(move || {
        let (leased, clock) = Leased::with_clock(config(1));
        let (late, trips) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || trips.failure());
        end(late);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
        assert_eq!(leased.dispatched.transitions(), [(State::Closed, State::Open)]);
        clock.advance(OPEN_TIME);
        assert_eq!(leased.state(), State::HalfOpen);
    });
}

#[test]
fn a_success_during_a_trip_does_not_close() {
    a_late_result_during_a_trip(Permit::success);
}

#[test]
fn a_failure_during_a_trip_does_not_open_again() {
    a_late_result_during_a_trip(Permit::failure);
}

/// A call from before the trip ends while a probe does: it counts neither as a probe nor as a call
/// of the closed circuit that follows.
fn a_late_result_during_a_probe(end: fn(Permit)) {
    model(move || {
        let (leased, clock) = Leased::with_clock(Config { success_threshold: 2, ..config(1) });
        let late = leased.permit();
        leased.permit().failure();
        clock.advance(OPEN_TIME);
        let (one, two) = (leased.permit(), leased.permit());
        two.success();
        let other = thread::spawn(move || one.success());
        end(late);
        other.join().unwrap();
        assert_eq!((leased.state(), leased.stats().consecutive_failures()), (State::Closed, 0));
        assert_eq!(leased.dispatched.transitions().len(), 3);
    });
}

#[test]
fn a_late_success_is_not_a_probes_result() {
    a_late_result_during_a_probe(Permit::success);
}

#[test]
fn a_late_failure_is_not_a_probes_result() {
    a_late_result_during_a_probe(Permit::failure);
}

#[test]
fn a_caller_during_the_closing_is_rejected_or_admitted_as_an_ordinary_call() {
    model(|| {
        let (leased, _) = Leased::recovering(config(1));
        let cell = leased.cell;
        let probe = leased.permit();
        let other = thread::spawn(move || probe.success());
        if let Some(permit) = admit(cell) {
            permit.success();
        }
        other.join().unwrap();
        assert_eq!((leased.state(), leased.stats().consecutive_failures()), (State::Closed, 0));
    });
}

#[test]
fn a_caller_during_a_trip_is_admitted_or_gets_the_retry_time() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        let trips = leased.permit();
        let other = thread::spawn(move || trips.failure());
        if let Err(refusal) = Permit::try_acquire(cell).map(Permit::ignore) {
            assert_eq!((refusal.state(), refusal.retry_after()), (State::Open, Some(OPEN_TIME)));
        }
        other.join().unwrap();
    });
}

#[test]
fn a_result_during_a_command_does_not_change_the_commanded_state() {
    for end in [Permit::success, Permit::failure] {
        model(move || {
            let (leased, _) = Leased::recovering(config(1));
            let cell = leased.cell;
            let probe = leased.permit();
            let other = thread::spawn(move || end(probe));
            cell.command(Command::ForceOpen(None));
            other.join().unwrap();
            assert_eq!(leased.state(), State::ForcedOpen);
        });
    }
}

#[test]
fn a_failure_during_a_reset_is_cleared_or_too_late() {
    model(|| {
        let leased = Leased::new(config(2));
        let cell = leased.cell;
        let late = leased.permit();
        let other = thread::spawn(move || late.failure());
        cell.command(Command::Reset);
        other.join().unwrap();
        assert_eq!((leased.state(), leased.stats().consecutive_failures()), (State::Closed, 0));
    });
}

#[test]
fn of_two_probes_that_disagree_the_first_decides() {
    model(|| {
        let (leased, _) = Leased::recovering(Config { half_open_max_calls: Some(2), ..config(1) });
        let (good, bad) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || good.success());
        bad.failure();
        other.join().unwrap();
        let stats = leased.stats();
        match leased.state() {
            State::Closed => {
                assert_eq!((stats.consecutive_failures(), stats.consecutive_opens()), (0, 0));
            }
            State::Open => assert_eq!(stats.consecutive_opens(), 2),
            other => panic!("{other}"),
        }
        assert_eq!(leased.dispatched.transitions().len(), 3);
    });
}

#[test]
fn a_success_during_two_failures_ends_their_streak_or_comes_before_or_too_late() {
    model(|| {
        let leased = Leased::new(config(2));
        let (one, two, good) = (leased.permit(), leased.permit(), leased.permit());
        let other = thread::spawn(move || {
            one.failure();
            two.failure();
        });
        good.success();
        other.join().unwrap();
        match leased.state() {
            State::Open => {}
            State::Closed => assert_eq!(leased.stats().consecutive_failures(), 1),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_success_during_a_failure_that_trips_a_window_changes_nothing() {
    model(|| {
        let rule = Trip::failure_rate(0.5, Window::calls(2)).minimum_calls(2);
        let leased = Leased::new(Config { trip_on: vec![rule], ..Config::default() });
        let (bad, good) = (leased.permit(), leased.permit());
        // Fills the window with successes: from here on, a success takes no lock.
        leased.permit().success();
        leased.permit().success();
        let other = thread::spawn(move || bad.failure());
        good.success();
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
    });
}

#[test]
fn a_result_of_a_dropped_breaker_does_not_count_for_the_next_one_in_the_cell() {
    model(|| {
        let leased = Leased::new(config(1));
        let cell = leased.cell;
        let (late, later) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || {
            late.failure();
            later.success();
        });
        drop(leased);
        let next = Leased::lease(cell, config(1), TimeSource::System);
        other.join().unwrap();
        assert_eq!((next.state(), next.stats().consecutive_failures()), (State::Closed, 0));
        assert_eq!(next.dispatched.transitions(), []);
    });
}

//! Calls that end without a result, while something else happens.

use std::time::Duration;

use loom::thread;

use super::{Leased, OPEN_TIME, config, model};
use crate::{
    breaker::{command::Command, permit::Permit},
    clock::TimeSource,
    config::{Config, Trip, Window},
    state::State,
};

const SLOW: Duration = Duration::from_secs(1);

/// A circuit that opens at this number of slow calls, or at one failure.
fn slow(calls: u32) -> Config {
    let rule = Trip::slow_call_rate(1.0, SLOW, Window::calls(calls)).minimum_calls(calls);
    Config { trip_on: vec![rule, Trip::consecutive_failures(1)], ..Config::default() }
}

#[test]
fn calls_that_two_threads_give_up_late_both_count_and_trip_once() {
    model(|| {
        let (leased, clock) = Leased::with_clock(slow(2));
        let (one, two) = (leased.permit(), leased.permit());
        clock.advance(SLOW * 2);
        let other = thread::spawn(move || drop(one));
        drop(two);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
        assert_eq!(leased.dispatched.transitions(), [(State::Closed, State::Open)]);
    });
}

#[test]
fn a_call_given_up_during_a_trip_counts_before_it_or_not_at_all() {
    model(|| {
        let (leased, clock) = Leased::with_clock(slow(2));
        let (late, trips) = (leased.permit(), leased.permit());
        clock.advance(SLOW * 2);
        let other = thread::spawn(move || trips.failure());
        drop(late);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
        assert_eq!(leased.dispatched.transitions(), [(State::Closed, State::Open)]);
        assert!((1..=2).contains(&leased.stats().window_calls()));
        clock.advance(OPEN_TIME);
        assert_eq!(leased.state(), State::HalfOpen);
    });
}

#[test]
fn a_call_given_up_during_a_reset_is_cleared_or_too_late() {
    model(|| {
        let (leased, clock) = Leased::with_clock(slow(2));
        let cell = leased.cell;
        let late = leased.permit();
        clock.advance(SLOW * 2);
        let other = thread::spawn(move || drop(late));
        cell.command(Command::Reset);
        other.join().unwrap();
        assert_eq!((leased.state(), leased.stats().window_calls()), (State::Closed, 0));
    });
}

/// The breaker of the call is gone, and its cell belongs to another one.
#[test]
fn a_call_given_up_after_its_breaker_does_not_count_for_the_next_one_in_the_cell() {
    model(|| {
        let (leased, clock) = Leased::with_clock(slow(1));
        let cell = leased.cell;
        let late = leased.permit();
        clock.advance(SLOW * 2);
        let other = thread::spawn(move || drop(late));
        drop(leased);
        let source = TimeSource::custom(clock);
        let next = Leased::lease(cell, slow(1), source);
        other.join().unwrap();
        assert_eq!((next.state(), next.stats().window_calls()), (State::Closed, 0));
    });
}

/// A half-open circuit with two probes that have been out for half of the timeout.
fn two_probes_half_way(successes: u32) -> (Leased, Permit, Permit) {
    let (leased, clock) = Leased::recovering(Config {
        half_open_max_calls: Some(2),
        half_open_timeout: Some(OPEN_TIME),
        success_threshold: successes,
        ..config(1)
    });
    let (one, two) = (leased.permit(), leased.permit());
    clock.advance(OPEN_TIME / 2);
    (leased, one, two)
}

#[test]
fn probes_that_two_threads_cancel_add_up_and_open_once() {
    for (first, second) in
        [(Permit::cancel as fn(Permit), drop as fn(Permit)), (Permit::ignore, Permit::ignore)]
    {
        model(move || {
            let (leased, one, two) = two_probes_half_way(1);
            let other = thread::spawn(move || first(one));
            second(two);
            other.join().unwrap();
            assert_eq!(leased.state(), State::Open);
            assert_eq!(leased.stats().consecutive_opens(), 2);
            assert_eq!(leased.dispatched.transitions().len(), 3);
        });
    }
}

#[test]
fn a_success_during_a_cancellation_resets_the_sum_or_does_not() {
    model(|| {
        let (leased, one, two) = two_probes_half_way(2);
        let other = thread::spawn(move || one.cancel());
        two.success();
        other.join().unwrap();
        // Half of the timeout was wasted, before the success or after it.
        assert_eq!(leased.state(), State::HalfOpen);
        assert_eq!(leased.dispatched.transitions().len(), 2);
    });
}

#[test]
fn a_cancellation_during_a_closing_comes_first_or_too_late() {
    model(|| {
        let (leased, one, two) = two_probes_half_way(1);
        let other = thread::spawn(move || one.cancel());
        two.success();
        other.join().unwrap();
        assert_eq!(leased.state(), State::Closed);
        assert_eq!(leased.dispatched.transitions().len(), 3);
    });
}

/// A caller and the timer thread observe the end of the open time.
#[test]
fn a_deadline_that_two_threads_notice_is_one_transition() {
    model(|| {
        let (leased, clock) = Leased::with_clock(config(1));
        let cell = leased.cell;
        leased.permit().failure();
        clock.advance(OPEN_TIME);
        let other = thread::spawn(|| cell.inspect(|_, _| ()));
        let probe = leased.permit();
        other.join().unwrap();
        probe.success();
        assert_eq!(leased.dispatched.transitions().len(), 3);
    });
}

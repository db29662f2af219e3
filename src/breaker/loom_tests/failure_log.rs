//! Failures that are noted without the lock: none is lost or counted twice, each keeps its place
//! among the successes of its thread, and none gets into an epoch that is not its own.

use loom::thread;

use super::{
    Leased, model,
    success_counter::{counting, use_other_counter},
};
use crate::{
    breaker::{cell::Cell, command::Command, permit::Permit},
    config::{Config, Trip, Window},
    state::State,
};

/// A breaker in which threads have met, with one success in a count window of this size, in which
/// half must fail. Failures are noted without the lock.
fn noting(size: u32) -> Leased {
    let rule = Trip::failure_rate(0.5, Window::calls(size)).minimum_calls(size);
    let leased = Leased::new(Config { trip_on: vec![rule], ..Config::default() });
    leased.permit().success();
    leased.cell.allocate_counters(1);
    leased
}

fn record(permits: impl IntoIterator<Item = (Permit, bool)>) {
    for (permit, failed) in permits {
        if failed { permit.failure() } else { permit.success() }
    }
}

fn counts(leased: &Leased) -> (u64, u64) {
    let stats = leased.stats();
    (stats.window_calls(), stats.window_failures())
}

/// Calls that another thread makes.
fn elsewhere(leased: &Leased, failed: &[bool]) -> thread::JoinHandle<()> {
    let permits: Vec<_> = failed.iter().map(|failed| (leased.permit(), *failed)).collect();
    thread::spawn(move || {
        use_other_counter();
        record(permits);
    })
}

#[test]
fn failures_of_two_threads_are_all_counted() {
    model(|| {
        let leased = noting(10);
        let own = [(leased.permit(), true)];
        let other = elsewhere(&leased, &[true, true]);
        record(own);
        other.join().unwrap();
        assert_eq!(counts(&leased), (4, 3));
        assert_eq!((leased.state(), leased.stats().consecutive_failures()), (State::Closed, 3));
    });
}

#[test]
fn a_failure_keeps_its_place_among_the_successes_of_its_thread() {
    model(|| {
        let leased = noting(10);
        let own = [(leased.permit(), false), (leased.permit(), true)];
        let other = elsewhere(&leased, &[true]);
        record(own);
        let streak = leased.stats().consecutive_failures();
        assert!((1..=2).contains(&streak), "{streak} after a success and a failure");
        other.join().unwrap();
        assert_eq!(counts(&leased), (4, 2));
    });
}

#[test]
fn a_success_after_a_failure_of_its_thread_ends_the_streak() {
    model(|| {
        let leased = noting(10);
        let own = [(leased.permit(), true), (leased.permit(), false)];
        let other = elsewhere(&leased, &[true]);
        record(own);
        let streak = leased.stats().consecutive_failures();
        assert!(streak <= 1, "{streak}");
        other.join().unwrap();
        assert_eq!(counts(&leased), (4, 2));
    });
}

#[test]
fn a_failure_during_an_inspection_is_counted_once() {
    model(|| {
        let leased = noting(10);
        let other = elsewhere(&leased, &[true, false]);
        let (calls, failures) = counts(&leased);
        assert!(calls <= 3 && failures <= 1 && failures + 2 >= calls);
        other.join().unwrap();
        assert_eq!(counts(&leased), (3, 1));
    });
}

/// In a window of four calls with one success, one failure may be noted, and the third opens.
#[test]
fn the_failure_that_meets_the_rule_opens_the_circuit() {
    model(|| {
        let leased = counting(4);
        leased.cell.allocate_counters(1);
        let own = [(leased.permit(), true)];
        let other = elsewhere(&leased, &[true, true]);
        record(own);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
    });
}

#[test]
fn the_failure_that_completes_a_streak_opens_the_circuit() {
    model(|| {
        let leased = Leased::new(super::config(3));
        record([(leased.permit(), true)]);
        leased.cell.allocate_counters(1);
        let own = [(leased.permit(), true)];
        let other = elsewhere(&leased, &[true]);
        record(own);
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
    });
}

#[test]
fn a_failure_during_a_reset_is_not_counted_after_it() {
    model(|| {
        let leased = noting(10);
        let cell: &'static Cell = leased.cell;
        let other = elsewhere(&leased, &[true, true]);
        cell.command(Command::Reset);
        let fresh = leased.permit();
        other.join().unwrap();
        assert_eq!(counts(&leased), (0, 0));
        record([(fresh, true)]);
        assert_eq!(counts(&leased), (1, 1));
    });
}

#[test]
fn failures_are_not_lost_when_threads_meet_again() {
    model(|| {
        let leased = noting(10);
        let other = elsewhere(&leased, &[true, false]);
        leased.cell.allocate_counters(1);
        other.join().unwrap();
        assert_eq!(counts(&leased), (3, 1));
    });
}

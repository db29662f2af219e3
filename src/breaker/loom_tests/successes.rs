//! Successes that are counted without the lock: none is lost within a generation, and none is
//! counted in the next one.

use std::{sync::Arc, time::Duration};

use loom::thread;

use super::{Leased, model};
use crate::{
    Config, State, Trip, Window,
    breaker::{machine::Command, tally::Tally},
};

/// So long that no bucket ends while a model runs.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

fn counted(minimum_calls: u32) -> Leased {
    let rule = Trip::failure_rate(0.5, Window::time(LONG)).minimum_calls(minimum_calls);
    Leased::on_system_clock(Config { trip_on: vec![rule], ..Config::default() })
}

fn tally(generation: u64) -> Arc<Tally> {
    let tally = Tally::default();
    tally.provide();
    tally.open(generation);
    Arc::new(tally)
}

fn count(tally: &Tally, generation: u64, times: usize) -> u64 {
    (0..times).map(|_| u64::from(tally.count(generation))).sum()
}

#[test]
fn a_tally_that_is_collected_loses_nothing() {
    model(|| {
        let tally = tally(1);
        let shared = Arc::clone(&tally);
        let other = thread::spawn(move || count(&shared, 1, 2));
        let taken = tally.collect(1) + tally.collect(1);
        let counted = other.join().unwrap();
        assert_eq!(taken + tally.collect(1), counted);
    });
}

#[test]
fn a_tally_of_two_threads_counts_what_it_says() {
    model(|| {
        let tally = tally(1);
        let shared = Arc::clone(&tally);
        let other = thread::spawn(move || count(&shared, 1, 2));
        let own = count(&tally, 1, 2);
        let counted = own + other.join().unwrap();
        assert_eq!(tally.collect(1), counted);
    });
}

#[test]
fn a_tally_that_begins_anew_keeps_the_generations_apart() {
    model(|| {
        let tally = tally(1);
        let shared = Arc::clone(&tally);
        let other = thread::spawn(move || (count(&shared, 1, 2), count(&shared, 2, 1)));
        let taken = tally.close(1);
        tally.open(2);
        let (old, new) = other.join().unwrap();
        assert_eq!((taken, tally.collect(2)), (old, new));
    });
}

#[test]
fn what_a_tally_still_counts_of_an_old_generation_is_not_the_next_ones() {
    model(|| {
        let tally = tally(1);
        let shared = Arc::clone(&tally);
        let other = thread::spawn(move || (count(&shared, 1, 2), count(&shared, 2, 1)).1);
        tally.open(2);
        let new = other.join().unwrap();
        assert_eq!(tally.collect(2), new);
    });
}

#[test]
fn successes_of_two_threads_are_both_counted() {
    model(|| {
        let leased = counted(100);
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || one.success());
        two.success();
        other.join().unwrap();
        assert_eq!(leased.stats().window_calls(), 2);
    });
}

#[test]
fn a_success_beside_a_failure_is_counted() {
    model(|| {
        let leased = counted(100);
        let (bad, good) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || good.success());
        bad.failure();
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.stats().window_failures()), (2, 1));
    });
}

#[test]
fn a_success_beside_somebody_who_looks_is_counted_once() {
    model(|| {
        let leased = counted(100);
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || {
            one.success();
            two.success();
        });
        assert!(leased.stats().window_calls() <= 2);
        other.join().unwrap();
        assert_eq!((leased.stats().window_calls(), leased.stats().window_failures()), (2, 0));
    });
}

/// Whichever of the two comes first, the second finds one failure in two calls.
#[test]
fn a_success_that_makes_up_the_number_of_calls_beside_a_failure_trips() {
    model(|| {
        let leased = counted(2);
        let (bad, good) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || good.success());
        bad.failure();
        other.join().unwrap();
        assert_eq!(leased.state(), State::Open);
    });
}

#[test]
fn a_success_beside_a_reset_is_not_counted_after_it() {
    model(|| {
        let leased = counted(100);
        let cell = leased.cell;
        let (one, two) = (leased.permit(), leased.permit());
        let other = thread::spawn(move || {
            one.success();
            two.success();
        });
        cell.command(Command::Reset);
        let fresh = leased.permit();
        other.join().unwrap();
        assert_eq!(leased.stats().window_calls(), 0);
        fresh.success();
        assert_eq!(leased.stats().window_calls(), 1);
    });
}

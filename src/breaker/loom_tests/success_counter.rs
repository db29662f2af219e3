//! Successes that are counted without the lock: none is lost within a generation, and none is
//! counted in the next one.

use std::{sync::Arc, time::Duration};

use loom::thread;

use super::{Leased, model};
use crate::{
    breaker::{machine::Command, success_counter::SuccessCounter},
    config::{Config, Trip, Window},
    state::State,
};

/// So long that no bucket ends while a model runs.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

fn counted(minimum_calls: u32) -> Leased {
    let rule = Trip::failure_rate(0.5, Window::time(LONG)).minimum_calls(minimum_calls);
    Leased::on_system_clock(Config { trip_on: vec![rule], ..Config::default() })
}

fn counter(generation: u64) -> Arc<SuccessCounter> {
    let counter = SuccessCounter::default();
    counter.allocate();
    counter.enable(generation);
    Arc::new(counter)
}

fn count(counter: &SuccessCounter, generation: u64, times: usize) -> u64 {
    (0..times).map(|_| u64::from(counter.count(generation))).sum()
}

#[test]
fn draining_loses_nothing() {
    model(|| {
        let counter = counter(1);
        let shared = Arc::clone(&counter);
        let other = thread::spawn(move || count(&shared, 1, 2));
        let taken = counter.drain(1) + counter.drain(1);
        let counted = other.join().unwrap();
        assert_eq!(taken + counter.drain(1), counted);
    });
}

#[test]
fn the_count_is_the_number_of_successes_that_two_threads_counted() {
    model(|| {
        let counter = counter(1);
        let shared = Arc::clone(&counter);
        let other = thread::spawn(move || count(&shared, 1, 2));
        let own = count(&counter, 1, 2);
        let counted = own + other.join().unwrap();
        assert_eq!(counter.drain(1), counted);
    });
}

#[test]
fn enabling_the_next_generation_keeps_the_generations_apart() {
    model(|| {
        let counter = counter(1);
        let shared = Arc::clone(&counter);
        let other = thread::spawn(move || (count(&shared, 1, 2), count(&shared, 2, 1)));
        let taken = counter.drain_and_disable(1);
        counter.enable(2);
        let (old, new) = other.join().unwrap();
        assert_eq!((taken, counter.drain(2)), (old, new));
    });
}

#[test]
fn a_late_count_of_an_old_generation_is_not_part_of_the_next() {
    model(|| {
        let counter = counter(1);
        let shared = Arc::clone(&counter);
        let other = thread::spawn(move || (count(&shared, 1, 2), count(&shared, 2, 1)).1);
        counter.enable(2);
        let new = other.join().unwrap();
        assert_eq!(counter.drain(2), new);
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
fn a_success_during_a_failure_is_counted() {
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
fn a_success_during_an_inspection_is_counted_once() {
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

/// Whichever of the two comes second finds one failure in two calls.
#[test]
fn a_success_that_completes_the_minimum_calls_during_a_failure_trips() {
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
fn a_success_during_a_reset_is_not_counted_after_it() {
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

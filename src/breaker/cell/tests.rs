//! What is counted without the lock, and what takes it.

use super::*;
use crate::{
    breaker::{permit::Permit, pool, window::words_touched_by},
    config::{Trip, Window},
};

#[test]
fn a_call_that_does_not_count_takes_no_lock() {
    let cell = assigned([Trip::consecutive_failures(1)]);
    let locks = [pool::never_assigned(), cell].map(Cell::lock);
    let (done, is_done) = std::sync::mpsc::channel();
    let calls = std::thread::spawn(move || {
        for permit in [Permit::uncounted_call, || Permit::void_of(pool::never_assigned())] {
            permit().success();
            permit().failure();
            permit().succeed_unless_nested();
        }
        Permit::void_of(cell).success();
        Permit::void_of(cell).failure();
        done.send(()).unwrap();
    });
    let result = is_done.recv_timeout(std::time::Duration::from_secs(60));
    drop(locks);
    calls.join().unwrap();
    assert_eq!(result, Ok(()), "a call waits for a lock");
    assert!(cell.admits_all(), "no failure counts");
}

/// The view and what else is read at each call fill one line, and the rest three.
#[test]
fn a_cell_fills_four_cache_lines() {
    assert_eq!(size_of::<Cell>(), 256);
}

fn assigned(trips: impl IntoIterator<Item = Trip>) -> &'static Cell {
    let cell: &'static Cell = Box::leak(Box::new(Cell::vacant()));
    let config = Config { trip_on: trips.into_iter().collect(), ..Config::default() };
    cell.assign(CellSetup::new(config, TimeSource::System));
    cell
}

/// The next holder of the lock records what was counted without it, so that has to be little.
#[test]
fn no_call_touches_much_of_a_window_of_a_million_calls() {
    const SIZE: u32 = 1_000_000;
    let cell = assigned([Trip::failure_rate(1.0, Window::calls(SIZE))]);
    let words_of = |failed| words_touched_by(|| record(cell, failed)).1;
    for is_spread in [false, true] {
        if is_spread {
            cell.allocate_counters(1);
            assert!(cell.success_alone().is_spread());
        }
        let mut most = 0;
        for successes in [7, SIZE, 10, 60_000, 50_000, 20_000, 1, 5, 40_000, SIZE, 0, SIZE] {
            most = (0..successes).map(|_| words_of(false)).fold(most, usize::max);
            most = most.max(words_of(true));
        }
        assert!(most > 64, "what is counted is recorded by a later call");
        // 2,048 words are 65,536 calls: as many may wait in the counters, and somewhat more
        // than twice as many in the log.
        assert!(most <= 7000, "{most} words in one call");
    }
}

/// Notes failures without the lock while that is possible. Returns how many there were.
fn note(cell: &Cell) -> u64 {
    let note = |_: &i32| {
        cell.success_alone().is_spread()
            && cell.try_record_failure(cell.state(), Tick::from_nanos(0), None)
    };
    (0..100).take_while(note).count() as u64
}

fn record(cell: &'static Cell, failed: bool) {
    let permit = Permit::try_acquire(cell).unwrap();
    if failed { permit.failure() } else { permit.success() }
}

fn counts(cell: &'static Cell) -> (u64, u64, u32) {
    let stats = cell.inspect(|machine, _| machine.stats()).unwrap();
    (stats.window_calls(), stats.window_failures(), stats.consecutive_failures())
}

#[test]
fn a_window_full_of_successes_makes_the_breaker_quiet_again_and_no_success_is_counted_any_more() {
    for is_spread in [false, true] {
        let cell = assigned([Trip::failure_rate(0.5, Window::calls(100))]);
        if is_spread {
            cell.allocate_counters(1);
        }
        let successes_until_quiet = || {
            let is_counted = |_: &u64| {
                let is_counted = !cell.success_alone().skips();
                record(cell, false);
                is_counted
            };
            (0..1000).take_while(is_counted).count()
        };
        for failures in [0, 1, 3] {
            (0..failures).for_each(|_| record(cell, true));
            let successes = successes_until_quiet();
            // The window may be looked at once more after it is full.
            assert!((100..=200).contains(&successes), "{successes} after {failures} failures");
        }
        assert_eq!(counts(cell), (100, 0, 0));
    }
}

#[test]
fn failures_that_cannot_open_the_circuit_are_noted_without_the_lock_once_threads_have_met() {
    let rate = |window| Trip::failure_rate(0.5, window).minimum_calls(12);
    let hour = Window::Time(std::time::Duration::from_secs(3600));
    for window in [Window::calls(12), hour] {
        let cell = assigned([rate(window)]);
        record(cell, true);
        assert_eq!(note(cell), 0, "threads have not met");
        cell.allocate_counters(1);
        record(cell, false);
        // The sixth of twelve calls to fail opens the circuit.
        assert_eq!(note(cell), 4);
        record(cell, false);
        assert_eq!(counts(cell), (7, 5, 0));
        assert_eq!(note(cell), 0);
        record(cell, true);
        assert_eq!(counts(cell), (8, 6, 1));
        for _ in 0..4 {
            assert!(cell.admits_all());
            record(cell, false);
        }
        assert!(cell.state().admits_none(), "six of twelve");
    }
}

#[test]
fn failures_that_cannot_open_the_circuit_take_no_transaction_before_threads_have_met() {
    let rate = |window| Trip::failure_rate(0.5, window).minimum_calls(12);
    let cell = assigned([rate(Window::calls(12)), Trip::consecutive_failures(4)]);
    let fail = || cell.try_record_failure(cell.state(), Tick::from_nanos(0), None);
    assert!(!fail(), "the first change is reported to the observer");
    record(cell, true);
    let epoch = cell.state();
    assert!(fail() && fail());
    assert!(!fail(), "four in a row");
    assert_eq!(counts(cell), (3, 3, 3));
    record(cell, false);
    record(cell, false);
    assert_eq!(counts(cell), (5, 3, 0));
    assert!(fail() && fail());
    assert!(!fail(), "six of twelve");
    assert_eq!((counts(cell), cell.state()), ((7, 5, 2), epoch));
    (0..6).for_each(|_| record(cell, false));
    assert_eq!(counts(cell), (12, 4, 0), "the oldest has left the window");
    assert!(fail() && fail(), "the oldest leave the window");
    assert!(fail() && !fail());
    assert_eq!(counts(cell), (12, 5, 3));
    record(cell, true);
    assert!(cell.state().admits_none(), "six of twelve");

    let hour = Window::Time(std::time::Duration::from_secs(3600));
    let timed = assigned([rate(hour)]);
    record(timed, true);
    assert!(!timed.try_record_failure(timed.state(), Tick::from_nanos(0), None));
}

#[test]
fn only_as_many_failures_are_noted_as_the_shortest_streak_allows() {
    let rate = Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000);
    let cell = assigned([Trip::consecutive_failures(4), rate]);
    record(cell, true);
    cell.allocate_counters(1);
    assert_eq!(note(cell), 2);
    record(cell, true);
    assert!(cell.state().admits_none(), "four in a row");
}

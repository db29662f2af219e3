//! A machine that is suspended for hours.

use std::{thread, time::Duration};

use super::with_other_clocks;
use crate::{
    clock::{LONGEST_SLEEP, tests::isolated::block_on},
    config::Trip,
    handle::Breaker,
    state::State,
};

const HOUR: Duration = Duration::from_secs(3600);

fn open_for_half_an_hour() -> Breaker {
    let breaker = Breaker::builder("suspended")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(HOUR / 2)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    breaker
}

#[test]
fn the_open_time_counts_the_suspended_time() {
    with_other_clocks("suspended::the_open_time_counts_the_suspended_time", |trap| {
        let breaker = open_for_half_an_hour();
        breaker.try_acquire().unwrap_err();
        trap.suspend(HOUR);
        // Rejections may go on for as long as the coarse clock takes to move by 10 ms.
        trap.advance(Duration::from_millis(15));
        breaker.try_acquire().expect("a probe").success();
    });
}

#[test]
fn whatever_takes_the_lock_sees_the_suspended_time_at_once() {
    with_other_clocks(
        "suspended::whatever_takes_the_lock_sees_the_suspended_time_at_once",
        |trap| {
            let breaker = open_for_half_an_hour();
            trap.suspend(HOUR);
            assert_eq!(breaker.state(), State::HalfOpen);
        },
    );
}

#[test]
fn waiting_callers_wake_within_a_second_after_it() {
    assert!(LONGEST_SLEEP <= Duration::from_secs(1));
    with_other_clocks("suspended::waiting_callers_wake_within_a_second_after_it", |trap| {
        let breaker = open_for_half_an_hour();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| block_on(breaker.acquire()).success());
            thread::sleep(Duration::from_millis(200));
            assert!(!waiting.is_finished());
            let woken = std::time::Instant::now();
            trap.suspend(HOUR);
            waiting.join().unwrap();
            // One sleep, and slack for a loaded machine.
            assert!(woken.elapsed() < Duration::from_secs(10), "{:?}", woken.elapsed());
        });
    });
}

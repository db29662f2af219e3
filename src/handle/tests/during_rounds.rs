//! Faults of the clocks between the rounds in which a large window is updated or saved: at each
//! reading of the system's clock, one after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use super::{
    faults::{COARSE, FAULTS, begin},
    with_other_clocks,
};
use crate::{
    clock::{tests::Trap, wall},
    config::{Trip, Window},
    handle::{Breaker, BreakerBuilder},
    snapshot::{Snapshot, WindowContent},
    state::State,
    store::{MemoryStore, SaveEntry, StateStore as _},
};

/// More calls than are copied in a round.
const SIZE: u32 = 140_000;

const OPEN_TIME: Duration = Duration::from_secs(10);

/// The time that passes before each reading: every other one reads all clocks anew.
const STEP: Duration = Duration::from_millis(7);

/// Far longer than a job takes. No test waits for it.
const LONG: Duration = Duration::from_secs(3600);

/// A snapshot has microseconds.
const ROUNDED: Duration = Duration::from_millis(1);

const KEY: &str = "circuit_breaker:large:state";

fn rule(size: u32) -> Trip {
    Trip::failure_rate(1.0, Window::calls(size)).minimum_calls(size)
}

fn builder() -> BreakerBuilder {
    Breaker::builder("large")
        .trip_on(rule(SIZE))
        .trip_on(Trip::failure_rate(1.0, Window::time(Duration::from_secs(600))))
        .recovery_timeout(OPEN_TIME)
        // So that only a flush saves.
        .flush_interval(LONG)
        .transition_flush_interval(LONG)
}

fn restored(snapshot: &Snapshot) -> (Breaker, MemoryStore) {
    let store = MemoryStore::new();
    store.save(&SaveEntry::new(KEY, snapshot.to_json().unwrap())).unwrap();
    (builder().store(store.clone()).build().unwrap(), store)
}

/// A closed circuit, and an open one, with full windows.
fn seeds() -> [Snapshot; 2] {
    let breaker = builder().build().unwrap();
    for number in 0..SIZE {
        let permit = breaker.try_acquire().unwrap();
        if number % 997 == 0 { permit.failure() } else { permit.success() }
    }
    let closed = breaker.snapshot();
    breaker.trip();
    [closed, breaker.snapshot()]
}

/// The results of the count window, oldest first.
fn results(snapshot: &Snapshot) -> Vec<char> {
    let WindowContent::Results(runs) = &snapshot.windows[0].content else {
        panic!("{:?}", snapshot.windows[0])
    };
    let mut results = Vec::new();
    let mut number = None;
    for symbol in runs.chars() {
        match symbol.to_digit(10) {
            Some(digit) => number = Some(number.unwrap_or(0) * 10 + digit as usize),
            None => results.resize(results.len() + number.take().unwrap_or(1), symbol),
        }
    }
    results
}

/// Both windows hold the newest calls of those in the seed.
fn holds(found: &Snapshot, seed: &Snapshot, size: u32) {
    let newest = results(seed).split_off((SIZE - size) as usize);
    assert!(results(found) == newest, "other calls than before");
    let of_times = [found, seed].map(|it| (it.windows[1].calls, it.windows[1].failures));
    assert_eq!(of_times[0], of_times[1]);
}

/// Rejects for what is left of the open time, and says so.
fn ends_in_time(breaker: &Breaker, trap: &Trap, mut left: Duration) {
    while left > STEP {
        let said = breaker.try_acquire().unwrap_err().retry_after().unwrap();
        let about = left.saturating_sub(ROUNDED)..=left + COARSE;
        assert!(about.contains(&said), "{said:?}, with {left:?} left");
        assert!(said <= OPEN_TIME, "{said:?}");
        let step = (left / 3).max(STEP);
        trap.advance(step);
        left = left.saturating_sub(step);
    }
    trap.advance(left + ROUNDED);
    breaker.try_acquire().expect("a probe").success();
    assert_eq!(breaker.state(), State::Closed);
}

/// What is done of the breaker on this store while the fault happens. Returns what it has become.
type Job = fn(&Breaker, &MemoryStore) -> (Snapshot, u32);

/// Does a job of a breaker that is restored from this seed, with a fault at this reading of the
/// clock. `false`: the clock is not read that often.
fn survives(trap: &Trap, seed: &Snapshot, job: Job, fault: fn(&Trap), at: u32) -> bool {
    trap.repair_counter();
    trap.advance(STEP);
    trap.set_wall(seed.saved_at);
    let (breaker, store) = restored(seed);
    // Something to save.
    let mut config = (*breaker.config()).clone();
    config.flush_interval = LONG * 2;
    breaker.update(config).unwrap();
    let readings = Arc::<AtomicU32>::default();
    let count = Arc::clone(&readings);
    let on_reading = move |trap: &Trap| {
        trap.advance(STEP);
        if count.fetch_add(1, SeqCst) + 1 == at {
            fault(trap);
        }
    };
    let (found, size) = trap.during(on_reading, || job(&breaker, &store));
    holds(&found, seed, size);
    assert_eq!(found.state, seed.state);
    if seed.state == State::Closed {
        breaker.trip();
        ends_in_time(&breaker, trap, OPEN_TIME);
    } else {
        let until = [&found, seed].map(|it| it.open_until.unwrap());
        let shift = until[0].duration_since(until[1]).unwrap_or_else(|error| error.duration());
        assert!(shift < ROUNDED, "the open time has moved by {shift:?}");
        ends_in_time(&breaker, trap, until[1].duration_since(wall()).unwrap());
    }
    readings.load(SeqCst) >= at
}

fn with_each_fault_at_each_reading(test: &str, job: Job) {
    with_other_clocks(test, |trap| {
        for (name, fault) in FAULTS {
            begin(trap);
            for seed in seeds() {
                let reached =
                    (1..50).take_while(|at| survives(trap, &seed, job, fault, *at)).count();
                println!("{name}, {:?}: at {reached} readings", seed.state);
                assert!(reached >= 3, "{reached} readings are fewer than the rounds");
            }
        }
    });
}

#[test]
fn an_update_keeps_every_call_and_the_open_time() {
    let test = "during_rounds::an_update_keeps_every_call_and_the_open_time";
    with_each_fault_at_each_reading(test, |breaker, _| {
        let mut config = (*breaker.config()).clone();
        config.trip_on[0] = rule(SIZE - 10);
        breaker.update(config).unwrap();
        (breaker.snapshot(), SIZE - 10)
    });
}

#[test]
fn a_save_holds_every_call_and_the_open_time() {
    let test = "during_rounds::a_save_holds_every_call_and_the_open_time";
    with_each_fault_at_each_reading(test, |breaker, store| {
        breaker.flush_blocking(LONG).unwrap();
        let saved = store.load(KEY).unwrap().unwrap();
        (Snapshot::from_json(&saved).unwrap(), SIZE)
    });
}

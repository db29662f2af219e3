//! Every interleaving of a few threads on one cell, by loom.
//!
//! `RUSTFLAGS="--cfg tower_breaker_loom" cargo test --release --lib loom_tests`

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use loom::thread;

use super::{
    cell::{Cell, Observer},
    machine::{Command, Machine, Step},
    permit::Permit,
    restore::Now,
    tally::Tally,
};
use crate::{
    Config, State, Stats, Trip, Window,
    clock::{ManualClock, TimeSource},
};

const OPEN_TIME: Duration = Duration::from_secs(60);

/// A cell with a breaker in it. It is leaked, as all cells are: loom begins a new one each time.
fn lease(trip: Trip, clock: TimeSource) -> &'static Cell {
    let mut config = Config::default();
    config.trip_on = vec![trip];
    config.recovery_timeout = OPEN_TIME;
    let cell = Box::leak(Box::new(Cell::vacant()));
    cell.lease(Arc::new(config), clock);
    cell
}

fn manual(trip: Trip) -> (&'static Cell, ManualClock) {
    let clock = ManualClock::new();
    (lease(trip, TimeSource::Custom(Arc::new(clock.clone()))), clock)
}

/// A circuit that has tripped, and whose open time is over.
fn recovering() -> &'static Cell {
    let (cell, clock) = manual(Trip::consecutive_failures(1));
    admit(cell).expect("closed").failure();
    clock.advance(OPEN_TIME);
    cell
}

fn admit(cell: &'static Cell) -> Option<Permit> {
    cell.admit().ok()
}

fn state(cell: &Cell) -> State {
    cell.look(|machine, _| machine.state()).expect("leased")
}

fn stats(cell: &Cell) -> Stats {
    cell.look(|machine, _| Machine::stats(machine)).expect("leased")
}

/// Runs two pieces of work at once, one of them on this thread.
fn both<T: 'static>(
    one: impl FnOnce() -> T + 'static,
    other: impl FnOnce() -> T + 'static,
) -> (T, T) {
    let thread = thread::spawn(one);
    let other = other();
    (thread.join().expect("no panic"), other)
}

/// Counts the steps that are told, and keeps their order.
#[derive(Default)]
struct Told(Mutex<Vec<(State, State)>>);

impl Observer for Told {
    fn changed(&self, _: bool) {}

    fn stepped(&self, step: &Step, _: Now) {
        self.0.lock().unwrap().push((step.from, step.to));
    }
}

#[test]
fn at_the_recovery_moment_one_probe_goes() {
    loom::model(|| {
        let cell = recovering();
        let (one, other) = both(move || admit(cell), move || admit(cell));
        assert!(one.is_some() != other.is_some());
    });
}

#[test]
fn a_dropped_probe_gives_its_slot_back() {
    loom::model(|| {
        let cell = recovering();
        let probe = admit(cell).expect("the first probe");
        let (_, other) = both(
            move || {
                drop(probe);
                None
            },
            move || admit(cell),
        );
        let free = admit(cell);
        assert!(other.is_some() != free.is_some());
    });
}

#[test]
fn a_probe_that_ends_meets_a_caller() {
    loom::model(|| {
        let cell = recovering();
        let probe = admit(cell).expect("the first probe");
        both(
            move || {
                probe.success();
                None
            },
            // Rejected before the probe closed the circuit, an ordinary call after.
            move || admit(cell),
        )
        .1
        .map(Permit::success);
        assert_eq!(state(cell), State::Closed);
        assert_eq!(stats(cell).failures(), 0);
    });
}

#[test]
fn a_late_failure_does_not_count_after_a_transition() {
    loom::model(|| {
        let (cell, _) = manual(Trip::consecutive_failures(2));
        let late = admit(cell).expect("closed");
        both(move || late.failure(), move || cell.command(Command::Reset));
        // Whichever came first, the reset cleared it or the generation voided it.
        assert_eq!(stats(cell).failures(), 0);
        assert_eq!(state(cell), State::Closed);
    });
}

#[test]
fn a_late_success_does_not_close() {
    loom::model(|| {
        let cell = recovering();
        let late = admit(cell).expect("the first probe");
        both(move || late.success(), move || cell.command(Command::ForceOpen));
        assert_eq!(state(cell), State::ForcedOpen);
    });
}

#[test]
fn failures_of_two_threads_are_both_counted_and_trip_once() {
    loom::model(|| {
        let (cell, _) = manual(Trip::consecutive_failures(2));
        let told = Arc::new(Told::default());
        cell.observe(Arc::clone(&told) as _);
        let (one, other) = (admit(cell).expect("closed"), admit(cell).expect("closed"));
        both(move || one.failure(), move || other.failure());
        assert_eq!(state(cell), State::Open);
        assert_eq!(*told.0.lock().unwrap(), [(State::Closed, State::Open)]);
    });
}

#[test]
fn steps_of_two_threads_are_told_once_and_in_order() {
    loom::model(|| {
        let (cell, _) = manual(Trip::consecutive_failures(1));
        let told = Arc::new(Told::default());
        cell.observe(Arc::clone(&told) as _);
        both(move || cell.command(Command::ForceOpen), move || cell.command(Command::Disable));
        let told = told.0.lock().unwrap();
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].1, told[1].0);
    });
}

#[test]
fn a_success_beside_the_failure_that_trips_changes_nothing() {
    loom::model(|| {
        let (cell, _) = manual(Trip::consecutive_failures(1));
        let (good, bad) = (admit(cell).expect("closed"), admit(cell).expect("closed"));
        both(move || good.success(), move || bad.failure());
        assert_eq!(state(cell), State::Open);
    });
}

#[test]
fn a_caller_beside_the_failure_that_trips_is_admitted_or_told_the_time() {
    loom::model(|| {
        let (cell, _) = manual(Trip::consecutive_failures(1));
        let bad = admit(cell).expect("closed");
        let (_, seen) = both(
            move || {
                bad.failure();
                None
            },
            move || Some(cell.admit().map(Permit::ignore)),
        );
        if let Some(Err(refusal)) = seen {
            assert_eq!((refusal.state, refusal.retry_after), (State::Open, Some(OPEN_TIME)));
        }
    });
}

/// A window over time, on the machine's own clock, so that the successes go past the lock. Its
/// buckets are days long: none ends while the model runs.
fn counted() -> &'static Cell {
    let year = Window::time(Duration::from_secs(365 * 24 * 3600));
    lease(Trip::failure_rate(1.0, year).minimum_calls(100), TimeSource::System)
}

#[test]
fn successes_past_the_lock_are_all_counted() {
    loom::model(|| {
        let cell = counted();
        // The first one finds no counter yet.
        admit(cell).expect("closed").success();
        let (one, other) = (admit(cell).expect("closed"), admit(cell).expect("closed"));
        both(move || one.success(), move || other.success());
        assert_eq!(stats(cell).calls(), 3);
    });
}

#[test]
fn a_success_past_the_lock_beside_a_failure_is_counted() {
    loom::model(|| {
        let cell = counted();
        admit(cell).expect("closed").success();
        let (one, other) = (admit(cell).expect("closed"), admit(cell).expect("closed"));
        both(move || one.success(), move || other.failure());
        assert_eq!((stats(cell).calls(), stats(cell).failures()), (3, 1));
    });
}

#[test]
fn a_late_success_past_the_lock_is_not_counted() {
    loom::model(|| {
        let cell = counted();
        admit(cell).expect("closed").success();
        let late = admit(cell).expect("closed");
        both(move || late.success(), move || cell.command(Command::Reset));
        assert_eq!(stats(cell).calls(), 0);
    });
}

/// The counters alone: what was counted in a generation is taken once, and by that generation.
#[test]
fn a_tally_hands_over_between_generations() {
    loom::model(|| {
        let tally = loom::sync::Arc::new(Tally::default());
        tally.provide();
        tally.collect(1);
        let counting = loom::sync::Arc::clone(&tally);
        let counter =
            thread::spawn(move || u64::from(counting.count(1)) + u64::from(counting.count(1)));
        let taken = tally.collect(1);
        let last = tally.restart(1, 2);
        let counted = counter.join().expect("no panic");
        assert_eq!(taken + last, counted);
        assert_eq!(tally.collect(2), 0);
    });
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn nobody_who_waits_misses_the_opening() {
    loom::model(|| {
        let (cell, _) = manual(Trip::consecutive_failures(1));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let bad = admit(cell).expect("closed");
        let (parked, _) = both(
            move || cell.park(&mut None, &waker),
            move || {
                bad.failure();
                false
            },
        );
        // Parked in time and woken, or told that the circuit rejects already.
        assert_eq!(wakes.0.load(Ordering::SeqCst), usize::from(parked));
    });
}

#[test]
fn a_permit_of_a_breaker_that_is_gone_is_void() {
    loom::model(|| {
        let (cell, clock) = manual(Trip::consecutive_failures(1));
        let old = admit(cell).expect("closed");
        both(
            move || old.failure(),
            move || {
                cell.vacate();
                let clock = TimeSource::Custom(Arc::new(clock));
                cell.lease(Arc::default(), clock);
            },
        );
        assert_eq!((state(cell), stats(cell).failures()), (State::Closed, 0));
    });
}

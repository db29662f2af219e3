//! The concurrent core under loom: every interleaving of a few threads, up to a number of
//! preemptions (three, or `LOOM_MAX_PREEMPTIONS`).
//!
//! `RUSTFLAGS="--cfg tower_breaker_loom" cargo test --release --lib loom --target-dir target/loom`

mod dispatch;
mod late_results;
mod probes;
mod rejection_wakers;
mod success_counter;
mod wait_queue;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use super::{
    cell::Cell,
    machine::{Machine, Step},
    notify::Observer,
    permit::Permit,
};
use crate::{
    Config, State, Stats, Trip,
    clock::{ManualClock, TimeSource},
};

const OPEN_TIME: Duration = Duration::from_secs(60);

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(check);
}

/// A circuit that opens at so many failures in a row, unless the model says otherwise.
fn config(failures: u32) -> Config {
    Config { trip_on: vec![Trip::consecutive_failures(failures)], ..Config::default() }
}

/// A cell of this run alone: one of the pool would bring the last run's atomics along.
fn cell() -> &'static Cell {
    Box::leak(Box::new(Cell::vacant()))
}

/// A cell with a breaker, and what it told.
struct Leased {
    cell: &'static Cell,
    told: Arc<Told>,
}

impl Leased {
    fn new(config: Config) -> Self {
        Self::timed(config).0
    }

    /// With the clock that it goes by.
    fn timed(config: Config) -> (Self, ManualClock) {
        let clock = ManualClock::new();
        let source = TimeSource::Custom(Arc::new(clock.clone()));
        (Self::lease(cell(), config, source), clock)
    }

    /// On the machine's clock, for what a breaker leaves out where the clock is the user's own:
    /// successes that are counted without the lock.
    fn on_system_clock(config: Config) -> Self {
        Self::lease(cell(), config, TimeSource::System)
    }

    /// The next breaker of a cell.
    fn lease(cell: &'static Cell, config: Config, clock: TimeSource) -> Self {
        let told = Arc::new(Told::default());
        cell.lease(Arc::new(config), clock);
        cell.observe(Arc::clone(&told) as _);
        Self { cell, told }
    }

    /// One that a failure has opened, at the moment at which it lets probes through.
    fn recovering(config: Config) -> (Self, ManualClock) {
        let (leased, clock) = Self::timed(config);
        leased.permit().failure();
        assert_eq!(leased.state(), State::Open);
        clock.advance(OPEN_TIME);
        (leased, clock)
    }

    fn permit(&self) -> Permit {
        self.cell.admit().expect("admitted")
    }

    fn inspect<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.cell.inspect(|machine, _| look(machine)).expect("leased")
    }

    fn state(&self) -> State {
        self.inspect(Machine::state)
    }

    fn stats(&self) -> Stats {
        self.inspect(Machine::stats)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.cell.vacate();
    }
}

/// The steps in the order in which they were told.
#[derive(Default)]
struct Told(Mutex<Vec<(State, State)>>);

impl Told {
    fn steps(&self) -> Vec<(State, State)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Told {
    fn changed(&self, _urgent: bool) {}

    fn note(&self, _steps: &[Step], _now: Reading) {}

    fn stepped(&self, step: &Step, _: Reading) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((step.from, step.to));
    }
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Woken {
    fn waker() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self::default());
        (Arc::clone(&woken), woken.into())
    }

    fn is(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

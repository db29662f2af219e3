//! The concurrent core under loom: every interleaving of a few threads, up to a number of
//! preemptions (three, or `LOOM_MAX_PREEMPTIONS`).
//!
//! `.ci/loom` runs them.

mod abandoned;
mod dispatch;
mod failure_log;
mod late_results;
mod open_slot;
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
    cell::{Cell, CellSetup},
    effects::{Change, EndCounts},
    machine::Machine,
    notify::Observer,
    permit::Permit,
};
use crate::{
    clock::{ManualClock, TimeSource},
    config::{Config, Trip},
    event::{Event, Transition},
    metrics::MeterSlot,
    state::State,
    stats::Stats,
};

const OPEN_TIME: Duration = Duration::from_secs(60);

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(check);
}

/// A circuit that opens at this number of consecutive failures.
fn config(failures: u32) -> Config {
    Config { trip_on: vec![Trip::consecutive_failures(failures)], ..Config::default() }
}

/// A cell of this run alone: one of the pool would bring the atomics of the last run along.
fn cell() -> &'static Cell {
    Box::leak(Box::new(Cell::vacant()))
}

/// A cell with a breaker, and the transitions that were dispatched.
struct Leased {
    cell: &'static Cell,
    dispatched: Arc<Dispatched>,
}

/// Records a success as a service does.
fn succeed(mut permit: Permit) {
    permit.succeed_unless_nested();
}

impl Leased {
    fn new(config: Config) -> Self {
        Self::with_clock(config).0
    }

    fn with_clock(config: Config) -> (Self, ManualClock) {
        let clock = ManualClock::new();
        let source = TimeSource::custom(clock.clone());
        (Self::lease(cell(), config, source), clock)
    }

    /// With the system clock, for what a breaker does not do with a custom one: count successes
    /// without the lock.
    fn on_system_clock(config: Config) -> Self {
        Self::lease(cell(), config, TimeSource::System)
    }

    /// Leases a cell, which may have been another breaker's before.
    fn lease(cell: &'static Cell, config: Config, clock: TimeSource) -> Self {
        let dispatched = Arc::new(Dispatched::default());
        let observer = Some(Arc::clone(&dispatched) as Arc<dyn Observer>);
        cell.assign(CellSetup { observer, ..CellSetup::new(config, clock) });
        Self { cell, dispatched }
    }

    /// A circuit that a failure has opened, at the moment at which it first admits probes.
    fn recovering(config: Config) -> (Self, ManualClock) {
        let (leased, clock) = Self::with_clock(config);
        leased.permit().failure();
        assert_eq!(leased.state(), State::Open);
        clock.advance(OPEN_TIME);
        (leased, clock)
    }

    fn permit(&self) -> Permit {
        admit(self.cell).expect("admitted")
    }

    fn inspect<T>(&self, inspect: impl FnOnce(&Machine) -> T) -> T {
        self.cell.inspect(|machine, _| inspect(machine)).expect("leased")
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

fn admit(cell: &'static Cell) -> Option<Permit> {
    Permit::try_acquire(cell).ok()
}

/// The transitions in the order in which they were dispatched.
#[derive(Default)]
struct Dispatched {
    transitions: Mutex<Vec<(State, State)>>,
    is_save_due: AtomicBool,
}

impl Dispatched {
    fn transitions(&self) -> Vec<(State, State)> {
        self.transitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Dispatched {
    fn name(&self) -> Arc<str> {
        Arc::default()
    }

    fn on_change(&self, _: Change) {
        self.is_save_due.store(true, Ordering::SeqCst);
    }

    fn record_transitions(&self, _: &[Transition]) {}

    fn count(&self, _: EndCounts) {}

    fn begin_meter(self: Arc<Self>) -> MeterSlot {
        MeterSlot::OFF
    }

    fn on_event(&self, event: Event) {
        let Event::Transition(transition) = event else { return };
        let mut transitions = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        transitions.push((transition.from, transition.to));
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

    fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

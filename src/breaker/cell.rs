//! The memory of one breaker: the state machine behind a lock, and its published view in front.
//!
//! A permit must be able to reach the breaker after the service that issued it is gone. Cloning an
//! `Arc` for each call would do, but costs twenty times as much as the rest of a healthy call. So
//! cells live for ever: a breaker takes one from the [pool](super::pool) and returns it, and a
//! permit that comes back later finds another generation in the cell and changes nothing. Memory
//! is bounded by the largest number of breakers that were alive at one time.
//!
//! [`PublishedView`](super::published_view) explains why callers without the lock see a consistent
//! state. What needs no lock is in [`fast_path`]; [`calls`], [`transactions`] and [`wakers`] take
//! it.

mod calls;
mod fast_path;
#[cfg(feature = "health-check")]
mod health_check;
#[cfg(feature = "redis")]
mod shared;
mod transactions;
mod wakers;

use std::sync::Arc;

pub(super) use calls::Admitted;

use super::{
    core::{Core, Reschedule},
    counter::DISABLED,
    dispatch::dispatch,
    fast_path_view::{Admission, FastPathView},
    machine::{Machine, Storage},
    notify::Observer,
    open_slot::OpenSlot,
    published_view::PublishedView,
    spread_counters::SpreadCounters,
    success_counter::{OnSuccess, Successes},
};
use crate::{
    clock::{SystemClock, Tick, TimeSource},
    config::Config,
    metrics::{CellMeter, MeterSlot},
    sync::{AtomicU64, Mutex, MutexGuard, contain, lock},
    timer::housekeeping,
};

/// The first cache line is written only when the view changes, so that threads that read it keep
/// it. The others belong to the thread that has counted or locked last.
#[repr(C, align(64))]
pub(crate) struct Cell {
    view: PublishedView,
    /// Where calls are counted for the metrics.
    meter: CellMeter,
    spread_successes: SpreadCounters,
    locked: Locked,
}

#[repr(C, align(64))]
struct Locked {
    /// One counter for all threads, until two of them meet on it.
    successes: AtomicU64,
    core: Mutex<Core>,
}

/// What a cell gets from the breaker that it is assigned to.
pub(crate) struct CellSetup {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: TimeSource,
    pub(crate) meter: MeterSlot,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether a snapshot may be restored at any time.
    pub(crate) awaits_restore: bool,
}

#[cfg(test)]
impl CellSetup {
    /// Without a store and an observer.
    pub(crate) fn new(config: Config, clock: TimeSource) -> Self {
        let (config, meter) = (Arc::new(config), MeterSlot::OFF);
        Self { config, clock, meter, observer: None, awaits_restore: false }
    }
}

/// The life of a cell.
impl Cell {
    pub(super) fn vacant() -> Self {
        Self {
            view: PublishedView::vacant(),
            meter: CellMeter::off(),
            spread_successes: SpreadCounters::default(),
            locked: Locked {
                successes: AtomicU64::new(DISABLED),
                core: Mutex::new(Core::vacant()),
            },
        }
    }

    /// Assigns the cell to a breaker.
    pub(crate) fn assign(&self, setup: CellSetup) {
        let CellSetup { config, clock, meter, observer, awaits_restore } = setup;
        prepare(&clock, &config);
        let mut core = self.lock();
        let epoch = self.state().epoch() + 1;
        self.meter.start(meter, epoch);
        let now = clock.now();
        let mut machine = Machine::new(config, epoch, now);
        machine.storage = Storage::new(awaits_restore);
        core.machine = Some(machine);
        core.clock = clock;
        core.observer = observer;
        self.publish(&core);
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        lock(&self.locked.core)
    }

    fn successes(&self) -> Successes<'_> {
        Successes { shared: &self.locked.successes, spread: &self.spread_successes }
    }

    /// Counts elsewhere from now on, if the cell is (still) that of the breaker with this observer.
    #[allow(dead_code, reason = "used where calls are counted")]
    pub(crate) fn set_meter(
        &'static self,
        observer: &dyn Observer,
        slot: impl FnOnce(&Machine) -> MeterSlot,
    ) {
        self.with_core(|core| {
            let machine = core.machine.as_ref()?;
            core.is_owned_by(observer).then(|| self.meter.assign(slot(machine)))
        });
    }

    #[allow(dead_code, reason = "for a test of what is counted")]
    pub(crate) fn waits_for_call(&self) -> bool {
        self.meter.waits()
    }

    /// Begins to count calls for metrics, if that has waited for the first one.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_meter(&self) {
        if !self.meter.waits() {
            return;
        }
        // Held meanwhile, so that the cell does not pass to another breaker.
        let core = self.lock();
        if let Some(observer) = &core.observer
            && self.meter.waits()
        {
            self.meter.assign(Arc::clone(observer).begin_meter());
        }
    }

    /// Bounds when a rule may open the circuit, from now on.
    pub(crate) fn set_open_slot(&self, slot: OpenSlot) {
        self.lock().notifier().open_slot = Some(slot);
    }

    /// Gives the slot back, and takes none any more.
    #[allow(dead_code, reason = "used where breakers have keys")]
    pub(crate) fn remove_open_limit(&self) {
        let slot = self.lock().remove_open_slot();
        drop(slot);
    }

    /// Takes the cell from its breaker. From now on, every permit and every result of the breaker
    /// is void.
    pub(crate) fn vacate(&self) {
        let mut core = self.lock();
        self.view.vacate();
        self.meter.stop();
        // Dropped without the lock: the observer owns the user's listeners, and the clock may be
        // the user's.
        let old = core.vacate();
        drop(core);
        contain(|| "the drop of a circuit breaker's clock".to_owned(), || drop(old));
    }
}

/// What every holder of the lock does.
impl Cell {
    pub(super) fn with_core<T>(
        &'static self,
        work: impl FnOnce(&mut Core) -> Option<T>,
    ) -> Option<T> {
        let mut core = self.lock();
        let result = work(&mut core)?;
        self.complete(core);
        Some(result)
    }

    /// Publishes what a transaction did, releases the lock, and notifies.
    pub(super) fn complete(&'static self, mut core: MutexGuard<'_, Core>) {
        self.publish(&core);
        let schedule = core.take_schedule();
        let notifications = core.take_notifications(self.state().admits_none());
        drop(core);
        if let Some(Reschedule { at, instead_of }) = schedule {
            self.schedule(at, instead_of);
        }
        let Some(notifications) = notifications else { return };
        for waker in notifications.wakers {
            contain(|| "the waker of a task at a circuit breaker".to_owned(), || waker.wake());
        }
        if let Some(observer) = notifications.observer {
            dispatch(&self.locked.core, &observer);
        }
    }

    #[cfg(not(tower_breaker_loom))]
    fn schedule(&'static self, at: Tick, instead_of: Tick) {
        housekeeping::schedule(self, at, instead_of);
    }

    /// A model has no threads but its own.
    #[cfg(tower_breaker_loom)]
    fn schedule(&'static self, _: Tick, _: Tick) {}

    fn publish_success(&self, core: &Core, success: OnSuccess) {
        let Some(machine) = &core.machine else { return };
        let successes = self.successes();
        enable_if_deferring(successes, machine, success);
        self.view.publish_success(success, successes.is_spread());
    }

    fn publish(&self, core: &Core) {
        let (Some(view), Some(machine)) = (core.fast_path_view(), &core.machine) else { return };
        let view = FastPathView { metered: self.meter.is_on(), ..view };
        let successes = self.successes();
        enable_if_deferring(successes, machine, view.success);
        if let Admission::NoneUntil(until) = view.admission
            && until != self.view.rejects_until()
            && !core.has_custom_clock()
        {
            // So that no rejection says more than is left now.
            SystemClock::note(machine.now);
        }
        self.view.publish(&view, core.has_custom_clock(), successes.is_spread());
    }
}

fn enable_if_deferring(successes: Successes<'_>, machine: &Machine, success: OnSuccess) {
    if success != OnSuccess::Defer {
        return;
    }
    let (epoch, limit) = (machine.epoch(), machine.rules.defer_limit());
    if !successes.is_enabled(epoch) {
        successes.enable(epoch, limit);
    }
    if successes.is_spread() {
        successes.enable_failures(epoch, limit, machine.failure_allowance());
    }
}

/// Does what takes a clock its time, before a call has to do it.
fn prepare(clock: &TimeSource, config: &Config) {
    if let TimeSource::System = clock
        && config.times_calls()
    {
        SystemClock::calibrate();
    }
}

impl housekeeping::OnDeadline for Cell {
    fn on_deadline(&'static self, at: Tick) {
        let mut core = self.lock();
        core.on_deadline(at, self.successes());
        self.complete(core);
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;
    use crate::{
        breaker::{permit::Permit, pool, window::words_touched_by},
        config::{Trip, Window},
    };

    #[test]
    fn a_call_that_does_not_count_takes_no_lock() {
        let cell = leased([Trip::consecutive_failures(1)]);
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

    fn leased(trips: impl IntoIterator<Item = Trip>) -> &'static Cell {
        let cell: &'static Cell = Box::leak(Box::new(Cell::vacant()));
        let config = Config { trip_on: trips.into_iter().collect(), ..Config::default() };
        cell.assign(CellSetup::new(config, TimeSource::System));
        cell
    }

    /// Whoever takes the lock records what was counted without it, so that has to be little.
    #[test]
    fn no_call_touches_much_of_a_window_of_a_million_calls() {
        const SIZE: u32 = 1_000_000;
        let cell = leased([Trip::failure_rate(1.0, Window::calls(SIZE))]);
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
    fn failures_that_cannot_open_the_circuit_are_noted_without_the_lock_once_threads_have_met() {
        let rate = |window| Trip::failure_rate(0.5, window).minimum_calls(12);
        let hour = Window::Time(std::time::Duration::from_secs(3600));
        for window in [Window::calls(12), hour] {
            let cell = leased([rate(window)]);
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
        let cell = leased([rate(Window::calls(12)), Trip::consecutive_failures(4)]);
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
        let timed = leased([rate(hour)]);
        record(timed, true);
        assert!(!timed.try_record_failure(timed.state(), Tick::from_nanos(0), None));
    }

    #[test]
    fn only_as_many_failures_are_noted_as_the_shortest_streak_allows() {
        let rate = Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000);
        let cell = leased([Trip::consecutive_failures(4), rate]);
        record(cell, true);
        cell.allocate_counters(1);
        assert_eq!(note(cell), 2);
        record(cell, true);
        assert!(cell.state().admits_none(), "four in a row");
    }
}

//! The memory of one breaker: the state machine behind a lock, and its published view in front.
//!
//! A permit must be able to reach the breaker after the service that issued it is gone. Cloning an
//! `Arc` for each call would do, but costs twenty times as much as the rest of a healthy call. So
//! cells live forever: a breaker takes one from the [pool](super::pool) and returns it, and a
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
mod tests;

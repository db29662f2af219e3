//! The memory of one breaker: the state machine behind a lock, and its published view in front.
//!
//! A permit must be able to reach the breaker after the service that issued it is gone. Cloning an
//! `Arc` for each call would do, but costs twenty times as much as the rest of a healthy call. So
//! cells live for ever: a breaker leases one from the [pool](super::pool) and returns it, and a
//! permit that comes back later finds another generation in the cell and changes nothing. Memory
//! is bounded by the largest number of breakers that were alive at one time.
//!
//! [`PublishedView`](super::published_view) explains why callers without the lock see a consistent
//! state.

use std::{sync::Arc, task::Waker, time::Duration};

use super::{
    admission::Ticket,
    core::{Core, Publish, Schedule},
    dispatch::dispatch,
    effects::Effects,
    fast_path_view::Admission,
    machine::{Command, Machine},
    notify::Observer,
    open_slot::{OpenLimit, OpenSlot},
    packed_state::PackedState,
    published_view::PublishedView,
    success_counter::{self, Counted, OnSuccess, SpreadCounters, Successes},
    wait_queue::Readiness,
    window::WindowCopies,
};
use crate::{
    clock::{Glance, Reading, SystemClock, Tick, TimeSource, nanos},
    config::Config,
    error::Refusal,
    manual::Remark,
    outcome::Outcome,
    snapshot::Snapshot,
    state::State,
    sync::{AtomicU64, Mutex, MutexGuard, contain, lock},
    timer::housekeeping,
};

/// The first cache line is written only when the view changes, so that threads that read it keep
/// it. The others belong to the thread that has counted or locked last.
#[repr(C, align(64))]
pub(crate) struct Cell {
    view: PublishedView,
    spread_successes: SpreadCounters,
    locked: Locked,
}

#[repr(C, align(64))]
struct Locked {
    /// One counter for all threads, until two of them meet on it.
    successes: AtomicU64,
    core: Mutex<Core>,
}

/// A call that the machine has admitted.
pub(super) struct Admitted {
    pub(super) ticket: Ticket,
    /// The state right after the admission.
    pub(super) state: PackedState,
    pub(super) at: Tick,
}

/// The life of a cell.
impl Cell {
    pub(super) fn vacant() -> Self {
        Self {
            view: PublishedView::vacant(),
            spread_successes: SpreadCounters::default(),
            locked: Locked {
                successes: AtomicU64::new(success_counter::closed()),
                core: Mutex::new(Core::vacant()),
            },
        }
    }

    /// Assigns the cell to a breaker.
    pub(crate) fn lease(&self, config: Arc<Config>, clock: TimeSource) {
        prepare(&clock, &config);
        let mut core = self.lock();
        let epoch = self.state().epoch() + 1;
        let now = clock.now();
        core.machine = Some(Machine::new(config, epoch, now));
        core.clock = clock;
        self.publish(&core);
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        lock(&self.locked.core)
    }

    fn successes(&self) -> Successes<'_> {
        Successes { shared: &self.locked.successes, spread: &self.spread_successes }
    }

    pub(crate) fn set_observer(&self, observer: Arc<dyn Observer>) {
        self.lock().observer = Some(observer);
    }

    /// Bounds when a rule may open the circuit, from now on.
    pub(crate) fn set_open_limit(&self, limit: Arc<dyn OpenLimit>) {
        if let Some(machine) = &mut self.lock().machine {
            machine.storage.open_slot = Some(Box::new(OpenSlot::new(limit)));
        }
    }

    /// Gives the slot back, and takes none any more.
    #[cfg(feature = "keyed")]
    pub(crate) fn remove_open_limit(&self) {
        if let Some(machine) = &mut self.lock().machine {
            machine.storage.open_slot = None;
        }
    }

    /// Ends the lease. From now on, every permit and every result of the breaker is void.
    pub(crate) fn vacate(&self) {
        let mut core = self.lock();
        self.view.vacate();
        // Dropped without the lock: the observer owns the user's listeners, and the clock may be
        // the user's.
        let old = core.vacate();
        drop(core);
        contain(|| "the drop of a circuit breaker's clock".to_owned(), || drop(old));
    }
}

/// What needs no lock.
impl Cell {
    #[inline]
    pub(super) fn state(&self) -> PackedState {
        self.view.state()
    }

    /// The state for a caller that needs nothing else of the view.
    #[inline]
    pub(super) fn state_alone(&self) -> PackedState {
        self.view.state_alone()
    }

    #[inline]
    pub(crate) fn admits_all(&self) -> bool {
        self.state_alone().admits_all()
    }

    /// The state as of the last transaction: time alone may have ended it since.
    #[cfg(feature = "keyed")]
    pub(crate) fn published_state(&self) -> crate::state::State {
        self.state().state()
    }

    /// Whether the circuit rejects every call for longer, as of the last transaction. `false` where
    /// that depends on a custom clock.
    #[cfg(feature = "keyed")]
    pub(crate) fn goes_on_rejecting(&self) -> bool {
        let state = self.state();
        !state.has_custom_clock() && self.refusal(state, SystemClock::glance()).is_some()
    }

    pub(crate) fn has_custom_clock(&self) -> bool {
        self.state().has_custom_clock()
    }

    /// The time by the breaker's clock, for a caller without the lock, to measure how long a call
    /// takes. (A custom clock takes the lock.)
    #[inline(never)]
    pub(super) fn now(&self, state: PackedState) -> Tick {
        if state.has_custom_clock() {
            return self.tick();
        }
        SystemClock::counter_tick()
    }

    /// The time by the breaker's clock.
    #[cold]
    #[inline(never)]
    pub(crate) fn tick(&self) -> Tick {
        self.lock().clock.now()
    }

    /// Whether the breaker's clock may move while tokio's timers stand.
    pub(crate) fn may_outrun_tokio(&self) -> bool {
        self.has_custom_clock() && self.lock().clock.may_outrun_tokio()
    }

    /// What is left until then by the breaker's clock, in nanoseconds.
    #[inline]
    fn nanos_until(&self, then: Tick, state: PackedState, glance: Glance) -> u64 {
        if state.has_custom_clock() {
            return then.nanos_since(self.tick());
        }
        SystemClock::nanos_until(then, glance)
    }

    /// The refusal that a call would meet now, without admitting one.
    #[inline]
    pub(crate) fn would_refuse(&'static self) -> Option<Refusal> {
        let glance = SystemClock::glance();
        match SystemClock::nanos_until_far(self.view.open_until(), glance) {
            Some(left) => Some(Refusal::with_time(State::Open, left)),
            None => self.would_refuse_slow(glance),
        }
    }

    #[inline(never)]
    fn would_refuse_slow(&'static self, glance: Glance) -> Option<Refusal> {
        let state = self.state();
        match self.refusal(state, glance) {
            None if !state.admits_all() => self.would_refuse_once_advanced(),
            refusal => refusal,
        }
    }

    #[cold]
    #[inline(never)]
    fn would_refuse_once_advanced(&'static self) -> Option<Refusal> {
        self.inspect(|_, _| ());
        self.refusal(self.state(), SystemClock::glance())
    }

    /// The refusal of a circuit that rejects every call for the time being.
    pub(super) fn refusal(&self, state: PackedState, glance: Glance) -> Option<Refusal> {
        if !state.admits_none() {
            return None;
        }
        let until = self.view.rejects_until();
        if until == Tick::NEVER {
            return Some(state.refusal());
        }
        let left = self.nanos_until(until, state, glance);
        if left == 0 {
            return None;
        }
        // What is left until a probe times out is no time after which to come back.
        if state.state() == State::HalfOpen {
            return Some(state.refusal());
        }
        Some(Refusal::with_time(state.state(), left))
    }

    /// Whether recording a success of a call is a no-op: nothing has happened since this state
    /// admitted the call, and in this state a success changes nothing.
    #[inline]
    pub(super) fn skips_success(&self, admitted: PackedState) -> bool {
        self.view.state_alone() == admitted
    }

    /// Records a success without the lock, if that is possible. Without `elapsed`, the call took
    /// the time since `since`.
    #[expect(clippy::inline_always, reason = "in `try_success`, which has all in registers")]
    #[inline(always)]
    pub(super) fn try_record_success(
        &self,
        admitted: PackedState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> Counted {
        let state = self.state();
        if !state.is_same_epoch(admitted) {
            return Counted::No;
        }
        if state.is_quiet() {
            return Counted::Yes;
        }
        if state.defers_success_untimed() {
            return self.successes().count(state.epoch(), state.is_spread());
        }
        self.try_record_timed_success(state, since, elapsed)
    }

    /// The same, for a call that took the time since its permit's stamp.
    #[inline(never)]
    pub(super) fn try_success(&'static self, admitted: PackedState, stamp: u64) -> bool {
        match self.try_record_success(admitted, Tick::from_nanos(stamp), None) {
            Counted::Yes => true,
            Counted::No => false,
            Counted::Contended => {
                self.spread_successes();
                false
            }
        }
    }

    /// The same where it may depend on the time.
    #[inline(never)]
    fn try_record_timed_success(
        &self,
        state: PackedState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> Counted {
        if !state.skips_success() && !state.defers_success() {
            return Counted::No;
        }
        let has_slow_calls = state.is_timed() && self.view.has_slow_calls();
        if has_slow_calls || state.is_bucketed() {
            if state.has_custom_clock() {
                return Counted::No;
            }
            let now = SystemClock::counter_tick_after(since);
            let took = nanos(elapsed.unwrap_or_else(|| now.since(since)));
            if (has_slow_calls && self.view.is_slow(took))
                || (state.is_bucketed() && !self.view.is_in_newest_bucket(now))
            {
                return Counted::No;
            }
        }
        if state.skips_success() {
            return Counted::Yes;
        }
        self.successes().count(state.epoch(), state.is_spread())
    }
}

/// What takes the lock. `None` means that the cell has no breaker.
impl Cell {
    /// Reads the machine, brought up to now.
    pub(crate) fn inspect<T>(
        &'static self,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.with_core(|core| core.inspect(self.successes(), inspect))
    }

    /// The same for a caller that may outlive the breaker: `None` if the cell is no longer that
    /// of the breaker with this observer.
    pub(crate) fn inspect_owned<T>(
        &'static self,
        observer: &dyn Observer,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.with_core(|core| {
            core.is_owned_by(observer).then(|| core.inspect(self.successes(), inspect)).flatten()
        })
    }

    /// The same for a snapshot that is to be saved.
    pub(super) fn inspect_to_save<T>(
        &'static self,
        observer: &dyn Observer,
        inspect: impl FnOnce(&Machine, Reading) -> T,
    ) -> Option<T> {
        self.with_core(|core| {
            let own = core.is_owned_by(observer);
            own.then(|| core.inspect_to_save(self.successes(), inspect)).flatten()
        })
    }

    /// The state as data, if the cell is (still) that of the breaker with this observer. The calls
    /// of count windows are still to be [encoded](WindowCopies::encode_into).
    ///
    /// Under the lock they are only copied, and of what the `copies` know, only what is new.
    pub(crate) fn snapshot(
        &'static self,
        observer: &dyn Observer,
        copies: &mut WindowCopies,
    ) -> Option<Snapshot> {
        with_copies(copies, |copies| {
            self.inspect_owned(observer, |machine, now| machine.snapshot(now, copies))
        })
    }

    /// The same for a snapshot that is to be saved.
    pub(crate) fn snapshot_to_save(
        &'static self,
        observer: &dyn Observer,
        copies: &mut WindowCopies,
    ) -> Option<Snapshot> {
        with_copies(copies, |copies| {
            self.inspect_to_save(observer, |machine, now| machine.snapshot(now, copies))
        })
    }

    /// Changes the machine, brought up to now.
    fn transact<T>(
        &'static self,
        transact: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> Option<T> {
        self.with_core(|core| core.transact(self.successes(), transact))
    }

    /// Admits a call if the machine does. The permit exists before anything is notified, so that a
    /// probe's slot is freed whatever that does.
    #[cold]
    pub(super) fn admit<P>(
        &'static self,
        permit: impl FnOnce(Admitted) -> P,
    ) -> Result<P, Refusal> {
        self.admit_after(|_, _| (), permit)
    }

    /// The same after a change that no other call comes between.
    #[cold]
    pub(super) fn admit_after<P>(
        &'static self,
        change: impl FnOnce(&mut Machine, &mut Effects),
        permit: impl FnOnce(Admitted) -> P,
    ) -> Result<P, Refusal> {
        let admitted = self.with_core(|core| {
            let custom_clock = core.has_custom_clock();
            let admitted = core.transact(self.successes(), |machine, effects| {
                change(machine, effects);
                let ticket = machine.admit()?;
                let state = PackedState::new(&machine.fast_path_view(), custom_clock, false);
                Ok(Admitted { ticket, state, at: machine.now })
            })?;
            Some(admitted.map(permit))
        });
        admitted.unwrap_or_else(|| Err(self.state().refusal()))
    }

    /// Records the result of a call. Without `elapsed`, it took the time since `admitted`.
    #[cold]
    #[inline(never)]
    pub(super) fn record(
        &'static self,
        ticket: Ticket,
        admitted: Option<Tick>,
        outcome: Outcome,
        elapsed: Option<Duration>,
    ) {
        let mut core = self.lock();
        match core.record(self.successes(), ticket, admitted, outcome, elapsed) {
            Publish::Nothing => {}
            Publish::Success(success) => self.publish_success(&core, success),
            Publish::All => self.complete(core),
        }
    }

    /// Makes several counters of successes: two threads have met on the single one.
    #[cold]
    #[inline(never)]
    pub(super) fn spread_successes(&'static self) {
        self.with_core(|core| {
            core.machine.as_ref()?;
            core.drain(self.successes(), false);
            self.successes().spread();
            Some(())
        });
    }

    /// Ends a call without an outcome, however long it took.
    pub(super) fn cancel(&'static self, ticket: Ticket) {
        self.transact(|machine, effects| machine.cancel(ticket, effects));
    }

    /// Ends a call that was dropped before it had an outcome.
    pub(super) fn abandon(&'static self, ticket: Ticket, admitted: Option<Tick>) {
        self.transact(|machine, effects| {
            let elapsed = admitted.map(|admitted| machine.now.since(admitted));
            machine.abandon(ticket, elapsed, effects);
        });
    }

    #[cfg(feature = "health-check")]
    pub(super) fn change(&'static self, change: impl FnOnce(&mut Machine, &mut Effects)) {
        self.transact(change);
    }

    pub(crate) fn command(&'static self, command: Command) {
        self.command_with(command, None);
    }

    /// The same, with what is said about it.
    pub(crate) fn command_with(&'static self, command: Command, remark: Option<Arc<Remark>>) {
        self.transact(|machine, effects| machine.command(command, remark, effects));
    }

    pub(crate) fn update(&'static self, config: Arc<Config>) {
        if !self.has_custom_clock() {
            prepare(&TimeSource::System, &config);
        }
        self.transact(|machine, effects| machine.update(config, effects));
    }

    /// From now on, a snapshot may be restored at any time.
    pub(crate) fn await_restore(&'static self) {
        self.with_core(|core| {
            core.await_restore();
            Some(())
        });
    }

    /// Restores a snapshot of the breaker with this observer, unless the circuit has made a
    /// transition of its own meanwhile: then its state is newer than the snapshot.
    ///
    /// Calls that were recorded before it are newer than its counts.
    pub(crate) fn restore(&'static self, observer: &dyn Observer, snapshot: &Snapshot) {
        self.with_core(|core| {
            if !core.is_owned_by(observer) {
                return None;
            }
            let now = core.clock.reading();
            core.transact_at(now.tick, self.successes(), |machine, effects| {
                if !machine.has_transitioned() {
                    machine.restore(snapshot, now, effects);
                }
            })
        });
    }

    /// Continues with the state of another breaker in place of its own, if `is_wanted`, which is
    /// asked under the lock. See [`Machine::take_over`].
    pub(crate) fn take_over(
        &'static self,
        observer: &dyn Observer,
        state: &Snapshot,
        is_newer: bool,
        is_wanted: &dyn Fn() -> bool,
    ) {
        self.with_core(|core| {
            if !core.is_owned_by(observer) || !is_wanted() {
                return None;
            }
            core.transact(self.successes(), |machine, effects| {
                machine.take_over(state, is_newer, effects);
            })
        });
    }

    /// Registers a waker to be called when the circuit rejects calls. `false` if it does already.
    #[must_use]
    pub(crate) fn register_rejection_waker(
        &'static self,
        key: &mut Option<u64>,
        waker: &Waker,
    ) -> bool {
        self.inspect(|_, _| ());
        let mut core = self.lock();
        // The state cannot change while the lock is held.
        if self.state().admits_none() {
            return false;
        }
        let displaced = core.notifier().rejection_wakers.insert(key, waker);
        drop(core);
        drop(displaced);
        true
    }

    pub(crate) fn remove_rejection_waker(&self, key: u64) {
        let removed = self.lock().notifier().rejection_wakers.remove(key);
        drop(removed);
    }

    /// Checks whether a call may be made now, and queues the waker if not. `key` identifies the
    /// waiter: keep it for the next check, and end with
    /// [`leave_wait_queue`](Self::leave_wait_queue).
    pub(crate) fn poll_capacity(&'static self, key: &mut Option<u64>, waker: &Waker) -> Readiness {
        let mut displaced = None;
        let readiness = self.with_core(|core| {
            let (capacity, now) =
                core.transact(self.successes(), |machine, _| (machine.capacity(), machine.now))?;
            let (readiness, old) = core.notifier().wait_queue.poll(capacity, now, key, waker);
            displaced = old;
            Some(readiness)
        });
        drop(displaced);
        // A handle keeps the cell leased, so there is a machine to ask.
        readiness.unwrap_or(Readiness::Ready)
    }

    /// Removes a waiter from the queue. Its reservation passes to the next one.
    pub(crate) fn leave_wait_queue(&'static self, key: u64) {
        let removed = self.with_core(|core| {
            core.machine.as_ref()?;
            Some(core.notifier().wait_queue.leave(key))
        });
        drop(removed);
    }

    fn with_core<T>(&'static self, work: impl FnOnce(&mut Core) -> Option<T>) -> Option<T> {
        let mut core = self.lock();
        let result = work(&mut core)?;
        self.complete(core);
        Some(result)
    }

    /// Publishes what a transaction did, releases the lock, and notifies.
    fn complete(&'static self, mut core: MutexGuard<'_, Core>) {
        self.publish(&core);
        let schedule = core.take_schedule();
        let notifications = core.take_notifications(self.state().admits_none());
        drop(core);
        if let Some(Schedule { at, instead_of }) = schedule {
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
        open_if_deferring(self.successes(), machine, success);
        self.view.publish_success(success);
    }

    fn publish(&self, core: &Core) {
        let (Some(view), Some(machine)) = (core.fast_path_view(), &core.machine) else { return };
        let successes = self.successes();
        open_if_deferring(successes, machine, view.success);
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

fn open_if_deferring(successes: Successes<'_>, machine: &Machine, success: OnSuccess) {
    if success == OnSuccess::Defer && !successes.is_open(machine.epoch()) {
        successes.open(machine.epoch(), machine.rules.defer_limit());
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

/// The snapshot that `take` returns once the copies have the memory that they need.
fn with_copies(
    copies: &mut WindowCopies,
    mut take: impl FnMut(&mut WindowCopies) -> Option<Option<Snapshot>>,
) -> Option<Snapshot> {
    loop {
        if let Some(snapshot) = take(copies)? {
            return Some(snapshot);
        }
        copies.grow();
    }
}

impl housekeeping::OnDeadline for Cell {
    fn on_deadline(&'static self, at: Tick) {
        let mut core = self.lock();
        core.on_deadline(at, self.successes());
        self.complete(core);
    }
}

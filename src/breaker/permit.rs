//! The permission to make one call.

mod guard;

use std::{cell::Cell as LocalCell, fmt, mem::ManuallyDrop, time::Duration};

use super::{
    admission::Ticket,
    cell::{Admitted, Cell},
    nesting,
    packed_state::PackedState,
    success_counter::Counted,
};
use crate::{
    clock::{SystemClock, Tick},
    error::Refusal,
    outcome::{CallEnd, Outcome},
    state::State,
};

/// Permission to make one call; consume it by recording the outcome.
///
/// An outcome that is recorded after the circuit has changed its state, or after the breaker is
/// gone, changes nothing.
///
/// ```
/// use tower_breaker::Breaker;
///
/// let breaker = Breaker::builder("mailer").build()?;
/// let permit = breaker.try_acquire()?;
/// // ... send the mail ...
/// permit.success();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Abandoned calls
///
/// A permit that is dropped without an outcome is an abandoned call: the caller gave up, for
/// instance because a timeout around the call elapsed. What it counts as depends on its age:
///
/// - Longer than [`abandoned_after`](crate::Config::abandoned_after): a failure, and a slow call
///   to each rule that calls it slow. By default there is no such time.
/// - Otherwise, longer than `slower_than` of a [slow-call rule](crate::Trip::SlowCallRate): a slow
///   call in the window of that rule. Other rules and the consecutive failures do not change. A
///   probe is a slow probe, which reopens the circuit.
/// - Otherwise the call is cancelled: it counts as nothing, and a probe's slot becomes free.
///
/// [`cancel`](Self::cancel) ends a call that counts as nothing however long it took. A permit that
/// is dropped while its thread panics is cancelled as well, because the panic is rarely about this
/// call.
#[must_use = "a permit that is dropped counts as an abandoned call"]
pub struct Permit {
    call: Call,
}

thread_local! {
    /// The address of the cell of a call that has failed by the panic that unwinds now, until its
    /// permit is dropped.
    static FAILED_BY_PANIC: LocalCell<usize> = const { LocalCell::new(0) };
}

/// An admitted call, with what it takes to record it.
#[derive(Clone, Copy)]
struct Call {
    cell: &'static Cell,
    /// The state that admitted the call. A half-open circuit admitted a probe.
    state: PackedState,
    /// The id of a probe; of a timed call, the tick at which it was admitted; of any other call, no
    /// matter what. (One field for both: a future contains a permit, and moves it.)
    stamp: u64,
}

impl Permit {
    /// Admits a call, or says why not.
    #[inline]
    pub(crate) fn try_acquire(cell: &'static Cell) -> Result<Self, Refusal> {
        if let Some(permit) = Self::try_acquire_fast(cell, || false) {
            return Ok(permit);
        }
        Self::try_acquire_slow(cell)
    }

    /// Admits a call without the lock, if every call is admitted. It does not admit one whose time
    /// or drop matters and which is part of another call, as the closure says.
    #[inline]
    pub(crate) fn try_acquire_fast(
        cell: &'static Cell,
        is_nested: impl FnOnce() -> bool,
    ) -> Option<Self> {
        let state = cell.state_alone();
        let stamp = if state.admits_all_untracked() {
            0
        } else if state.admits_all() && !is_nested() {
            if state.is_timed() { cell.now(state).as_nanos() } else { 0 }
        } else {
            return None;
        };
        Some(Self::new(cell, state, stamp))
    }

    #[inline]
    fn new(cell: &'static Cell, admitted: PackedState, stamp: u64) -> Self {
        Self { call: Call { cell, state: admitted.for_permit(), stamp } }
    }

    #[inline(never)]
    fn try_acquire_slow(cell: &'static Cell) -> Result<Self, Refusal> {
        let state = cell.state();
        if state.admits_all() {
            return Ok(Self::new(cell, state, cell.now(state).as_nanos()));
        }
        if let Some(refusal) = cell.refusal(state, SystemClock::glance()) {
            return Err(refusal);
        }
        Self::try_acquire_locked(cell)
    }

    #[cold]
    #[inline(never)]
    fn try_acquire_locked(cell: &'static Cell) -> Result<Self, Refusal> {
        cell.admit(|admitted| Self::admitted(cell, &admitted))
    }

    pub(super) fn admitted(cell: &'static Cell, admitted: &Admitted) -> Self {
        let stamp = admitted.ticket.probe.unwrap_or(admitted.at.as_nanos());
        Self::new(cell, admitted.state, stamp)
    }

    /// A permit that records nothing, for a call that does not count.
    pub(crate) fn void_of(cell: &'static Cell) -> Self {
        Self { call: Call { cell, state: PackedState::SPENT, stamp: 0 } }
    }

    /// The same call, which metrics do not count.
    #[cfg(any(feature = "health-check", feature = "keyed"))]
    pub(crate) fn uncounted(mut self) -> Self {
        self.call.state = self.call.state.unmetered();
        self
    }

    /// Whether the permit records nothing any more.
    #[cfg(feature = "http")]
    pub(crate) fn is_void(&self) -> bool {
        self.call.state == PackedState::SPENT
    }

    /// The breaker's cell.
    #[inline]
    pub(crate) fn cell(&self) -> &'static Cell {
        self.call.cell
    }

    /// Whether the call is a probe of a half-open circuit.
    #[cfg(feature = "http")]
    pub(crate) fn is_probe(&self) -> bool {
        self.call.is_probe()
    }

    /// Moves the permit out, and leaves a spent one behind.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self { call: self.spend() }
    }

    /// A second permit for the same call, for a guard that records it only if the call panics: the
    /// permit itself, dropped by that panic, then changes nothing. A copy, so that the permit can
    /// stay in registers while the guard exists.
    #[inline]
    pub(crate) fn for_panic(&self) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self { call: self.call })
    }

    /// Marks the permit as recorded, so that dropping it changes nothing.
    #[inline]
    pub(crate) fn set_recorded(&mut self) {
        self.call.state = PackedState::SPENT;
    }

    #[inline]
    fn spend(&mut self) -> Call {
        let call = self.call;
        self.set_recorded();
        call
    }

    /// How long ago the call was admitted; `None` where no rule needs to know.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        self.call.elapsed()
    }

    /// Records a success. The call took the time since it was admitted.
    #[inline]
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// Records a failure.
    #[inline]
    pub fn failure(self) {
        self.finish(Outcome::failure());
    }

    /// Records that the call says nothing about the dependency.
    #[inline]
    pub fn ignore(self) {
        self.finish(Outcome::Ignore);
    }

    /// Ends the call without an outcome. It counts as nothing, however long it took: unlike an
    /// [abandoned call](#abandoned-calls), it is never slow and never a failure.
    #[inline]
    pub fn cancel(mut self) {
        self.cancel_in_place();
    }

    /// Records an outcome. The call took the time since it was admitted.
    #[inline]
    pub fn finish(mut self, outcome: Outcome) {
        self.record_in_place(outcome, None);
    }

    /// Records an outcome and the time that the call took.
    #[inline]
    pub fn record(mut self, outcome: Outcome, elapsed: Duration) {
        self.record_in_place(outcome, Some(elapsed));
    }

    /// Records an outcome without moving the permit, which a finished future would have to.
    #[inline]
    pub(crate) fn record_in_place(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        if outcome != Outcome::Success || !self.skips_success() {
            self.record_slow(outcome, elapsed);
        }
    }

    /// Whether recording this outcome would change nothing.
    ///
    /// So most calls end: they succeed, and nothing has happened since their admission. The state
    /// that skips a success does not track the drop of its permits either.
    #[inline]
    pub(crate) fn skips_success(&self) -> bool {
        self.call.cell.skips_success(self.call.state)
    }

    /// Records a success, unless the call is part of one that this breaker records further out.
    #[inline]
    pub(crate) fn succeed_unless_nested(&mut self) {
        // To drop the permit of a success that is skipped takes no work either.
        if !self.skips_success() {
            let Call { cell, state, stamp } = self.spend();
            succeed_unless_nested(cell, state, stamp);
        }
    }

    #[inline(never)]
    fn record_slow(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        // Spent before it is recorded: a listener that panics must not make it count again.
        self.spend().record(outcome, elapsed);
    }

    /// [`cancel`](Self::cancel) without moving the permit.
    #[inline]
    pub(crate) fn cancel_in_place(&mut self) {
        if self.call.state.tracks_drop() {
            self.spend().cancel();
        }
    }

    /// The same for a call that is part of another one, which counts.
    #[inline]
    pub(crate) fn discard_in_place(&mut self) {
        if self.call.state.tracks_drop() {
            self.spend().discard();
        }
    }

    /// The panic that unwinds now is this call's failure, and recorded. The permit itself is
    /// dropped by it, and counts as nothing.
    #[cold]
    pub(crate) fn note_failed_by_panic(&self) {
        if self.call.state.is_metered() {
            FAILED_BY_PANIC.set(std::ptr::from_ref(self.call.cell).addr());
        }
    }
}

/// By its parts, which travel in registers.
#[inline(never)]
fn succeed_unless_nested(cell: &'static Cell, state: PackedState, stamp: u64) {
    // Most often, no breaker is around this one.
    if nesting::is_any_running() {
        return succeed_inside(cell, state, stamp);
    }
    match cell.count_success(state) {
        Counted::Yes => {}
        Counted::No => succeed_outermost(cell, state, stamp),
        Counted::Contended => succeed_after_contention(cell, state, stamp),
    }
}

#[cold]
#[inline(never)]
fn succeed_inside(cell: &'static Cell, state: PackedState, stamp: u64) {
    if nesting::is_nested(cell) {
        Call { cell, state, stamp }.discard();
    } else {
        succeed_outermost(cell, state, stamp);
    }
}

#[inline(never)]
fn succeed_outermost(cell: &'static Cell, state: PackedState, stamp: u64) {
    // A half-open circuit records nothing without the lock, so this stamp is no probe's.
    match cell.try_record_success(state, Tick::from_nanos(stamp), None) {
        Counted::Yes => {
            let elapsed = || Call { cell, state, stamp }.elapsed();
            cell.count_current(state, CallEnd::Success, elapsed);
        }
        Counted::No => succeed_locked(cell, state, stamp),
        Counted::Contended => succeed_after_contention(cell, state, stamp),
    }
}

#[cold]
#[inline(never)]
fn succeed_locked(cell: &'static Cell, state: PackedState, stamp: u64) {
    let ended = Call { cell, state, stamp };
    cell.count(state, CallEnd::Success, || ended.elapsed());
    ended.record_locked(Outcome::Success, None);
}

#[cold]
#[inline(never)]
fn succeed_after_contention(cell: &'static Cell, state: PackedState, stamp: u64) {
    cell.spread_successes();
    succeed_locked(cell, state, stamp);
}

impl Call {
    #[inline]
    fn is_probe(self) -> bool {
        self.state.state() == State::HalfOpen
    }

    fn ticket(self) -> Ticket {
        self.state.ticket(self.is_probe().then_some(self.stamp))
    }

    /// When a call other than a probe was admitted.
    fn admitted_at(self) -> Option<Tick> {
        self.state.is_timed().then_some(Tick::from_nanos(self.stamp))
    }

    fn elapsed(self) -> Option<Duration> {
        if self.is_probe() {
            return self.cell.inspect(|machine, _| machine.probe_age(self.ticket()))?;
        }
        // First of all: the clock of a call without a time is not read.
        let admitted = self.admitted_at()?;
        Some(self.cell.now(self.state).since(admitted))
    }

    #[inline]
    fn record(self, outcome: Outcome, elapsed: Option<Duration>) {
        self.cell.count(self.state, outcome.into(), || elapsed.or_else(|| self.elapsed()));
        if outcome == Outcome::Success && !self.is_probe() {
            let admitted = Tick::from_nanos(self.stamp);
            match self.cell.try_record_success(self.state, admitted, elapsed) {
                Counted::Yes => return,
                Counted::No => {}
                Counted::Contended => self.cell.spread_successes(),
            }
        }
        self.record_locked(outcome, elapsed);
    }

    #[cold]
    #[inline(never)]
    fn record_locked(self, outcome: Outcome, elapsed: Option<Duration>) {
        // To a circuit that is not half-open, an ignored call is nothing.
        if self.is_probe() || outcome != Outcome::Ignore {
            self.cell.record(self.ticket(), self.admitted_at(), outcome, elapsed);
        }
    }

    #[cold]
    #[inline(never)]
    fn abandon(self) {
        // A panic that this call caused has been recorded by `fail_on_panic`. Any other one says
        // nothing about the calls that it ends.
        if std::thread::panicking() {
            let cell = std::ptr::from_ref(self.cell).addr();
            if self.state.is_metered() && FAILED_BY_PANIC.get() == cell {
                FAILED_BY_PANIC.set(0);
                return self.discard();
            }
            return self.cancel();
        }
        let is_tracked = self.is_probe() || self.state.is_timed();
        // The circuit forgets a probe that is abandoned.
        let elapsed = if self.is_probe() { self.elapsed() } else { None };
        let failed = is_tracked && self.cell.abandon(self.ticket(), self.admitted_at());
        let end = if failed { CallEnd::Failure } else { CallEnd::Cancelled };
        self.cell.count(self.state, end, || elapsed.or_else(|| self.elapsed()));
    }

    #[cold]
    #[inline(never)]
    fn cancel(self) {
        self.cell.count(self.state, CallEnd::Cancelled, || self.elapsed());
        self.discard();
    }

    /// Ends the call uncounted.
    fn discard(self) {
        if self.is_probe() {
            self.cell.cancel(self.ticket());
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.call.state.tracks_drop() {
            // By value: what is reachable from outside cannot stay in registers.
            self.spend().abandon();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("probe", &self.call.is_probe())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

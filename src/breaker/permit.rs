//! The permission to make one call.

mod call;
mod guard;

use std::{fmt, mem::ManuallyDrop, time::Duration};

use call::{
    Call, succeed_after_contention, succeed_inside, succeed_locked, succeed_outermost,
    try_fail_outermost,
};

use super::{
    cell::{Admitted, Cell},
    counter::Counted,
    nesting,
    packed_state::PackedState,
    pool,
    probes::StreamProof,
};
use crate::{clock::SystemClock, error::Refusal, outcome::Outcome};

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
/// call. (A probe that is dropped like this does not add to the sum of times that
/// [`half_open_timeout`](crate::Config::half_open_timeout) limits.)
#[must_use = "a permit that is dropped counts as an abandoned call"]
pub struct Permit {
    call: Call,
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
        Self { call: Call { cell, state: admitted, stamp } }
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

    /// A permit that records nothing, for a call that is part of another one of the same breaker.
    pub(crate) fn void_of(cell: &'static Cell) -> Self {
        Self { call: Call { cell, state: PackedState::SPENT, stamp: 0 } }
    }

    /// A permit that records nothing, for a call that does not count. It is of no breaker: calls
    /// further in are not part of it.
    pub(crate) fn uncounted_call() -> Self {
        Self::void_of(pool::never_assigned())
    }

    /// The permit for a call that metrics do not count.
    #[allow(dead_code, reason = "used for checks, and where breakers have keys")]
    pub(crate) fn uncounted(mut self) -> Self {
        self.call.state = self.call.state.unmetered();
        self
    }

    /// Whether the permit records nothing any more.
    #[allow(dead_code, reason = "used where bodies are watched")]
    pub(crate) fn is_void(&self) -> bool {
        self.call.state == PackedState::SPENT
    }

    /// The breaker's cell.
    #[inline]
    pub(crate) fn cell(&self) -> &'static Cell {
        self.call.cell
    }

    /// Whether the call is a probe of a half-open circuit.
    #[allow(dead_code, reason = "used where bodies are watched")]
    pub(crate) fn is_probe(&self) -> bool {
        self.call.is_probe()
    }

    /// The response of this probe has begun to stream. If it goes on for this long, the probe is a
    /// success at that time, whether or not the body is polled then. For rules on slow calls, the
    /// call took the time `elapsed`, or until then.
    #[allow(dead_code, reason = "used where bodies are watched")]
    pub(crate) fn begin_stream(
        &self,
        alive_after: Duration,
        elapsed: Option<Duration>,
    ) -> StreamProof {
        self.call.begin_stream(alive_after, elapsed)
    }

    /// Whether the stream of this probe has proved alive by now.
    #[allow(dead_code, reason = "used where bodies are watched")]
    pub(crate) fn has_proved_alive(&self, proof: &StreamProof) -> bool {
        // Time alone gives the proof, also where nothing has noticed yet.
        proof.is_given() || {
            self.cell().inspect(|_, _| ());
            proof.is_given()
        }
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
    ///
    /// To classify a result, prefer [`call_with`](Self::call_with): only within such a call does a
    /// classifier recognize every rejection by a breaker further in, whatever its type.
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

    /// Whether recording a success would change nothing.
    ///
    /// So most calls end: they succeed, and nothing has happened since their admission. The state
    /// that skips a success does not track the drop of its permits either.
    #[inline]
    pub(crate) fn skips_success(&self) -> bool {
        self.call.cell.success_alone().is_quiet(self.call.state)
    }

    /// Records a success, unless the call is part of one that this breaker records further out.
    #[inline]
    pub(crate) fn succeed_unless_nested(&mut self) {
        let Call { cell, state, .. } = self.call;
        let success = cell.success_alone();
        if success.is_quiet(state) {
            // As most calls end.
        } else if nesting::is_any_running() {
            self.set_recorded();
            succeed_inside(cell, state, self.call.stamp, success);
        } else if success.is_counted_at_once(state) {
            match cell.count_success(success) {
                Counted::Yes => {}
                Counted::No => succeed_locked(cell, state, self.call.stamp),
                Counted::Contended { counters } => {
                    succeed_after_contention(cell, state, self.call.stamp, counters);
                }
            }
        } else {
            self.set_recorded();
            succeed_outermost(cell, state, self.call.stamp, success);
        }
        // Also where its drop takes no work: then the compiler need not look.
        self.set_recorded();
    }

    /// Records a failure that needs nothing but the cell, unless the call is part of another one.
    /// Returns whether it has.
    #[inline]
    pub(crate) fn try_fail_unless_nested(&self) -> bool {
        try_fail_outermost(self.call.cell, self.call.state)
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

    /// [Cancels](Self::cancel_in_place) a call that is part of another one, which counts.
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
        self.call.note_failed_by_panic();
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

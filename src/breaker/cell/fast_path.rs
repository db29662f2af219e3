//! What needs no lock.

use std::time::Duration;

use super::Cell;
use crate::{
    breaker::{
        counter::Counted, packed_state::PackedState, published_view::PublishedView,
        success_state::SuccessState,
    },
    clock::{Glance, SystemClock, Tick, nanos},
    error::Refusal,
    outcome::CallEnd,
    state::State,
};

impl Cell {
    #[inline]
    pub(in crate::breaker) fn state(&self) -> PackedState {
        self.view.state()
    }

    /// The state for a caller that needs nothing else of the view.
    #[inline]
    pub(in crate::breaker) fn state_alone(&self) -> PackedState {
        self.view.state_alone()
    }

    #[inline]
    pub(crate) fn admits_all(&self) -> bool {
        self.state_alone().admits_all()
    }

    /// The state as of the last transaction: time alone may have ended it since.
    #[allow(dead_code, reason = "used where breakers have keys")]
    pub(crate) fn published_state(&self) -> State {
        self.state().state()
    }

    /// Whether the circuit rejects every call for longer, as of the last transaction. `false` where
    /// that depends on a custom clock.
    #[allow(dead_code, reason = "used where breakers have keys")]
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
    pub(in crate::breaker) fn now(&self, state: PackedState) -> Tick {
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
    pub(crate) fn would_refuse_slow(&'static self, glance: Glance) -> Option<Refusal> {
        let state = self.state();
        match self.refusal(state, glance) {
            None if !state.admits_all() => self.would_refuse_once_advanced(),
            refusal => refusal,
        }
    }

    #[cold]
    #[inline(never)]
    fn would_refuse_once_advanced(&'static self) -> Option<Refusal> {
        self.transact(|machine, _| machine.note_open_call());
        self.refusal(self.state(), SystemClock::glance())
    }

    /// Whether the circuit is open by the system's clock, for more than a second.
    #[inline]
    pub(crate) fn is_open_for_long(&self, glance: Glance) -> bool {
        SystemClock::nanos_until_far(self.view.open_until(), glance).is_some()
    }

    /// The refusal of a circuit that was open for more than a second when the system's clock was
    /// last read. It reads no clock. That was a second ago at most: the timer thread waits
    /// for the end of the open time, and looks at the clock as often.
    #[inline]
    pub(crate) fn open_lately(&self) -> Option<Refusal> {
        let left = SystemClock::nanos_until_far_lately(self.view.open_until())?;
        Some(Refusal::with_time(State::Open, left))
    }

    /// Whether a balancer had better call another service: a call would be refused now.
    #[allow(dead_code, reason = "used where balancers ask")]
    pub(crate) fn would_refuse_balancer(&'static self) -> bool {
        if self.would_refuse().is_some() {
            return true;
        }
        !self.state().admits_all()
            && self.transact(|machine, _| machine.refuses_balancer()) == Some(true)
    }

    /// The refusal of a circuit that rejects every call for the time being.
    pub(in crate::breaker) fn refusal(
        &self,
        state: PackedState,
        glance: Glance,
    ) -> Option<Refusal> {
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

    /// Counts how a call of this state ended, for the metrics.
    #[inline]
    pub(in crate::breaker) fn count(
        &self,
        admitted: PackedState,
        end: CallEnd,
        elapsed: impl FnOnce() -> Option<Duration>,
    ) {
        // A permit may outlive its breaker.
        if admitted.is_metered() && self.meter.is_on_since(admitted.epoch()) {
            self.count_with(end, elapsed);
        }
    }

    /// [Counts](Self::count) a call of the present state.
    #[inline]
    pub(in crate::breaker) fn count_current(
        &self,
        admitted: PackedState,
        end: CallEnd,
        elapsed: impl FnOnce() -> Option<Duration>,
    ) {
        if admitted.is_metered() {
            self.count_with(end, elapsed);
        }
    }

    /// Counts a call that this cell has not admitted, or for which it had no permit.
    #[inline]
    pub(crate) fn count_call(&self, end: CallEnd) {
        self.count_with(end, || None);
    }

    #[inline]
    fn count_with(&self, end: CallEnd, elapsed: impl FnOnce() -> Option<Duration>) {
        if !self.meter.count_on_own_line(end) {
            self.count_elsewhere(end, elapsed);
        }
    }

    /// Counts a call for which the thread has no line of its own: it may be the breaker's first, or
    /// be measured.
    #[cold]
    #[inline(never)]
    fn count_elsewhere(&self, end: CallEnd, elapsed: impl FnOnce() -> Option<Duration>) {
        self.begin_meter();
        self.meter.count(end, elapsed);
    }

    /// How a success is recorded, for a caller that needs nothing else of the view.
    #[inline]
    pub(in crate::breaker) fn success_alone(&self) -> SuccessState {
        self.view.success_alone()
    }

    /// Records a success without the lock, if that is possible. Without `elapsed`, the call took
    /// the time since `since`.
    #[inline]
    pub(in crate::breaker) fn try_record_success(
        &self,
        success: SuccessState,
        admitted: PackedState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> Counted {
        if !success.is_same_epoch(admitted) {
            Counted::No
        } else if success.defers_in_bucket() {
            self.count_in_newest_bucket(success)
        } else {
            self.try_record_success_by_time(success, since, elapsed)
        }
    }

    /// Records a success of the same epoch without the lock, unless it is counted [until the newest
    /// bucket ends](SuccessState::defers_in_bucket).
    #[expect(clippy::inline_always, reason = "its caller would save the same registers once more")]
    #[inline(always)]
    pub(in crate::breaker) fn try_record_success_by_time(
        &self,
        success: SuccessState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> Counted {
        if success.skips_untimed() {
            return Counted::Yes;
        }
        // The times of the view, and the counters of several threads, are at least as new.
        PublishedView::acquire();
        if success.defers_untimed() {
            return self.successes().count(success.epoch(), success.is_spread());
        }
        if !success.skips() && !success.defers() {
            return Counted::No;
        }
        if !self.is_fast_and_in_newest_bucket(success, since, elapsed) {
            return Counted::No;
        }
        if success.skips() {
            return Counted::Yes;
        }
        self.successes().count(success.epoch(), success.is_spread())
    }

    /// Counts a success that is [counted at once](SuccessState::is_counted_at_once).
    #[inline]
    pub(in crate::breaker) fn count_success(&self, success: SuccessState) -> Counted {
        self.successes().count(success.epoch(), false)
    }

    // Out of line, where a success is seldom counted so.
    #[inline(never)]
    fn count_in_newest_bucket(&self, success: SuccessState) -> Counted {
        self.try_count_in_newest_bucket(success)
    }

    /// Counts a success that is counted [until the newest bucket of a time window
    /// ends](SuccessState::defers_in_bucket), unless it has.
    #[expect(clippy::inline_always, reason = "its caller would save the same registers once more")]
    #[inline(always)]
    pub(in crate::breaker) fn try_count_in_newest_bucket(&self, success: SuccessState) -> Counted {
        PublishedView::acquire();
        if SystemClock::is_before(|| self.view.bucket_end()) {
            self.successes().count(success.epoch(), success.is_spread())
        } else {
            Counted::No
        }
    }

    /// Whether a call that ends now is slow to no rule, and belongs to the newest bucket of each
    /// time window.
    #[inline(never)]
    fn is_fast_and_in_newest_bucket(
        &self,
        success: SuccessState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> bool {
        let has_slow_calls = success.is_timed() && self.view.has_slow_calls();
        if !has_slow_calls && !success.is_bucketed() {
            return true;
        }
        if success.has_custom_clock() {
            return false;
        }
        let now = SystemClock::counter_tick_after(since);
        let took = elapsed.map_or_else(|| now.nanos_since(since), nanos);
        (!has_slow_calls || !self.view.is_slow(took))
            && (!success.is_bucketed() || self.view.is_in_newest_bucket(now))
    }

    /// Records a failure that cannot open the circuit, if that needs neither the time nor a
    /// transaction; where threads have met, without the lock. Without `elapsed`, the call took the
    /// time since `since`.
    #[inline]
    pub(in crate::breaker) fn try_record_failure(
        &self,
        admitted: PackedState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> bool {
        let success = self.view.success_alone();
        if !success.is_same_epoch(admitted) || !success.defers() {
            return false;
        }
        if !success.is_spread() {
            return success.defers_untimed() && self.try_record_held_failure(success);
        }
        self.try_note_failure(success, since, elapsed)
    }

    fn try_note_failure(
        &self,
        success: SuccessState,
        since: Tick,
        elapsed: Option<Duration>,
    ) -> bool {
        // The times of the view, and the counters of several threads, are at least as new.
        PublishedView::acquire();
        self.is_fast_and_in_newest_bucket(success, since, elapsed)
            && self.successes().note_failure(success.epoch())
    }
}

//! How the call of a permit ends.

use std::{cell::Cell as LocalCell, time::Duration};

use crate::{
    breaker::{
        admission::Ticket, cell::Cell, counter::Counted, nesting, packed_state::PackedState,
        probes::StreamProof, success_state::SuccessState,
    },
    clock::Tick,
    outcome::{CallEnd, Outcome},
    state::State,
};

/// An admitted call, with what it takes to record it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) cell: &'static Cell,
    /// The state that admitted the call. A half-open circuit admitted a probe.
    pub(super) state: PackedState,
    /// The id of a probe; of a timed call, the tick at which it was admitted; of any other call, no
    /// matter what. (One field for both: a future contains a permit, and moves it.)
    pub(super) stamp: u64,
}

thread_local! {
    /// The address of the cell of a call that has failed by the panic that unwinds now, until its
    /// permit is dropped.
    static FAILED_BY_PANIC: LocalCell<usize> = const { LocalCell::new(0) };
}

// What follows takes a call by its parts, which travel in registers.

/// Records a success inside of another breaker's call, or of this breaker's, which counts.
#[cold]
#[inline(never)]
pub(super) fn succeed_inside(
    cell: &'static Cell,
    state: PackedState,
    stamp: u64,
    success: SuccessState,
) {
    if nesting::is_nested(cell) {
        Call { cell, state, stamp }.discard();
    } else {
        succeed_outermost(cell, state, stamp, success);
    }
}

#[inline(never)]
pub(super) fn succeed_outermost(
    cell: &'static Cell,
    state: PackedState,
    stamp: u64,
    success: SuccessState,
) {
    // Each has few values to keep in registers.
    if !success.is_same_epoch(state) {
        succeed_locked(cell, state, stamp);
    } else if success.defers_in_bucket() {
        succeed_in_bucket(cell, state, stamp, success);
    } else {
        succeed_by_time(cell, state, stamp, success);
    }
}

#[inline(never)]
fn succeed_in_bucket(cell: &'static Cell, state: PackedState, stamp: u64, success: SuccessState) {
    end_success(cell, state, stamp, cell.try_count_in_newest_bucket(success));
}

#[inline(never)]
fn succeed_by_time(cell: &'static Cell, state: PackedState, stamp: u64, success: SuccessState) {
    // A half-open circuit records nothing without the lock, so this stamp is no probe's.
    let counted = cell.try_record_success_by_time(success, Tick::from_nanos(stamp), None);
    end_success(cell, state, stamp, counted);
}

#[inline]
fn end_success(cell: &'static Cell, state: PackedState, stamp: u64, counted: Counted) {
    match counted {
        Counted::Yes => {
            let elapsed = || Call { cell, state, stamp }.elapsed();
            cell.count_current(state, CallEnd::Success, elapsed);
        }
        Counted::No => succeed_locked(cell, state, stamp),
        Counted::Contended { counters } => succeed_after_contention(cell, state, stamp, counters),
    }
}

/// Records a failure of a call that is part of no other one, if that needs neither the time nor a
/// transaction, and is not counted for the metrics.
#[inline(never)]
pub(super) fn try_fail_outermost(cell: &'static Cell, state: PackedState) -> bool {
    let success = cell.success_alone();
    success.is_counted_at_once(state)
        && !nesting::is_any_running()
        && cell.try_record_held_failure(success)
}

#[cold]
#[inline(never)]
pub(super) fn succeed_locked(cell: &'static Cell, state: PackedState, stamp: u64) {
    let ended = Call { cell, state, stamp };
    cell.count(state, CallEnd::Success, || ended.elapsed());
    ended.record_locked(Outcome::Success, None);
}

#[cold]
#[inline(never)]
pub(super) fn succeed_after_contention(
    cell: &'static Cell,
    state: PackedState,
    stamp: u64,
    met: u8,
) {
    cell.allocate_counters(met);
    succeed_locked(cell, state, stamp);
}

impl Call {
    #[inline]
    pub(super) fn is_probe(self) -> bool {
        self.state.state() == State::HalfOpen
    }

    fn ticket(self) -> Ticket {
        self.state.ticket(self.is_probe().then_some(self.stamp))
    }

    /// When a call other than a probe was admitted.
    fn admitted_at(self) -> Option<Tick> {
        self.state.is_timed().then_some(Tick::from_nanos(self.stamp))
    }

    pub(super) fn elapsed(self) -> Option<Duration> {
        if self.is_probe() {
            return self.cell.inspect(|machine, _| machine.probe_age(self.ticket()))?;
        }
        // First of all: the clock of a call without a time is not read.
        let admitted = self.admitted_at()?;
        Some(self.cell.now(self.state).since(admitted))
    }

    pub(super) fn begin_stream(
        self,
        alive_after: Duration,
        elapsed: Option<Duration>,
    ) -> StreamProof {
        self.cell.begin_stream(self.ticket(), alive_after, elapsed)
    }

    #[inline]
    pub(super) fn record(self, outcome: Outcome, elapsed: Option<Duration>) {
        self.cell.count(self.state, outcome.into(), || elapsed.or_else(|| self.elapsed()));
        if outcome == Outcome::Success && !self.is_probe() {
            let admitted = Tick::from_nanos(self.stamp);
            let success = self.cell.success_alone();
            match self.cell.try_record_success(success, self.state, admitted, elapsed) {
                Counted::Yes => return,
                Counted::No => {}
                Counted::Contended { counters } => self.cell.allocate_counters(counters),
            }
        }
        if let Outcome::Failure { .. } = outcome
            && self.cell.try_record_failure(self.state, Tick::from_nanos(self.stamp), elapsed)
        {
            return;
        }
        self.record_locked(outcome, elapsed);
    }

    #[cold]
    #[inline(never)]
    fn record_locked(self, outcome: Outcome, elapsed: Option<Duration>) {
        // To a circuit that is not half-open, an ignored call is nothing. A call that does not
        // count would take the one lock of all such calls, and one within another call the
        // breaker's.
        let counts = self.state != PackedState::SPENT;
        if counts && (self.is_probe() || outcome != Outcome::Ignore) {
            self.cell.record(self.ticket(), self.admitted_at(), outcome, elapsed);
        }
    }

    /// The panic that unwinds now is this call's failure, and recorded.
    pub(super) fn note_failed_by_panic(self) {
        if self.state.is_metered() {
            FAILED_BY_PANIC.set(std::ptr::from_ref(self.cell).addr());
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn abandon(self) {
        // A panic that this call caused has been recorded by the guard around its work. Any other
        // one says nothing about the calls that it ends.
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
    pub(super) fn cancel(self) {
        self.cell.count(self.state, CallEnd::Cancelled, || self.elapsed());
        self.discard();
    }

    /// Ends the call uncounted.
    pub(super) fn discard(self) {
        if self.is_probe() {
            self.cell.cancel(self.ticket());
        }
    }
}

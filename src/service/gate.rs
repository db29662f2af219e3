//! What a service knows between `poll_ready` and `call`.

use std::task::Context;

use super::{inner_call, wake_on_open::WakeOnOpen};
use crate::{
    breaker::{cell::Cell, pool},
    clock::SystemClock,
    error::Refusal,
    state::State,
};

/// The readiness of one service.
///
/// It must be dropped before the breaker's handle: see [`WakeOnOpen`].
pub(super) struct Gate {
    /// The cell to ask whether every call is admitted: the breaker's own or, while a task is
    /// registered, one that admits none. So a healthy call asks one question and not two.
    quick: &'static Cell,
    wake_on_open: WakeOnOpen,
    pub(super) readiness: GateReadiness,
    /// What rejects the next call, if `readiness` is [`GateReadiness::Rejecting`] or
    /// [`GateReadiness::InnerForExempt`].
    refused_by: RefusedBy,
}

#[derive(Debug, Clone, Copy)]
struct RefusedBy {
    state: State,
    /// Whether it rejects calls for a time.
    is_timed: bool,
}

/// The result of the last `poll_ready`.
#[derive(Debug, Clone, Copy)]
pub(super) enum GateReadiness {
    /// Not polled, or the inner service is not ready.
    Unknown,
    /// The inner service is ready.
    Inner,
    /// The circuit rejects calls; the inner service was not polled.
    Rejecting,
    /// The circuit rejects calls, and the inner service is ready for one that is exempt.
    InnerForExempt,
}

impl Gate {
    pub(super) fn new(cell: &'static Cell) -> Self {
        Self {
            quick: cell,
            wake_on_open: WakeOnOpen::new(cell),
            readiness: GateReadiness::Unknown,
            refused_by: RefusedBy { state: State::Closed, is_timed: false },
        }
    }

    /// The breaker's cell; while a task is registered, one that admits no call.
    #[inline]
    pub(super) const fn quick(&self) -> &'static Cell {
        self.quick
    }

    /// Registers the task to be woken when the circuit opens. Returns `false` if the circuit
    /// already rejects calls.
    pub(super) fn register(&mut self, cx: &Context<'_>) -> bool {
        let waits = self.wake_on_open.register(cx);
        if self.wake_on_open.is_registered() {
            self.quick = pool::never_assigned();
        }
        waits
    }

    /// The task does not wait any more.
    #[inline]
    pub(super) fn stop_waiting(&mut self) {
        if self.wake_on_open.is_registered() {
            self.wake_on_open.clear();
            self.quick = self.wake_on_open.cell();
        }
    }

    /// Why the call is rejected for which the service was ready. It may come long after that, so
    /// what is left of the time is that of now.
    ///
    /// While the circuit is open, this reads no clock, and what is left is that of up to a second
    /// ago.
    #[inline]
    pub(super) fn refusal(&self) -> Refusal {
        self.wake_on_open.cell().open_lately().unwrap_or_else(|| self.refusal_by_clock())
    }

    #[cold]
    #[inline(never)]
    fn refusal_by_clock(&self) -> Refusal {
        let RefusedBy { state, is_timed } = self.refused_by;
        let now = if is_timed { self.wake_on_open.cell().would_refuse() } else { None };
        // If the circuit admits calls by now, it is refused without a time.
        now.unwrap_or(Refusal::new(state))
    }

    /// Makes the service ready to reject the next call if the circuit rejects calls, and returns
    /// whether it does.
    // Out of line, as is everything that a healthy call does not need: that keeps its code short.
    #[inline(never)]
    pub(super) fn prepare_rejection(&mut self) -> bool {
        let cell = self.wake_on_open.cell();
        let glance = SystemClock::glance();
        let refused_by = if cell.is_open_for_long(glance) {
            RefusedBy { state: State::Open, is_timed: true }
        } else {
            let Some(refusal) = cell.would_refuse_slow(glance) else { return false };
            RefusedBy { state: refusal.state(), is_timed: refusal.retry_after().is_some() }
        };
        if inner_call::is_nested(cell) {
            return false;
        }
        self.readiness = GateReadiness::Rejecting;
        self.refused_by = refused_by;
        self.stop_waiting();
        true
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use std::{ptr, task::Waker};

    use super::*;

    #[test]
    fn while_a_task_is_registered_no_call_is_admitted_quickly() {
        let cell = pool::take();
        let mut gate = Gate::new(cell);
        assert!(ptr::eq(gate.quick(), cell));
        for _ in 0..2 {
            assert!(gate.register(&Context::from_waker(Waker::noop())));
            assert!(!ptr::eq(gate.quick(), cell) && !gate.quick().admits_all());
            gate.stop_waiting();
            assert!(ptr::eq(gate.quick(), cell));
        }
        drop(gate);
        pool::give_back(cell);
    }
}

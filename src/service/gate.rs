//! What a service knows between `poll_ready` and `call`.

use super::{inner_call, wake_on_open::WakeOnOpen};
use crate::{breaker::cell::Cell, error::Refusal, state::State};

/// The readiness of one service.
///
/// It must be dropped before the breaker's handle: see [`WakeOnOpen`].
pub(super) struct Gate {
    cell: &'static Cell,
    pub(super) wake_on_open: WakeOnOpen,
    pub(super) readiness: Readiness,
    /// Why the next call is rejected, if `readiness` is [`Readiness::Rejecting`].
    refusal: Refusal,
}

/// The result of the last `poll_ready`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readiness {
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
            cell,
            wake_on_open: WakeOnOpen::new(cell),
            readiness: Readiness::Unknown,
            refusal: Refusal::new(State::Closed),
        }
    }

    pub(super) const fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// Whether the circuit rejects calls. If so, the service is ready to reject the next one.
    // Out of line, as is everything that a healthy call does not need: that keeps its code short.
    #[inline(never)]
    pub(super) fn is_rejecting(&mut self) -> bool {
        let Some(refusal) = self.cell.would_refuse() else { return false };
        if inner_call::is_nested(self.cell) {
            return false;
        }
        self.readiness = Readiness::Rejecting;
        self.refusal = refusal;
        self.wake_on_open.clear();
        true
    }
}

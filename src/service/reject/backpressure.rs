use super::{Reject, sealed::WhileOpen};
use crate::error::Rejected;

/// While the circuit is open, the service is not ready and its callers wait: back-pressure instead
/// of a rejection.
///
/// When probes are admitted, one caller is woken for each free slot, in the order of arrival; when
/// the circuit closes, all of them are. A slot is taken by the call, not by readiness: a caller
/// that became ready and makes no call loses its turn to the next one when it is dropped, or after
/// a second.
///
/// A call can still be rejected, in the way of `R`: if the circuit opens between readiness and the
/// call, if another user of the breaker takes the slot, or during a ramp-up.
///
/// Put a time limit around a service that waits, or shed load outside of it. (`tower::timeout` does
/// not count the time until the service is ready.)
#[derive(Debug, Clone, Copy, Default)]
pub struct Backpressure<R>(pub R);

impl<R, Request, Response, E> Reject<Request, Response, E> for Backpressure<R>
where
    R: Reject<Request, Response, E>,
{
    const WHILE_OPEN: WhileOpen = WhileOpen::Wait;

    type Error = R::Error;
    type Future = R::Future;

    #[inline]
    fn reject(&self, request: Request, rejected: Rejected) -> Self::Future {
        self.0.reject(request, rejected)
    }
}

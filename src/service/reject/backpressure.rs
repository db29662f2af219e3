use super::{Reject, sealed::WhileOpen};
use crate::error::Rejected;

/// While the circuit rejects, the service is not ready, and callers wait: back-pressure instead
/// of a rejection.
///
/// When probes may go, as many callers are woken as there are slots, in the order in which they
/// came, and when the circuit closes all of them. A caller that was let through and makes no call
/// loses its turn to the next when it is dropped, or after a second. The slot itself is taken by
/// the call.
///
/// A call can still be rejected, as `R` says: where the circuit opened between readiness and the
/// call, where another user of the breaker took the slot, or while it ramps up.
///
/// Put a time limit around a service that waits (`tower::timeout` does not count the time until
/// it is ready), or shed load above it.
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

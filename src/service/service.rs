use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{Reject, RejectAsError, ResponseFuture};
use crate::{
    Breaker, Permit, State,
    breaker::{cell::Cell, machine::Refusal},
    classify::{Classify, ErrorsAsFailures},
};

/// A service behind a circuit breaker. Made by a
/// [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// # Readiness
///
/// While the circuit rejects, the service is ready at once, without asking the inner service,
/// and the call that follows is rejected, also if the circuit closed in between: the inner
/// service was not asked whether it is ready. Where the inner service was ready and the circuit
/// opens before the call, the call is rejected too. A call without readiness is rejected.
///
/// A probe's slot is taken by the call, not by readiness, so a clone that is ready and never
/// called holds none.
///
/// A caller that waits for the inner service to become ready is woken when the circuit opens,
/// and its call is rejected. (What time alone does, a half-open circuit whose probe is out for
/// too long, wakes nobody until somebody asks the breaker.)
///
/// An error of the inner service's readiness is handed on and is not recorded: no call was made.
pub struct CircuitBreaker<S, C = ErrorsAsFailures, R = RejectAsError> {
    inner: S,
    /// Before the breaker, as it has to be dropped: with the last handle the cell may go to
    /// another breaker, and this place would be one of that breaker's.
    waiting: Waiting,
    breaker: Breaker,
    classify: C,
    rejection: R,
    readiness: Readiness,
    /// What a call is answered after [`Readiness::Rejecting`].
    refusal: Refusal,
}

/// What the last `poll_ready` found.
#[derive(Debug, Clone, Copy)]
enum Readiness {
    /// Nobody asked, or the inner service is not ready.
    Unknown,
    /// The inner service is ready.
    Inner,
    /// The circuit rejects; the inner service was not asked.
    Rejecting,
}

impl<S, C, R> CircuitBreaker<S, C, R> {
    pub(super) fn new(inner: S, breaker: Breaker, classify: C, rejection: R) -> Self {
        Self {
            inner,
            waiting: Waiting::at(breaker.cell()),
            breaker,
            classify,
            rejection,
            readiness: Readiness::Unknown,
            refusal: Refusal { state: State::Closed, retry_after: None },
        }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service. Calls that are made on it directly are not recorded.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without the breaker.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Whether the circuit rejects; then the service is ready to say so.
    #[inline]
    fn is_rejecting(&mut self) -> bool {
        let refusal = self.breaker.cell().would_refuse();
        if let Some(refusal) = refusal {
            self.readiness = Readiness::Rejecting;
            self.refusal = refusal;
            self.waiting.end();
        }
        refusal.is_some()
    }

    #[inline]
    fn admit(&mut self) -> Result<Permit, Refusal> {
        match std::mem::replace(&mut self.readiness, Readiness::Unknown) {
            Readiness::Inner => self.breaker.cell().admit(),
            Readiness::Rejecting => Err(self.refusal),
            Readiness::Unknown => Err(self.unasked()),
        }
    }

    /// The rejection of a call whose service was not asked whether it is ready.
    #[cold]
    fn unasked(&self) -> Refusal {
        Refusal { state: self.breaker.state(), retry_after: None }
    }

    #[inline(never)]
    fn reject<Request, T, E>(&self, request: Request, refusal: Refusal) -> R::Future
    where
        R: Reject<Request, T, E>,
    {
        self.rejection.reject(request, self.breaker.rejected(refusal))
    }
}

impl<S, C, R, Request> Service<Request> for CircuitBreaker<S, C, R>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
    R: Reject<Request, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, C, R::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.is_rejecting() {
            return Poll::Ready(Ok(()));
        }
        self.readiness = Readiness::Unknown;
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.readiness = Readiness::Inner;
                self.waiting.end();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.waiting.end();
                Poll::Ready(Err(error.into()))
            }
            Poll::Pending if self.waiting.begin(cx) => Poll::Pending,
            // The circuit opened meanwhile.
            Poll::Pending if self.is_rejecting() => Poll::Ready(Ok(())),
            // And by now its open time is over.
            Poll::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        match self.admit() {
            Ok(permit) => {
                let future = self.inner.call(request);
                ResponseFuture::admitted(future, permit, self.classify.clone())
            }
            Err(refusal) => ResponseFuture::rejected(self.reject(request, refusal)),
        }
    }
}

/// The clone is not ready, whatever this service is: readiness belongs to the inner service that
/// was asked, and that is not the clone's.
impl<S: Clone, C: Clone, R: Clone> Clone for CircuitBreaker<S, C, R> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.breaker.clone(),
            self.classify.clone(),
            self.rejection.clone(),
        )
    }
}

impl<S: fmt::Debug, C, R> fmt::Debug for CircuitBreaker<S, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

/// A task's place among those that are woken when the circuit opens; given up when dropped.
struct Waiting {
    cell: &'static Cell,
    key: Option<u64>,
}

impl Waiting {
    fn at(cell: &'static Cell) -> Self {
        Self { cell, key: None }
    }

    /// `false` where the circuit rejects already.
    fn begin(&mut self, cx: &Context<'_>) -> bool {
        self.cell.park(&mut self.key, cx.waker())
    }

    #[inline]
    fn end(&mut self) {
        if self.key.is_some() {
            self.leave();
        }
    }

    #[cold]
    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.cell.unpark(key);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

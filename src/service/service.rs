use std::{
    fmt,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    Face,
    future::ResponseFuture,
    record_when::{OnResponse, RecordWhen},
    reject::{Reject, RejectAsError},
};
use crate::{
    breaker::{Permit, cell::Cell},
    classify::ErrorsAsFailures,
    error::Refusal,
    handle::{Breaker, Place},
    state::State,
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
/// With [`Backpressure`](crate::reject::Backpressure) it is the other way round: while the circuit
/// rejects, the service is not ready.
///
/// A caller that waits for the inner service to become ready is woken when the circuit opens,
/// and its call is rejected. (What time alone does, a half-open circuit whose probe is out for
/// too long, wakes nobody until somebody asks the breaker.)
///
/// An error of the inner service's readiness is handed on and is not recorded: no call was made.
///
/// # Among other middleware
///
/// A rejection gives nothing back that the readiness of the inner service has taken: nothing can
/// tell a service that it is not needed after all. The permit of a `ConcurrencyLimit`, the place in
/// a `Buffer`, or a place in the queue for either stays with this service until its next call that
/// is admitted, or until it is dropped, and others that share the limit wait as long. So put a
/// limit that is shared above the breaker, or make each call with a clone that is dropped after
/// it, as `oneshot` does.
///
/// A `Timeout` below makes an elapsed call a failure; above, it cancels the call, which counts as
/// nothing.
///
/// An endpoint that rejects answers at once, so a balancer that goes by pending requests or by
/// latency takes it for idle, and prefers it. Use [`Backpressure`](crate::reject::Backpressure) there, or
/// a load that asks [`Breaker::state`].
pub struct CircuitBreaker<S, C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    inner: S,
    /// Before the breaker, as it has to be dropped: with the last handle the cell may go to
    /// another breaker, and this place would be one of that breaker's.
    waiting: Waiting,
    /// The same holds for this one, which few services ever have.
    place: Option<Box<Place>>,
    breaker: Breaker,
    face: Face<C, R, O>,
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

impl<S, C, R, O> CircuitBreaker<S, C, R, O> {
    pub(super) fn new(inner: S, breaker: Breaker, face: Face<C, R, O>) -> Self {
        Self {
            inner,
            waiting: Waiting::at(breaker.cell()),
            place: None,
            breaker,
            face,
            readiness: Readiness::Unknown,
            refusal: Refusal::new(State::Closed),
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

    /// Waits until the circuit admits calls.
    #[inline]
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let cell = self.breaker.cell();
        if cell.admits_all() {
            return Poll::Ready(());
        }
        self.place.get_or_insert_with(|| Box::new(Place::new(cell))).poll_turn(cx)
    }

    /// Gives up the turn that readiness took, once the call has its permit or will not be made.
    #[inline]
    fn leave_place(&mut self) {
        if let Some(place) = &mut self.place {
            place.leave();
        }
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
        Refusal::new(self.breaker.state())
    }

    #[inline(never)]
    fn call_unless_refused<Request>(
        &mut self,
        request: Request,
    ) -> ResponseFuture<S::Future, C, R::Future, O>
    where
        S: Service<Request>,
        C: Clone,
        R: Reject<Request, S::Response, S::Error>,
        O: Clone,
    {
        let admitted = self.admit();
        if R::WAITS {
            self.leave_place();
        }
        match admitted {
            Ok(permit) => {
                let future = self.inner.call(request);
                let Face { classify, settle, .. } = &self.face;
                ResponseFuture::admitted(future, permit, classify.clone(), settle.clone())
            }
            Err(refusal) => {
                let rejected = self.breaker.rejected(refusal);
                ResponseFuture::rejected(self.face.rejection.reject(request, rejected))
            }
        }
    }
}

impl<S, C, R, O, Request> Service<Request> for CircuitBreaker<S, C, R, O>
where
    S: Service<Request>,
    C: Clone,
    R: Reject<Request, S::Response, S::Error>,
    O: RecordWhen<C, S::Response, S::Error> + Clone,
{
    type Response = O::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, C, R::Future, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if R::WAITS {
            ready!(self.poll_turn(cx));
        } else if self.is_rejecting() {
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
                self.leave_place();
                Poll::Ready(Err(error.into()))
            }
            Poll::Pending if R::WAITS => Poll::Pending,
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
        // The call of a closed circuit has this way for itself. Where it meets the others', the
        // compiler writes the permit to memory and copies it from there into the future; and a
        // wide load that follows narrow stores at once waits longer than all else here takes.
        if let Readiness::Inner = self.readiness
            && let Some(permit) = self.breaker.cell().admit_at_once()
        {
            self.readiness = Readiness::Unknown;
            if R::WAITS {
                self.leave_place();
            }
            let future = self.inner.call(request);
            let Face { classify, settle, .. } = &self.face;
            return ResponseFuture::admitted(future, permit, classify.clone(), settle.clone());
        }
        self.call_unless_refused(request)
    }
}

/// The clone is not ready, whatever this service is: readiness belongs to the inner service that
/// was asked, and that is not the clone's.
impl<S: Clone, C: Clone, R: Clone, O: Clone> Clone for CircuitBreaker<S, C, R, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.breaker.clone(), self.face.clone())
    }
}

impl<S: fmt::Debug, C, R, O> fmt::Debug for CircuitBreaker<S, C, R, O> {
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

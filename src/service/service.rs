//! The service, and its calls.

mod admission;

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    debug::add_types,
    future::ResponseFuture,
    gate::{Gate, GateReadiness},
    inner_call,
    record_when::{AppliesTo, OnResponse, RecordWhen},
    reject::{Reject, RejectAsError},
};
use crate::{
    breaker::nesting::LARGE,
    classify::{CloneClassifier, ErrorsAsFailures, MakeClassifier},
    handle::{Breaker, WaitHandle},
};

/// A service behind a circuit breaker.
///
/// A [`CircuitBreakerLayer`](super::CircuitBreakerLayer) makes it; [`new`](Self::new) wraps a
/// single service. `C` classifies results, `R` says what becomes of a rejected call, and `O` says
/// when the outcome of a call is known. For struct fields there are aliases without these
/// parameters: `HttpCircuitBreaker` and `GrpcCircuitBreaker`.
///
/// # Readiness
///
/// While the circuit rejects calls, the service is ready at once and does not poll the inner
/// service (unless some requests are [exempt](super::CircuitBreakerLayer::exempt): these need it).
/// The call that follows is rejected even if the circuit has closed in between, because
/// the inner service was not polled. However late that call comes, its rejection says
/// what is left of the open time by then, or up to a second more; never more than the open time. (A
/// second, as long as the process can start the thread that looks at the clock.) If the inner
/// service is ready and the circuit opens before the call, the call is rejected too. A call without
/// readiness is rejected.
///
/// A probe's slot is taken by the call, not by readiness: a clone that is ready and never called
/// holds no slot.
///
/// With [`Backpressure`](crate::reject::Backpressure) it is the other way round: the service is
/// not ready while the circuit rejects calls.
///
/// A task that waits for the inner service to become ready is woken when the circuit opens, and
/// its call is rejected.
///
/// An error of the inner service's `poll_ready` is returned as it is and not recorded, because no
/// call was made.
///
/// # With other middleware
///
/// A rejection releases nothing that the inner service reserved when it became ready: a service
/// cannot be told that its readiness is not needed. The permit of a `ConcurrencyLimit`, a slot in a
/// `Buffer`, and a place in the queue for either stay with this service until its next admitted
/// call or until it is dropped, and other users of a shared limit wait as long. So put a shared
/// limit outside the breaker, or make each call on a clone that is dropped afterwards, as
/// `oneshot` does.
///
/// A `Timeout` inside the breaker makes an elapsed call a failure. A `Timeout` outside
/// [abandons](crate::Permit#abandoned-calls) the call, which counts only if it took long enough.
///
/// The same breaker may be on a path twice: on an axum router and on a router nested in it, for
/// instance, or outside and inside of a `Retry`. The outer one counts the call; the inner one
/// passes it through, also with other breakers in between, and so do
/// [`Breaker::call`](crate::Breaker::call) and a permit of
/// [`try_acquire`](crate::Breaker::try_acquire) or [`acquire`](crate::Breaker::acquire). The inner
/// one is recognized on the same thread: through a `Buffer` or a spawned task, both count. If the
/// outer request does not count ([exempt](super::CircuitBreakerLayer::exempt) ones, and what is not
/// gRPC under [`grpc`](super::CircuitBreakerLayer::grpc)), the inner call does.
///
/// An endpoint that rejects calls answers at once, so a balancer that goes by pending requests or
/// latency prefers it. Use [`Backpressure`](crate::reject::Backpressure) there, or the load of the
/// breaker's service (feature `load`): while it would reject a call, it is the most loaded.
///
/// # When it does not compile
///
/// If a service does not fit its layer, `.ready()`, `.call()` and `.oneshot()` report only that
/// `CircuitBreaker<..>: Service<_>` is not satisfied, or that there is no such method (E0599). The
/// compiler does not look further, because it does not know the request's type yet. Name it with
/// [`check_service`](Self::check_service), and the error explains what is missing and how to add
/// it:
///
/// ```
/// # use tower::{Layer, service_fn};
/// # use tower_breaker::CircuitBreakerLayer;
/// # let layer = CircuitBreakerLayer::builder("payments").build()?;
/// # let client = service_fn(|amount: u32| async move { Ok::<_, std::io::Error>(amount) });
/// let service = layer.layer(client).check_service::<u32>();
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
///
/// "Type mismatch in closure arguments" (E0631) means that a closure in `.classify(..)` does not
/// write the type of its argument: pass it to [`classify_fn`](crate::classify::classify_fn).
pub struct CircuitBreaker<S, C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    inner: S,
    /// Declared, and so dropped, before the breaker.
    gate: Gate,
    /// Declared before the breaker for the same reason. Boxed, because only back-pressure uses it.
    wait: Option<Box<WaitHandle>>,
    breaker: Breaker,
    classify: C,
    reject: R,
    record_when: O,
}

impl<S, C, R, O> CircuitBreaker<S, C, R, O> {
    pub(super) fn with(inner: S, breaker: Breaker, classify: C, reject: R, record_when: O) -> Self {
        Self {
            inner,
            gate: Gate::new(breaker.cell()),
            wait: None,
            breaker,
            classify,
            reject,
            record_when,
        }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Calls made on it directly are not recorded.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Checks at compile time that this is a [`Service`] for requests of this type, and returns
    /// it. Call it to find out [why a service does not compile](#when-it-does-not-compile).
    #[must_use]
    pub fn check_service<Request>(self) -> Self
    where
        Self: Service<Request>,
    {
        self
    }

    /// Returns the inner service and drops the breaker's handle.
    pub fn into_inner(self) -> S {
        self.inner
    }

    #[inline]
    fn poll_inner_ready<Request>(
        &mut self,
        cx: &mut Context<'_>,
        waits: bool,
    ) -> Poll<Result<(), S::Error>>
    where
        S: Service<Request>,
    {
        if !waits {
            return self.inner.poll_ready(cx);
        }
        // The same breaker further in must not wait for what this one has reserved.
        inner_call::run_within(self.breaker.cell(), || self.inner.poll_ready(cx))
    }

    /// [`poll_ready`](Service::poll_ready) where it is more than that of the inner service.
    #[inline(never)]
    fn poll_ready_slow<Request>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), R::Error>>
    where
        S: Service<Request>,
        R: Reject<Request, S::Response, S::Error>,
        O: AppliesTo<Request>,
    {
        if R::WHILE_OPEN.waits() {
            ready!(self.poll_admission(cx));
        }
        self.gate.readiness = GateReadiness::Unknown;
        match self.poll_inner_ready(cx, R::WHILE_OPEN.waits()) {
            Poll::Ready(Ok(())) => {
                self.gate.readiness = GateReadiness::Inner;
                self.gate.stop_waiting();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.gate.stop_waiting();
                self.release_wait();
                Poll::Ready(Err(error.into()))
            }
            Poll::Pending if R::WHILE_OPEN.waits() => Poll::Pending,
            Poll::Pending => self.wait_for_inner(cx),
        }
    }

    /// [`poll_ready`](Service::poll_ready) while the circuit rejects calls and some requests are
    /// exempt. The service does not wait: if the inner one is not ready, every call is rejected.
    #[cold]
    fn poll_ready_for_exempt<Request>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), R::Error>>
    where
        S: Service<Request>,
        R: Reject<Request, S::Response, S::Error>,
    {
        if self.inner.poll_ready(cx)?.is_ready() {
            self.gate.readiness = GateReadiness::InnerForExempt;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the inner service, or for the circuit to open.
    #[cold]
    fn wait_for_inner<E>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if self.gate.register(cx) {
            return Poll::Pending;
        }
        // The circuit opened while the inner service was polled.
        if self.gate.prepare_rejection() {
            return Poll::Ready(Ok(()));
        }
        // A nested call waits for the inner service alone, whatever the circuit does.
        if inner_call::is_nested(self.breaker.cell()) {
            return Poll::Pending;
        }
        // The open time ended in the meantime too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, C, R, O, Request> Service<Request> for CircuitBreaker<S, C, R, O>
where
    S: Service<Request>,
    C: MakeClassifier<Request>,
    R: Reject<Request, S::Response, S::Error>,
    O: RecordWhen<C::Classifier, S::Response, S::Error> + AppliesTo<Request> + Clone,
{
    type Response = O::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, C::Classifier, R::Future, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if R::WHILE_OPEN.waits() || !self.gate.quick().admits_all() {
            if !R::WHILE_OPEN.waits() && self.gate.prepare_rejection() {
                return if O::PASSES_WHILE_OPEN {
                    self.poll_ready_for_exempt(cx)
                } else {
                    Poll::Ready(Ok(()))
                };
            }
            return self.poll_ready_slow(cx);
        }
        self.gate.readiness = GateReadiness::Unknown;
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.gate.readiness = GateReadiness::Inner;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => self.wait_for_inner(cx),
        }
    }

    // An admitted future is made in one place, and inline: then its poll finds most of it in
    // registers. Where it is made in several, the compiler writes the permit to memory and copies
    // it from there, and a wide load directly after narrow stores stalls for longer than all else
    // here.
    #[expect(clippy::inline_always, reason = "out of line, the future goes through memory")]
    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let permit = 'admitted: {
            // Asked once: it may run a closure of the user.
            let counts;
            let refusal = if matches!(self.gate.readiness, GateReadiness::Rejecting) {
                self.gate.readiness = GateReadiness::Unknown;
                counts = !O::PASSES_WHILE_OPEN || self.record_when.applies_to(&request);
                self.gate.refusal()
            } else {
                counts = self.record_when.applies_to(&request);
                if counts
                    && matches!(self.gate.readiness, GateReadiness::Inner)
                    && let Some(permit) = self.admit_fast()
                {
                    break 'admitted permit;
                }
                match self.admit_slow(counts) {
                    Ok(permit) => break 'admitted permit,
                    Err(refusal) => refusal,
                }
            };
            return if const { size_of::<Self::Future>() > LARGE } {
                self.reject_apart(request, refusal, counts)
            } else {
                ResponseFuture::rejected(self.reject_call(request, refusal, counts))
            };
        };
        if R::WHILE_OPEN.waits() {
            self.release_wait();
        }
        let classify = self.classify.make_classifier(&request);
        let future = inner_call::start(&permit, || self.inner.call(request));
        ResponseFuture::admitted(future, permit, classify, self.record_when.clone())
    }
}

/// A clone is not ready, even if this service is: the inner service that was polled ready is this
/// service's, not the clone's.
impl<S: Clone, C: CloneClassifier, R: Clone, O: Clone> Clone for CircuitBreaker<S, C, R, O> {
    fn clone(&self) -> Self {
        Self::with(
            self.inner.clone(),
            self.breaker.clone(),
            self.classify.clone_classifier(),
            self.reject.clone(),
            self.record_when.clone(),
        )
    }
}

impl<S: fmt::Debug, C, R, O> fmt::Debug for CircuitBreaker<S, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("CircuitBreaker");
        fields.field("inner", &self.inner).field("breaker", &self.breaker);
        add_types(&mut fields, &self.classify, &self.reject, &self.record_when)
            .finish_non_exhaustive()
    }
}

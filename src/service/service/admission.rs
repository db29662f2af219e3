//! How a call is admitted, and what becomes of a rejected one.

use std::task::{Context, Poll};

use tower_service::Service;

use super::CircuitBreaker;
use crate::{
    breaker::Permit,
    error::Refusal,
    handle::WaitHandle,
    service::{
        future::ResponseFuture, gate::GateReadiness, inner_call, record_when::AppliesTo,
        reject::Reject,
    },
};

impl<S, C, R, O> CircuitBreaker<S, C, R, O> {
    /// Waits until the circuit admits calls.
    #[inline]
    pub(super) fn poll_admission(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let cell = self.breaker.cell();
        if cell.admits_all() || inner_call::is_nested(cell) {
            return Poll::Ready(());
        }
        self.wait.get_or_insert_with(|| Box::new(WaitHandle::new(cell))).poll_ready(cx)
    }

    /// Gives up what `poll_admission` reserved, once the call has its permit or is not made.
    #[inline]
    pub(super) fn release_wait(&mut self) {
        if let Some(wait) = &mut self.wait {
            wait.release();
        }
    }

    /// Admits a call that counts, for which the inner service is ready, if that takes no lock. A
    /// nested one is recognized when it is recorded, and here only if its drop may count too.
    #[inline]
    pub(super) fn admit_fast(&mut self) -> Option<Permit> {
        let cell = self.gate.quick();
        let permit = Permit::try_acquire_fast(cell, || inner_call::is_nested(cell))?;
        self.gate.readiness = GateReadiness::Unknown;
        Some(permit)
    }

    /// Admits any call, also of a circuit that is not closed.
    #[inline(never)]
    pub(super) fn admit_slow(&mut self, counts: bool) -> Result<Permit, Refusal> {
        let cell = self.breaker.cell();
        match std::mem::replace(&mut self.gate.readiness, GateReadiness::Unknown) {
            GateReadiness::Inner | GateReadiness::InnerForExempt if !counts => {
                Ok(Permit::uncounted_call())
            }
            GateReadiness::Inner if inner_call::is_nested(cell) => Ok(Permit::void_of(cell)),
            GateReadiness::Inner => Permit::try_acquire(cell),
            GateReadiness::Rejecting | GateReadiness::InnerForExempt => Err(self.gate.refusal()),
            GateReadiness::Unknown => Err(self.refuse_without_readiness()),
        }
    }

    #[cold]
    fn refuse_without_readiness(&self) -> Refusal {
        Refusal::new(self.breaker.state())
    }

    #[inline]
    pub(super) fn reject_call<Request>(
        &mut self,
        request: Request,
        refusal: Refusal,
        counts: bool,
    ) -> R::Future
    where
        S: Service<Request>,
        R: Reject<Request, S::Response, S::Error>,
        O: AppliesTo<Request>,
    {
        if R::WHILE_OPEN.waits() {
            self.release_wait();
        }
        let rejected = if O::PASSES_WHILE_OPEN && !counts {
            // An exempt request is no call, also where it is rejected.
            self.breaker.reject_uncounted(refusal)
        } else {
            self.breaker.reject(refusal)
        };
        self.reject.reject(request, rejected)
    }

    /// [`reject_call`](Self::reject_call) where futures are large. If it were inlined, the
    /// compiler would split the futures to join the two paths of a call, and copy each admitted one
    /// twice.
    #[inline(never)]
    pub(super) fn reject_apart<Request, Classifier>(
        &mut self,
        request: Request,
        refusal: Refusal,
        counts: bool,
    ) -> ResponseFuture<S::Future, Classifier, R::Future, O>
    where
        S: Service<Request>,
        R: Reject<Request, S::Response, S::Error>,
        O: AppliesTo<Request>,
    {
        ResponseFuture::rejected(self.reject_call(request, refusal, counts))
    }
}

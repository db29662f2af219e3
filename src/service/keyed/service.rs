//! The service.

use std::{
    any::type_name,
    fmt,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    future::KeyedResponseFuture,
    key::ExtractKey,
    selector::{KeyedAdmission, Selector},
    unbroken::UnbrokenCall,
};
use crate::{
    classify::{CloneClassifier, ErrorsAsFailures, MakeClassifier},
    error::{Refusal, Rejected},
    registry::KeyedBreakers,
    service::{
        debug::add_types,
        future::ResponseFuture,
        inner_call,
        record_when::{AppliesTo, OnResponse, RecordWhen},
        reject::{Reject, RejectAsError},
    },
    state::State,
};

/// A service behind a circuit breaker for each key. Made by a
/// [`KeyedCircuitBreakerLayer`](super::KeyedCircuitBreakerLayer).
///
/// # Readiness
///
/// The key is known only once there is a request. So the service is ready when the inner service
/// is, and a call is rejected if the circuit of its key is open then. A rejection releases nothing
/// that the inner service has reserved when it became ready.
///
/// A call without readiness is rejected, with the name of the group.
pub struct KeyedCircuitBreaker<S, K, C = ErrorsAsFailures, R = RejectAsError, O = OnResponse> {
    inner: S,
    is_ready: bool,
    selector: Selector<K>,
    classify: C,
    reject: R,
    record_when: O,
}

impl<S, K, C, R, O> KeyedCircuitBreaker<S, K, C, R, O> {
    pub(super) fn with(
        inner: S,
        selector: Selector<K>,
        classify: C,
        reject: R,
        record_when: O,
    ) -> Self {
        Self { inner, is_ready: false, selector, classify, reject, record_when }
    }

    /// The breakers.
    pub fn breakers(&self) -> &KeyedBreakers {
        &self.selector.breakers
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Calls made on it directly are not recorded.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Whether a request without a key of its own would be rejected.
    #[cfg(feature = "load")]
    pub(in crate::service) fn would_reject_by_default(&self) -> bool {
        let Selector { breakers, default_key, .. } = &self.selector;
        default_key.as_ref().is_some_and(|key| breakers.would_reject(key))
    }

    #[inline]
    fn admit<Request>(
        &mut self,
        request: &Request,
        can_wait: bool,
    ) -> Result<KeyedAdmission, Rejected>
    where
        K: ExtractKey<Request>,
        O: AppliesTo<Request>,
    {
        if !std::mem::take(&mut self.is_ready) {
            let group = self.selector.breakers.group();
            return Err(group.reject(Refusal::new(State::Closed)));
        }
        if !self.record_when.applies_to(request) {
            return Ok(KeyedAdmission::Unrecorded);
        }
        self.selector.admit(request, can_wait)
    }
}

impl<S, K, C, R, O, Request> Service<Request> for KeyedCircuitBreaker<S, K, C, R, O>
where
    S: Service<Request>,
    K: ExtractKey<Request>,
    C: MakeClassifier<Request>,
    R: Reject<Request, S::Response, S::Error>,
    O: RecordWhen<C::Classifier, S::Response, S::Error> + AppliesTo<Request> + Clone,
{
    type Response = O::Response;
    type Error = R::Error;
    type Future = KeyedResponseFuture<S::Future, C::Classifier, R::Future, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.is_ready = false;
        ready!(self.inner.poll_ready(cx))?;
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        match self.admit(&request, O::IS_KNOWN_WITH_RESPONSE) {
            Ok(KeyedAdmission::ByBreaker(permit)) => {
                let classify = self.classify.make_classifier(&request);
                let future = inner_call::start(&permit, || self.inner.call(request));
                let record_when = self.record_when.clone();
                let future = ResponseFuture::admitted(future, permit, classify, record_when);
                KeyedResponseFuture::with_breaker(future)
            }
            Ok(KeyedAdmission::WithoutBreaker(missing)) => {
                let classify = self.classify.make_classifier(&request);
                let mut call = UnbrokenCall::new(missing, &self.selector.breakers);
                let future = call.start(|| self.inner.call(request));
                KeyedResponseFuture::unbroken(future, call, classify, self.record_when.clone())
            }
            Ok(KeyedAdmission::Unrecorded) => {
                KeyedResponseFuture::passed(self.inner.call(request), None)
            }
            Ok(KeyedAdmission::WithoutRoom(mark)) => {
                let future = mark.run(|| self.inner.call(request));
                KeyedResponseFuture::passed(future, Some(mark))
            }
            Err(rejected) => {
                let future = self.reject.reject(request, rejected);
                KeyedResponseFuture::with_breaker(ResponseFuture::rejected(future))
            }
        }
    }
}

/// A clone is not ready, even if this service is.
impl<S, K, C, R, O> Clone for KeyedCircuitBreaker<S, K, C, R, O>
where
    S: Clone,
    K: Clone,
    C: CloneClassifier,
    R: Clone,
    O: Clone,
{
    fn clone(&self) -> Self {
        Self::with(
            self.inner.clone(),
            self.selector.clone(),
            self.classify.clone_classifier(),
            self.reject.clone(),
            self.record_when.clone(),
        )
    }
}

impl<S: fmt::Debug, K, C, R, O> fmt::Debug for KeyedCircuitBreaker<S, K, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("KeyedCircuitBreaker");
        fields.field("inner", &self.inner).field("breakers", &self.selector.breakers);
        fields.field("key", &format_args!("{}", type_name::<K>()));
        add_types(&mut fields, &self.classify, &self.reject, &self.record_when)
            .finish_non_exhaustive()
    }
}

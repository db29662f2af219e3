use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use recloser::{AnyError, AsyncRecloser, Error, Recloser, RecloserFuture};
use tower::Service;

use crate::{CandidateService, Down, Rule, Scenario};

/// recloser has one rule: a failure rate over a count window.
pub(super) fn breaker(scenario: Scenario) -> Option<AsyncRecloser> {
    if scenario.rule != Rule::CountWindow && !scenario.open {
        return None;
    }
    let builder = Recloser::custom()
        .error_rate(0.5)
        .closed_len(100)
        .open_wait(Duration::from_secs(24 * 3600));
    Some(AsyncRecloser::from(builder.build()))
}

/// Calls the inner service within the guarded future, only when the breaker admits the call.
#[derive(Clone)]
pub(super) struct Lazy<S> {
    breaker: AsyncRecloser,
    inner: S,
}

impl<S> Lazy<S> {
    pub(super) fn new(breaker: AsyncRecloser, inner: S) -> Self {
        Self { breaker, inner }
    }
}

impl<S> Service<u64> for Lazy<S>
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + 'static,
{
    type Response = u64;
    type Error = Error<Down>;
    type Future = Pin<Box<dyn Future<Output = Result<u64, Error<Down>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        Box::pin(self.breaker.call(async move { ready.call(request).await }))
    }
}

impl<S> CandidateService for Lazy<S>
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + 'static,
{
    fn is_rejection(error: &Error<Down>) -> bool {
        matches!(error, Error::Rejected)
    }
}

/// Calls the inner service first; the breaker decides whether its future is polled.
#[derive(Clone)]
pub(super) struct Eager<S> {
    breaker: AsyncRecloser,
    inner: S,
}

impl<S> Eager<S> {
    pub(super) fn new(breaker: AsyncRecloser, inner: S) -> Self {
        Self { breaker, inner }
    }
}

impl<S: Service<u64, Response = u64, Error = Down>> Service<u64> for Eager<S> {
    type Response = u64;
    type Error = Error<Down>;
    type Future = RecloserFuture<S::Future, AnyError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}

impl<S> CandidateService for Eager<S>
where
    S: Service<u64, Response = u64, Error = Down> + Clone + Send,
{
    fn is_rejection(error: &Error<Down>) -> bool {
        matches!(error, Error::Rejected)
    }
}

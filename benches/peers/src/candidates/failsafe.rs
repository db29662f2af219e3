use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use failsafe::{
    Config, Error, StateMachine, backoff,
    failure_policy::{self, ConsecutiveFailures, FailurePolicy, SuccessRateOverTimeWindow},
    futures::{CircuitBreaker, ResponseFuture},
};
use tower::Service;

use crate::{CandidateService, Down, Inner, Rule, Scenario, Visitor};

type Backoff = backoff::Constant;

/// failsafe has a consecutive-failures rule and a success rate that decays over time.
enum Breaker {
    Consecutive(StateMachine<ConsecutiveFailures<Backoff>, ()>),
    Rate(StateMachine<SuccessRateOverTimeWindow<Backoff>, ()>),
}

fn breaker(scenario: Scenario) -> Option<Breaker> {
    let backoff = backoff::constant(Duration::from_secs(24 * 3600));
    match scenario.rule {
        // It has no count window, so one failing call in ten is measured with this rule.
        Rule::Consecutive => {
            let policy = failure_policy::consecutive_failures(5, backoff);
            Some(Breaker::Consecutive(Config::new().failure_policy(policy).build()))
        }
        Rule::TimeWindow => {
            let window = Duration::from_secs(10);
            let policy = failure_policy::success_rate_over_time_window(0.5, 20, window, backoff);
            Some(Breaker::Rate(Config::new().failure_policy(policy).build()))
        }
        Rule::CountWindow | Rule::SlowCalls => None,
    }
}

pub(super) fn lazy<const COUNTED: bool, V: Visitor>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
    visitor: V,
) -> Option<V::Output> {
    breaker(scenario).map(|breaker| match breaker {
        Breaker::Consecutive(breaker) => visitor.visit(Lazy { breaker, inner }),
        Breaker::Rate(breaker) => visitor.visit(Lazy { breaker, inner }),
    })
}

pub(super) fn eager<const COUNTED: bool, V: Visitor>(
    scenario: Scenario,
    inner: Inner<COUNTED>,
    visitor: V,
) -> Option<V::Output> {
    breaker(scenario).map(|breaker| match breaker {
        Breaker::Consecutive(breaker) => visitor.visit(Eager { breaker, inner }),
        Breaker::Rate(breaker) => visitor.visit(Eager { breaker, inner }),
    })
}

/// Calls the inner service within the guarded future, only when the breaker admits the call.
struct Lazy<S, P> {
    breaker: StateMachine<P, ()>,
    inner: S,
}

impl<S: Clone, P> Clone for Lazy<S, P> {
    fn clone(&self) -> Self {
        Self { breaker: self.breaker.clone(), inner: self.inner.clone() }
    }
}

impl<S, P> Service<u64> for Lazy<S, P>
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + 'static,
    P: FailurePolicy + Send + Sync + 'static,
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
        Box::pin(CircuitBreaker::call(&self.breaker, async move { ready.call(request).await }))
    }
}

impl<S, P> CandidateService for Lazy<S, P>
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + 'static,
    P: FailurePolicy + Send + Sync + 'static,
{
    fn is_rejection(error: &Error<Down>) -> bool {
        matches!(error, Error::Rejected)
    }
}

/// Calls the inner service first; the breaker decides whether its future is polled.
struct Eager<S, P> {
    breaker: StateMachine<P, ()>,
    inner: S,
}

impl<S: Clone, P> Clone for Eager<S, P> {
    fn clone(&self) -> Self {
        Self { breaker: self.breaker.clone(), inner: self.inner.clone() }
    }
}

impl<S, P> Service<u64> for Eager<S, P>
where
    S: Service<u64, Response = u64, Error = Down>,
    P: FailurePolicy + Send + Sync,
{
    type Response = u64;
    type Error = Error<Down>;
    type Future = ResponseFuture<S::Future, P, (), failsafe::Any>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: u64) -> Self::Future {
        CircuitBreaker::call(&self.breaker, self.inner.call(request))
    }
}

impl<S, P> CandidateService for Eager<S, P>
where
    S: Service<u64, Response = u64, Error = Down> + Clone + Send,
    P: FailurePolicy + Send + Sync,
{
    fn is_rejection(error: &Error<Down>) -> bool {
        matches!(error, Error::Rejected)
    }
}

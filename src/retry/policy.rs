use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Sleep;
use tower::retry::{
    Policy,
    backoff::InvalidBackoff,
    budget::{Budget, TpsBudget},
};

use super::{
    backoff::Delays,
    condition::{Classified, RetryWhen},
    inspect::kind::HttpResponse,
    request::{CloneRequest, Cloned, ClonedWith},
};
use crate::outcome::Outcome;

/// A [policy](Policy) for tower's `RetryLayer` that does not retry what a circuit breaker rejects:
/// a rejection is returned at once and does not change the retry budget.
///
/// It belongs *outside* of the breaker; the [module](super) explains why.
///
/// `W` decides what is retried, and `Q` clones requests. Start with a [preset](super#presets), such
/// as [`network`](Self::network), or with a classifier: [`http`](Self::http) or [`new`](Self::new).
///
/// # What happens after a result
///
/// | result | action | budget |
/// |---|---|---|
/// | rejected | returned | unchanged |
/// | success, or ignored | returned | grows |
/// | failure, or throttled | retried | shrinks |
/// | the same, on the last attempt | returned | unchanged |
/// | the same, with a `retry_after` that is too long | returned | unchanged |
/// | the same, with the budget used up | returned | unchanged |
/// | the same, of a request that must not be repeated | returned | unchanged |
///
/// # Cancel safety
///
/// A request that is dropped while it waits is not sent again. What it took from the budget is not
/// given back.
///
/// # Panics
///
/// The first delay panics without a tokio runtime, or in one whose timers are disabled.
pub struct RetryPolicy<W, Q = Cloned> {
    pub(super) when: W,
    clone: Q,
    max_attempts: u32,
    pub(super) max_retry_after: Duration,
    budget: Arc<dyn Budget + Send + Sync>,
    pub(super) delays: Delays,
    /// The attempts of this request. It stays 0 in the layer's own policy: tower clones the policy
    /// for each request.
    attempts: u32,
}

impl<C, K, A> RetryPolicy<Classified<C, K, A>> {
    /// Retries what a [`Classify`](crate::classify::Classify), or a closure that takes the result,
    /// takes for a [`Failure`](Outcome::Failure) or for [`Throttled`](Outcome::Throttled), after
    /// the outcome's `retry_after`. Rejections are not classified.
    ///
    /// It does not check methods: every request is repeated.
    ///
    /// ```
    /// use tower_breaker::{Error, Outcome, RetryPolicy, retry};
    /// # use std::future::{Ready, ready};
    /// # use tower::{Service, ServiceBuilder, retry::RetryLayer, service_fn};
    /// # use tower_breaker::CircuitBreakerLayer;
    ///
    /// let policy = RetryPolicy::new(|result: &Result<u32, Error<std::io::Error>>| match result {
    ///     Err(error) if retry::is_transient(error) => Outcome::failure(),
    ///     _ => Outcome::Success,
    /// });
    /// # let breaker = CircuitBreakerLayer::builder("quotes").build()?;
    /// # fn is_a_service(_: impl Service<u32>) {}
    /// # is_a_service(ServiceBuilder::new().layer(RetryLayer::new(policy)).layer(breaker)
    /// #     .service(service_fn(|quote: u32| async move { Ok::<_, std::io::Error>(quote) })));
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    ///
    /// With `http::Response` it does not compile, because it would not find a rejection there (the
    /// compiler cannot infer the kind of the response). Use [`http`](RetryPolicy::http) instead.
    ///
    /// ```compile_fail,E0283
    /// # use http::Response;
    /// # use tower_breaker::{RetryPolicy, classify::ErrorsAsFailures};
    /// # fn is_a_policy<T>(_: impl tower::retry::Policy<(), T, std::io::Error>) {}
    /// is_a_policy::<Response<()>>(RetryPolicy::http(ErrorsAsFailures));
    /// is_a_policy::<Response<()>>(RetryPolicy::new(ErrorsAsFailures)); // does not compile
    /// ```
    #[must_use]
    pub fn new(classify: C) -> Self {
        Self::when(Classified::new(classify))
    }
}

impl<C, K> RetryPolicy<Classified<C, K, HttpResponse>> {
    /// Like [`new`](RetryPolicy::new), for responses of the `http` crate. It also finds a breaker's
    /// rejection in a response, and waits for the [`Retry-After`](crate::classify::retry_after) of
    /// a 429 or 503, unless the outcome has a `retry_after` of its own.
    ///
    /// Two retries at most, with the same delays as [`network`](RetryPolicy::network). It does not
    /// check methods: every request is repeated.
    #[must_use]
    pub fn http(classify: C) -> Self {
        Self::when(Classified::new(classify))
    }
}

impl<W> RetryPolicy<W> {
    pub(super) fn when(when: W) -> Self {
        Self {
            when,
            clone: Cloned,
            max_attempts: 3,
            max_retry_after: Duration::from_secs(30),
            budget: Arc::new(TpsBudget::default()),
            delays: Delays::default(),
            attempts: 0,
        }
    }
}

impl<W, Q> RetryPolicy<W, Q> {
    /// The maximum number of attempts, including the first; 0 has the same effect as 1. Default: 3.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The delay before the next attempt: `min` after the first attempt, doubled after each further
    /// one, up to `max`. A random part of up to `jitter` times the delay is added, and a
    /// `retry_after` is added as well. Default: 50 ms, 5 s, 1.0; that is 50 to 100 ms after the
    /// first attempt, and 100 to 200 ms after the second.
    ///
    /// # Errors
    ///
    /// [`InvalidBackoff`] if `min` is above `max`, `max` is zero, or `jitter` is not a number from
    /// 0 to 100.
    pub fn backoff(
        mut self,
        min: Duration,
        max: Duration,
        jitter: f64,
    ) -> Result<Self, InvalidBackoff> {
        self.delays = Delays::new(min, max, jitter)?;
        Ok(self)
    }

    /// Limits the retries of all requests together. A layer, its services and their clones share
    /// one budget, and so do layers that are given the same one. Default: tower's default
    /// [`TpsBudget`], a separate one for each policy. It allows 10 retries a second, and one more
    /// for every five results of the last 10 s that needed no retry.
    #[must_use]
    pub fn budget<B: Budget + Send + Sync + 'static>(mut self, budget: Arc<B>) -> Self {
        self.budget = budget;
        self
    }

    /// The longest `retry_after` to wait for. A result with a longer one is not retried but
    /// returned. Default: 30 s.
    #[must_use]
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest;
        self
    }

    /// Clones requests with this closure. A request for which it returns `None` is sent only once,
    /// and its result does not change the budget. Default: `Clone`.
    ///
    /// With reqwest: `.clone_request_with(reqwest::Request::try_clone)`.
    #[must_use]
    pub fn clone_request_with<F>(self, clone: F) -> RetryPolicy<W, ClonedWith<F>> {
        RetryPolicy {
            when: self.when,
            clone: ClonedWith(clone),
            max_attempts: self.max_attempts,
            max_retry_after: self.max_retry_after,
            budget: self.budget,
            delays: self.delays,
            attempts: self.attempts,
        }
    }

    /// The delay of the next attempt; `None` if there is none.
    fn next_delay(&mut self, retry_after: Duration) -> Option<Sleep> {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts >= self.max_attempts || retry_after > self.max_retry_after {
            return None;
        }
        let delay = self.delays.next(retry_after)?;
        // Checked last, because it consumes the budget.
        self.budget.withdraw().then_some(delay)
    }
}

impl<W, Q, Request, T, E> Policy<Request, T, E> for RetryPolicy<W, Q>
where
    W: RetryWhen<Request, T, E>,
    Q: CloneRequest<Request>,
{
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request, result: &mut Result<T, E>) -> Option<Sleep> {
        match self.when.outcome(request, result)? {
            Outcome::Success | Outcome::Ignore => {
                self.budget.deposit();
                None
            }
            Outcome::Failure { retry_after } | Outcome::Throttled { retry_after } => {
                self.next_delay(retry_after.unwrap_or_default())
            }
        }
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        self.clone.clone_request(request)
    }
}

impl<W: Clone, Q: Clone> Clone for RetryPolicy<W, Q> {
    fn clone(&self) -> Self {
        Self {
            when: self.when.clone(),
            clone: self.clone.clone(),
            budget: Arc::clone(&self.budget),
            delays: self.delays.clone(),
            ..*self
        }
    }
}

impl<W: fmt::Debug, Q: fmt::Debug> fmt::Debug for RetryPolicy<W, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("when", &self.when)
            .field("clone", &self.clone)
            .field("max_attempts", &self.max_attempts)
            .field("max_retry_after", &self.max_retry_after)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

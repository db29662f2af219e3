use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::Method;
use tokio::time::Sleep;
use tower::retry::{
    Policy,
    backoff::InvalidBackoff,
    budget::{Budget, TpsBudget},
};

use super::{
    Classified, CloneRequest, Cloned, ClonedWith, Network, RetryWhen, backoff::Waits,
    kind::HttpResponse,
};
use crate::{classify::Statuses, outcome::Outcome};

/// A [policy](Policy) for tower's `RetryLayer` that leaves the rejections of a circuit breaker
/// alone: they are handed on at once, and the budget does not notice them.
///
/// It stands *outside* the breaker; the [module](super) says why.
///
/// `W` says what is worth another try, and `Q` how requests are cloned. Begin with
/// [`network`](Self::network), [`http`](Self::http) or [`new`](Self::new).
///
/// # What happens after a result
///
/// | result | what becomes of it | the budget |
/// |---|---|---|
/// | a rejection | handed on | untouched |
/// | a success, or ignored | handed on | grows |
/// | a failure, or throttled | tried again | shrinks |
/// | the same of the last attempt | handed on | untouched |
/// | the same, and asks to wait for too long | handed on | untouched |
/// | the same, and the budget is spent | handed on | untouched |
/// | the same, of a request that must not be repeated | handed on | untouched |
///
/// # Cancellation
///
/// A request that is dropped while it waits is not made again. What it took from the budget
/// stays taken.
///
/// # Panics
///
/// Tower's backoff needs a tokio runtime with its time enabled; without one, the first wait
/// panics.
pub struct RetryPolicy<W, Q = Cloned> {
    when: W,
    clone: Q,
    max_attempts: u32,
    max_retry_after: Duration,
    budget: Arc<dyn Budget + Send + Sync>,
    waits: Waits,
    /// Of this request. The layer's own policy stays at 0: tower counts on a clone.
    attempts: u32,
}

impl<K> RetryPolicy<Network<K>> {
    /// For requests and responses of the crate `http`: tries again what the network spoils.
    ///
    /// - Errors with one of these anywhere in the chain of their causes: a connection that was
    ///   refused, reset or aborted, a broken pipe, an end in the middle, a time that ran out (an
    ///   `io::Error`, tower's or tokio's `Elapsed`).
    /// - The statuses 408, 429, 502, 503 and 504, which speak of the moment or of the way. Not
    ///   500: it says that the code of the other side failed at this request, and it will most
    ///   likely fail again, having done who knows what.
    /// - Only requests with an idempotent method (RFC 9110, section 9.2.2: GET, HEAD, OPTIONS,
    ///   TRACE, PUT, DELETE); with any other, the other side may have done the work already. A
    ///   connection that was refused is tried again with every method: nobody has seen the
    ///   request.
    ///
    /// The [`Retry-After`](crate::classify::retry_after) of a 429 or 503 is waited for.
    #[must_use]
    pub fn network() -> Self {
        Self::when(Network::new())
    }
}

impl<K, Q> RetryPolicy<Network<K>, Q> {
    /// Responses with these statuses are tried again too, to requests with the same methods.
    ///
    /// ```
    /// use tower_breaker::{RetryPolicy, retry::Network};
    ///
    /// let policy: RetryPolicy<Network> = RetryPolicy::network().also_statuses(500..=501);
    /// ```
    #[must_use]
    pub fn also_statuses(mut self, statuses: impl Statuses) -> Self {
        self.when.statuses = self.when.statuses.failure(statuses);
        self
    }

    /// These errors are tried again too, of requests with the same methods. It is asked for the
    /// error, for what caused it, and so on. Default: none. Said twice, the last holds.
    ///
    /// A connection that hyper found closed before the answer began is such an error: hyper has
    /// an error of its own for it, without an `io::Error` below.
    ///
    /// ```
    /// use tower_breaker::RetryPolicy;
    /// use tower_breaker::retry::Network;
    ///
    /// let policy: RetryPolicy<Network> = RetryPolicy::network().also_errors(|cause| {
    ///     cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
    /// });
    /// ```
    #[must_use]
    pub fn also_errors(mut self, errors: fn(&(dyn StdError + 'static)) -> bool) -> Self {
        self.when.errors = errors;
        self
    }

    /// Requests with these methods are tried again too; say so only where making such a request
    /// twice does no more than making it once. Default: none. Said twice, the last holds.
    #[must_use]
    pub fn also_methods(mut self, methods: fn(&Method) -> bool) -> Self {
        self.when.methods = methods;
        self
    }
}

impl<C, K, A> RetryPolicy<Classified<C, K, A>> {
    /// Tries again what a [`Classify`](crate::classify::Classify), or a closure over the result,
    /// calls [`Failure`](Outcome::Failure) or [`Throttled`](Outcome::Throttled), after the
    /// `retry_after` that it names. It is not asked about rejections.
    ///
    /// It does not know about methods: every request is repeated.
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
    /// With `http::Response` it does not compile, because it would not see a rejection there (the
    /// compiler asks for the kind of the answer). [`http`](RetryPolicy::http) is for those.
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
    /// Like [`new`](RetryPolicy::new), for responses of the crate `http`: a breaker's rejection
    /// is found in them too, and the [`Retry-After`](crate::classify::retry_after) of a 429 or 503
    /// is waited for, unless the classification names a time of its own.
    ///
    /// It does not know about methods: every request is repeated.
    #[must_use]
    pub fn http(classify: C) -> Self {
        Self::when(Classified::new(classify))
    }
}

impl<W> RetryPolicy<W> {
    fn when(when: W) -> Self {
        Self {
            when,
            clone: Cloned,
            max_attempts: 3,
            max_retry_after: Duration::from_secs(30),
            budget: Arc::new(TpsBudget::default()),
            waits: Waits::default(),
            attempts: 0,
        }
    }
}

impl<W, Q> RetryPolicy<W, Q> {
    /// How often a request is made at most, the first time included; 0 is like 1: never again.
    /// Default: 3.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How long it waits before the next attempt: `min` at first, then twice as long each time,
    /// up to `max`; and each time up to `jitter` times that on top, at random. What the other
    /// side asked for comes on top of both. Default: 50 ms, 5 s, 1.0; so 50 to 100 ms after the
    /// first attempt, and 100 to 200 ms after the second.
    ///
    /// # Errors
    ///
    /// Those of tower's `ExponentialBackoffMaker`, which makes the steps: `min` above `max`,
    /// `max` of zero, `jitter` not a number from 0 to 100.
    pub fn backoff(
        mut self,
        min: Duration,
        max: Duration,
        jitter: f64,
    ) -> Result<Self, InvalidBackoff> {
        self.waits = Waits::new(min, max, jitter)?;
        Ok(self)
    }

    /// What all requests together may spend on attempts after the first. A layer, its services
    /// and their clones share it; give the same to several layers, and they share it too.
    /// Default: a [`TpsBudget`] as tower makes it, one for each policy: 10 a second, and one more
    /// for every five results that needed no other attempt, of the last 10 s.
    #[must_use]
    pub fn budget<B: Budget + Send + Sync + 'static>(mut self, budget: Arc<B>) -> Self {
        self.budget = budget;
        self
    }

    /// The longest `retry_after` that is waited for. Who asks for more gets no other attempt: the
    /// result is handed on as it is. Default: 30 s.
    #[must_use]
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest;
        self
    }

    /// Clones requests with this. A request for which it returns `None` is made once only, and
    /// its result does not reach the budget. Default: `Clone`.
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
            waits: self.waits,
            attempts: self.attempts,
        }
    }

    /// The wait for the next attempt, if there is to be one.
    fn wait(&mut self, retry_after: Duration) -> Option<Sleep> {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts >= self.max_attempts || retry_after > self.max_retry_after {
            return None;
        }
        let wait = self.waits.next(retry_after)?;
        // The last question, as it is the one that costs.
        self.budget.withdraw().then_some(wait)
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
                self.wait(retry_after.unwrap_or_default())
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
            waits: self.waits.clone(),
            ..*self
        }
    }
}

impl<W: fmt::Debug, Q: fmt::Debug> fmt::Debug for RetryPolicy<W, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("when", &self.when)
            .field("max_attempts", &self.max_attempts)
            .field("max_retry_after", &self.max_retry_after)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

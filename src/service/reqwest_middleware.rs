//! A breaker as a middleware of [reqwest-middleware 0.5](https://docs.rs/reqwest-middleware/0.5).

#[cfg(feature = "keyed")]
mod keyed;
mod recording;

use std::{convert::Infallible, fmt, future::Future, pin::Pin};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

#[cfg(feature = "keyed")]
#[cfg_attr(docsrs, doc(cfg(feature = "keyed")))]
pub use self::keyed::KeyedBreakerMiddleware;
use self::recording::Recording;
use super::{
    body::{OnBodyEnd, SetOnBodyEnd},
    inner_call,
    record_when::{AppliesTo, Exempt, OnResponse, RecordWhen},
};
use crate::{
    classify::ServerErrorsAsFailures,
    error::{self, Rejected},
    handle::Breaker,
};

/// A breaker in the middleware chain of a reqwest-middleware client.
///
/// A rejected request is not sent. Its error is an [`Error::Middleware`] in which
/// [`Rejected::find`](crate::Rejected::find) finds the rejection. The outcome of a call is known
/// when the head of its response arrives: responses with a status of 408 or 500 to 599 are
/// failures, one of 429 is throttled, and errors are failures, including those of middlewares
/// further in. [`classify`](Self::classify) changes that, and [`on_body_end`](Self::on_body_end)
/// also counts truncated bodies.
///
/// Put a middleware that retries outside of this one, so that each attempt asks the breaker.
///
/// ```
/// use reqwest_middleware::ClientBuilder;
/// use tower_breaker::{Breaker, reqwest_middleware::BreakerMiddleware};
///
/// let breaker = Breaker::builder("payments").build()?;
/// let client = ClientBuilder::new(reqwest::Client::new())
///     .with(BreakerMiddleware::new(breaker))
///     .build();
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct BreakerMiddleware<C = ServerErrorsAsFailures, O = OnResponse> {
    breaker: Breaker,
    recording: Recording<C, O>,
}

impl BreakerMiddleware {
    /// Creates a middleware from a breaker.
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, recording: Recording::new() }
    }
}

impl<C, O> BreakerMiddleware<C, O> {
    /// Classifies results with this [`Classify`](crate::classify::Classify), or with a closure that
    /// takes a `&Result<reqwest::Response, reqwest_middleware::Error>`.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> BreakerMiddleware<D, O> {
        BreakerMiddleware { breaker: self.breaker, recording: self.recording.classify(classify) }
    }

    /// Records the outcome of a call when its response body has ended, so that a body that breaks
    /// off is a failure: see [`OnBodyEnd`].
    #[must_use]
    pub fn on_body_end(self, on_body_end: OnBodyEnd) -> BreakerMiddleware<C, O::Output>
    where
        O: SetOnBodyEnd,
    {
        let recording = self.recording.on_body_end(on_body_end);
        BreakerMiddleware { breaker: self.breaker, recording }
    }

    /// Lets the requests for which this returns `true` bypass the breaker: they are neither
    /// recorded nor rejected. Health checks, for instance. Called again, each of the functions
    /// exempts requests.
    ///
    /// ```
    /// use tower_breaker::{Breaker, reqwest_middleware::BreakerMiddleware};
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// let middleware = BreakerMiddleware::new(breaker)
    ///     .exempt(|request: &reqwest::Request| request.url().path() == "/health");
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[must_use]
    pub fn exempt<F>(self, is_exempt: F) -> BreakerMiddleware<C, Exempt<O, F>>
    where
        F: Fn(&Request) -> bool,
    {
        BreakerMiddleware { breaker: self.breaker, recording: self.recording.exempt(is_exempt) }
    }

    /// The breaker.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    async fn send(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error>
    where
        O: RecordWhen<C, Response, Error, Response = Response> + AppliesTo<Request>,
    {
        let applies = self.recording.record_when.applies_to(&request);
        if !applies || inner_call::is_nested(self.breaker.cell()) {
            return next.run(request, extensions).await;
        }
        let permit = self.breaker.try_acquire().map_err(to_error)?;
        self.recording.send(permit, next.run(request, extensions)).await
    }
}

/// `Error::Middleware` is transparent: its source is that of the error inside. A search finds the
/// rejection there only if it is wrapped once more.
fn to_error(rejected: Rejected) -> Error {
    Error::middleware(error::Error::<Infallible>::Rejected(rejected))
}

impl<C, O> Middleware for BreakerMiddleware<C, O>
where
    C: Send + Sync + 'static,
    O: RecordWhen<C, Response, Error, Response = Response>
        + AppliesTo<Request>
        + Send
        + Sync
        + 'static,
{
    // The signature that `async_trait` generates for an `async fn`.
    fn handle<'me, 'extensions, 'next, 'call>(
        &'me self,
        request: Request,
        extensions: &'extensions mut Extensions,
        next: Next<'next>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'call>>
    where
        'me: 'call,
        'extensions: 'call,
        'next: 'call,
        Self: 'call,
    {
        Box::pin(self.send(request, extensions, next))
    }
}

impl<C, O> fmt::Debug for BreakerMiddleware<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("BreakerMiddleware");
        fields.field("breaker", &self.breaker);
        self.recording.finish_debug(fields)
    }
}

//! A breaker as a middleware of [reqwest-middleware 0.5](https://docs.rs/reqwest-middleware/0.5).

mod classifier;
#[cfg(feature = "keyed")]
mod keyed;
mod recording;

use std::{convert::Infallible, fmt, future::Future, pin::Pin};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

pub use self::classifier::{ClassifyRequestWith, MakeRequestClassifier};
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
    classify::{CloneClassifier, ServerErrorsAsFailures},
    error::{self, Rejected},
    handle::Breaker,
};

/// A breaker in the middleware chain of a reqwest-middleware client.
///
/// A rejected request is not sent. Its error is an [`Error::Middleware`] in which
/// [`Rejected::find`](crate::Rejected::find) finds the rejection. The outcome of a call is known
/// when the head of its response arrives: responses with a status of 408 or 500 to 599 are
/// failures, one of 429 is throttled, and errors are failures, including those of middlewares
/// further in. [`classify`](Self::classify) changes that for all requests,
/// [`classify_with`](Self::classify_with) by the request, and [`on_body_end`](Self::on_body_end)
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
    /// takes a `&Result<reqwest::Response, reqwest_middleware::Error>`. It has to be `Clone`: each
    /// call has a clone.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> BreakerMiddleware<D, O> {
        BreakerMiddleware { breaker: self.breaker, recording: self.recording.classify(classify) }
    }

    /// Makes the classifier of each call from its request: its method, its URL, the extensions that
    /// the caller or a middleware further out has added. The closure returns a classifier, which
    /// may be a closure too. What the classifier needs of the request it has to copy. It is not
    /// called for a request that is rejected or exempt.
    ///
    /// ```
    /// use reqwest_middleware::Error;
    /// use tower_breaker::classify::{Classify, ServerErrorsAsFailures};
    /// use tower_breaker::{Breaker, Outcome, reqwest_middleware::BreakerMiddleware};
    ///
    /// /// Added by the caller: `client.get(url).with_extension(MayBeSlow)`.
    /// #[derive(Clone)]
    /// struct MayBeSlow;
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// let middleware = BreakerMiddleware::new(breaker).classify_with(|request, extensions| {
    ///     let may_be_slow =
    ///         request.url().path() == "/export" || extensions.get::<MayBeSlow>().is_some();
    ///     move |result: &Result<reqwest::Response, Error>| match result {
    ///         Ok(response) if may_be_slow && response.status() == 504 => Outcome::Ignore,
    ///         _ => ServerErrorsAsFailures.classify(result),
    ///     }
    /// });
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classify_with<F, D>(self, classify: F) -> BreakerMiddleware<ClassifyRequestWith<F>, O>
    where
        F: Fn(&Request, &Extensions) -> D,
    {
        self.classify(ClassifyRequestWith::new(classify))
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
        C: MakeRequestClassifier,
        O: RecordWhen<C::Classifier, Response, Error, Response = Response> + AppliesTo<Request>,
    {
        let applies = self.recording.record_when.applies_to(&request);
        if !applies || inner_call::is_nested(self.breaker.cell()) {
            return next.run(request, extensions).await;
        }
        let permit = self.breaker.try_acquire().map_err(to_error)?;
        let classify = self.recording.classify.make_classifier(&request, extensions);
        self.recording.send(permit, classify, || next.run(request, extensions)).await
    }
}

/// `Error::Middleware` is transparent: its source is that of the error inside. A search finds the
/// rejection there only if it is wrapped once more.
fn to_error(rejected: Rejected) -> Error {
    Error::middleware(error::Error::<Infallible>::Rejected(rejected))
}

impl<C, O> Middleware for BreakerMiddleware<C, O>
where
    C: MakeRequestClassifier<Classifier: Send> + Send + Sync + 'static,
    O: RecordWhen<C::Classifier, Response, Error, Response = Response>
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

impl<C: CloneClassifier, O: Clone> Clone for BreakerMiddleware<C, O> {
    fn clone(&self) -> Self {
        Self { breaker: self.breaker.clone(), recording: self.recording.clone() }
    }
}

impl<C, O> fmt::Debug for BreakerMiddleware<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("BreakerMiddleware");
        fields.field("breaker", &self.breaker);
        self.recording.finish_debug(fields)
    }
}

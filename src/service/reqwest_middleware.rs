//! A breaker as a middleware of [reqwest-middleware 0.5](https://docs.rs/reqwest-middleware/0.5).

use std::{any::type_name, convert::Infallible, fmt, future::Future, pin::Pin};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use crate::{
    classify::{Classify, ServerErrorsAsFailures},
    error,
    handle::Breaker,
};

/// A breaker in the middleware chain of a reqwest-middleware client.
///
/// A rejected request is not sent. Its error is an [`Error::Middleware`] in which
/// [`Rejected::find`](crate::Rejected::find) finds the rejection. The outcome of a call is known
/// when the head of its response arrives: responses with a status of 500 to 599 are failures, and
/// so are errors, including those of middlewares further in. [`classify`](Self::classify) changes
/// that.
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
pub struct BreakerMiddleware<C = ServerErrorsAsFailures> {
    breaker: Breaker,
    classify: C,
}

impl BreakerMiddleware {
    /// Creates a middleware from a breaker.
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, classify: ServerErrorsAsFailures }
    }
}

impl<C> BreakerMiddleware<C> {
    /// Classifies results with this [`Classify`], or with a closure that takes a
    /// `&Result<reqwest::Response, reqwest_middleware::Error>`.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> BreakerMiddleware<D> {
        BreakerMiddleware { breaker: self.breaker, classify }
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
        C: Classify<Response, Error>,
    {
        let permit = self.breaker.try_acquire().map_err(|rejected| {
            // `Error::Middleware` is transparent: its source is that of the error inside. A search
            // finds the rejection there only if it is wrapped once more.
            Error::middleware(error::Error::<Infallible>::Rejected(rejected))
        })?;
        let result = next.run(request, extensions).await;
        permit.finish(self.classify.classify(&result));
        result
    }
}

impl<C> Middleware for BreakerMiddleware<C>
where
    C: Classify<Response, Error> + Send + Sync + 'static,
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

impl<C> fmt::Debug for BreakerMiddleware<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerMiddleware")
            .field("breaker", &self.breaker)
            .field("classify", &format_args!("{}", type_name::<C>()))
            .finish()
    }
}

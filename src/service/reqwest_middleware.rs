//! A breaker as a middleware of [reqwest-middleware 0.5](https://docs.rs/reqwest-middleware/0.5).

use std::{convert::Infallible, fmt, future::Future, pin::Pin};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use crate::{
    classify::{Classify, ServerErrorsAsFailures},
    handle::Breaker,
};

/// A breaker in the middleware chain of a
/// [reqwest-middleware 0.5](https://docs.rs/reqwest-middleware/0.5) client.
///
/// A rejection is an [`Error::Middleware`] in which [`Rejected::find`](crate::Rejected::find)
/// finds it, and the request is not sent. The outcome of a call is known when the head of its
/// response is there: responses of 500 to 599 are failures, and so are errors, those of the
/// middlewares further in among them; [`classify`](Self::classify) changes that.
///
/// A middleware that retries goes outside of this one: then each attempt asks the breaker.
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
    /// A middleware that asks this breaker.
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, classify: ServerErrorsAsFailures }
    }
}

impl<C> BreakerMiddleware<C> {
    /// Classifies results with this: a [`Classify`], or a closure over
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
        // A `Rejected` of its own would stand where no chain of causes shows it.
        let permit = self.breaker.try_acquire().map_err(|rejected| {
            Error::middleware(crate::error::Error::<Infallible>::Rejected(rejected))
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
    // What `async_trait` makes of an `async fn`.
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
        f.debug_struct("BreakerMiddleware").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

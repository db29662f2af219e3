use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Reject;
use crate::error::Rejected;

/// A rejected call is answered by a closure, which is handed the request. The error stays that of
/// the inner service.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_breaker::{CircuitBreakerLayer, Rejected, reject::Fallback};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::builder("quotes")
///     .reject_with(Fallback(|symbol: String, _: Rejected| async move {
///         Ok::<_, std::io::Error>(format!("{symbol}: yesterday's price"))
///     }))
///     .build()?;
/// layer.breaker().force_open();
/// let quotes = ServiceBuilder::new().layer(layer).service(service_fn(
///     |symbol: String| async move { Ok::<_, std::io::Error>(format!("{symbol}: today's price")) },
/// ));
/// assert_eq!(quotes.oneshot("GOOG".into()).await?, "GOOG: yesterday's price");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Fallback<F>(pub F);

impl<F, Answer, Request, Response, E> Reject<Request, Response, E> for Fallback<F>
where
    F: Fn(Request, Rejected) -> Answer,
    Answer: Future<Output = Result<Response, E>>,
{
    type Error = E;
    type Future = Answer;

    fn reject(&self, request: Request, rejected: Rejected) -> Answer {
        (self.0)(request, rejected)
    }
}

/// A rejected call is answered by another service, which is handed the request. The error stays
/// that of the inner service.
///
/// A clone of the service is made for each rejected call, and is ready before it is called.
#[derive(Debug, Clone, Copy)]
pub struct FallbackService<S>(pub S);

impl<S, Request, Response, E> Reject<Request, Response, E> for FallbackService<S>
where
    S: Service<Request, Response = Response> + Clone,
    S::Error: Into<E>,
{
    type Error = E;
    type Future = FallbackFuture<S, Request, S::Future, E>;

    fn reject(&self, request: Request, _: Rejected) -> Self::Future {
        let service = self.0.clone();
        FallbackFuture {
            call: Call::Waiting { service, request: Some(request) },
            error: PhantomData,
        }
    }
}

pin_project! {
    /// The future of a call that a [`FallbackService`] answers.
    pub struct FallbackFuture<S, Request, F, E> {
        #[pin]
        call: Call<S, Request, F>,
        error: PhantomData<fn() -> E>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<S, Request, F> {
        Waiting { service: S, request: Option<Request> },
        Called { #[pin] future: F },
    }
}

impl<S, Request, E> Future for FallbackFuture<S, Request, S::Future, E>
where
    S: Service<Request>,
    S::Error: Into<E>,
{
    type Output = Result<S::Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut call = self.project().call;
        loop {
            match call.as_mut().project() {
                CallProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let Some(request) = request.take() else {
                        // It was polled again after its service had panicked.
                        return Poll::Pending;
                    };
                    let future = service.call(request);
                    call.set(Call::Called { future });
                }
                CallProjection::Called { future } => {
                    return future.poll(cx).map_err(Into::into);
                }
            }
        }
    }
}

impl<S, Request, F, E> fmt::Debug for FallbackFuture<S, Request, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let called = matches!(self.call, Call::Called { .. });
        f.debug_struct("FallbackFuture").field("called", &called).finish_non_exhaustive()
    }
}

use std::{
    any::type_name,
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

/// A rejected call is answered by another service, which takes the request. The error type stays
/// that of the inner service.
///
/// Each rejected call is made on a clone of that service, once the clone is ready.
#[derive(Clone, Copy)]
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
            call: FallbackState::Waiting { service, request: Some(request) },
            error: PhantomData,
        }
    }
}

pin_project! {
    /// The future of a call that a [`FallbackService`] answers.
    pub struct FallbackFuture<S, Request, F, E> {
        #[pin]
        call: FallbackState<S, Request, F>,
        error: PhantomData<fn() -> E>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum FallbackState<S, Request, F> {
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
                        // Polled again after the service has panicked.
                        return Poll::Pending;
                    };
                    let future = service.call(request);
                    call.set(FallbackState::Called { future });
                }
                CallProjection::Called { future } => {
                    return future.poll(cx).map_err(Into::into);
                }
            }
        }
    }
}

impl<S> fmt::Debug for FallbackService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FallbackService").field(&format_args!("{}", type_name::<S>())).finish()
    }
}

impl<S, Request, F, E> fmt::Debug for FallbackFuture<S, Request, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let called = matches!(self.call, FallbackState::Called { .. });
        f.debug_struct("FallbackFuture").field("called", &called).finish_non_exhaustive()
    }
}

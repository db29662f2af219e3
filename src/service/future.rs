use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{Permit, classify::Classify};

pin_project! {
    /// The future of a call through a [`CircuitBreaker`](crate::CircuitBreaker).
    ///
    /// Dropped before it is done, the call counts as cancelled, and a probe's slot comes back.
    pub struct ResponseFuture<F, C, J> {
        #[pin]
        call: Call<F, C, J>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F, C, J> {
        Admitted {
            #[pin]
            future: F,
            permit: Permit,
            classify: C,
        },
        Rejected {
            #[pin]
            future: J,
        },
    }
}

impl<F, C, J> ResponseFuture<F, C, J> {
    #[inline]
    pub(super) fn admitted(future: F, permit: Permit, classify: C) -> Self {
        Self { call: Call::Admitted { future, permit, classify } }
    }

    #[inline]
    pub(super) fn rejected(future: J) -> Self {
        Self { call: Call::Rejected { future } }
    }
}

impl<F, C, J, T, E, Rejection> Future for ResponseFuture<F, C, J>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    J: Future<Output = Result<T, Rejection>>,
    Rejection: From<E>,
{
    type Output = Result<T, Rejection>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Admitted { future, permit, classify } => {
                let result = ready!(future.poll(cx));
                permit.settle(classify.classify(&result), None);
                Poll::Ready(result.map_err(Rejection::from))
            }
            CallProjection::Rejected { future } => future.poll(cx),
        }
    }
}

impl<F, C, J> fmt::Debug for ResponseFuture<F, C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected = matches!(self.call, Call::Rejected { .. });
        f.debug_struct("ResponseFuture").field("rejected", &rejected).finish_non_exhaustive()
    }
}

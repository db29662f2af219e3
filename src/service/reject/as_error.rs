use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use super::Reject;
use crate::{
    breaker::nesting::note_rejection,
    error::{Error, Rejected},
};

/// A rejected call is an [`Error::Rejected`], and the inner service's errors are
/// [`Error::Inner`]: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsError;

impl<Request, Response, E> Reject<Request, Response, E> for RejectAsError {
    type Error = Error<E>;
    type Future = RejectedFuture<Response, E>;

    #[inline]
    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        RejectedFuture { rejected: Some(rejected), result: PhantomData }
    }
}

/// The future of a call that [`RejectAsError`] rejects. It is ready at once.
pub struct RejectedFuture<Response, E> {
    rejected: Option<Rejected>,
    result: PhantomData<fn() -> Result<Response, E>>,
}

impl<Response, E> Future for RejectedFuture<Response, E> {
    type Output = Result<Response, Error<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        // Polled again, it stays pending.
        let Some(rejected) = self.rejected.take() else { return Poll::Pending };
        note_rejection::<Error<E>>();
        Poll::Ready(Err(Error::Rejected(rejected)))
    }
}

// By value and out of line: a future that no other function can reach stays in registers.
impl<Response, E> Drop for RejectedFuture<Response, E> {
    #[inline]
    fn drop(&mut self) {
        if let Some(rejected) = self.rejected.take() {
            discard(rejected);
        }
    }
}

#[cold]
#[inline(never)]
fn discard(rejected: Rejected) {
    drop(rejected);
}

impl<Response, E> fmt::Debug for RejectedFuture<Response, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RejectedFuture").field(&self.rejected).finish()
    }
}

use std::{
    fmt,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;

use crate::classify::note_answer;

/// The future of a call that is rejected with a response. It is ready at once.
///
/// # Panics
///
/// If it is polled again.
pub struct RejectedResponseFuture<B, E> {
    response: Ready<Result<Response<B>, E>>,
}

impl<B, E> RejectedResponseFuture<B, E> {
    pub(super) fn new(response: Response<B>) -> Self {
        Self { response: ready(Ok(response)) }
    }
}

impl<B, E> Future for RejectedResponseFuture<B, E> {
    type Output = Result<Response<B>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        note_answer::<Response<B>>();
        Pin::new(&mut self.response).poll(cx)
    }
}

impl<B, E> fmt::Debug for RejectedResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectedResponseFuture").finish_non_exhaustive()
    }
}

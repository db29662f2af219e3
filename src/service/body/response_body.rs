//! The watched body. From the head of the response on, its end decides: each frame, the end and a
//! drop are passed to [`PendingOutcome`].

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{pending::PendingOutcome, stall::Stall};
use crate::classify::{BodyFailure, ClassifyEos, as_cause};
use crate::service::inner_call;

pin_project! {
    /// The body of a response whose end decides the outcome of the call: see
    /// [`OnBodyEnd`](super::OnBodyEnd).
    ///
    /// It passes on frames, trailers, end and size unchanged. It does not allocate, except for the
    /// first wait under a stall timeout.
    pub struct ResponseBody<B, W> {
        #[pin]
        body: B,
        pending: Option<PendingOutcome<W>>,
        stall: Stall,
    }
}

impl<B, W> ResponseBody<B, W> {
    /// A body whose end does not matter.
    pub(super) const fn unwatched(body: B) -> Self {
        Self { body, pending: None, stall: Stall::NONE }
    }

    pub(super) fn watched(
        body: B,
        pending: PendingOutcome<W>,
        stall_timeout: Option<Duration>,
    ) -> Self {
        Self { body, pending: Some(pending), stall: Stall::new(stall_timeout) }
    }

    /// Turns this body into the type of the inner one; without the closure if its end does not
    /// matter.
    pub(super) fn into_inner_type(self, wrap: impl FnOnce(Self) -> B) -> B {
        if self.pending.is_none() { self.body } else { wrap(self) }
    }

    /// A reference to the inner body.
    pub fn get_ref(&self) -> &B {
        &self.body
    }

    /// A mutable reference to the inner body. What is read from it directly does not count.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Returns the inner body. If the outcome of the call is not known yet, the call counts as if
    /// the body were dropped.
    pub fn into_inner(self) -> B {
        self.body
    }
}

/// The error has to be `'static`, so that it can be classified.
impl<B, W> Body for ResponseBody<B, W>
where
    B: Body<Error: 'static>,
    W: ClassifyEos,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        if let Some(pending) = this.pending.take_if(|pending| pending.is_settled()) {
            pending.succeed();
        }
        let Some(pending) = this.pending else { return this.body.poll_frame(cx) };
        let polled = inner_call::run(pending.permit(), || this.body.as_mut().poll_frame(cx));
        match &polled {
            Poll::Pending => {
                if this.stall.is_over(cx)
                    && let Some(pending) = this.pending.take()
                {
                    pending.fail(BodyFailure::Stalled);
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.stall.end();
                if pending.receive(frame, this.body.is_end_stream())
                    && let Some(pending) = this.pending.take()
                {
                    pending.end(frame.trailers_ref());
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(pending) = this.pending.take() {
                    pending.fail_with(as_cause(error));
                }
            }
            Poll::Ready(None) => {
                if let Some(pending) = this.pending.take() {
                    pending.end(None);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Default, W> Default for ResponseBody<B, W> {
    fn default() -> Self {
        Self::unwatched(B::default())
    }
}

/// With this, a rejection can become a response with this body: of an outer breaker, for example.
impl<B: From<String>, W> From<String> for ResponseBody<B, W> {
    fn from(text: String) -> Self {
        Self::unwatched(B::from(text))
    }
}

impl<B: fmt::Debug, W> fmt::Debug for ResponseBody<B, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("body", &self.body)
            .field("watched", &self.pending.is_some())
            .finish_non_exhaustive()
    }
}

//! Bodies whose end decides what a call came to.

mod length;
mod stall;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use self::{length::Length, stall::Stall};
use super::record_when::{RecordWhen, sealed::Sealed};
use crate::{
    breaker::Permit,
    classify::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos},
    outcome::Outcome,
};

/// The outcome of a call is known when the body of its response has ended.
///
/// A body that errs or ends before its announced length is a failure, and so is one that stalls,
/// where [`stall_timeout`](Self::stall_timeout) says what that is. A body that is dropped before
/// its end (the client hung up) is a cancelled call: it touches nothing, and a probe's slot comes
/// back. What the classifier already takes for a failure (or ignores) when the response arrives
/// is recorded then.
///
/// A body has ended with the last byte of its length, which it knows itself or the head of its
/// response announces (`Content-Length`), also if nobody asks for more. A body that is taken away
/// unread counts as dropped: a server may do that to the answer to a `HEAD` request (axum does),
/// so probe with requests whose answers are read.
///
/// A probe holds its slot until the body has ended; the half-open state gives up on it after
/// [`half_open_timeout`](crate::Config::half_open_timeout). For responses that stream for longer
/// than that, set a longer one, or leave the outcome to the response.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::{CircuitBreakerLayer, OnBodyEnd};
///
/// let layer = CircuitBreakerLayer::builder("downloads")
///     .http()
///     .on_body_end(OnBodyEnd::new().stall_timeout(Duration::from_secs(10)))
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OnBodyEnd {
    stall_timeout: Option<Duration>,
    slow_until: SlowUntil,
}

/// Which time says whether a call is slow, for the rules that ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowUntil {
    /// The time until the head of the response is there: the default, as a long body is not a
    /// slow one.
    #[default]
    Headers,
    /// The time until the body has ended.
    End,
}

impl OnBodyEnd {
    /// Bodies may take their time, and slow is what is slow to begin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A body of which nothing came for so long is a failure. Default: none. The time runs while
    /// somebody waits for the next piece; a reader who takes a break does not make a stall.
    ///
    /// The stalled body itself goes on: it is not ended, only counted. Without a tokio runtime
    /// nothing counts as a stall; in one whose timers are disabled, the first wait panics.
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = Some(timeout);
        self
    }

    /// Which time says whether a call is slow. Default: [`SlowUntil::Headers`].
    #[must_use]
    pub fn slow_until(mut self, until: SlowUntil) -> Self {
        self.slow_until = until;
        self
    }

    fn watch<B, W>(
        self,
        response: Response<B>,
        end: W,
        permit: &mut Permit,
    ) -> Response<ResponseBody<B, W>>
    where
        B: Body,
        W: ClassifyEos,
    {
        let permit = permit.take();
        let elapsed = match self.slow_until {
            SlowUntil::Headers => permit.elapsed(),
            SlowUntil::End => None,
        };
        let expected = Length::of(&response);
        let watch = Watch { permit, end, elapsed, expected, received: 0 };
        if response.body().is_end_stream() || watch.is_complete() {
            watch.settle(|end| end.classify_eos(None));
            return response.map(ResponseBody::unwatched);
        }
        let stall = Stall::new(self.stall_timeout);
        response.map(|body| ResponseBody { body, watch: Some(watch), stall })
    }
}

impl Sealed for OnBodyEnd {}

impl<C, B, E> RecordWhen<C, Response<B>, E> for OnBodyEnd
where
    C: ClassifyBody<B, E>,
    B: Body,
{
    type Response = Response<ResponseBody<B, C::Eos>>;

    fn settle(
        &self,
        classify: &C,
        result: Result<Response<B>, E>,
        permit: &mut Permit,
    ) -> Result<Self::Response, E> {
        match (classify.classify_head(&result), result) {
            (ClassifiedResponse::Ready(outcome), result) => {
                permit.record_in_place(outcome, None);
                result.map(|response| response.map(ResponseBody::unwatched))
            }
            (ClassifiedResponse::RequiresEos(end), Ok(response)) => {
                Ok(self.watch(response, end, permit))
            }
            (ClassifiedResponse::RequiresEos(end), Err(error)) => {
                permit.record_in_place(end.classify_failure(BodyFailure::Error), None);
                Err(error)
            }
        }
    }

    fn pass(response: Response<B>) -> Self::Response {
        response.map(ResponseBody::unwatched)
    }
}

pin_project! {
    /// The body of a response whose end decides what the call came to: see [`OnBodyEnd`].
    ///
    /// It hands on frames, trailers, size and end as they are, and allocates nothing for a frame.
    pub struct ResponseBody<B, W> {
        #[pin]
        body: B,
        watch: Option<Watch<W>>,
        stall: Stall,
    }
}

/// A call whose outcome is open.
struct Watch<W> {
    permit: Permit,
    end: W,
    /// What the call took, where the head of its response ended it.
    elapsed: Option<Duration>,
    expected: Length,
    received: u64,
}

impl<B, W> ResponseBody<B, W> {
    const fn unwatched(body: B) -> Self {
        Self { body, watch: None, stall: Stall::new(None) }
    }

    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.body
    }

    /// The inner body, without the watch: the call counts as cancelled if it is still open.
    pub fn into_inner(self) -> B {
        self.body
    }
}

impl<W: ClassifyEos> Watch<W> {
    fn settle(mut self, classify: impl FnOnce(W) -> Outcome) {
        self.permit.record_in_place(classify(self.end), self.elapsed);
    }

    /// Whether everything has come that matters.
    fn is_complete(&self) -> bool {
        self.expected.is_reached(self.received) && !self.end.awaits_trailers()
    }

    /// Nothing more comes. Trailers that somebody waited for say more than a length.
    fn end(self, trailers: Option<&HeaderMap>) {
        let trailers_decide = trailers.is_some() && self.end.awaits_trailers();
        if self.expected.is_missed(self.received) && !trailers_decide {
            self.fail(BodyFailure::EndedEarly);
        } else {
            self.settle(|end| end.classify_eos(trailers));
        }
    }

    fn fail(self, failure: BodyFailure) {
        self.settle(|end| end.classify_failure(failure));
    }
}

/// Sees a piece of the body, and settles the call where it was the last. `ended` is what the body
/// says of itself.
fn see<W, B>(watch: &mut Option<Watch<W>>, frame: &Frame<B::Data>, ended: bool)
where
    W: ClassifyEos,
    B: Body,
{
    let Some(open) = watch else { return };
    if let Some(data) = frame.data_ref() {
        open.received = open.received.saturating_add(data.remaining() as u64);
    }
    let trailers = frame.trailers_ref();
    if trailers.is_none() && !ended && !open.is_complete() {
        return;
    }
    if let Some(open) = watch.take() {
        open.end(trailers);
    }
}

impl<B, W> Body for ResponseBody<B, W>
where
    B: Body,
    W: ClassifyEos,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        match &polled {
            _ if this.watch.is_none() => {}
            Poll::Pending => {
                if this.stall.is_over(cx)
                    && let Some(watch) = this.watch.take()
                {
                    watch.fail(BodyFailure::Stalled);
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.stall.end();
                see::<W, B>(this.watch, frame, this.body.is_end_stream());
            }
            Poll::Ready(Some(Err(_))) => {
                if let Some(watch) = this.watch.take() {
                    watch.fail(BodyFailure::Error);
                }
            }
            Poll::Ready(None) => {
                if let Some(watch) = this.watch.take() {
                    watch.end(None);
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

/// So that a rejection can become a body here too, under a second breaker for one.
impl<B: From<String>, W> From<String> for ResponseBody<B, W> {
    fn from(text: String) -> Self {
        Self::unwatched(B::from(text))
    }
}

impl<B: fmt::Debug, W> fmt::Debug for ResponseBody<B, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("body", &self.body)
            .field("watched", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}

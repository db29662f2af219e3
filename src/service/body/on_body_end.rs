//! The setting by which the end of the body settles a call.

use std::time::Duration;

use http::Response;
use http_body::Body;

use super::{
    awaited::Awaited, length::Length, open_call::OpenCall, pending::PendingOutcome,
    response_body::ResponseBody,
};
use crate::{
    breaker::Permit,
    classify::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos},
    service::{
        inner_call,
        record_when::{AppliesTo, RecordWhen, sealed::Sealed},
    },
};

/// Records the outcome of a call when the body of its response has ended.
///
/// A body that fails or ends before its announced length is a failure, and so is a body that
/// stalls for longer than the [`stall_timeout`](Self::stall_timeout), or panics. A body that is
/// dropped before its end (the client hung up) is a cancelled call: it counts as nothing, however
/// long it took, and frees a probe's slot. A gRPC response that is dropped before its first message
/// is an [abandoned](crate::Permit#abandoned-calls) call, because its head may precede the work.
///
/// What the classifier already takes for a failure, or ignores, when the response arrives is
/// recorded at that moment.
///
/// Two failures of a body cannot be seen. Over HTTP/2, hyper ends a body whose stream the server
/// has reset with `NO_ERROR` as if it were complete; only a `Content-Length` that is missed, or a
/// gRPC status that is missing, shows it. Over HTTP/1, a connection that the dependency breaks
/// while an upload is still in progress has the same error as an upload that its client has broken
/// off, and is ignored with it.
///
/// A body has ended with the last byte of its length, even if it is not read any further. The
/// length is the body's own, or the `Content-Length` of the response. A body that is dropped unread
/// is cancelled: a server may do that to the response of a `HEAD` request (axum does), so probe
/// with requests whose responses are read.
///
/// # Long streams as probes
///
/// A stream shows long before its end that the dependency works. So a probe is a success when its
/// head was good, its body has delivered its first data (for gRPC, its first message), and then 5 s
/// have passed without an error: see [`stream_alive_after`](Self::stream_alive_after). A reader may
/// pause meanwhile, as the slow client of a proxy does. All other calls wait for their end.
///
/// Until then the probe holds its slot, and the circuit reopens after
/// [`half_open_timeout`](crate::Config::half_open_timeout). Raise that setting if a healthy call
/// takes longer to its end, or if a stream takes longer to its first data: a body delivers it only
/// when it is polled.
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
#[derive(Debug, Clone, Copy)]
pub struct OnBodyEnd {
    stall_timeout: Option<Duration>,
    slow_until: SlowUntil,
    stream_alive_after: Duration,
}

/// Until when a call's time is measured, for the rules on slow calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowUntil {
    /// Until the head of the response arrives. The default: a long body is not a slow one.
    #[default]
    Headers,
    /// Until the body has ended.
    End,
}

impl OnBodyEnd {
    /// Without a stall timeout, with the time of a call measured until its head arrives, and with
    /// probes that succeed after 5 s of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stall_timeout: None,
            slow_until: SlowUntil::Headers,
            stream_alive_after: Duration::from_secs(5),
        }
    }

    /// A body that delivers nothing for this long is a failure. Default: no timeout. The time
    /// passes only while the reader waits for the next frame, so a reader that pauses does not
    /// stall the body.
    ///
    /// The stalled body is not ended; it only counts as a failure. The time is the machine's, in
    /// any runtime or none; where a test has paused tokio's time, it is tokio's.
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = Some(timeout);
        self
    }

    /// Until when the time of a call is measured. Default: [`SlowUntil::Headers`].
    #[must_use]
    pub fn slow_until(mut self, until: SlowUntil) -> Self {
        self.slow_until = until;
        self
    }

    /// A probe whose body has delivered its first data, and then has no error for this long, is a
    /// success. Default: 5 s. [`Duration::MAX`]: a probe waits for its end too.
    ///
    /// The breaker measures the time with its own clock, and needs no poll of the body for it. With
    /// a [custom clock](crate::clock), it looks at it when a call comes or the breaker is asked.
    /// An error that the body returns after this time changes nothing about the success.
    #[must_use]
    pub fn stream_alive_after(mut self, time: Duration) -> Self {
        self.stream_alive_after = time;
        self
    }

    pub(super) fn watch<B, W>(
        self,
        response: Response<B>,
        eos: W,
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
        let awaited = Awaited::after_head(eos.awaits_trailers(), response.headers());
        let call = OpenCall::new(permit, elapsed, awaited, self.stream_alive_after);
        let pending = PendingOutcome::new(call, eos, Length::of(&response));
        if response.body().is_end_stream() || pending.is_complete() {
            pending.end_without_body();
            return response.map(ResponseBody::unwatched);
        }
        response.map(|body| ResponseBody::watched(body, pending, self.stall_timeout))
    }
}

impl Default for OnBodyEnd {
    fn default() -> Self {
        Self::new()
    }
}

impl Sealed for OnBodyEnd {}

impl<Request> AppliesTo<Request> for OnBodyEnd {}

impl<C, B, E> RecordWhen<C, Response<B>, E> for OnBodyEnd
where
    C: ClassifyBody<B, E>,
    B: Body,
{
    type Response = Response<ResponseBody<B, C::Eos>>;

    fn record(
        &self,
        classify: &C,
        result: Result<Response<B>, E>,
        permit: &mut Permit,
    ) -> Result<Self::Response, E> {
        if inner_call::is_uncounted(permit) {
            return result.map(|response| response.map(ResponseBody::unwatched));
        }
        match (classify.classify_head(&result), result) {
            (ClassifiedResponse::Ready(outcome), result) => {
                permit.record_in_place(outcome, None);
                result.map(|response| response.map(ResponseBody::unwatched))
            }
            (ClassifiedResponse::RequiresEos(eos), Ok(response)) => {
                Ok(self.watch(response, eos, permit))
            }
            (ClassifiedResponse::RequiresEos(eos), Err(error)) => {
                permit.record_in_place(eos.classify_failure(BodyFailure::Error), None);
                Err(error)
            }
        }
    }

    fn pass_unrecorded(response: Response<B>) -> Self::Response {
        response.map(ResponseBody::unwatched)
    }
}

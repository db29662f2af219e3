//! Classification of gRPC responses.

mod code;
mod delay;
mod wire;

use std::{fmt, time::Duration};

use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};

pub use code::{GrpcCode, GrpcCodes};
use delay::Pushback;

use super::{
    body::{ClassifiedResponse, ClassifyBody, ClassifyEos},
    classifier::Classify,
    kind::Kind,
    retry_after::retry_after,
};
use crate::outcome::Outcome;

/// Classifies gRPC responses by their status code. An `Err` is a failure.
///
/// [`new`](Self::new) takes these codes for failures: `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`,
/// `UNAVAILABLE` and `DATA_LOSS`. `CANCELLED` is ignored, because a cancellation says nothing about
/// the dependency. All others are successes: the dependency has answered, and the problem is the
/// request. Later calls override earlier ones.
///
/// `RESOURCE_EXHAUSTED` is a success by default. Some servers use it for a single caller that has
/// exceeded its quota or sent too large a message, and some use it when they are overloaded; in the
/// latter case, classify it as throttled.
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, classify::{GrpcClassifier, GrpcCode}};
///
/// let codes = GrpcClassifier::new()
///     .throttled(GrpcCode::ResourceExhausted)
///     .success(GrpcCode::DeadlineExceeded)
///     .ignore([GrpcCode::InvalidArgument, GrpcCode::Unimplemented]);
/// let layer = CircuitBreakerLayer::builder("stock").grpc().classify(codes).build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
///
/// # How the code is determined
///
/// - The HTTP status comes first. If it is not 200, the specification's
///   [HTTP to gRPC Status Code Mapping] gives a code, such as `UNAVAILABLE` for a 503, and if that
///   code is a failure, the call is one. (The specification lets a client prefer a `grpc-status` in
///   such a response. But a proxy's 503 does not show a healthy dependency, whatever headers it
///   passes on.)
/// - A `grpc-status` in the headers (of a response without a body) is the code.
/// - Without it, a response whose HTTP status is not 200, or whose `Content-Type` is not gRPC's
///   (code `UNKNOWN`), does not come from a gRPC server, and its body does not matter.
/// - Otherwise the code is in the trailers. [`OnBodyEnd`](crate::OnBodyEnd) waits for them, and
///   [`.grpc()`](crate::CircuitBreakerLayer::grpc) sets it. A body that ends without a status has
///   the code `UNKNOWN`, and a body that fails is a failure, whatever the codes are. With
///   [`OnResponse`](crate::record_when::OnResponse), a response whose code is still to come is a
///   success.
/// - A status that is not a code of the specification is `UNKNOWN`.
///
/// # Retry delays
///
/// The [`Outcome`] of a failed or throttled call includes the delay that the server asks for, up to
/// a day: the `grpc-retry-pushback-ms`; without it, the `google.rpc.RetryInfo` in
/// `grpc-status-details-bin`; and if the code comes from the HTTP status, the
/// [`Retry-After`](super::retry_after). A negative or invalid pushback asks the client not to retry
/// that one call. It contains no delay, so the breaker uses its own open time.
///
/// [HTTP to gRPC Status Code Mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GrpcClassifier {
    /// Two bits for each code.
    kinds: u64,
}

impl GrpcClassifier {
    /// `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` are failures,
    /// `CANCELLED` is ignored, all others are successes.
    #[must_use]
    pub fn new() -> Self {
        Self { kinds: 0 }
            .failure([GrpcCode::Unknown, GrpcCode::DeadlineExceeded, GrpcCode::Internal])
            .failure([GrpcCode::Unavailable, GrpcCode::DataLoss])
            .ignore(GrpcCode::Cancelled)
    }

    /// These are failures.
    #[must_use]
    pub fn failure(self, codes: impl GrpcCodes) -> Self {
        self.with(codes, Kind::Failure)
    }

    /// With these, the dependency works and refuses calls for now: [`Outcome::Throttled`].
    #[must_use]
    pub fn throttled(self, codes: impl GrpcCodes) -> Self {
        self.with(codes, Kind::Throttled)
    }

    /// These say nothing about the dependency: [`Outcome::Ignore`].
    #[must_use]
    pub fn ignore(self, codes: impl GrpcCodes) -> Self {
        self.with(codes, Kind::Ignore)
    }

    /// These are successes.
    #[must_use]
    pub fn success(self, codes: impl GrpcCodes) -> Self {
        self.with(codes, Kind::Success)
    }

    fn with(mut self, codes: impl GrpcCodes, kind: Kind) -> Self {
        codes.each(&mut |code| {
            self.kinds = kind.put(self.kinds, shift_of(code));
        });
        self
    }

    #[inline]
    fn kind(self, code: GrpcCode) -> Kind {
        Kind::get(self.kinds, shift_of(code))
    }

    /// Classifies a call by its code and its metadata, for clients whose response type is not
    /// `http::Response`.
    #[inline]
    #[must_use]
    pub fn classify_code(&self, code: GrpcCode, metadata: &HeaderMap) -> Outcome {
        self.outcome(code, || delay_of(Pushback::find(metadata), metadata))
    }

    #[inline]
    fn outcome(self, code: GrpcCode, retry_after: impl FnOnce() -> Option<Duration>) -> Outcome {
        self.kind(code).outcome(retry_after)
    }

    fn head(self, status: StatusCode, headers: &HeaderMap) -> ClassifiedResponse<GrpcEos> {
        if status != StatusCode::OK {
            let failed = self.outcome_of_http(status, headers);
            if failed != Outcome::Success {
                return ClassifiedResponse::Ready(failed);
            }
        }
        match GrpcCode::find(headers) {
            // It may have a body even so, whose trailers say something else.
            Some(GrpcCode::Ok) if status == StatusCode::OK => {
                ClassifiedResponse::RequiresEos(GrpcEos::after(self, headers, GrpcCode::Ok))
            }
            Some(code) => ClassifiedResponse::Ready(self.classify_code(code, headers)),
            None if status == StatusCode::OK && may_be_grpc(headers) => {
                ClassifiedResponse::RequiresEos(GrpcEos::after(self, headers, GrpcCode::Unknown))
            }
            None => ClassifiedResponse::Ready(self.outcome_of_http(status, headers)),
        }
    }

    fn outcome_of_http(self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.outcome(GrpcCode::of_http(status), || match Pushback::find(headers) {
            Pushback::Missing => retry_after(status, headers),
            pushback => delay_of(pushback, headers),
        })
    }
}

const fn shift_of(code: GrpcCode) -> u32 {
    code.number() as u32 * 2
}

/// Whether the `Content-Type`, where there is one, is gRPC's.
fn may_be_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).is_none_or(|media_type| {
        let begins = media_type.as_bytes().get(..GRPC.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(GRPC))
    })
}

fn delay_of(pushback: Pushback, metadata: &HeaderMap) -> Option<Duration> {
    match pushback {
        Pushback::Missing => delay::retry_info(metadata),
        Pushback::Never => None,
        Pushback::After(delay) => Some(delay),
    }
}

impl Default for GrpcClassifier {
    fn default() -> Self {
        Self::new()
    }
}

/// Classifies the head of the response: a code that is still to come counts as a success.
impl<B, E> Classify<Response<B>, E> for GrpcClassifier {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match ClassifyBody::classify_head(self, result) {
            ClassifiedResponse::Ready(outcome) => outcome,
            ClassifiedResponse::RequiresEos(_) => Outcome::Success,
        }
    }
}

impl<B, E> ClassifyBody<B, E> for GrpcClassifier {
    type Eos = GrpcEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<GrpcEos> {
        match result {
            Ok(response) => self.head(response.status(), response.headers()),
            Err(_) => ClassifiedResponse::Ready(Outcome::failure()),
        }
    }
}

/// Classifies the trailers of a gRPC response. Created by a [`GrpcClassifier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcEos {
    classify: GrpcClassifier,
    /// The code if the trailers contain none.
    otherwise: GrpcCode,
    /// The pushback in the headers: some servers send it early.
    pushback: Pushback,
}

impl GrpcEos {
    fn after(classify: GrpcClassifier, headers: &HeaderMap, otherwise: GrpcCode) -> Self {
        Self { classify, otherwise, pushback: Pushback::find(headers) }
    }
}

impl ClassifyEos for GrpcEos {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        let none = HeaderMap::new();
        let trailers = trailers.unwrap_or(&none);
        let code = GrpcCode::find(trailers).unwrap_or(self.otherwise);
        let pushback = || Pushback::find(trailers).or(self.pushback);
        self.classify.outcome(code, || delay_of(pushback(), trailers))
    }

    fn awaits_trailers(&self) -> bool {
        true
    }
}

impl fmt::Debug for GrpcClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |kind| GrpcCode::all().filter(|code| self.kind(*code) == kind).collect::<Vec<_>>();
        f.debug_struct("GrpcClassifier")
            .field("failure", &of(Kind::Failure))
            .field("throttled", &of(Kind::Throttled))
            .field("ignore", &of(Kind::Ignore))
            .finish()
    }
}

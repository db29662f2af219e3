//! What a gRPC response says about the dependency.

mod code;
mod delay;
mod wire;

use std::{fmt, time::Duration};

use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};

pub use code::{GrpcCode, GrpcCodes};
use delay::Pushback;

use super::{
    ClassifiedResponse, Classify, ClassifyBody, ClassifyEos, kind::Kind, retry_after::retry_after,
};
use crate::outcome::Outcome;

/// Classifies gRPC responses by their status code. An `Err` is a failure.
///
/// [`new`](Self::new) takes these codes for failures: `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`,
/// `UNAVAILABLE` and `DATA_LOSS`. `CANCELLED` is ignored: who called the call off says nothing
/// about the dependency. All others are successes: the dependency has answered, and what it does
/// not like is the request. What is said after that changes it, the last word counts.
///
/// `RESOURCE_EXHAUSTED` is a success, too, until you choose: some servers say it of the one caller
/// that has used up its quota or sent too large a message, and some when they are overloaded.
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
/// # Where the code is found
///
/// - The HTTP status comes first: where it is not 200, the code is that of the spec's
///   [HTTP to gRPC Status Code Mapping], `UNAVAILABLE` for a 503, and if that is a failure the
///   call is one. (The spec makes a client believe a `grpc-status` beside it. A breaker asks
///   another question: a proxy's 503 is no healthy dependency, whatever headers it lets through.)
/// - A `grpc-status` in the headers (a response without a body) is the code.
/// - Without one, a response whose HTTP status is not 200, or whose `Content-Type` is another
///   than gRPC's (then the code is `UNKNOWN`), is no answer of a gRPC server's, and the body does
///   not matter.
/// - Else the code comes in the trailers. [`OnBodyEnd`](crate::OnBodyEnd) waits for them, and
///   [`.grpc()`](crate::CircuitBreakerLayer::grpc) sets it. A body that ends without a status is `UNKNOWN`,
///   and one that errs is a failure, whatever the codes are. With
///   [`OnResponse`](crate::record_when::OnResponse), a response whose code is still to come is a success.
/// - A status that cannot be read, or is no code of the spec, is `UNKNOWN`.
///
/// # When to come back
///
/// A failed or throttled call takes into its [`Outcome`] when the server asked to be called
/// again, up to a day: the milliseconds of `grpc-retry-pushback-ms`; without it, the
/// `google.rpc.RetryInfo` in `grpc-status-details-bin`; where the code is made of the HTTP
/// status, the [`Retry-After`](super::retry_after). A pushback that is negative or unreadable
/// asks not to be called again at all. That is about the one call and says no time, so the
/// outcome has none, and the breaker keeps to its own open time.
///
/// [HTTP to gRPC Status Code Mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GrpcClassifier {
    /// Two bits a code.
    kinds: u64,
}

impl GrpcClassifier {
    /// `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` are failures,
    /// `CANCELLED` is ignored, everything else succeeds.
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

    /// The dependency is well and refuses for now: [`Outcome::Throttled`].
    #[must_use]
    pub fn throttled(self, codes: impl GrpcCodes) -> Self {
        self.with(codes, Kind::Throttled)
    }

    /// These say nothing about the dependency.
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
            self.kinds = kind.put(self.kinds, place(code));
        });
        self
    }

    #[inline]
    fn kind(self, code: GrpcCode) -> Kind {
        Kind::get(self.kinds, place(code))
    }

    /// What a call says that ended with this code and this metadata: for clients whose responses
    /// are no `http::Response`.
    #[inline]
    #[must_use]
    pub fn classify_code(&self, code: GrpcCode, metadata: &HeaderMap) -> Outcome {
        self.outcome(code, || asked(Pushback::find(metadata), metadata))
    }

    #[inline]
    fn outcome(self, code: GrpcCode, asked: impl FnOnce() -> Option<Duration>) -> Outcome {
        self.kind(code).outcome(asked)
    }

    fn head(self, status: StatusCode, headers: &HeaderMap) -> ClassifiedResponse<GrpcEos> {
        if status != StatusCode::OK {
            let failed = self.outcome_of_http(status, headers);
            if failed != Outcome::Success {
                return ClassifiedResponse::Ready(failed);
            }
        }
        match GrpcCode::find(headers) {
            // It may have a body all the same, and in the end say something else.
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
            Pushback::Silent => retry_after(status, headers),
            pushback => asked(pushback, headers),
        })
    }
}

const fn place(code: GrpcCode) -> u32 {
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

fn asked(pushback: Pushback, metadata: &HeaderMap) -> Option<Duration> {
    match pushback {
        Pushback::Silent => delay::retry_info(metadata),
        Pushback::Never => None,
        Pushback::After(delay) => Some(delay),
    }
}

impl Default for GrpcClassifier {
    fn default() -> Self {
        Self::new()
    }
}

/// What the head of the response says: a code that is still to come counts as a success.
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

/// Waits for the trailers of a gRPC response. Made by a [`GrpcClassifier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcEos {
    classify: GrpcClassifier,
    /// The code of a body that ends without one.
    otherwise: GrpcCode,
    /// What the headers said: some servers send it early.
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
        self.classify.outcome(code, || asked(pushback(), trailers))
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

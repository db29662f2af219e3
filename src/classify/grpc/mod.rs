//! Classification of gRPC responses.

pub(super) mod code;
mod deadline;
mod delay;
#[cfg(feature = "tonic")]
mod tonic;
#[cfg(feature = "tonic")]
mod upload;
mod wire;

use std::{fmt, time::Duration};

#[cfg(feature = "tonic")]
use {
    self::upload::breaks_an_upload,
    super::error::{as_cause, is_not_of_the_dependency},
    crate::error::causes,
    ::tonic::{Status, TimeoutExpired},
    std::error::Error as StdError,
};

use http::{Extensions, HeaderMap, Request, Response, StatusCode};

pub use code::{GrpcCode, GrpcCodes};
use delay::Pushback;

use super::{
    body::{ClassifiedResponse, ClassifyBody, ClassifyEos},
    by_status::is_rejection,
    classifier::Classify,
    defaults::kind_of_code,
    error::outcome_of_error,
    grpc_media_type::declares_grpc,
    kind::Kind,
    rejection_token,
    retry_after::retry_after,
};
use crate::outcome::Outcome;

/// Classifies gRPC responses by their status code. An `Err` is a failure.
///
/// By default, as in [the table](super#grpc):
///
/// - `CANCELLED`, `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` are
///   failures. A call that its client cancels is dropped and has no code, so a `CANCELLED` comes
///   from the server: tonic's sends it when its own timeout has passed.
/// - `RESOURCE_EXHAUSTED` is [throttled](Outcome::Throttled). Some servers also use it for a
///   message that is too large, or for one caller that has exceeded its quota; if yours does, call
///   `.success(GrpcCode::ResourceExhausted)`.
/// - All others are successes: the dependency has answered, and the problem is the request.
/// - A rejection by another breaker is ignored, as an error or as a response, and so are
///   [errors of the request itself](super::is_request_error). With the feature `tonic`, also if a
///   handler of a tonic server returns the `Status` of a call that a breaker of this process has
///   rejected, or one with such an error as its source. A server whose own breaker rejects the call
///   has failed: that is an `UNAVAILABLE` like any other.
/// - A request whose upload breaks off is ignored where a tonic server says so (feature `tonic`):
///   see [below](#uploads-that-break-off).
///
/// Later calls override earlier ones.
///
/// With the feature `tonic`, it also classifies what a generated client returns: see
/// [`Breaker::call_with`](crate::Breaker::call_with).
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, classify::{GrpcClassifier, GrpcCode}};
///
/// let codes = GrpcClassifier::new()
///     .failure(GrpcCode::ResourceExhausted)
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
///   code is a failure, the call is one. (To its caller, a client has to report a `grpc-status` in
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
/// # Uploads that break off
///
/// A client that breaks off its request must not open the circuit of the server. With the feature
/// `tonic`, a call is ignored if tonic's server answers `INTERNAL` because the request ended before
/// its only message or because its framing or compression is wrong, and if a handler returns the
/// error of reading the request (which is recognized with the feature `axum`: tonic's server reads
/// requests through axum).
///
/// Two answers of tonic are the same for a request as for the response of a dependency, and count
/// as failed: `INTERNAL` because the bytes are not a message of the type, or because they end
/// within a message. On a server whose clients may send such requests, let the handlers fail with
/// other codes, and ignore this one:
///
/// ```
/// use tower_breaker::{CircuitBreakerLayer, classify::{GrpcClassifier, GrpcCode}};
///
/// let codes = GrpcClassifier::new().ignore(GrpcCode::Internal);
/// let layer = CircuitBreakerLayer::builder("server").grpc().classify(codes).build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
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
    /// Two bits for each code, and two for errors that are a caller's deadline.
    kinds: u64,
    /// Set for a request that is not gRPC.
    ignores_all: bool,
    /// In milliseconds; 0 for none.
    ignores_deadlines_below: u32,
}

const ERRORS_OF_DEADLINES: u32 = 34;

impl GrpcClassifier {
    /// `CANCELLED`, `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` are
    /// failures, `RESOURCE_EXHAUSTED` is throttled, all others are successes.
    #[must_use]
    pub fn new() -> Self {
        let none = Self {
            kinds: Kind::Failure.put(0, ERRORS_OF_DEADLINES),
            ignores_all: false,
            ignores_deadlines_below: 0,
        };
        GrpcCode::all().fold(none, |this, code| this.with(code, kind_of_code(code)))
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

    /// Ignores a call whose caller gave it less time than this, and whose time has run out: the
    /// request has a shorter `grpc-timeout`, and the code is `CANCELLED` or `DEADLINE_EXCEEDED`
    /// (or, on a tonic channel, the error is that the timeout has expired; feature
    /// `tonic-channel`). Such a call does not show that the dependency is slow. Default: such a
    /// call is what its code says.
    ///
    /// It takes effect in [`for_request`](Self::for_request). The time is rounded up to whole
    /// milliseconds.
    #[must_use]
    pub fn ignore_deadlines_below(mut self, shortest: Duration) -> Self {
        let milliseconds = shortest.as_nanos().div_ceil(1_000_000);
        self.ignores_deadlines_below = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        self
    }

    /// The classifier for the response to this request.
    ///
    /// - If the request is not gRPC by its `Content-Type` (a health check over HTTP, a preflight, a
    ///   gRPC-Web request), it ignores the call.
    /// - If the request has a deadline that is
    ///   [too short](Self::ignore_deadlines_below), it ignores the end of that deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, Response};
    /// use tower_breaker::{Outcome, classify::{Classify, GrpcClassifier}};
    ///
    /// let codes = GrpcClassifier::new().ignore_deadlines_below(Duration::from_millis(200));
    /// let request = Request::post("/shop.Stock/Count")
    ///     .header("content-type", "application/grpc")
    ///     .header("grpc-timeout", "50m")
    ///     .body(())?;
    /// let response = Response::builder().header("grpc-status", "4").body(())?;
    /// let result: Result<_, std::io::Error> = Ok(response);
    /// assert_eq!(codes.classify(&result), Outcome::failure());
    /// assert_eq!(codes.for_request(&request).classify(&result), Outcome::Ignore);
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn for_request<B>(self, request: &Request<B>) -> Self {
        let headers = request.headers();
        if declares_grpc(headers) != Some(true) {
            return Self { ignores_all: true, ..self };
        }
        let shortest = Duration::from_millis(self.ignores_deadlines_below.into());
        if !shortest.is_zero() && deadline::of_request(headers).is_some_and(|it| it < shortest) {
            let ignoring = self.ignore([GrpcCode::Cancelled, GrpcCode::DeadlineExceeded]);
            let kinds = Kind::Ignore.put(ignoring.kinds, ERRORS_OF_DEADLINES);
            return Self { kinds, ..ignoring };
        }
        self
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

    #[cold]
    fn outcome_of_error<E: 'static>(self, error: &E) -> Outcome {
        let kind = Kind::get(self.kinds, ERRORS_OF_DEADLINES);
        if self.ignores_all || kind == Kind::Ignore && is_deadline(error) {
            Outcome::Ignore
        } else {
            outcome_of_error(error)
        }
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
    declares_grpc(headers).unwrap_or(true)
}

/// Whether a handler has answered with the status of a call that another breaker rejected, or whose
/// own request was at fault. A tonic server puts the status of a handler, with its source, into the
/// response's extensions.
///
/// A response from elsewhere has no such extension. If the breaker of a server has rejected the
/// call, that server cannot serve, also if it is one of this process.
#[cfg(feature = "tonic")]
fn is_of_another_dependency(extensions: &Extensions) -> bool {
    let status = extensions.get::<Status>();
    status.is_some_and(|status| is_not_of_the_dependency(status) || breaks_an_upload(status))
}

#[cfg(not(feature = "tonic"))]
fn is_of_another_dependency(_: &Extensions) -> bool {
    false
}

/// Whether a tonic channel gave up because a deadline has passed.
#[cfg(feature = "tonic")]
fn is_deadline<E: 'static>(error: &E) -> bool {
    as_cause(error).is_some_and(|error| causes(error).any(<dyn StdError>::is::<TimeoutExpired>))
}

#[cfg(not(feature = "tonic"))]
fn is_deadline<E: 'static>(_: &E) -> bool {
    false
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
impl<B, E: 'static> Classify<Response<B>, E> for GrpcClassifier {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match ClassifyBody::classify_head(self, result) {
            ClassifiedResponse::Ready(outcome) => outcome,
            ClassifiedResponse::RequiresEos(_) => Outcome::Success,
        }
    }
}

impl<B, E: 'static> ClassifyBody<B, E> for GrpcClassifier {
    type Eos = GrpcEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<GrpcEos> {
        match result {
            Ok(response) if self.ignores_all || is_rejection(response.extensions()) => {
                ClassifiedResponse::Ready(Outcome::Ignore)
            }
            Ok(response) => match self.head(response.status(), response.headers()) {
                ClassifiedResponse::Ready(outcome)
                    if outcome != Outcome::Success
                        && is_of_another_dependency(response.extensions()) =>
                {
                    ClassifiedResponse::Ready(Outcome::Ignore)
                }
                head => head,
            },
            Err(error) => ClassifiedResponse::Ready(self.outcome_of_error(error)),
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
        if rejection_token::is_in(trailers) {
            return Outcome::Ignore;
        }
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

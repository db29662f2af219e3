//! What each code counts as.

use std::{fmt, time::Duration};

use http::{HeaderMap, Request};

use super::{
    code::{GrpcCode, GrpcCodes},
    delay::{Pushback, delay_of},
};
use crate::{
    classify::{defaults::kind_of_code, grpc_media_type::declares_grpc, kind::Kind},
    outcome::Outcome,
};

/// Classifies gRPC responses by their status code. An `Err` is a failure.
///
/// By default, as in [the table](crate::classify#grpc):
///
/// - `CANCELLED`, `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` are
///   failures. A call that its client cancels is dropped and has no code, so a `CANCELLED` comes
///   from the server: tonic's sends it when its own timeout has passed.
/// - `RESOURCE_EXHAUSTED` is [throttled](Outcome::Throttled). Some servers also use it for a
///   message that is too large, or for one caller that has exceeded its quota; if yours does, call
///   `.success(GrpcCode::ResourceExhausted)`.
/// - All others are successes: the dependency has answered, and the problem is the request.
/// - A rejection by another breaker is ignored, as an error or as a response, and so are
///   [errors of the request itself](crate::classify::is_request_error). With the feature `tonic`,
///   also if a handler of a tonic server returns the `Status` of a call that a breaker of this
///   process has rejected, or one with such an error as its source. A server whose own breaker
///   rejects the call has failed: that is an `UNAVAILABLE` like any other. (Around a generated
///   client, as in [`Breaker::call`](crate::Breaker::call), the `Status` does not show whose
///   breaker it was. There, a server in the same process that rejects is ignored too.)
/// - A request whose upload is truncated is ignored where a tonic server says so (feature `tonic`):
///   see [below](#truncated-uploads).
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
///   passes on.) As for [the classifiers of HTTP](crate::classify#statuses), 429 is throttled, as
///   `RESOURCE_EXHAUSTED`; 400, 413 and 431 are `INVALID_ARGUMENT`.
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
/// # Truncated uploads
///
/// A client that truncates its request must not open the circuit of the server. With the feature
/// `tonic`, a call is ignored if tonic's server answers `INTERNAL` because the request ended before
/// its only message, has an unknown flag or cannot be decompressed. So is a handler's stream of
/// responses that ends with such an error of its stream of requests. If a handler returns the error
/// of a connection that broke while it read the request, that is recognized with the feature `axum`
/// as well, which a tonic server needs for it: it reads requests through axum.
///
/// Three answers of tonic are the same for a request as for the response of a dependency, and count
/// as failed: `INTERNAL` because the bytes are not a message of the type, because they end within a
/// message, or because a message is compressed and no `grpc-encoding` says how. And the trailers of
/// a stream do not say whether its error was one [of a request](crate::classify::is_request_error)
/// that the handler could not send. On a server whose clients may send such requests, let the
/// handlers fail with other codes, and ignore this one:
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
/// [`Retry-After`](crate::classify::retry_after). A negative or invalid pushback asks the client
/// not to retry that one call. It contains no delay, so the breaker uses its own open time.
///
/// [HTTP to gRPC Status Code Mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GrpcClassifier {
    /// Two bits for each code, and two for errors that are a caller's deadline.
    pub(super) kinds: u64,
    /// Set for a request that is not gRPC.
    pub(super) ignores_all: bool,
}

pub(super) const ERRORS_OF_DEADLINES: u32 = 34;

impl GrpcClassifier {
    /// `CANCELLED`, `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` are
    /// failures, `RESOURCE_EXHAUSTED` is throttled, all others are successes.
    #[must_use]
    pub fn new() -> Self {
        let kinds = Kind::Failure.put(0, ERRORS_OF_DEADLINES);
        let none = Self { kinds, ignores_all: false };
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

    /// The classifier for the response to this request: if that is not gRPC by its `Content-Type`
    /// (a health check over HTTP, a preflight, a gRPC-Web request), it ignores the call.
    /// [`.grpc()`](crate::CircuitBreakerLayer::grpc) does so by itself.
    #[must_use]
    pub fn for_request<B>(self, request: &Request<B>) -> Self {
        let ignores_all = declares_grpc(request.headers()) != Some(true);
        Self { ignores_all, ..self }
    }

    /// Ignores the codes and the errors that say that a deadline has passed.
    pub(super) fn ignoring_deadlines(self) -> Self {
        let ignoring = self.ignore([GrpcCode::Cancelled, GrpcCode::DeadlineExceeded]);
        let kinds = Kind::Ignore.put(ignoring.kinds, ERRORS_OF_DEADLINES);
        Self { kinds, ..ignoring }
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
    pub(super) fn outcome(
        self,
        code: GrpcCode,
        retry_after: impl FnOnce() -> Option<Duration>,
    ) -> Outcome {
        self.kind(code).outcome(retry_after)
    }
}

const fn shift_of(code: GrpcCode) -> u32 {
    code.number() as u32 * 2
}

impl Default for GrpcClassifier {
    fn default() -> Self {
        Self::new()
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

//! The one view of statuses that classifiers and retry presets share. The table in the
//! documentation of [`classify`](super) shows it.

use super::kind::Kind;

/// The outcome of an HTTP status, unless a classifier says otherwise.
///
/// - 408: the server, or a `TimeoutLayer` in front of it, gave up on a call that took too long.
/// - 429: the dependency works and refuses calls for now.
/// - 500 to 599: the server failed. 503 and 504 are among them.
///
/// Other 4xx are the problem of the request, and the dependency has answered: a success, as for
/// tower-http's classifier.
#[inline]
pub(crate) const fn kind_of_status(status: u16) -> Kind {
    match status {
        408 | 500..=599 => Kind::Failure,
        429 => Kind::Throttled,
        _ => Kind::Success,
    }
}

/// Whether a status describes a moment or a connection, and not this request: another attempt may
/// end differently. A 500 is a failure too, but one that is likely to occur again.
#[cfg(feature = "retry")]
pub(crate) const fn is_momentary(status: u16) -> bool {
    matches!(status, 408 | 429 | 502..=504)
}

/// The outcome of a gRPC code, unless a classifier says otherwise.
///
/// - `CANCELLED`: a call whose client cancels it is dropped and has no code. So the server sent
///   this one: tonic's server does when its own timeout has passed.
/// - `DEADLINE_EXCEEDED` and `UNAVAILABLE` are gRPC's 504 and 503, `RESOURCE_EXHAUSTED` is its 429.
#[cfg(feature = "grpc")]
pub(super) const fn kind_of_code(code: super::grpc::code::GrpcCode) -> Kind {
    use super::grpc::code::GrpcCode::{
        Cancelled, DataLoss, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown,
    };
    match code {
        Cancelled | Unknown | DeadlineExceeded | Internal | Unavailable | DataLoss => Kind::Failure,
        ResourceExhausted => Kind::Throttled,
        _ => Kind::Success,
    }
}

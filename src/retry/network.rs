use std::{error::Error as StdError, fmt, io, marker::PhantomData};

use http::{Method, Request, Response};

use super::{
    condition::{RetryWhen, sealed::Sealed},
    inspect::{
        AsCause, is_rejection,
        kind::{HttpResponse, IsError},
    },
};
use crate::{
    classify::{
        StatusClassifier,
        defaults::{is_momentary, kind_of_status},
        is_request_error,
        kind::Kind,
    },
    error::{Rejected, causes},
    outcome::Outcome,
};

/// Retries after errors and statuses that come from the network. Created by
/// [`RetryPolicy::network`](super::RetryPolicy::network), which lists them, and
/// [`RetryPolicy::rate_limited`](super::RetryPolicy::rate_limited).
///
/// `K` is the kind of the error; the compiler infers it.
pub struct Network<K = IsError> {
    pub(super) statuses: StatusClassifier,
    pub(super) errors: fn(&(dyn StdError + 'static)) -> bool,
    pub(super) methods: fn(&Method) -> bool,
    /// Whether a throttled request is repeated with every method.
    pub(super) repeats_throttled: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> Network<K> {
    pub(super) fn new() -> Self {
        let statuses = StatusClassifier::of(|status| {
            if is_momentary(status) { kind_of_status(status) } else { Kind::Success }
        });
        Self {
            statuses,
            errors: |_| false,
            methods: |_| false,
            repeats_throttled: false,
            kind: PhantomData,
        }
    }

    fn outcome_of_error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        let of_the_network =
            |cause| is_network_error(cause) && !is_request_error(error) || (self.errors)(cause);
        if causes(error).any(of_the_network) { Outcome::failure() } else { Outcome::Ignore }
    }
}

impl<K> Sealed for Network<K> {}

impl<K, Q, B, E> RetryWhen<Request<Q>, Response<B>, E> for Network<K>
where
    E: AsCause<K>,
{
    fn outcome(&self, request: &Request<Q>, result: &Result<Response<B>, E>) -> Option<Outcome> {
        if is_rejection::<_, _, HttpResponse, K>(result) {
            return None;
        }
        let cause = result.as_ref().err().and_then(AsCause::as_cause);
        let outcome = match result {
            Ok(response) => self.statuses.classify_parts(response.status(), response.headers()),
            Err(_) => cause.map_or(Outcome::Ignore, |cause| self.outcome_of_error(cause)),
        };
        let may_repeat = match outcome {
            Outcome::Success | Outcome::Ignore => true,
            Outcome::Throttled { .. } if self.repeats_throttled => true,
            Outcome::Failure { .. } | Outcome::Throttled { .. } => {
                let method = request.method();
                method.is_idempotent() || (self.methods)(method) || cause.is_some_and(is_refused)
            }
        };
        may_repeat.then_some(outcome)
    }
}

/// Whether an error, or one of its sources, comes from the network and may not occur again: a
/// connection that was refused, reset or aborted, a broken pipe, an unexpected end of a stream, or
/// a timeout. It recognizes an `io::Error`, the `Elapsed` of tower and tokio, hyper's timeouts, and
/// with their features those of reqwest and tonic.
///
/// A rejection is never transient, nor is an
/// [error of the request itself](crate::classify::is_request_error).
/// [`RetryPolicy::network`](super::RetryPolicy::network) uses this function; it also helps in
/// closures for [`RetryPolicy::new`](super::RetryPolicy::new).
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use tower_breaker::retry::is_transient;
///
/// assert!(is_transient(&Error::from(ErrorKind::ConnectionReset)));
/// assert!(!is_transient(&Error::from(ErrorKind::PermissionDenied)));
/// ```
#[must_use]
pub fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    Rejected::find(error).is_none()
        && !is_request_error(error)
        && causes(error).any(is_network_error)
}

fn is_network_error(cause: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof,
    };
    let kind = cause.downcast_ref().map(io::Error::kind);
    cause.is::<tower::timeout::error::Elapsed>()
        || cause.is::<tokio::time::error::Elapsed>()
        || is_timeout_of_a_client(cause)
        || matches!(
            kind,
            Some(
                ConnectionRefused
                    | ConnectionReset
                    | ConnectionAborted
                    | TimedOut
                    | BrokenPipe
                    | UnexpectedEof
            )
        )
}

fn is_timeout_of_a_client(cause: &(dyn StdError + 'static)) -> bool {
    let is_timeout = cause.downcast_ref().is_some_and(hyper::Error::is_timeout);
    #[cfg(feature = "reqwest")]
    let is_timeout = is_timeout || cause.downcast_ref().is_some_and(reqwest::Error::is_timeout);
    #[cfg(feature = "tonic")]
    let is_timeout = is_timeout || cause.is::<tonic::TimeoutExpired>();
    is_timeout
}

/// Whether the connection was refused, so the request was not sent.
pub(super) fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let kind = cause.downcast_ref().map(io::Error::kind);
        kind == Some(io::ErrorKind::ConnectionRefused)
    })
}

impl<K> Clone for Network<K> {
    fn clone(&self) -> Self {
        Self { kind: PhantomData, ..*self }
    }
}

impl<K> fmt::Debug for Network<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

use std::future::{Future, Ready, ready};

use crate::{Error, Rejected};

/// Says what becomes of a call that the breaker does not let through.
pub trait Reject<Request, Response, E> {
    /// The error of the whole service: that of a rejection, or the inner service's own.
    type Error: From<E>;
    /// What the caller of a rejected call gets.
    type Future: Future<Output = Result<Response, Self::Error>>;

    /// Answers a call instead of the inner service, which has not seen it.
    fn reject(&self, request: Request, rejected: Rejected) -> Self::Future;
}

/// A rejection is an [`Error::Rejected`], and the inner service's errors are [`Error::Inner`]:
/// the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsError;

impl<Request, Response, E> Reject<Request, Response, E> for RejectAsError {
    type Error = Error<E>;
    type Future = Ready<Result<Response, Error<E>>>;

    #[inline]
    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        ready(Err(Error::Rejected(rejected)))
    }
}

/// A rejection is an HTTP response: `503 Service Unavailable` with `Retry-After` and an empty
/// body. The error stays that of the inner service.
///
/// `Retry-After` is in whole seconds, rounded up, and at least 1, also where the breaker does not
/// know the time (half-open, forced open).
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsResponse;

#[cfg(feature = "http")]
impl<Request, B: Default, E> Reject<Request, http::Response<B>, E> for RejectAsResponse {
    type Error = E;
    type Future = Ready<Result<http::Response<B>, E>>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        let mut response = http::Response::new(B::default());
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        let seconds = whole_seconds(rejected.retry_after().unwrap_or_default());
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        ready(Ok(response))
    }
}

/// Rounded up, so that nobody comes too early, and at least 1, so that nobody comes at once.
#[cfg(feature = "http")]
fn whole_seconds(duration: std::time::Duration) -> u64 {
    let started = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(started).max(1)
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use std::time::Duration;

    use super::whole_seconds;

    #[test]
    fn seconds_are_rounded_up_and_at_least_one() {
        let cases = [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_001, 60), (60_000, 60)];
        for (millis, seconds) in cases {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}

use std::{fmt, ops::RangeInclusive};

use http::{HeaderMap, Response, StatusCode};

use super::{
    body::{ClassifiedResponse, ClassifyBody, SuccessAtEos},
    by_status::outcome_by_status,
    classifier::Classify,
    defaults::kind_of_status,
    kind::Kind,
    retry_after::retry_after,
};
use crate::outcome::Outcome;

/// Classifies HTTP responses by their status. An `Err` is a failure.
///
/// [`new`](Self::new) takes 408 and 500 to 599 for failures, 429 for throttled, and everything else
/// for successes; later calls override earlier ones. The [`Outcome`] of a failed or throttled 429
/// or 503 includes its `Retry-After`.
///
/// A rejection by another breaker is ignored, as an error or as a response, and so are
/// [errors of the request itself](super::is_request_error).
///
/// ```
/// use http::StatusCode;
/// use tower_breaker::{CircuitBreakerLayer, classify::StatusClassifier, reject::RejectAsResponse};
///
/// let statuses = StatusClassifier::new()
///     .failure(StatusCode::CONFLICT)
///     .success([StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_IMPLEMENTED])
///     .ignore(400..=404);
/// let layer = CircuitBreakerLayer::builder("payments")
///     .classify(statuses)
///     .reject_with(RejectAsResponse)
///     .build()?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusClassifier {
    // Two bits for each status from 100 to 611. To copy these 128 bytes for each call is cheaper
    // than the reference count of a shared table. Statuses above 611 are successes.
    kinds: [u64; 16],
}

const FIRST: u16 = 100;
const A_WORD: u16 = 32;
const KNOWN: u16 = 16 * A_WORD;

impl StatusClassifier {
    /// 408 and 500 to 599 are failures, 429 is throttled, all others are successes.
    #[must_use]
    pub fn new() -> Self {
        Self::of(kind_of_status)
    }

    /// Each status is of the kind that the function returns.
    pub(crate) fn of(kind: impl Fn(u16) -> Kind) -> Self {
        (FIRST..FIRST + KNOWN)
            .fold(Self { kinds: [0; 16] }, |this, status| this.with(status..=status, kind(status)))
    }

    /// These are failures.
    #[must_use]
    pub fn failure(self, statuses: impl Statuses) -> Self {
        self.with(statuses, Kind::Failure)
    }

    /// With these, the dependency works and refuses calls for now: [`Outcome::Throttled`].
    #[must_use]
    pub fn throttled(self, statuses: impl Statuses) -> Self {
        self.with(statuses, Kind::Throttled)
    }

    /// These say nothing about the dependency: [`Outcome::Ignore`].
    #[must_use]
    pub fn ignore(self, statuses: impl Statuses) -> Self {
        self.with(statuses, Kind::Ignore)
    }

    /// These are successes.
    #[must_use]
    pub fn success(self, statuses: impl Statuses) -> Self {
        self.with(statuses, Kind::Success)
    }

    fn with(mut self, statuses: impl Statuses, kind: Kind) -> Self {
        statuses.each(&mut |status| {
            if let Some((word, shift)) = position_of(status) {
                self.kinds[word] = kind.put(self.kinds[word], shift);
            }
        });
        self
    }

    #[inline]
    fn kind(&self, status: StatusCode) -> Kind {
        match position_of(status.as_u16()) {
            Some((word, shift)) => Kind::get(self.kinds[word], shift),
            None => Kind::Success,
        }
    }

    /// Classifies a response by its status and its headers, for clients whose response type is not
    /// `http::Response`.
    #[inline]
    #[must_use]
    pub fn classify_parts(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.kind(status).outcome(|| retry_after(status, headers))
    }
}

fn position_of(status: u16) -> Option<(usize, u32)> {
    let index = status.checked_sub(FIRST)?;
    let word = usize::from(index / A_WORD);
    (word < 16).then_some((word, u32::from(index % A_WORD * 2)))
}

impl Default for StatusClassifier {
    fn default() -> Self {
        Self::new()
    }
}

impl<B, E: 'static> Classify<Response<B>, E> for StatusClassifier {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        outcome_by_status(result, |status, headers| self.classify_parts(status, headers))
    }
}

impl<B, E: 'static> ClassifyBody<B, E> for StatusClassifier {
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(self.classify(result))
    }
}

impl fmt::Debug for StatusClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |kind| {
            let statuses =
                (FIRST..FIRST + KNOWN).filter_map(|status| StatusCode::from_u16(status).ok());
            let chosen = statuses.filter(|status| self.kind(*status) == kind);
            chosen.map(|status| status.as_u16()).collect::<Vec<_>>()
        };
        f.debug_struct("StatusClassifier")
            .field("failure", &of(Kind::Failure))
            .field("throttled", &of(Kind::Throttled))
            .field("ignore", &of(Kind::Ignore))
            .finish()
    }
}

/// One HTTP status or several: a [`StatusCode`], an array or a slice of them, or an inclusive range
/// of numbers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of HTTP statuses",
    note = "pass a `StatusCode`, an array or a slice of them, or an inclusive range of numbers: \
            `500..=599`"
)]
pub trait Statuses: sealed::Sealed {
    #[doc(hidden)]
    fn each(self, take: &mut dyn FnMut(u16));
}

impl Statuses for StatusCode {
    fn each(self, take: &mut dyn FnMut(u16)) {
        take(self.as_u16());
    }
}

impl<const N: usize> Statuses for [StatusCode; N] {
    fn each(self, take: &mut dyn FnMut(u16)) {
        self.as_slice().each(take);
    }
}

impl Statuses for &[StatusCode] {
    fn each(self, take: &mut dyn FnMut(u16)) {
        for status in self {
            take(status.as_u16());
        }
    }
}

impl Statuses for RangeInclusive<u16> {
    fn each(self, take: &mut dyn FnMut(u16)) {
        self.for_each(take);
    }
}

mod sealed {
    use super::{RangeInclusive, StatusCode};

    pub trait Sealed {}
    impl Sealed for StatusCode {}
    impl<const N: usize> Sealed for [StatusCode; N] {}
    impl Sealed for &[StatusCode] {}
    impl Sealed for RangeInclusive<u16> {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_what_was_last_said_of_it_and_no_other_changes() {
        for status in 100..=999 {
            let code = StatusCode::from_u16(status).expect("a status");
            let known = status <= 611;
            for kind in [Kind::Success, Kind::Failure, Kind::Throttled, Kind::Ignore] {
                let before = StatusClassifier::new().ignore(code);
                let after = before.with(code, kind);
                let expected = if known { kind } else { Kind::Success };
                assert_eq!(after.kind(code), expected, "{status}");
                for other in (100..=999).filter(|other| *other != status) {
                    let other = StatusCode::from_u16(other).expect("a status");
                    assert_eq!(after.kind(other), before.kind(other), "{status} and {other}");
                }
            }
        }
    }

    #[test]
    fn ranges_arrays_and_what_is_out_of_range_are_taken() {
        let some = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
        let statuses =
            StatusClassifier::new().failure(some).success(500..=502).ignore(0..=u16::MAX);
        assert_eq!(statuses.kind(StatusCode::OK), Kind::Ignore);
        let statuses = StatusClassifier::new().failure(some.as_slice()).success(500..=502);
        let failing: Vec<_> = (100..612)
            .filter(|status| {
                statuses.kind(StatusCode::from_u16(*status).expect("a status")) == Kind::Failure
            })
            .collect();
        let expected: Vec<_> = [408, 409, 429].into_iter().chain(503..=599).collect();
        assert_eq!(failing, expected);
    }
}

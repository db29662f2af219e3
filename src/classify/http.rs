use http::{HeaderMap, Response, StatusCode};

use super::{
    body::{ClassifiedResponse, ClassifyBody, SuccessAtEos},
    by_status::outcome_by_status,
    classifier::Classify,
    defaults::kind_of_status,
    retry_after::retry_after,
};
use crate::outcome::Outcome;

/// Classifies HTTP responses by their status, as `.http()` does.
///
/// - 500 to 599 and 408 (the server timed out) are failures, and so is an `Err`.
/// - 429 is [throttled](Outcome::Throttled).
/// - All other statuses are successes: the dependency has answered.
/// - A rejection by another breaker is ignored, as an error or as a response, and so are
///   [errors of the request itself](super::is_request_error).
///
/// The [`Outcome`] of a 429 or a 503 includes its `Retry-After`. For other statuses, there is
/// [`StatusClassifier`](super::StatusClassifier). [The table](super#statuses) shows all of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerErrorsAsFailures;

impl ServerErrorsAsFailures {
    /// Classifies a response by its status and its headers, for clients whose response type is not
    /// `http::Response`.
    #[inline]
    #[must_use]
    pub fn classify_parts(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        kind_of_status(status.as_u16()).outcome(|| retry_after(status, headers))
    }
}

impl<B, E: 'static> Classify<Response<B>, E> for ServerErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        outcome_by_status(result, |status, headers| self.classify_parts(status, headers))
    }
}

impl<B, E: 'static> ClassifyBody<B, E> for ServerErrorsAsFailures {
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(self.classify(result))
    }
}

use http::{HeaderMap, Response, StatusCode};

use super::{
    body::{ClassifiedResponse, ClassifyBody, SuccessAtEos},
    classifier::Classify,
    retry_after::failure_with_time,
};
use crate::outcome::Outcome;

/// An HTTP response with a status of 500 to 599 is a failure, and so is an `Err`.
///
/// The [`Outcome`] of a 503 includes its `Retry-After`. For other statuses, there is
/// [`StatusClassifier`](super::StatusClassifier).
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerErrorsAsFailures;

impl ServerErrorsAsFailures {
    /// Classifies a response by its status and its headers, for clients whose response type is not
    /// `http::Response`.
    #[inline]
    #[must_use]
    pub fn classify_parts(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        if status.is_server_error() { failure_with_time(status, headers) } else { Outcome::Success }
    }
}

impl<B, E> Classify<Response<B>, E> for ServerErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match result {
            Ok(response) => self.classify_parts(response.status(), response.headers()),
            Err(_) => Outcome::failure(),
        }
    }
}

impl<B, E> ClassifyBody<B, E> for ServerErrorsAsFailures {
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(self.classify(result))
    }
}

//! The responses of [reqwest](https://docs.rs/reqwest/0.13).

use http::{HeaderMap, StatusCode};
use reqwest::{Body, Response};

use super::{
    by_status::outcome_of_parts, classifier::Classify, error::outcome_of_error,
    http::ServerErrorsAsFailures, status::StatusClassifier,
};
use crate::outcome::Outcome;

impl<E: 'static> Classify<Response, E> for ServerErrorsAsFailures {
    fn classify(&self, result: &Result<Response, E>) -> Outcome {
        by_parts(result, |status, headers| self.classify_parts(status, headers))
    }
}

impl<E: 'static> Classify<Response, E> for StatusClassifier {
    fn classify(&self, result: &Result<Response, E>) -> Outcome {
        by_parts(result, |status, headers| self.classify_parts(status, headers))
    }
}

fn by_parts<E: 'static>(
    result: &Result<Response, E>,
    classify: impl FnOnce(StatusCode, &HeaderMap) -> Outcome,
) -> Outcome {
    match result {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers());
            outcome_of_parts::<Body>(status, headers, response.extensions(), classify)
        }
        Err(error) => outcome_of_error(error),
    }
}

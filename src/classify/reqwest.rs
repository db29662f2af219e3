//! The responses of [reqwest](https://docs.rs/reqwest/0.13).

use http::{HeaderMap, StatusCode};
use reqwest::Response;

use super::{classifier::Classify, http::ServerErrorsAsFailures, status::StatusClassifier};
use crate::outcome::Outcome;

impl<E> Classify<Response, E> for ServerErrorsAsFailures {
    fn classify(&self, result: &Result<Response, E>) -> Outcome {
        by_parts(result, |status, headers| self.classify_parts(status, headers))
    }
}

impl<E> Classify<Response, E> for StatusClassifier {
    fn classify(&self, result: &Result<Response, E>) -> Outcome {
        by_parts(result, |status, headers| self.classify_parts(status, headers))
    }
}

fn by_parts<E>(
    result: &Result<Response, E>,
    classify: impl FnOnce(StatusCode, &HeaderMap) -> Outcome,
) -> Outcome {
    match result {
        Ok(response) => classify(response.status(), response.headers()),
        Err(_) => Outcome::failure(),
    }
}

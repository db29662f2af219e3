//! The responses of [reqwest](https://docs.rs/reqwest/0.13), and the errors that its
//! `error_for_status` makes of them.

use http::{HeaderMap, StatusCode};
use reqwest::{Body, Response};

use super::{
    by_status::outcome_of_parts,
    classifier::Classify,
    error::{as_cause, outcome_of_error},
    http::ServerErrorsAsFailures,
    status::StatusClassifier,
};
use crate::{error::causes, outcome::Outcome};

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
            let (status, version) = (response.status(), response.version());
            let (headers, extensions) = (response.headers(), response.extensions());
            outcome_of_parts::<Body>(status, version, headers, extensions, classify)
        }
        Err(error) => match status_of(error) {
            Some(status) => classify(status, &HeaderMap::new()),
            None => outcome_of_error(error),
        },
    }
}

/// The status that `error_for_status` has made an error of: the same response, seen later.
#[cold]
fn status_of<E: 'static>(error: &E) -> Option<StatusCode> {
    causes(as_cause(error)?).find_map(|cause| cause.downcast_ref::<reqwest::Error>()?.status())
}

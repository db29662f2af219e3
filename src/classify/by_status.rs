use http::{Extensions, HeaderMap, Response, StatusCode, Version};

use super::{error::outcome_of_error, grpc_notice};
use crate::{error::Rejected, outcome::Outcome};

/// Whether a breaker made a response, and not the dependency.
#[inline]
pub(super) fn is_rejection(extensions: &Extensions) -> bool {
    extensions.get::<Rejected>().is_some()
}

/// The outcome of a call by the status of its response: what the status classifiers share.
#[inline]
pub(super) fn outcome_by_status<B, E: 'static>(
    result: &Result<Response<B>, E>,
    classify: impl FnOnce(StatusCode, &HeaderMap) -> Outcome,
) -> Outcome {
    match result {
        Ok(response) => {
            let (status, version) = (response.status(), response.version());
            let (headers, extensions) = (response.headers(), response.extensions());
            outcome_of_parts::<B>(status, version, headers, extensions, classify)
        }
        Err(error) => outcome_of_error(error),
    }
}

#[inline]
pub(super) fn outcome_of_parts<B>(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    extensions: &Extensions,
    classify: impl FnOnce(StatusCode, &HeaderMap) -> Outcome,
) -> Outcome {
    if is_rejection(extensions) {
        return Outcome::Ignore;
    }
    grpc_notice::warn_once_if_grpc::<B>(status, version, headers);
    classify(status, headers)
}

//! Classification of the head of a gRPC response, and of errors.

#[cfg(feature = "tonic")]
use std::error::Error as StdError;

use http::{Extensions, HeaderMap, Response, StatusCode};
#[cfg(feature = "tonic")]
use tonic::{Status, TimeoutExpired};

#[cfg(feature = "tonic")]
use super::upload::breaks_an_upload;
use super::{
    classifier::{ERRORS_OF_DEADLINES, GrpcClassifier},
    code::GrpcCode,
    delay::{Pushback, delay_of},
    eos::GrpcEos,
};
#[cfg(feature = "tonic")]
use crate::{
    classify::error::{as_cause, is_not_of_the_dependency},
    error::causes,
};
use crate::{
    classify::{
        body::{ClassifiedResponse, ClassifyBody},
        by_status::is_rejection,
        classifier::Classify,
        error::outcome_of_error,
        grpc_media_type::declares_grpc,
        kind::Kind,
        retry_after::retry_after,
    },
    outcome::Outcome,
};

impl GrpcClassifier {
    #[cold]
    pub(super) fn outcome_of_error<E: 'static>(self, error: &E) -> Outcome {
        let kind = Kind::get(self.kinds, ERRORS_OF_DEADLINES);
        if self.ignores_all || kind == Kind::Ignore && is_deadline(error) {
            Outcome::Ignore
        } else {
            outcome_of_error(error)
        }
    }

    fn head(self, status: StatusCode, headers: &HeaderMap) -> ClassifiedResponse<GrpcEos> {
        if status != StatusCode::OK {
            let failed = self.outcome_of_http(status, headers);
            if failed != Outcome::Success {
                return ClassifiedResponse::Ready(failed);
            }
        }
        match GrpcCode::find(headers) {
            // It may have a body even so, whose trailers say something else.
            Some(GrpcCode::Ok) if status == StatusCode::OK => {
                ClassifiedResponse::RequiresEos(GrpcEos::after(self, headers, GrpcCode::Ok))
            }
            Some(code) => ClassifiedResponse::Ready(self.classify_code(code, headers)),
            None if status == StatusCode::OK && may_be_grpc(headers) => {
                ClassifiedResponse::RequiresEos(GrpcEos::after(self, headers, GrpcCode::Unknown))
            }
            None => ClassifiedResponse::Ready(self.outcome_of_http(status, headers)),
        }
    }

    fn outcome_of_http(self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.outcome(GrpcCode::of_http(status), || match Pushback::find(headers) {
            Pushback::Missing => retry_after(status, headers),
            pushback => delay_of(pushback, headers),
        })
    }
}

/// Classifies the head of the response: a code that is still to come counts as a success.
impl<B, E: 'static> Classify<Response<B>, E> for GrpcClassifier {
    #[inline]
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match ClassifyBody::classify_head(self, result) {
            ClassifiedResponse::Ready(outcome) => outcome,
            ClassifiedResponse::RequiresEos(_) => Outcome::Success,
        }
    }
}

impl<B, E: 'static> ClassifyBody<B, E> for GrpcClassifier {
    type Eos = GrpcEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<GrpcEos> {
        match result {
            Ok(response) if self.ignores_all || is_rejection(response.extensions()) => {
                ClassifiedResponse::Ready(Outcome::Ignore)
            }
            Ok(response) => match self.head(response.status(), response.headers()) {
                ClassifiedResponse::Ready(outcome)
                    if outcome != Outcome::Success
                        && is_of_another_dependency(response.extensions()) =>
                {
                    ClassifiedResponse::Ready(Outcome::Ignore)
                }
                head => head,
            },
            Err(error) => ClassifiedResponse::Ready(self.outcome_of_error(error)),
        }
    }
}

/// Whether the `Content-Type`, where there is one, is gRPC's.
fn may_be_grpc(headers: &HeaderMap) -> bool {
    declares_grpc(headers).unwrap_or(true)
}

/// Whether a handler has answered with the status of a call that another breaker rejected, or whose
/// own request was at fault. A tonic server puts the status of a handler, with its source, into the
/// response's extensions.
///
/// A response from elsewhere has no such extension. If the breaker of a server has rejected the
/// call, that server cannot serve, also if it is one of this process.
#[cfg(feature = "tonic")]
fn is_of_another_dependency(extensions: &Extensions) -> bool {
    let status = extensions.get::<Status>();
    status.is_some_and(|status| is_not_of_the_dependency(status) || breaks_an_upload(status))
}

#[cfg(not(feature = "tonic"))]
fn is_of_another_dependency(_: &Extensions) -> bool {
    false
}

/// Whether a tonic channel gave up because a deadline has passed.
#[cfg(feature = "tonic")]
fn is_deadline<E: 'static>(error: &E) -> bool {
    as_cause(error).is_some_and(|error| causes(error).any(<dyn StdError>::is::<TimeoutExpired>))
}

#[cfg(not(feature = "tonic"))]
fn is_deadline<E: 'static>(_: &E) -> bool {
    false
}

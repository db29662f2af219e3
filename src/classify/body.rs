//! Outcomes of responses whose bodies have not ended.

use std::error::Error as StdError;

use http::{HeaderMap, Response};

use super::{
    by_status::is_rejection,
    classifier::Classify,
    error::{is_of_the_upload, outcome_of_error},
    errors_as_failures::{AnyErrorAsFailure, ErrorsAsFailures},
};
use crate::outcome::Outcome;

/// Classifies a call whose response body has not ended.
///
/// [`OnBodyEnd`](crate::OnBodyEnd) needs such a classifier. Closures that take a
/// `&Result<Response<B>, E>` implement it: an outcome other than a success is final, and a success
/// is one if the body ends well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a response body: a `Result<http::Response<{B}>, {E}>`",
    label = "expected a classifier, or a closure \
             `|result: &Result<http::Response<{B}>, {E}>| -> Outcome`",
    note = "`.on_body_end(..)` and `.grpc()` need a classifier that implements `ClassifyBody`; a \
            closure has to write the type of its argument: \
            `.classify(|result: &Result<http::Response<{B}>, {E}>| ..)`"
)]
pub trait ClassifyBody<B, E> {
    /// Classifies the end of the body.
    type Eos: ClassifyEos;

    /// Classifies the head of the response, or the error.
    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<Self::Eos>;
}

/// What is known of a call's outcome when the head of its response arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifiedResponse<W> {
    /// The outcome is known, and the body does not matter.
    Ready(Outcome),
    /// The end of the body decides.
    RequiresEos(W),
}

impl ClassifiedResponse<SuccessAtEos> {
    /// This outcome, but a success only if the body ends well.
    #[must_use]
    pub fn unless_body_fails(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::RequiresEos(SuccessAtEos),
            other => Self::Ready(other),
        }
    }
}

/// Classifies a call whose body has ended: "eos" is the end of the stream.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify the end of a response body",
    note = "`SuccessAtEos` takes every complete body for a success"
)]
pub trait ClassifyEos: Sized {
    /// The body has ended, with these trailers if it had any.
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome;

    /// The body has failed. Default: a failure.
    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        let _ = failure;
        Outcome::failure()
    }

    /// The body has returned this error. It is called only if the type of the error is
    /// [known](super#situations); otherwise, and for all other failures,
    /// [`classify_failure`](Self::classify_failure) is.
    ///
    /// Default: errors [of the request](super::is_request_error), such as an upload that broke off
    /// in the meantime, and rejections by another breaker are ignored. For all others, the outcome
    /// is that of `classify_failure` with [`BodyFailure::Error`].
    fn classify_error(self, error: &(dyn StdError + 'static)) -> Outcome {
        if is_of_the_upload(error) {
            Outcome::Ignore
        } else {
            self.classify_failure(BodyFailure::Error)
        }
    }

    /// Whether the trailers matter. If so, a body has not ended with its last byte.
    fn awaits_trailers(&self) -> bool {
        false
    }
}

/// How a body has failed. The error itself is in [`ClassifyEos::classify_error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFailure {
    /// It returned an error.
    Error,
    /// It ended before its announced length.
    EndedEarly,
    /// It delivered nothing for too long.
    Stalled,
}

/// A complete body is a success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SuccessAtEos;

impl ClassifyEos for SuccessAtEos {
    fn classify_eos(self, _: Option<&HeaderMap>) -> Outcome {
        Outcome::Success
    }
}

#[diagnostic::do_not_recommend]
impl<F, B, E> ClassifyBody<B, E> for F
where
    F: Fn(&Result<Response<B>, E>) -> Outcome,
{
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(self(result))
    }
}

impl<B, E: 'static> ClassifyBody<B, E> for ErrorsAsFailures {
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(match result {
            Ok(response) if is_rejection(response.extensions()) => Outcome::Ignore,
            Ok(_) => Outcome::Success,
            Err(error) => outcome_of_error(error),
        })
    }
}

impl<B, E> ClassifyBody<B, E> for AnyErrorAsFailure {
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(match result {
            Ok(response) if is_rejection(response.extensions()) => Outcome::Ignore,
            result => self.classify(result),
        })
    }
}

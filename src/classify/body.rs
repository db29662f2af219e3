//! The outcome of responses whose bodies are still to come.

use http::{HeaderMap, Response};

use super::{Classify, ErrorsAsFailures};
use crate::outcome::Outcome;

/// Says what a call came to whose response has a body that is still to come.
///
/// It is what a classifier needs for [`OnBodyEnd`](crate::OnBodyEnd). A closure over
/// `&Result<Response<B>, E>` has it: what is no success is so at once, and a success is one when
/// the body has ended well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a response body: a `Result<http::Response<{B}>, {E}>`",
    label = "expected a classifier, or a closure \
             `|result: &Result<http::Response<{B}>, {E}>| -> Outcome`",
    note = "`.on_body_end(..)` and `.grpc()` need a classifier that implements `ClassifyBody`; a \
            closure has to write the type of its argument: \
            `.classify(|result: &Result<http::Response<{B}>, {E}>| ..)`"
)]
pub trait ClassifyBody<B, E> {
    /// Decides when the body has ended.
    type Eos: ClassifyEos;

    /// What can be said when the response is there, or the error.
    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<Self::Eos>;
}

/// What can be said of a call when its response is there and its body is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifiedResponse<W> {
    /// This call came to that. The body does not matter.
    Ready(Outcome),
    /// The end of the body decides.
    RequiresEos(W),
}

impl ClassifiedResponse<SuccessAtEos> {
    /// An outcome that a success of the head still needs the body for.
    #[must_use]
    pub fn unless_body_fails(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::RequiresEos(SuccessAtEos),
            other => Self::Ready(other),
        }
    }
}

/// Says what a call came to whose body has ended.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify the end of a response body",
    note = "`SuccessAtEos` takes every complete body for a success"
)]
pub trait ClassifyEos: Sized {
    /// The body came to its end, with these trailers, if it had any.
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome;

    /// The body came to no good end. Default: a failure.
    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        let _ = failure;
        Outcome::failure()
    }

    /// Whether the trailers matter: then a body of which all bytes have come has not ended yet.
    fn awaits_trailers(&self) -> bool {
        false
    }
}

/// How a body can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFailure {
    /// The body itself erred.
    Error,
    /// It ended before the length that it had announced.
    EndedEarly,
    /// Nothing came for too long.
    Stalled,
}

/// A body that ends is a success.
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

impl<B, E> ClassifyBody<B, E> for ErrorsAsFailures {
    type Eos = SuccessAtEos;

    fn classify_head(&self, result: &Result<Response<B>, E>) -> ClassifiedResponse<SuccessAtEos> {
        ClassifiedResponse::unless_body_fails(self.classify(result))
    }
}

#[cfg(feature = "http")]
use std::error::Error as StdError;
use std::{any::type_name, fmt};

#[cfg(feature = "http")]
use http::{HeaderMap, Response};

#[cfg(feature = "http")]
use crate::classify::body::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos};
use crate::{classify::classifier::Classify, outcome::Outcome};

/// Combines two classifiers: the outcome is that of the first, unless it is a success; then it is
/// that of the second.
///
/// ```
/// # #[cfg(feature = "http")] {
/// use http::Response;
/// use tower_breaker::{Outcome, classify::{self, Classify, ServerErrorsAsFailures}};
///
/// let flagged = |result: &Result<Response<()>, ()>| match result {
///     Ok(response) if response.headers().contains_key("x-degraded") => Outcome::failure(),
///     _ => Outcome::Success,
/// };
/// let both = classify::or(ServerErrorsAsFailures, flagged);
/// let degraded = Response::builder().header("x-degraded", "1").body(()).expect("a response");
/// assert_eq!(both.classify(&Ok(degraded)), Outcome::failure());
/// # }
/// ```
pub fn or<A, B>(first: A, second: B) -> Or<A, B> {
    Or { first, second }
}

/// The classifier that [`or`] returns.
#[derive(Clone, Copy)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B, T, E> Classify<T, E> for Or<A, B>
where
    A: Classify<T, E>,
    B: Classify<T, E>,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match self.first.classify(result) {
            Outcome::Success => self.second.classify(result),
            other => other,
        }
    }
}

impl<A, B> fmt::Debug for Or<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Or")
            .field("first", &format_args!("{}", type_name::<A>()))
            .field("second", &format_args!("{}", type_name::<B>()))
            .finish()
    }
}

/// Combines the outcomes of two classifiers at the end of a body. Created by an [`Or`].
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy)]
pub struct OrEos<A, B> {
    first: ClassifiedResponse<A>,
    second: ClassifiedResponse<B>,
}

#[cfg(feature = "http")]
impl<A, B, Body, E> ClassifyBody<Body, E> for Or<A, B>
where
    A: ClassifyBody<Body, E>,
    B: ClassifyBody<Body, E>,
{
    type Eos = OrEos<A::Eos, B::Eos>;

    fn classify_head(&self, result: &Result<Response<Body>, E>) -> ClassifiedResponse<Self::Eos> {
        use ClassifiedResponse::{Ready, RequiresEos};

        match self.first.classify_head(result) {
            Ready(outcome) if outcome != Outcome::Success => Ready(outcome),
            first => match (first, self.second.classify_head(result)) {
                (Ready(_), Ready(outcome)) => Ready(outcome),
                // Without trailers, the first can only add a failure to this one.
                (RequiresEos(first), Ready(outcome))
                    if outcome != Outcome::Success && !first.awaits_trailers() =>
                {
                    Ready(outcome)
                }
                (first, second) => RequiresEos(OrEos { first, second }),
            },
        }
    }
}

#[cfg(feature = "http")]
impl<A: ClassifyEos, B: ClassifyEos> ClassifyEos for OrEos<A, B> {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        match self.first.or_else(|eos| eos.classify_eos(trailers)) {
            Outcome::Success => self.second.or_else(|eos| eos.classify_eos(trailers)),
            other => other,
        }
    }

    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        match self.first.or_else(|eos| eos.classify_failure(failure)) {
            Outcome::Success => self.second.or_else(|eos| eos.classify_failure(failure)),
            other => other,
        }
    }

    fn classify_error(self, error: &(dyn StdError + 'static)) -> Outcome {
        match self.first.or_else(|eos| eos.classify_error(error)) {
            Outcome::Success => self.second.or_else(|eos| eos.classify_error(error)),
            other => other,
        }
    }

    fn awaits_trailers(&self) -> bool {
        self.first.awaits_trailers() || self.second.awaits_trailers()
    }
}

#[cfg(feature = "http")]
impl<W: ClassifyEos> ClassifiedResponse<W> {
    /// The outcome that is known, or else the one that the end of the body has.
    fn or_else(self, classify: impl FnOnce(W) -> Outcome) -> Outcome {
        match self {
            Self::Ready(outcome) => outcome,
            Self::RequiresEos(eos) => classify(eos),
        }
    }

    fn awaits_trailers(&self) -> bool {
        matches!(self, Self::RequiresEos(eos) if eos.awaits_trailers())
    }
}
